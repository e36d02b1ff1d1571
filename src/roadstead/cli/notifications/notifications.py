"""``roadstead notifications``: shows which notifications endpoints were sent, and which are still waiting."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from roadstead.cli.notifications.changes import discard, replay, send_test
from roadstead.cli.notifications.options import endpoint_option, get_place
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, note, print_rows

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.webhooks.inspection import EndpointStatus, ListedEvent, Place

MOST_LISTED: Final = 100

_T = TypeVar("_T")


@click.group(
    epilog="""\b
Examples:
  roadstead notifications status                           how far each endpoint is
  roadstead notifications list --parked                    what was given up
  roadstead notifications replay --endpoint ci --parked    tell it again
  roadstead notifications test --endpoint ci --config FILE is it there?"""
)
def notifications() -> None:
    """Show what endpoints were told of, and tell them again.

    Events are kept for a while after they were delivered (`notifications.keep_seconds`); what an endpoint refuses too
    often is parked. All of this works beside a running server.
    """


@notifications.command()
@registry_options
def status(*, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show how far each endpoint is.

    The state is telling, failing (its last event failed, and is tried again), held (it is taken to be down), disabled,
    starting (no server has seen it yet) or unknown (it is not in these settings). Exits with 1 when an endpoint is
    failing or held, or has parked events.
    """

    async def work(opened: session.Session) -> bool:
        from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

        reader, clock = opened.registry.database, opened.registry.clock
        places = await inspection.list_places(reader, opened.settings.notifications)
        found = [await inspection.get_status(reader, clock, place) for place in places]
        if not await print_rows(_each(found), _STATUS, asdict, as_json=as_json):
            note("no endpoints; name them in the settings: notifications.endpoints")
        return all(one.state not in {"failing", "held"} and not one.parked for one in found)

    if not session.run(data, config, work, needs_storage=False):
        raise click.exceptions.Exit(1)


@notifications.command("list")
@endpoint_option(is_required=False)
@click.option("--parked", "is_parked", is_flag=True, help="Only what was parked, the oldest first.")
@click.option("--pending", "is_pending", is_flag=True, help="Only what is still to be told, the oldest first.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=MOST_LISTED, help="Show no more.  [default: 100]"
)
@registry_options
def list_events(
    *,
    endpoint: str | None,
    is_parked: bool,
    is_pending: bool,
    limit: int,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List events, the newest first, as they stand with each endpoint.

    The state is delivered, pending, parked, again (parked before, about to be told again) or ignored.
    """
    if is_parked and is_pending:
        raise click.UsageError("choose --parked or --pending")

    async def work(opened: session.Session) -> None:
        from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

        reader, settings = opened.registry.database, opened.settings.notifications
        places = await inspection.list_places(reader, settings)
        if endpoint is not None:
            places = [await get_place(opened, endpoint)]
        rows = inspection.iter_events(reader, places)
        if is_parked or is_pending:
            rows = _chain(places, opened, is_parked=is_parked)
        await print_rows(_limited(rows, limit), _EVENT, _record, as_json=as_json)

    session.run(data, config, work, needs_storage=False)


notifications.add_command(replay)
notifications.add_command(discard)
notifications.add_command(send_test)

_STATUS: Final[list[Column["EndpointStatus"]]] = [
    Column("ENDPOINT", lambda row: row.name),
    Column("STATE", lambda row: row.state),
    Column("PENDING", lambda row: str(row.pending), lambda row: text.number(row.pending), is_number=True),
    Column("PARKED", lambda row: str(row.parked), lambda row: text.number(row.parked), is_number=True),
    Column("LAG", lambda row: str(row.lag_ms), lambda row: _duration(row.lag_ms), is_number=True, importance=3),
    Column("TRIES", lambda row: str(row.attempts), is_number=True, importance=1),
    Column("LAST ERROR", lambda row: text.printable(row.error), importance=2),
]

_EVENT: Final[list[Column["ListedEvent"]]] = [
    Column("EVENT", lambda row: str(row.stored.id), is_number=True),
    Column(
        "TIME",
        lambda row: text.utc(row.stored.at_ms),
        lambda row: text.local_time(row.stored.at_ms),
        importance=4,
    ),
    Column("ENDPOINT", lambda row: row.endpoint, importance=5),
    Column("STATE", lambda row: row.state),
    Column("ACTION", lambda row: row.stored.event.action.value),
    Column("REPOSITORY", lambda row: row.stored.event.repository),
    Column("TAG", lambda row: row.stored.event.tag, importance=6),
    Column(
        "DIGEST",
        lambda row: row.stored.event.digest,
        lambda row: text.short_digest(row.stored.event.digest),
        importance=2,
    ),
    Column("TRIES", lambda row: str(row.attempts), is_number=True, importance=1),
    Column("ERROR", lambda row: text.printable(row.error), importance=3),
]


def _record(row: "ListedEvent") -> dict[str, object]:
    event = row.stored.event
    return {
        "event": row.stored.id,
        "time": text.utc(row.stored.at_ms),
        "endpoint": row.endpoint,
        "state": row.state,
        "action": event.action.value,
        "repository": event.repository,
        "tag": event.tag,
        "digest": event.digest,
        "media_type": event.media_type,
        "actor": event.cause.actor,
        "attempts": row.attempts,
        "error": row.error,
    }


def _duration(length_ms: int) -> str:
    seconds = length_ms // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s" if length_ms else "-"


async def _chain(places: "list[Place]", opened: session.Session, *, is_parked: bool) -> "AsyncIterator[ListedEvent]":
    from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

    for place in places:
        found = inspection.iter_parked if is_parked else inspection.iter_pending
        async for row in found(opened.registry.database, place):
            yield row


async def _each(rows: "list[EndpointStatus]") -> "AsyncIterator[EndpointStatus]":
    for row in rows:
        yield row


async def _limited(rows: AsyncIterator[_T], limit: int) -> AsyncIterator[_T]:
    left = limit
    async for row in rows:
        yield row
        left -= 1
        if not left:
            return
