"""A progress bar on stderr: only on a terminal, and only for work that takes longer than a second."""

import contextlib
import sys
import threading
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from roadstead.cli.terminal import text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_SECONDS: Final = 1.0
"""Time after which a bar appears; shorter work needs none."""


class ProgressBar:
    """A progress bar that shows how far some work is; a ``roadstead.registry.integrity.check.Progress``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the timer's thread brings the bar in
        self._timer = threading.Timer(PATIENCE_SECONDS, self._show)
        self._timer.daemon = True
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage, self._total, self._is_bytes, self._done = "", 0, False, 0

    def __enter__(self) -> Self:
        """Starts the time after which the bar appears."""
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the bar."""
        self._timer.cancel()
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """Begins the next stage; a ``total`` of 0 means that it is not known."""
        with self._lock:
            self._stage, self._total, self._is_bytes, self._done = stage, total, is_bytes, 0
            self._restart_task()

    def advance(self, amount: int) -> None:
        """Adds ``amount`` to the work that is done."""
        self._done += amount
        bar, task = self._bar, self._task
        if bar is not None and task is not None:
            bar.update(task, completed=self._done, amount=self._amount())

    @contextlib.contextmanager
    def aside(self) -> Generator[None]:
        """Removes the bar while other lines are printed on the same terminal."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            try:
                yield
                sys.stdout.flush()
            finally:
                if self._bar is not None:
                    self._bar.start()

    def _show(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 0.1 s that most commands do not need
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        with self._lock:
            self._bar = Progress(
                TextColumn("{task.description:<9}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[amount]}"),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
                transient=True,
                expand=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._restart_task()
            self._bar.start()

    def _restart_task(self) -> None:
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(
            self._stage, total=self._total or None, completed=self._done, amount=self._amount()
        )

    def _amount(self) -> str:
        if self._is_bytes:
            return text.size(self._done)
        return text.number(self._done) if self._total else ""
