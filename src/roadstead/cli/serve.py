"""``roadstead serve``: the registry, until it is told to stop."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Final

import click
import structlog
import uvicorn
import uvloop

from roadstead import __version__, app
from roadstead.config import ListenAddress, Settings, load_settings
from roadstead.errors import RoadsteadError
from roadstead.telemetry import AccessLog, Metrics, configure_logging, is_human, measure_loop_lag, set_log_level
from roadstead.web.connection import server_config
from roadstead.web.context import Refusal

COLLECT_AFTER: Final = (10_000, 20, 50)
"""Python's own (700, 10, 10) has the collector run every few requests, which leave no cycles behind."""

STARTED_POLL_SECONDS: Final = 0.005
"""How often a starting server is asked whether it listens."""

_log = structlog.get_logger("roadstead.serve")


class ListenError(RoadsteadError):
    """An address cannot be listened on."""

    def __init__(self, address: ListenAddress, flag: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}; choose another address with {flag}")


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Address of the registry.  [default: 127.0.0.1:5000]")
@click.option("--ops-listen", metavar="HOST:PORT", help="Address of metrics and health.  [default: 127.0.0.1:5001]")
@click.option("--data", metavar="DIR", help="Folder in which everything is kept.  [default: data]")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Settings in YAML.")
@click.option("--auth", metavar="MODE", help="How callers prove who they are: none.  [default: none]")
def serve(listen: str | None, ops_listen: str | None, data: str | None, config: Path | None, auth: str | None) -> None:
    """Serve the registry.

    Open to this machine only, unless --listen names another address and --auth says how callers prove who they are.
    SIGTERM ends it after the requests in hand; SIGHUP reads the log level again.

    \b
    Examples:
      roadstead serve
      roadstead serve --listen 127.0.0.1:5000 --data /srv/registry
      roadstead serve --listen 0.0.0.0:5000 --auth none
    """  # noqa: D301 - click's mark for text that keeps its lines
    overrides = {
        "listen.main": listen,
        "listen.operations": ops_listen,
        "data.folder": data,
        "authentication.mode": auth,
    }

    def read() -> Settings:
        return load_settings(config, overrides=overrides)

    settings = read()
    configure_logging(sys.stderr, level=settings.log.level, log_format=settings.log.format)
    _raise_file_limit()
    with contextlib.ExitStack() as stack:
        main = stack.enter_context(_listener(settings.listen.main, "--listen"))
        operations = stack.enter_context(_listener(settings.listen.operations, "--ops-listen"))
        folder = app.prepare(settings)
        stack.callback(folder.unlock)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, main, operations, read))


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which know of one server only."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(
    settings: Settings, main: socket.socket, operations: socket.socket, read: Callable[[], Settings]
) -> None:
    metrics = Metrics(__version__)
    stopping = asyncio.Event()
    registry = app.build_registry(settings, metrics)
    access_log = (
        AccessLog(sys.stderr.buffer, is_human=is_human(settings.log.format, sys.stderr))
        if settings.log.access
        else None
    )
    try:
        await app.tidy_up(registry)
        servers = [
            _server(app.build_main(registry, settings, metrics, access_log), settings, metrics),
            _server(app.build_operations(registry, settings, metrics), settings, metrics),
        ]
        _handle_signals(stopping, servers, read)
        background = [
            asyncio.create_task(app.keep_house(registry, settings)),
            asyncio.create_task(app.watch(registry, metrics)),
            asyncio.create_task(measure_loop_lag(metrics.loop_lag, settings.metrics.loop_lag_interval_seconds)),
        ]
        await _run(servers, [main, operations], stopping, lambda: _greet(settings, main))
        await _cancel(background)
    finally:
        if access_log is not None:
            access_log.flush()
        await app.close_registry(registry)
    _log.info("stopped")


def _server(application: Callable[..., Awaitable[None]], settings: Settings, metrics: Metrics) -> _Server:
    def count(refusal: Refusal) -> None:
        metrics.count_refusal(refusal.reason)

    return _Server(server_config(application, settings.limits, host="", port=0, on_refusal=count))


async def _run(
    servers: list[_Server], sockets: list[socket.socket], stopping: asyncio.Event, on_start: Callable[[], None]
) -> None:
    """Serves until ``stopping``, then lets the main server finish before the one that tells of its health."""
    running = [
        asyncio.create_task(server.serve(sockets=[listening]))
        for server, listening in zip(servers, sockets, strict=True)
    ]
    while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(STARTED_POLL_SECONDS)
    _settle_memory()
    on_start()
    await stopping.wait()
    for server, task in zip(servers, running, strict=True):
        server.should_exit = True
        await task


def _settle_memory() -> None:
    """What was made at the start stays for good: the collector need not look at it again during requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _handle_signals(stopping: asyncio.Event, servers: list[_Server], read: Callable[[], Settings]) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():  # the second time somebody is in a hurry
            for server in servers:
                server.force_exit = True
        else:
            _log.info("stopping: requests in hand are finished first")
        stopping.set()

    def reload() -> None:
        try:
            set_log_level(read().log.level)
        except RoadsteadError as error:
            _log.error("settings not reloaded", reason=str(error))
        else:
            _log.info("settings reloaded")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)


@contextlib.contextmanager
def _listener(address: ListenAddress, flag: str) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address.host, address.port))
        except OSError as error:
            in_use = "another program uses it" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise ListenError(address, flag, in_use) from error
        listening.setblocking(False)  # noqa: FBT003 - its only parameter
        yield listening


def _raise_file_limit() -> None:
    """Each connection and each open blob is a file; the usual limit of 1024 would be met by a busy hour."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _greet(settings: Settings, listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    shown = "localhost" if host in {"127.0.0.1", "::1", "0.0.0.0", "::"} else host  # noqa: S104 - only shown
    _log.info("serving", listen=f"{host}:{port}", data=str(settings.data.folder.absolute()), version=__version__)
    who = "this machine only" if host in {"127.0.0.1", "::1"} else "everybody who reaches it"
    click.echo(
        f"roadstead {__version__} at http://{host}:{port}, open to {who}\n"
        f"data in {settings.data.folder.absolute()}; stop with Ctrl-C. Try:\n\n"
        f"  docker tag alpine {shown}:{port}/alpine\n"
        f"  docker push {shown}:{port}/alpine\n"
        f"  docker pull {shown}:{port}/alpine\n"
    )
    sys.stdout.flush()
