"""The program `roadstead`, with one thread in each pool, and the threads named as their pools are.

A tracer counts the calls of each thread by itself. Where several threads share the work, the fifth call to a disk is
nobody's fifth; with one thread a pool "the third flush of the storage thread" is a moment that can be met exactly. The
order of what one push does to the disk is the same as with many.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import threading
from pathlib import Path
from typing import Any


class SingleThreadPool(concurrent.futures.ThreadPoolExecutor):
    """A pool of one."""

    def __init__(self, _max_workers: int | None = None, thread_name_prefix: str = "default", *_more: Any) -> None:
        super().__init__(1, thread_name_prefix, initializer=_name_thread, initargs=(thread_name_prefix,))


def _name_thread(name: str) -> None:
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)


concurrent.futures.ThreadPoolExecutor = SingleThreadPool  # type: ignore[assignment,misc]
concurrent.futures.thread.ThreadPoolExecutor = SingleThreadPool  # type: ignore[assignment,misc]

if __name__ == "__main__":
    from roadstead.cli import main

    main()
