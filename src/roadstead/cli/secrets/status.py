"""``roadstead secrets status``: shows which master key is in use, and whether this machine's keys open everything."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_fields, print_json

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.config import Settings
    from roadstead.secrets.state import SecretState


@click.command(
    epilog="""\b
Examples:
  roadstead secrets status
  roadstead secrets status --json | jq -r .master_key
\b
Exit code 0 when this machine's master keys open every secret, or there is none;
1 when they do not."""
)
@registry_options
@click.pass_context
def status(context: click.Context, *, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show which master key is in use, and whether this machine's keys open every secret.

    A master key is shown by its id, which gives nothing away; never the key. Nothing is changed, and none is made.
    """
    found = session.run(data, config, _look, needs_storage=False)
    if as_json:
        print_json(found.record())
    else:
        _print(found)
    context.exit(ExitCode.DONE if found.is_fit else ExitCode.REFUSED)


@dataclass(frozen=True, slots=True)
class _Status:
    """The master keys of this machine and of the catalogue; ``problem`` is why the former cannot be used."""

    source: str
    problem: str
    key_ids: tuple[str, ...]
    state: "SecretState | None"
    sealed: dict[str, int]

    @property
    def missing(self) -> list[str]:
        """The master keys that are needed and not here."""
        needed = [self.state.key_id, *(each for each in self.sealed if each != self.state.key_id)] if self.state else []
        return [key_id for key_id in needed if key_id not in self.key_ids]

    @property
    def is_fit(self) -> bool:
        """True if this machine's keys open everything."""
        return not self.missing

    def record(self) -> dict[str, object]:
        """All of it, for scripts."""
        return {
            "master_key": self.state.key_id if self.state else None,
            "since_ms": self.state.since_ms if self.state else None,
            "secrets": sum(self.sealed.values()),
            "sealed": self.sealed,
            "source": self.source,
            "keys": list(self.key_ids),
            "problem": self.problem,
            "missing": self.missing,
            "opens_everything": self.is_fit,
        }


async def _look(opened: session.Session) -> _Status:
    from roadstead.secrets.state import find_secret_state  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.secrets.store import count_by_key  # noqa: PLC0415

    state = await find_secret_state(opened.registry.database)
    sealed = await count_by_key(opened.registry.database)
    source, key_ids, problem = _keys(opened.settings)
    return _Status(source, problem, key_ids, state, sealed)


def _keys(settings: "Settings") -> tuple[str, tuple[str, ...], str]:
    from roadstead.app import key_source  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.secrets import MasterKeyError  # noqa: PLC0415

    source = key_source(settings)
    try:
        return source.name, source.read().ids, ""
    except MasterKeyError as error:
        return source.name, (), str(error)


def _print(found: _Status) -> None:
    if found.state is None:
        in_use = "none yet: it is chosen when the first secret is made"
    else:
        in_use = f"{found.state.key_id}, since {text.utc(found.state.since_ms)}"
    if found.problem:
        here = f"{found.source}: {found.problem}" if found.state else f"{found.source}: none yet"
    else:
        here = f"{found.source}: {', '.join(found.key_ids)}"
    other = sum(count for key_id, count in found.sealed.items() if found.state and key_id != found.state.key_id)
    remedy = "give this machine the key file that the others have, with the older keys on lines below"
    print_fields(
        [
            ("Master key", in_use),
            ("Keys here", here),
            ("Secrets", text.number(sum(found.sealed.values()))),
            ("Rotation", f"{other} are sealed under older keys: run `roadstead secrets rotate`" if other else ""),
            ("Missing", f"{', '.join(found.missing)}: {remedy}" if found.missing else ""),
        ]
    )
