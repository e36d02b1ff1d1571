"""A configuration of registry:2 while it is converted: settings of ours, and a finding for each key."""

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from roadstead.config.description import describe_settings
from roadstead.config.registry2.finding import STOPPING, Finding, Verdict
from roadstead.config.registry2.keys import BY_PATH
from roadstead.config.registry2.nodes import Mapping, Node, find

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A setting of ours with the keys it comes from; none if it is registry:2's default."""

    target: str
    value: Any
    source: str
    keys: tuple[str, ...] = ()
    reason: str = ""
    """The reason why a default of registry:2 is written down, as a sentence."""


@dataclass(slots=True)
class Draft:
    """A tree of registry:2's keys that is being converted."""

    tree: Mapping
    name: str
    """Name of the file, used as the source of everything that has no line."""
    assignments: dict[str, Assignment] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)

    def find(self, path: str) -> Node | None:
        """Returns the node at ``path``; None if it has no value."""
        return find(self.tree, path)

    def read(self, path: str, reader: Callable[[Node], _T], default: _T) -> _T:
        """Reads the value at ``path``; one that the key cannot have becomes a finding, and ``default`` is returned."""
        node = self.find(path)
        return default if node is None else self.value(path, node, reader, default)

    def value(self, path: str, node: Node, reader: Callable[[Node], _T], default: _T) -> _T:
        """Returns the value that ``reader`` makes of a node; faults are handled as by ``read``."""
        try:
            return reader(node)
        except ValueError as error:
            self.say(path, Verdict.INVALID, f"{error}", source=node.source)
            return default

    def set(self, target: str, value: object, *keys: str) -> None:
        """Sets a setting of ours, which comes from ``keys``; bounds of ours that are narrower move it."""
        bounded = _bounded(target, value)
        source = self.source(keys[0]) if keys else self.name
        self.assignments[target] = Assignment(target, bounded, f"{source}: {keys[0]}" if keys else source, keys)
        if keys and bounded != value:
            shown = f"{value:g}" if isinstance(value, float) else value
            self.say(keys[0], Verdict.DIFFERENT, f"{target} is {bounded} here, since it cannot be {shown}.")

    def set_default(self, target: str, value: object, reason: str) -> None:
        """Sets a setting to registry:2's default, unless it is set."""
        if target not in self.assignments:
            self.assignments[target] = Assignment(target, _bounded(target, value), f"{self.name}: {reason}", (), reason)

    def say(
        self, path: str, verdict: Verdict, text: str = "", *, source: str = "", targets: tuple[str, ...] = ()
    ) -> None:
        """Changes the verdict on a key from its usual one; an invalid value stays invalid.

        ``targets`` are settings that settle what is refused, if they are not the key's usual ones.
        """
        before = self.findings.get(path)
        if before is not None and before.verdict is Verdict.INVALID and verdict not in STOPPING:
            return
        key = BY_PATH.get(path)
        targets = targets or (before.targets if before else ())
        self.findings[path] = Finding(
            path,
            source or (before.source if before else self.source(path)),
            verdict,
            text or (key.text if key else ""),
            targets if verdict in {Verdict.HONOURED, Verdict.DIFFERENT, Verdict.REFUSED} else (),
        )

    def source(self, path: str) -> str:
        """Returns the source of a key; the file's name if it is not set."""
        before = self.findings.get(path)
        if before is not None:
            return before.source
        node = self.find(path)
        return node.source if node is not None else self.name


def _bounded(target: str, value: Any) -> Any:  # noqa: ANN401 - a setting's value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    kind = next(each.value_type for each in describe_settings() if each.key == target)
    inner, meta = typing.get_args(kind)[:2]
    least, most = typing.cast("msgspec.Meta", meta).ge, typing.cast("msgspec.Meta", meta).le
    value = value if least is None else max(value, least)
    value = value if most is None else min(value, most)
    return max(int(value), 1 if value > 0 else 0) if inner is int else float(value)
