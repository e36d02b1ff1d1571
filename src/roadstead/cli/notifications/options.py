"""Options and parameters that the commands of ``roadstead notifications`` share."""

import datetime as dt
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.cli.terminal.session import Session
from roadstead.clock import SystemClock

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.webhooks.inspection import Place

_C = TypeVar("_C", bound=Callable[..., Any])

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def endpoint_option(*, is_required: bool) -> Callable[[_C], _C]:
    """Adds ``--endpoint``."""
    help_text = "The endpoint's name in the settings." if is_required else "Only this endpoint.  [default: all]"
    return click.option("--endpoint", metavar="NAME", required=is_required, help=help_text)


async def get_place(opened: Session, name: str) -> "Place":
    """Returns an endpoint that the settings or the catalogue name.

    Raises:
        CommandRefusedError: neither knows it.
    """
    from roadstead.webhooks import inspection  # noqa: PLC0415 - see cli.terminal.session

    places = await inspection.list_places(opened.registry.database, opened.settings.notifications)
    found = next((place for place in places if place.name == name), None)
    if found is None:
        known = ", ".join(place.name for place in places) or "none"
        raise CommandRefusedError(f"there is no endpoint {name!r}; known: {known}")
    return found


class SinceType(click.ParamType[int]):
    """A parameter that takes a time or an age, and gives milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        """Parses ``2026-11-24T02:00Z``, ``2026-11-24 02:00`` (local time), ``90m``, ``2h`` or ``7d``."""
        if isinstance(value, int):
            return value
        if match := re.fullmatch(r"(\d{1,9})([smhd])", value):
            return SystemClock().now_ms() - int(match[1]) * _UNITS[match[2]] * 1000
        try:
            when = dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-24T02:00Z, and no span such as 90m, 2h or 7d", param, ctx)
        return round(when.astimezone().timestamp() * 1000)
