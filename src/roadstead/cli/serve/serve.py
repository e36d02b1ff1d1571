"""``roadstead serve``: serves the registry until it is told to stop."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, TextIO

import click
import structlog
import uvloop

from roadstead import __version__, app
from roadstead.app.serving.process import Process, serve_process
from roadstead.app.serving.workers import inherited_process, serve_workers
from roadstead.cli.serve.adoption import settle_truth
from roadstead.cli.serve.listeners import listener, raise_file_limit
from roadstead.cli.serve.storage import require_said_storage
from roadstead.config import ListenAddress, LoadedSettings, Settings, load, require_files
from roadstead.config.registry2 import Verdict
from roadstead.telemetry import LogWriter, configure_logging, log_stream

SETTING_OF_FLAG: Final = {
    "listen": "listen.main",
    "ops_listen": "listen.operations",
    "data": "data.folder",
    "auth": "authentication.mode",
    "htpasswd": "authentication.htpasswd_file",
    "database": "database.url",
    "storage": "storage.url",
    "tls": "tls.mode",
    "tls_cert": "tls.certificate",
    "tls_key": "tls.key",
    "workers": "listen.workers",
}
"""Name of the setting that each flag sets."""

_REMEDIES: Final = {
    False: ("--listen", "--ops-listen"),
    True: ("`make serve LISTEN=127.0.0.1:5005`", "`make serve OPS_LISTEN=127.0.0.1:5006`"),
}
"""Advice on choosing other addresses, depending on whether make started the server."""

_log = structlog.get_logger("roadstead.serve")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Address of the registry.  [default: 127.0.0.1:5000]")
@click.option("--ops-listen", metavar="HOST:PORT", help="Address of metrics and health.  [default: 127.0.0.1:5001]")
@click.option("--data", metavar="DIR", help="Folder in which everything is kept.  [default: data]")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Settings in YAML, or registry:2's.")
@click.option("--auth", metavar="MODE", help="How callers prove who they are: none, htpasswd.  [default: none]")
@click.option("--htpasswd", metavar="FILE", help="Users and passwords, from roadstead htpasswd; sets --auth htpasswd.")
@click.option("--database", metavar="URL", help="The catalogue: sqlite:///… or postgresql://…  [default: in DIR]")
@click.option("--storage", metavar="URL", help="The blobs: file:///PATH.  [default: registry in DIR]")
@click.option("--tls", metavar="MODE", help="HTTPS: off, files, self-signed, acme.  [default: off]")
@click.option("--tls-cert", metavar="FILE", help="Certificate with its chain; sets --tls files.")
@click.option("--tls-key", metavar="FILE", help="Key of the certificate.")
@click.option("--adopt", is_flag=True, help="Take over the folder of a registry:2 first, unless that is done.")
@click.option(
    "--claim-storage", is_flag=True, help="Take blobs that are another catalogue's, or are not marked as ours."
)
@click.option("--workers", metavar="N", help="Processes that answer, on one address.  [default: 1]")
@click.option("--started-by-make", is_flag=True, hidden=True, help="Whether remedies name make's variables.")
@click.option("--worker-descriptors", hidden=True, help="Sockets and pipe that a parent hands to its worker.")
def serve(
    config: Path | None,
    worker_descriptors: str | None,
    *,
    adopt: bool,
    claim_storage: bool,
    started_by_make: bool,
    **flags: str | None,
) -> None:
    """Serve the registry.

    Open to this machine only, unless --listen names another address and --auth says how callers prove who they are.
    SIGTERM ends it after the requests in hand; SIGHUP reads the log level, the password file and the certificate again.

    \b
    Examples:
      roadstead serve
      roadstead serve --listen 127.0.0.1:5000 --data /srv/registry
      roadstead serve --listen 0.0.0.0:5000 --auth none
      roadstead serve --listen 0.0.0.0:5000 --htpasswd users
      roadstead serve --tls-cert server.crt --tls-key server.key
      roadstead serve --data /var/lib/registry --adopt
      roadstead serve --workers 4
      roadstead serve --database postgresql://roadstead@db.example.com/roadstead --storage file:///mnt/blobs
    """  # noqa: D301 - click's mark for text that keeps its lines
    if (flags["tls_cert"] or flags["tls_key"]) and not flags["tls"]:
        flags["tls"] = "files"
    overrides = {key: flags[flag] for flag, key in SETTING_OF_FLAG.items()}

    def read() -> Settings:
        return load(config, overrides=overrides).settings

    loaded = load(config, overrides=overrides)
    settings = loaded.settings
    require_files(settings, loaded.sources)
    with log_stream(sys.stderr.fileno()) as (log, stream), contextlib.redirect_stderr(stream):
        configure_logging(stream, level=settings.log.level, log_format=settings.log.format)
        raise_file_limit()
        if worker_descriptors is not None:
            _run(serve_process(inherited_process(settings, read, log, worker_descriptors), on_start=_log_start))
        else:
            remedies = _REMEDIES[started_by_make]
            _serve_alone(loaded, read, log, config, adopts=adopt, takes_over=claim_storage, remedies=remedies)


def _serve_alone(
    loaded: LoadedSettings,
    read: Callable[[], Settings],
    log: LogWriter,
    config: Path | None,
    *,
    adopts: bool,
    takes_over: bool,
    remedies: tuple[str, str],
) -> None:
    """Serves as the only process that holds the data folder, with or without workers."""
    settings = loaded.settings
    for notice in loaded.notices:
        say = _log.info if notice.verdict == Verdict.IGNORED else _log.warning
        say("not as with registry:2", key=notice.key, where=notice.source, meaning=notice.text)
    with contextlib.ExitStack() as stack:
        main = stack.enter_context(listener(settings.listen.main, remedies[0]))
        operations = stack.enter_context(listener(settings.listen.operations, remedies[1]))
        require_said_storage(loaded, config)
        installation = app.prepare(settings)
        stack.callback(installation.folder.unlock)
        settle_truth(installation, config, adopts=adopts, takes_over=takes_over)
        process = Process(settings=settings, read=read, main=main, operations=operations, log=log)
        _, out = stack.enter_context(log_stream(sys.stdout.fileno()))

        def on_start() -> None:
            _greet(installation, main, out)

        if settings.listen.workers == 1:
            _run(serve_process(process, on_start))
        else:
            _run(serve_workers(process, installation.folder, on_start))


def _run(work: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _log_start() -> None:
    _log.info("worker serving")


def has_clear_passwords(settings: Settings) -> bool:
    """Returns True if passwords travel unencrypted, so that anybody on the way can read them."""
    is_asked = settings.authentication.mode != "none" and not settings.listen.main.is_loopback
    return is_asked and settings.tls.mode == "off" and not settings.http.trusted_proxies


def _how_to_trust(settings: Settings, address: str) -> str:
    """Returns advice on trusting our own certificate, for a client on this machine; empty if it is not our own."""
    if settings.tls.mode != "self-signed":
        return ""
    authority = (settings.secrets_folder / "tls" / "ca.crt").absolute()
    return f"  roadstead certs trust {authority} --host {address}    # once, and again on every other machine\n"


def _greet(installation: app.Installation, listening: socket.socket, out: TextIO) -> None:
    """Prints the registry's address and what to try first; a failure to print is ignored."""
    settings, folder = installation.settings, installation.folder
    catalogue = installation.catalogue if installation.is_shared else str(folder.path)
    host, port = listening.getsockname()[:2]
    shown = "localhost" if host in {"127.0.0.1", "::1", "0.0.0.0", "::"} else host  # noqa: S104 - only shown
    listens = str(ListenAddress(host, port))
    where = {"database": catalogue} if installation.is_shared else {}
    _log.info(
        "serving", listen=listens, data=str(folder.path), **where, storage=str(folder.objects), version=__version__
    )
    who = "this machine only" if host in {"127.0.0.1", "::1"} else "everybody who reaches it"
    if settings.authentication.mode == "htpasswd":
        who = f"users with a password in {settings.authentication.htpasswd_file}"
    if has_clear_passwords(settings):
        _log.warning("passwords travel in the clear", remedy="use --tls, or a proxy with TLS in http.trusted_proxies")
    scheme = "http" if settings.tls.mode == "off" else "https"
    out.write(
        f"roadstead {__version__} at {scheme}://{listens}, open to {who}\n"
        f"catalogue in {catalogue}, blobs in {folder.objects}; stop with Ctrl-C. Try:\n\n"
        f"{_how_to_trust(settings, f'{shown}:{port}')}"
        f"  docker pull alpine\n"
        f"  docker tag alpine {shown}:{port}/alpine\n"
        f"  docker push {shown}:{port}/alpine\n"
        f"  docker pull {shown}:{port}/alpine\n\n"
    )
