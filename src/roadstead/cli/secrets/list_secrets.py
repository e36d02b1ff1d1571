"""``roadstead secrets list``: shows names, kinds, generations, ages and master keys of secrets, never values."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, print_rows

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.clock import Clock
    from roadstead.secrets import SecretRecord


@click.command(
    "list",
    epilog="""\b
Examples:
  roadstead secrets list
  roadstead secrets list --json | jq -r .name""",
)
@registry_options
def list_secrets(*, data: Path | None, config: Path | None, as_json: bool) -> None:
    """List keys and credentials that servers share: names, kinds, generations, ages; never values.

    Of a signing key the first generation signs; the others verify what they have signed, until the time shown.
    """

    async def work(opened: session.Session) -> "tuple[Sequence[SecretRecord], Clock]":
        from roadstead.secrets.store import list_records  # noqa: PLC0415 - see cli.terminal.session

        return await list_records(opened.registry.database), opened.registry.clock

    records, clock = session.run(data, config, work, needs_storage=False)
    asyncio.run(print_rows(_each(records), _columns(clock), lambda each: _record(each, clock), as_json=as_json))


async def _each(records: "Sequence[SecretRecord]") -> "AsyncIterator[SecretRecord]":
    for record in records:
        yield record


def _until_ms(record: "SecretRecord", clock: "Clock") -> int | None:
    """The time by the calendar at which a generation ends; None for one that signs, and for credentials."""
    from roadstead.clock import calendar_ms  # noqa: PLC0415 - see cli.terminal.session

    return None if record.verifies_until_ms is None else calendar_ms(clock, record.verifies_until_ms)


def _use(record: "SecretRecord", until: str) -> str:
    if record.kind == "credential":
        return ""
    return f"verifies until {until}" if until else "signs"


def _columns(clock: "Clock") -> "list[Column[SecretRecord]]":
    def until(record: "SecretRecord", *, is_exact: bool) -> str:
        until_ms = _until_ms(record, clock)
        if until_ms is None:
            return ""
        return text.utc(until_ms) if is_exact else text.local_time(until_ms)

    return [
        Column("NAME", lambda each: each.name),
        Column("KIND", lambda each: each.kind),
        Column("GENERATION", lambda each: str(each.generation), is_number=True),
        Column("CREATED", lambda each: text.utc(each.created_ms), lambda each: text.local_time(each.created_ms)),
        Column(
            "USE",
            lambda each: _use(each, until(each, is_exact=True)),
            lambda each: _use(each, until(each, is_exact=False)),
        ),
        Column("MASTER KEY", lambda each: each.key_id, importance=1),
    ]


def _record(record: "SecretRecord", clock: "Clock") -> dict[str, object]:
    return {
        "name": record.name,
        "kind": str(record.kind),
        "generation": record.generation,
        "created_ms": record.created_ms,
        "age_seconds": max(0, clock.now_ms() - record.created_ms) // 1000,
        "verifies_until_ms": _until_ms(record, clock),
        "master_key": record.key_id,
    }
