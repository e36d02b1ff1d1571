"""One process that serves: the main listener and the one for operations, on one event loop."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from roadstead import __version__, app
from roadstead.certificates.serving import build_certificate
from roadstead.config import Settings
from roadstead.errors import RoadsteadError
from roadstead.telemetry import AccessLog, LogWriter, Metrics, is_human, set_log_level
from roadstead.web.connection import ListeningContext, ListeningServer, Reason, server_config
from roadstead.web.context import Refusal
from roadstead.web.http import Application
from roadstead.web.middleware import encode_headers

if TYPE_CHECKING:  # it brings cryptography, which a server without TLS does not need
    from roadstead.certificates.served import ServedCertificate

COLLECT_AFTER: Final = (10_000, 20, 50)
"""Python's own (700, 10, 10) has the collector run every few requests, which leave no cycles behind."""

SWITCH_SECONDS: Final = 0.001
"""Seconds for which a thread that computes may keep the interpreter from the event loop, each time it has let go of
it: several times a request. Python's own is five times as long."""

STARTED_POLL_SECONDS: Final = 0.005
"""Seconds after which a starting server is asked again if it listens."""

_log = structlog.get_logger("roadstead.serve")


class _Server(ListeningServer):
    """uvicorn without its signal handlers, which know of one server only."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A serving process and all that it is given; ``parent`` is a pipe that ends when the parent of a worker dies.

    ``log`` is where its lines go, those of the access log among them.
    """

    settings: Settings
    read: Callable[[], Settings]
    main: socket.socket
    operations: socket.socket
    log: LogWriter
    parent: int | None = None


async def serve_process(process: Process, on_start: Callable[[], None]) -> None:
    """Serves until a signal says stop; ``on_start`` is called once requests are answered."""
    settings = process.settings
    metrics = Metrics(__version__)
    stopping = asyncio.Event()
    certificate = build_certificate(settings, metrics)
    authentication = app.build_authentication(settings)
    authentication.find_problem()  # so that the log says at the start whose password cannot be used, not at a login
    registry = await app.build_registry(settings, metrics)
    monitor = app.build_monitor(registry, settings)
    log = process.log
    access_log = (
        AccessLog(log, is_human=is_human(settings.log.format, log), columns=log.columns)
        if settings.log.access
        else None
    )
    try:
        if process.parent is None:
            await app.tidy_up(registry, settings)
        servers = [
            _server(
                app.build_main(registry, settings, metrics, access_log, authentication, monitor),
                settings,
                metrics,
                certificate,
            ),
            _server(
                app.build_operations(
                    registry, settings, metrics, monitor, stopping.is_set, authentication, certificate
                ),
                settings,
                metrics,
            ),
        ]
        metrics.connections.set_function(lambda: len(servers[0].server_state.connections))
        metrics.lost_lines.sources.append(lambda: log.lost_lines)
        if access_log is not None:
            metrics.lost_lines.sources.append(lambda: access_log.dropped_lines)

        def read_again() -> None:
            authentication.read_again()
            if certificate is not None:
                certificate.reload()

        _handle_signals(stopping, servers, process, read_again)
        work = app.background_work(registry, settings, metrics, monitor)
        work += app.keep_the_certificate(certificate, registry, settings)
        background = [asyncio.create_task(each) for each in work]
        await _run(servers, [process.main, process.operations], stopping, on_start)
        await _cancel(background)
    finally:
        if access_log is not None:
            access_log.flush()
        authentication.close()
        await app.close_registry(registry)
    _log.info("stopped")


async def serve_application(
    application: Application, process: Process, stopping: asyncio.Event, on_start: Callable[[], None]
) -> None:
    """Serves only operations, until ``stopping``: what a parent of workers does."""
    metrics = Metrics(__version__)
    await _run([_server(application, process.settings, metrics)], [process.operations], stopping, on_start)


def _server(
    application: Application,
    settings: Settings,
    metrics: Metrics,
    certificate: "ServedCertificate | None" = None,
) -> _Server:
    """A server that speaks TLS if there is a certificate."""

    def count(refusal: Refusal) -> None:
        metrics.count_refusal(refusal.reason)

    def on_failure(reason: Reason, detail: str) -> None:
        metrics.count_refusal(reason.word)
        _log.info("handshake failed", reason=reason.word, detail=detail)

    headers = encode_headers(settings.http.headers)
    limits = settings.limits
    tls = None if certificate is None else ListeningContext(certificate.context, limits.connections, on_failure)
    config = server_config(
        application,
        limits,
        host="",
        port=0,
        on_refusal=count,
        headers=headers,
        certificate_user=settings.tls.client_user if settings.tls.client_certificates != "off" else "none",
    )
    return _Server(config, limits, tls)


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
    sys.setswitchinterval(SWITCH_SECONDS)
    on_start()
    await stopping.wait()
    for server, task in zip(servers, running, strict=True):
        server.should_exit = True
        await task


def _settle_memory() -> None:
    """Tells Python's collector that what was made at the start stays: it is not looked at again during requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _handle_signals(
    stopping: asyncio.Event, servers: list[_Server], process: Process, read_again: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        is_first = not stopping.is_set()
        stopping.set()
        if is_first:
            _log.info("stopping: requests in hand are finished first")
        else:  # somebody is in a hurry
            for server in servers:
                server.force_exit = True

    def stop_for_parent() -> None:
        loop.remove_reader(process.parent or 0)
        stop()

    def reload() -> None:
        read_again()
        try:
            set_log_level(process.read().log.level)
        except RoadsteadError as error:
            _log.error("settings not reloaded", reason=str(error))
        else:
            _log.info("settings reloaded")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    if process.parent is not None:
        loop.add_reader(process.parent, stop_for_parent)
