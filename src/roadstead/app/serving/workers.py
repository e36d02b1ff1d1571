"""``roadstead serve --workers N``: a parent that starts processes, replaces those that die, and speaks for all of them.

The parent holds the locks on the data folder and the blobs and hands them, with the listening socket, to its workers:
both stay locked until the last of them has ended. Each worker also gets the end of a pipe that closes when the parent
dies, however it dies, and then finishes its requests and stops. Each answers for itself on a socket of its own; the
operations listener asks them all.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from roadstead import app
from roadstead.app.serving.process import Process, serve_application
from roadstead.config import Settings
from roadstead.storage import DataFolder
from roadstead.telemetry import LogWriter
from roadstead.web.operations import FleetOperations

RESTART_SECONDS: Final = 1.0
"""Before a worker that died is replaced: one that dies at once must not take a processor for itself."""

STARTED_POLL_SECONDS: Final = 0.05
"""Seconds after which starting workers are asked again."""

_log = structlog.get_logger("roadstead.workers")


@dataclass(frozen=True, slots=True)
class _Place:
    """The socket on which a worker, and whoever replaces it, listens for operations."""

    name: str
    path: Path
    listening: socket.socket


def inherited_process(settings: Settings, read: Callable[[], Settings], log: LogWriter, descriptors: str) -> Process:
    """The descriptors that a worker was handed by its parent: main socket, operations socket, pipe, locks."""
    main, operations, pipe, *_locks = (int(text) for text in descriptors.split(","))
    return Process(
        settings=settings,
        read=read,
        main=socket.socket(fileno=main),
        operations=socket.socket(fileno=operations),
        log=log,
        parent=pipe,
    )


async def serve_workers(process: Process, folder: DataFolder, on_start: Callable[[], None]) -> None:
    """Keeps the workers running until a signal says stop, then lets them finish."""
    await app.tidy_up_alone(process.settings)
    process.main.listen()
    stopping = asyncio.Event()
    with contextlib.ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roadstead-")))
        places = [
            _Place(str(number), path := sockets / str(number), stack.enter_context(_unix_listener(path)))
            for number in range(process.settings.listen.workers)
        ]
        workers = _Workers(process, folder, stopping)
        keeping = [asyncio.create_task(workers.keep(place)) for place in places]
        workers.handle_signals()
        fleet = app.build_fleet_operations({place.name: place.path for place in places})
        greeting = asyncio.create_task(_greet_when_answering(fleet, stopping, on_start))
        ended = asyncio.Event()
        ending = asyncio.create_task(_tell_when_done(keeping, ended))
        await serve_application(fleet, process, ended, lambda: None)  # it tells of health until the last request
        greeting.cancel()
        await ending
        await asyncio.gather(*keeping)


async def _greet_when_answering(fleet: FleetOperations, stopping: asyncio.Event, on_start: Callable[[], None]) -> None:
    while not await fleet.is_answering():  # noqa: ASYNC110 - workers do not tell
        await asyncio.sleep(STARTED_POLL_SECONDS)
    if not stopping.is_set():
        on_start()


async def _tell_when_done(tasks: list[asyncio.Task[None]], done: asyncio.Event) -> None:
    await asyncio.wait(tasks)
    done.set()


@contextlib.contextmanager
def _unix_listener(path: Path) -> Generator[socket.socket, None, None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)  # noqa: FBT003 - its only parameter
        yield listening


class _Workers:
    """The processes, and the signals that reach them."""

    def __init__(self, process: Process, folder: DataFolder, stopping: asyncio.Event) -> None:
        self._process = process
        self._folder = folder
        self._stopping = stopping
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._pipe = os.pipe()

    async def keep(self, place: _Place) -> None:
        """Starts a worker and replaces it whenever it dies before it was told to stop."""
        while not self._stopping.is_set():
            worker = self._running[place.name] = await self._start(place)
            if self._stopping.is_set():
                worker.terminate()  # it was on its way when the others were told
            code = await worker.wait()
            if self._stopping.is_set():
                return
            _log.error("worker died and is replaced", worker=place.name, code=code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESTART_SECONDS):
                    await self._stopping.wait()

    async def _start(self, place: _Place) -> asyncio.subprocess.Process:
        handed = (
            self._process.main.fileno(),
            place.listening.fileno(),
            self._pipe[0],
            *self._folder.lock_descriptors,
        )
        descriptors = ",".join(str(descriptor) for descriptor in handed)
        arguments = [*sys.argv[1:], "--worker-descriptors", descriptors]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "roadstead",
            *arguments,
            pass_fds=handed,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, which tells its workers once
        )

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT end everything after the requests in hand; SIGHUP goes to every worker."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._tell, signal.SIGHUP)

    def _stop(self, number: signal.Signals) -> None:
        self._stopping.set()
        self._process.main.close()  # else whoever connects from now on would wait for an answer from nobody
        self._tell(number)

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)
