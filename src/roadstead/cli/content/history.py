"""``roadstead history``: shows the digests that a tag pointed at, and when."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, note, print_rows
from roadstead.cli.terminal.target import Target, TargetType
from roadstead.oci import Tag

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.content.undo import HistoryEntry

PAGE: Final = 500
"""Number of entries that are asked of the catalogue at once."""


@click.command(
    epilog="""\b
Examples:
  roadstead history library/app:latest          what it stood for, the newest first
  roadstead history library/app                 every change of a tag in the repository
  roadstead restore library/app:latest          back to the state before"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Show only the newest N.  [default: all]")
@registry_options
def history(*, reference: Target, limit: int | None, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the history of a tag, or of all tags of a repository.

    Each line is a change: when, what was done (push, delete, restore, or adopt for what an adopted registry:2 knew),
    the digest that the tag then stood for (of a deletion: had stood for), by whom, and whether that manifest is still
    there, can be restored, or is gone.
    """
    if reference.reference is not None and not isinstance(reference.reference, Tag):
        raise click.UsageError(f"a digest has no history: name {reference.repository} or {reference.repository}:TAG")
    tag = reference.reference

    async def work(opened: session.Session) -> None:
        columns: list[Column[HistoryEntry]] = [
            Column("WHEN", lambda row: text.utc(row.at_ms), lambda row: text.local_time(row.at_ms)),
            Column("TAG", lambda row: row.tag),
            Column("ACTION", lambda row: row.action),
            Column("DIGEST", lambda row: row.digest, lambda row: text.short_digest(row.digest)),
            Column("STATE", lambda row: _state(row, text.utc), lambda row: _state(row, text.local_time)),
            Column("BY", lambda row: text.printable(row.actor) or "-", importance=1),
        ]
        rows = _iter_history(opened.registry, reference, tag, limit)
        if not await print_rows(rows, columns, _as_record, as_json=as_json):
            note(f"{reference} has no history")

    session.run(data, config, work, needs_storage=False)


async def _iter_history(
    registry: "Registry", reference: Target, tag: Tag | None, limit: int | None
) -> "AsyncIterator[HistoryEntry]":
    from roadstead.registry.content.undo import NEWEST  # noqa: PLC0415 - see cli.terminal.session

    before, left = NEWEST, limit
    while entries := await registry.undo.list_history(
        reference.repository,
        tag,
        visible=visible_to_operator(),
        before=before,
        limit=PAGE if left is None else min(PAGE, left),
    ):
        for entry in entries:
            yield entry
        before = entries[-1].id
        if left is not None and (left := left - len(entries)) <= 0:
            return


def _state(row: "HistoryEntry", shown: Callable[[int], str]) -> str:
    if row.is_there:
        return "there"
    return "gone" if row.expires_ms is None else f"restorable until {shown(row.expires_ms)}"


def _as_record(row: "HistoryEntry") -> dict[str, object]:
    return {
        "tag": row.tag,
        "action": row.action,
        "digest": row.digest,
        "at": text.utc(row.at_ms),
        "by": row.actor,
        "is_there": row.is_there,
        "restorable_until": None if row.expires_ms is None else text.utc(row.expires_ms),
    }
