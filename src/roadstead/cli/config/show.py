"""``roadstead config show``: prints the settings in effect and the source of each."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, print_rows

DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting as ``roadstead config show`` prints it."""

    key: str
    value: str
    source: str


@click.command(
    epilog="""\b
Examples:
  roadstead config show --config roadstead.yaml
  roadstead config show --changed
  roadstead config show --json | jq -r 'select(.source != "default")'"""
)
@click.option("--changed", "is_changed_only", is_flag=True, help="Leave out what has its default.")
@registry_options
def show(*, is_changed_only: bool, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the settings in effect, and where each comes from.

    That is: what `roadstead serve` would use with the same --config and --data, in this shell. Secrets are hidden.
    """
    import asyncio  # noqa: PLC0415 - see cli.terminal.session

    from roadstead.config import describe_settings, load  # noqa: PLC0415
    from roadstead.config.writing import shown_value, value_of  # noqa: PLC0415

    loaded = load(config, overrides={"data.folder": data})
    rows = [
        ShownSetting(each.key, shown_value(each, value_of(loaded.settings, each.key)), source)
        for each in describe_settings()
        if (source := loaded.sources.get(each.key, DEFAULT)) != DEFAULT or not is_changed_only
    ]
    asyncio.run(print_rows(_each(rows), _COLUMNS, asdict, as_json=as_json))


async def _each(rows: Sequence[ShownSetting]) -> AsyncIterator[ShownSetting]:
    for row in rows:
        yield row


_COLUMNS: Final[tuple[Column[ShownSetting], ...]] = (
    Column("Setting", lambda row: row.key),
    Column("Value", lambda row: text.printable(row.value)),
    Column("Source", lambda row: text.printable(row.source), importance=1),
)
