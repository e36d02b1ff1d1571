"""A replica as a process of its own, which stops itself (SIGSTOP) right before a chosen call of its storage.

Run as ``python -m tests.system.database.freezing <url> <folder> <action> <call>``. It says ``frozen`` before it stops,
and afterwards how its action ended: a status, or the name of an error.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from roadstead.errors import RoadsteadError
from roadstead.oci import Digest
from roadstead.registry.content.file_intake import FileIntake
from roadstead.registry.garbage.collection import Collector
from roadstead.storage import FilesystemStore
from roadstead.testing.images import digest_of
from roadstead.testing.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT: Final = b"what is pushed by two"
DAY_SECONDS: Final = 86_400


def digest() -> Digest:
    """Of what is pushed."""
    return Digest(digest_of(CONTENT))


_has_been_frozen = threading.Event()


def freeze() -> None:
    """Stops this process, once, as an administrator, or a machine without time for it, would."""
    if _has_been_frozen.is_set():
        return
    _has_been_frozen.set()
    print("frozen", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)  # it may stop another thread first


def freezing(files: FilesystemStore, call: str) -> None:
    """Has the process freeze right before the system calls by which ``call`` takes effect; the n-th with ``:n``."""
    name, _, number = call.partition(":")
    target: object = files._aside if name == "take" else files
    name = "_take" if name == "take" else name
    original: Callable[..., object] = getattr(target, name)
    left = itertools.count(int(number or 1), -1)

    def late(*arguments: object) -> object:
        if next(left) == 1:
            freeze()
        return original(*arguments)

    setattr(target, name, late)


def freezing_async(commits: Any) -> None:
    """The same between publishing and recording."""
    target = commits
    original = target._record_blob

    async def late(*arguments: Any, **named: Any) -> None:
        freeze()
        await original(*arguments, **named)

    target._record_blob = late


async def run(url: str, folder: str, action: str, call: str) -> str:
    instance = Instance(Path(folder), database_url=url)
    instance.lapse_seconds = 1.0
    files = FilesystemStore(instance.objects)
    if call != "_record_blob":
        freezing(files, call)
    await instance.open(files)
    if call == "_record_blob":
        intake = instance.registry.uploads.intake
        assert isinstance(intake, FileIntake)
        freezing_async(intake.commits)
    try:
        if action == "push":
            answer = await instance.client.request("POST", f"/v2/late/blobs/uploads/?digest={digest()}", body=CONTENT)
            return str(answer.status)
        if action == "collect":
            instance.clock.advance(2 * DAY_SECONDS)
            return str((await Collector(instance.registry).step()).blobs)
        if action == "quarantine":
            return str(await instance.registry.blobs.quarantine(digest(), "test"))
    finally:
        await instance.close()
    raise ValueError(action)


def main() -> None:
    """See above."""
    try:
        print("ended", asyncio.run(run(*sys.argv[1:])), flush=True)
    except RoadsteadError as error:
        print("ended", type(error).__name__, flush=True)


if __name__ == "__main__":
    main()
