"""Shows what waits for a confirmation, and takes it: a part of ``roadstead gc``."""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.output import is_terminal, print_fields, print_json
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.oci import Digest
    from roadstead.registry import Registry
    from roadstead.registry.operation.confirmation import Unconfirmed


@dataclass(slots=True)
class Tally:
    """A number of objects, and their bytes."""

    count: int = 0
    bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Counts an object in."""
        self.count += 1
        self.bytes += size_bytes

    @property
    def text(self) -> str:
        """Returns it for people."""
        return f"{text.number(self.count)} ({text.size(self.bytes)})"


@dataclass(slots=True)
class Waiting:
    """The objects that would be removed from storage, or could be, once it is confirmed."""

    due: Tally = field(default_factory=Tally)
    """Garbage that the collector would take now."""
    uploads: Tally = field(default_factory=Tally)
    """Bytes of uploads that the catalogue does not know; they go."""
    blobs: Tally = field(default_factory=Tally)
    """Blobs that it does not know; they go only if that is asked for."""
    digests: "list[Digest]" = field(default_factory=list)
    """Of those."""


async def look_at_waiting(registry: "Registry") -> Waiting:
    """Counts what waits; reads the listing of the storage."""
    from roadstead.registry.garbage.collection_preview import Preview  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.integrity.statistics import measure  # noqa: PLC0415
    from roadstead.registry.integrity.unrecorded import iter_unrecorded_blobs, iter_unrecorded_uploads  # noqa: PLC0415

    found = Waiting()
    async for garbage in Preview(registry).iter_garbage():
        found.due.add(garbage.size_bytes)
    with ProgressBar() as bar:
        bar.begin("storage", (await measure(registry.database)).blobs, is_bytes=False)
        async for each in iter_unrecorded_blobs(registry):
            bar.advance(1)
            if each is not None and each.digest is not None:
                found.blobs.add(each.size_bytes)
                found.digests.append(each.digest)
        async for upload in iter_unrecorded_uploads(registry, registry.clock):
            found.uploads.add(upload.size_bytes)
    return found


def print_waiting(reason: "Unconfirmed", waiting: Waiting, *, as_json: bool) -> None:
    """Prints why nothing is removed, and what would be."""
    if as_json:
        print_json(
            {
                "unconfirmed": {
                    "reason": reason.reason,
                    "since_ms": reason.since_ms,
                    "due": waiting.due.count,
                    "due_bytes": waiting.due.bytes,
                    "unrecorded_uploads": waiting.uploads.count,
                    "unrecorded_upload_bytes": waiting.uploads.bytes,
                    "unrecorded_blobs": waiting.blobs.count,
                    "unrecorded_blob_bytes": waiting.blobs.bytes,
                }
            }
        )
        return
    shown_time = text.local_time if is_terminal() else text.utc
    print_fields(
        [
            ("Waiting", f"nothing is removed from storage, since {reason.reason}"),
            ("Since", shown_time(reason.since_ms) if reason.since_ms else ""),
            ("Due", f"{waiting.due.text} that the catalogue says nothing needs"),
            ("Uploads", f"{waiting.uploads.text} that the catalogue does not know; they go too"),
            ("Blobs", f"{waiting.blobs.text} that it does not know; they stay unless --remove-unrecorded is given"),
        ]
    )


async def confirm(registry: "Registry", *, removes_unrecorded: bool, is_sure: bool, as_json: bool) -> None:
    """Shows what waits and, if whoever is asked says so, lets it go.

    Raises:
        CommandRefusedError: nothing was confirmed.
    """
    from roadstead.registry.integrity.unrecorded import remove_unrecorded  # noqa: PLC0415 - see cli.terminal.session

    reason = await registry.confirmation.notice()
    if reason is None:
        raise CommandRefusedError("nothing waits for a confirmation")
    waiting = await look_at_waiting(registry)
    print_waiting(reason, waiting, as_json=as_json)
    if not is_sure:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandRefusedError("nothing was confirmed: look at what waits, then add --yes")
        if not click.confirm("Is this catalogue the right one, and may these go?", err=True):
            raise CommandRefusedError("nothing was confirmed")
    removed = 0
    if removes_unrecorded:
        for digest in waiting.digests:
            removed += await remove_unrecorded(registry, digest)
    await registry.confirmation.confirm()
    _print_confirmed(removed, as_json=as_json)


def _print_confirmed(removed: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"confirmed": True, "removed_blobs": removed})
        return
    gone = f"{text.plural(removed, 'blob')} without a record will be collected" if removed else ""
    print_fields([("Confirmed", "what is due is collected again"), ("Removed", gone)])
