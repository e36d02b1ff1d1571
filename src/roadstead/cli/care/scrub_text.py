"""Describes the progress of the scrub, for people and for scripts."""

from typing import TYPE_CHECKING

from roadstead.cli.terminal import text
from roadstead.cli.terminal.output import is_terminal

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.integrity.scrub import ScrubState


def describe_scrub(state: "ScrubState", blob_bytes: int) -> str:
    """Describes the last whole pass and the current one, a line each; ``blob_bytes`` is the size of all blobs."""
    lines: list[str] = []
    if state.completed_ms:
        damage = text.plural(state.completed_damage, "damaged thing") if state.completed_damage else "no damage"
        read = f"{text.plural(state.completed_blobs, 'blob')} ({text.size(state.completed_bytes)})"
        lines.append(f"{read} read again by {_time(state.completed_ms)}: {damage}")
    if state.is_running:
        part = min(100, state.bytes * 100 // blob_bytes) if blob_bytes else 100
        found = f", {text.number(state.damage)} damaged" if state.damage else ""
        lines.append(f"under way since {_time(state.started_ms)}: {text.size(state.bytes)}, about {part} %{found}")
    return "\n".join(lines) or "no pass yet"


def scrub_record(state: "ScrubState") -> dict[str, object]:
    """Returns the same as a record for scripts."""
    from msgspec import to_builtins  # noqa: PLC0415 - see cli.terminal.session

    record: dict[str, object] = to_builtins(state)
    return record


def _time(time_ms: int) -> str:
    return text.local_time(time_ms) if is_terminal() else text.utc(time_ms)
