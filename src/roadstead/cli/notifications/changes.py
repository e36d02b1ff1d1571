"""``roadstead notifications replay``, ``discard`` and ``test``."""

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.notifications.options import SinceType, endpoint_option, get_place
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError, EndpointSilentError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.webhooks.inspection import Place

TEST_REPOSITORY: Final = "roadstead/test"
"""Repository that a test event names; it need not exist."""


@click.command()
@endpoint_option(is_required=True)
@click.option("--event", "event_id", metavar="ID", type=click.IntRange(min=1), help="This event, as `list` numbers it.")
@click.option("--parked", "is_parked", is_flag=True, help="Everything that was parked.")
@click.option("--since", "since_ms", metavar="TIME", type=SinceType(), help="Everything since 2026-11-24T02:00Z or 2h.")
@registry_options
def replay(
    *,
    endpoint: str,
    event_id: int | None,
    is_parked: bool,
    since_ms: int | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Tell an endpoint again, before what is new, and at once.

    Events keep their ids, so a receiver can tell what it knows. Without --event, --parked or --since, an endpoint that
    is left alone after failures is tried now.
    """
    if sum((event_id is not None, is_parked, since_ms is not None)) > 1:
        raise click.UsageError("choose one of --event, --parked and --since")

    async def work(opened: session.Session) -> int:
        from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

        place = await get_place(opened, endpoint)
        count = await _put_back(opened, place, event_id, is_parked=is_parked, since_ms=since_ms)
        await inspection.retry(opened.registry.database, place)
        return count

    count = session.run(data, config, work, needs_storage=False)
    if as_json:
        print_json({"endpoint": endpoint, "replayed": count})
    else:
        print_line(f"{text.plural(count, 'event')} to be told to {endpoint} again.")


async def _put_back(
    opened: session.Session, place: "Place", event_id: int | None, *, is_parked: bool, since_ms: int | None
) -> int:
    from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

    database, clock = opened.registry.database, opened.registry.clock
    if is_parked:
        return await inspection.replay_parked(database, place)
    if since_ms is not None:
        return await inspection.replay_since(database, clock, place, since_ms)
    if event_id is None:
        return 0
    if await inspection.find_event(database, event_id) is None:
        raise CommandRefusedError(f"there is no event {event_id}, or not any more; `roadstead notifications list`")
    if event_id > place.position:
        raise CommandRefusedError(f"{place.name} was not told of event {event_id} yet: its turn comes")
    return await inspection.replay(database, clock, place, [event_id])


@click.command()
@endpoint_option(is_required=True)
@click.option("--event", "event_id", metavar="ID", type=click.IntRange(min=1), help="This event: parked, or next.")
@click.option("--parked", "is_parked", is_flag=True, help="Everything that was parked.")
@click.option("--pending", "is_pending", is_flag=True, help="Everything that is still to be told.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_options
def discard(
    *,
    endpoint: str,
    event_id: int | None,
    is_parked: bool,
    is_pending: bool,
    yes: bool,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Give up telling an endpoint of events.

    They are still kept for a while, and can be replayed by number.
    """
    if sum((event_id is not None, is_parked, is_pending)) != 1:
        raise click.UsageError("choose one of --event, --parked and --pending")
    if event_id is None and not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError("nobody is here to be asked: add --yes to discard them all")
        if not click.confirm(f"Never tell {endpoint} of what is {'parked' if is_parked else 'pending'}?", err=True):
            raise CommandRefusedError("nothing was discarded")

    async def work(opened: session.Session) -> int:
        from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

        place, database = await get_place(opened, endpoint), opened.registry.database
        if is_parked:
            return await inspection.discard_parked(database, place)
        if is_pending:
            return await inspection.discard_pending(database, place)
        if not await inspection.discard_event(database, place, event_id or 0):
            raise CommandRefusedError(f"event {event_id} is neither parked for {endpoint} nor the next one for it")
        return 1

    count = session.run(data, config, work, needs_storage=False)
    if as_json:
        print_json({"endpoint": endpoint, "discarded": count})
    else:
        print_line(f"{text.plural(count, 'event')} discarded.")


@click.command("test")
@endpoint_option(is_required=True)
@registry_options
def send_test(*, endpoint: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Send an endpoint a test event, and show the answer.

    The event tells of a push to roadstead/test, which nobody made; the server need not run. Needs the settings that
    name the endpoint.
    """

    async def work(opened: session.Session) -> tuple[int, str, bool, float]:
        from roadstead.webhooks.receiver import Receiver, Result  # noqa: PLC0415 - see cli.terminal.session

        place = await get_place(opened, endpoint)
        if place.endpoint is None:
            raise CommandRefusedError(f"these settings do not say where {endpoint} is: name them with --config")
        body = await _test_envelope(opened)
        receiver = Receiver(place.endpoint)
        clock = opened.registry.clock
        started = clock.monotonic_seconds()
        try:
            answer = await receiver.post(body)
        finally:
            await receiver.close()
        return answer.status, answer.text, answer.result is Result.DELIVERED, clock.monotonic_seconds() - started

    status, words, is_delivered, seconds = session.run(data, config, work, needs_storage=False)
    if not status:
        raise EndpointSilentError(endpoint, words)
    if as_json:
        record = {"endpoint": endpoint, "status": status, "delivered": is_delivered, "seconds": round(seconds, 3)}
        print_json(record)
    else:
        verdict = "would count as delivered" if is_delivered else "would be tried again"
        print_line(f"{endpoint} answered {words} in {seconds * 1000:.0f} ms: an event {verdict}.")
    if not is_delivered:
        raise click.exceptions.Exit(1)


async def _test_envelope(opened: session.Session) -> bytes:
    from roadstead.events import Cause, Event, EventAction, StoredEvent  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.oci import Digest  # noqa: PLC0415
    from roadstead.webhooks.envelope import BLOB, Source  # noqa: PLC0415
    from roadstead.webhooks.housekeeping import get_instance  # noqa: PLC0415

    address = f"{socket.gethostname()}:{opened.settings.listen.main.port}"
    event = Event(
        action=EventAction.PUSH,
        repository=TEST_REPOSITORY,
        digest=Digest.of(b"", "sha256"),
        media_type=BLOB,
        cause=Cause(user_agent="roadstead notifications test"),
    )
    source = Source(await get_instance(opened.registry.database), address)
    return source.envelope(StoredEvent(0, opened.registry.clock.now_ms(), event))
