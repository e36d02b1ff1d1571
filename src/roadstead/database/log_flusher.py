"""Makes what was committed survive a loss of power: one flush of the write-ahead log for all that wait for one.

SQLite would flush at each commit, and hold the lock of writers meanwhile; here a commit is over in microseconds, and
whoever must be certain of it waits for the next flush that begins after it. A flush covers all that is in the log, so
nothing that is flushed depends on anything that is not.

After a flush that failed nobody knows which bytes of the log reached the disk, also when a later one succeeds: the
system may have dropped them. Nothing is called certain then until the log is folded into the database.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from roadstead.database.errors import DatabaseUnavailableError, flush_error


class LogFlusher:
    """The flushes of one database's log; used from one event loop."""

    def __init__(self, database: Path, executor: ThreadPoolExecutor, fold: Callable[[], bool]) -> None:
        """``fold`` copies the whole log into the database, durably; False if somebody still reads from the log."""
        self._log = Path(f"{database}-wal")
        self._executor = executor
        self._fold = fold
        self._descriptor = -1
        self._running: asyncio.Future[None] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._is_doubtful = False

    async def flush(self) -> None:
        """Returns once all that was committed before is on the disk.

        Raises:
            DatabaseFullError, DatabaseUnavailableError: it is committed, but may be lost together with the power.
        """
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        waiting = self._waiting
        if self._running is None:
            self._begin()
        await asyncio.shield(waiting)

    async def close(self) -> None:
        """Returns when no flush is running."""
        while self._running is not None:
            await asyncio.wait({self._running})
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self._running = None
            return
        loop = asyncio.get_running_loop()
        self._running = running = loop.run_in_executor(self._executor, self._flush)
        running.add_done_callback(lambda done: self._end(waiting, done))

    def _end(self, waiting: "asyncio.Future[None]", done: "asyncio.Future[None]") -> None:
        error = done.exception()
        self._begin()
        if error is None:
            waiting.set_result(None)
            return
        waiting.set_exception(error)
        waiting.exception()  # whoever was cancelled does not ask

    def _flush(self) -> None:
        """In a thread."""
        if self._is_doubtful:
            if not self._fold():
                raise DatabaseUnavailableError("the log could not be flushed, and somebody reads from it")
            self._is_doubtful = False
        try:
            if self._descriptor < 0:  # to close it drops no lock: SQLite has those on its other files
                self._descriptor = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._is_doubtful = True
            raise flush_error(error) from error
