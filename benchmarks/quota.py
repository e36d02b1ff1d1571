"""Holds processes to a share of a core, by a control group of the kernel.

Where a replica may use a third of a core, neither the load generator nor the database decides how much two of them do.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path
from typing import Final, Self

PERIOD_US: Final = 10_000
"""Short, so that a process that has used up its share waits for milliseconds."""

UNIFIED: Final = Path("/sys/fs/cgroup")
BY_CONTROLLER: Final = UNIFIED / "cpu"
"""Where version 1 has the controller."""

REMOVE_SECONDS: Final = 5.0


class QuotaUnavailableError(RuntimeError):
    """No control group can be made here."""


class Quota:
    """A control group in which all processes together get `share` of a core."""

    def __init__(self, share: float) -> None:
        budget_us = round(PERIOD_US * share)
        name = f"roadstead-bench-{secrets.token_hex(4)}"
        try:
            if (UNIFIED / "cgroup.controllers").exists():
                self._folder = UNIFIED / name
                (UNIFIED / "cgroup.subtree_control").write_text("+cpu")
                self._folder.mkdir()
                (self._folder / "cpu.max").write_text(f"{budget_us} {PERIOD_US}")
            else:
                self._folder = BY_CONTROLLER / name
                self._folder.mkdir()
                (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (self._folder / "cpu.cfs_quota_us").write_text(str(budget_us))
        except OSError as error:
            raise QuotaUnavailableError(f"no process can be held to a share of a core here: {error}") from error

    def __enter__(self) -> Self:
        """The group is there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the group, whose processes have ended; the kernel may need a moment to notice."""
        until = time.perf_counter() + REMOVE_SECONDS
        while time.perf_counter() < until:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.01)

    def add(self, pid: int) -> None:
        """Hold a process, with the children that it makes from now on."""
        (self._folder / "cgroup.procs").write_text(str(pid))
