"""``roadstead maintenance``: shows or sets what clients may do, while servers run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, note, print_fields, print_json
from roadstead.cli.terminal.progress import ProgressBar
from roadstead.cli.terminal.refusal import CommandRefusedError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.operation.maintenance import Maintenance, MaintenanceState, ServingProcess

MODES: Final = ("off", "read-only", "closed")
"""The modes of ``roadstead.registry.operation.maintenance``, repeated since its import is slow; a test compares
them."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """The mode that was set, and the processes that serve."""

    state: "MaintenanceState"
    serving: "Sequence[ServingProcess]"

    @property
    def behind(self) -> int:
        """Number of processes that do not obey the mode yet."""
        return sum(process.generation < self.state.generation for process in self.serving)

    @property
    def stricter(self) -> int:
        """Number of processes whose own settings ask for a stricter mode."""
        obeying = [process for process in self.serving if process.generation >= self.state.generation]
        return sum(process.mode.strictness > self.state.mode.strictness for process in obeying)


@click.command(
    epilog="""\b
Examples:
  roadstead maintenance                                what clients may do now
  roadstead maintenance read-only --wait               pulls only; returns when nothing changes any more
  roadstead maintenance closed --message 'back at 5'   nothing at all
  roadstead maintenance off"""
)
@click.argument("mode", metavar="[off|read-only|closed]", type=click.Choice(MODES), required=False)
@click.option("--message", metavar="TEXT", help="What refused clients are told.")
@click.option("--wait", "is_waiting", is_flag=True, help="Return when every server obeys and all changes have ended.")
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait no longer than this.  [default: for ever]"
)
@registry_options
def maintenance(
    *,
    mode: str | None,
    message: str | None,
    is_waiting: bool,
    timeout: float | None,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show or set what clients may do, while servers run.

    read-only refuses every change: pushes, mounts, deletions; an upload on its way is ended and can go on afterwards.
    closed refuses every request but /healthz. All servers on this registry obey within a second, and until it is set
    to off, also after a restart. `maintenance.mode` in a server's settings is the least that it obeys.
    """
    if message is not None and (mode in {None, "off"} or len(message) > 500 or not message.isprintable()):  # noqa: PLR2004 - as in the settings
        raise click.UsageError("--message goes with read-only or closed, and has at most 500 visible characters")
    if timeout is not None and not is_waiting:
        raise click.UsageError("--timeout goes with --wait")

    async def work(opened: session.Session) -> _Standing:
        service = opened.registry.maintenance
        state = await _set(service, mode, message or "")
        if is_waiting:
            return _Standing(state, await _wait(service, state, timeout))
        return _Standing(state, await service.list_serving())

    standing = session.run(data, config, work, needs_storage=False)
    if as_json:
        print_json(_record(standing))
    else:
        _print(standing, was_set=mode is not None)


async def _set(service: "Maintenance", mode: str | None, message: str) -> "MaintenanceState":
    from roadstead.registry.operation.maintenance import MaintenanceMode  # noqa: PLC0415 - see cli.terminal.session

    return await service.find() if mode is None else await service.set(MaintenanceMode(mode), message)


async def _wait(
    service: "Maintenance", state: "MaintenanceState", timeout_seconds: float | None
) -> "Sequence[ServingProcess]":
    import asyncio  # noqa: PLC0415 - see cli.terminal.session

    most = done = 0

    def show(waiting: "Sequence[ServingProcess]") -> None:
        nonlocal most, done
        if len(waiting) > most:
            most, done = len(waiting), 0
            bar.begin("waiting", most, is_bytes=False)
        bar.advance(most - len(waiting) - done)
        done = most - len(waiting)

    with ProgressBar() as bar:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await service.wait_until_obeyed(state.generation, on_wait=show)
        except TimeoutError:
            raise CommandRefusedError(
                f"changes are still under way after {timeout_seconds:g} seconds; the mode {state.mode} stays set"
            ) from None


def _print(standing: _Standing, *, was_set: bool) -> None:
    state = standing.state
    count = len(standing.serving)
    servers = f"{count} {'process' if count == 1 else 'processes'}"
    details = [
        f"{number} {what}"
        for number, what in ((standing.behind, "not yet there"), (standing.stricter, "stricter by its own settings"))
        if number
    ]
    shown_time = text.local_time if is_terminal() else text.utc
    print_fields(
        [
            ("Mode", str(state.mode)),
            ("Since", shown_time(state.since_ms) if state.since_ms else ""),
            ("Message", text.printable(state.message)),
            ("Servers", f"{servers} ({', '.join(details)})" if details else servers),
        ]
    )
    if was_set and standing.behind:
        note("Servers obey within a second; --wait returns when the last change under way has ended.")


def _record(standing: _Standing) -> dict[str, object]:
    state = standing.state
    return {
        "mode": state.mode,
        "message": state.message,
        "since": text.utc(state.since_ms) if state.since_ms else None,
        "servers": [
            {
                "mode": process.mode,
                "obeys": process.generation >= state.generation,
                "changes": process.changes,
            }
            for process in standing.serving
        ],
    }
