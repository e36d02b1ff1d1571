"""YAML as a tree in which every value knows where it was written, down to the line.

Promises: nothing is constructed but text, lists and mappings; a key that is there twice is refused; aliases cannot blow
a small file up (at most ``MAXIMUM_NODES`` values), nor contain themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from roadstead.config.errors import SettingsFileInvalidError

MAXIMUM_NODES: Final = 20_000
"""Number of values at most; the longest configurations in the wild have some hundred."""

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE: Final = "<<"


@dataclass(slots=True)
class Scalar:
    """A single value, still as it was written."""

    text: str
    source: str
    is_plain: bool = True
    """True if the value stands there without quotes, so that ``true`` and ``5`` are more than text."""

    @property
    def is_null(self) -> bool:
        """True if the value is empty or null."""
        return self.is_plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    """A list."""

    items: list["Node"]
    source: str


@dataclass(slots=True)
class Mapping:
    """Keys and values, in the order in which they were written."""

    entries: dict[str, "Node"] = field(default_factory=dict)
    source: str = ""
    key_sources: dict[str, str] = field(default_factory=dict)
    """Source of each key, which for a nested value is the line above its own."""

    def set(self, key: str, value: "Node", source: str) -> None:
        """Sets a key, which from now on comes from ``source``."""
        self.entries[key] = value
        self.key_sources[key] = source


Node = Scalar | Sequence | Mapping


def parse(content: bytes | str, name: str) -> Node | None:
    """Parses a document; returns None for an empty one. ``name`` is the file's, or that of the variable with the text.

    Raises:
        SettingsFileInvalidError: it is no YAML, has a key twice, or too much in it; the message names the line.
    """
    try:
        root: yaml.Node | None = yaml.compose(content, Loader=yaml.SafeLoader)
        return None if root is None else _Builder(name).build(root, ())
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise SettingsFileInvalidError(name, f"{where}{error.problem}", "correct the YAML") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsFileInvalidError(name, "it is no valid YAML", "correct the YAML") from error


class _Builder:
    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def build(self, node: yaml.Node, above: tuple[int, ...]) -> Node:
        self._count += 1
        if self._count > MAXIMUM_NODES:
            raise _problem(node, f"more than {MAXIMUM_NODES} values")
        if id(node) in above:
            raise _problem(node, "an alias contains itself")
        source = self._source(node)
        if isinstance(node, yaml.ScalarNode):
            return Scalar(node.value, source, is_plain=node.style is None)
        inside = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            return Sequence([self.build(item, inside) for item in node.value], source)
        return self._build_mapping(node, inside, source)

    def _build_mapping(self, node: yaml.Node, inside: tuple[int, ...], source: str) -> Mapping:
        mapping = Mapping(source=source)
        merged: list[Mapping] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(key_node, "a key must be text")
            value = self.build(value_node, inside)
            if key_node.value == _MERGE and key_node.style is None:
                merged += _mappings(value, key_node)
            elif key_node.value in mapping.entries:
                raise _problem(key_node, f"the key {key_node.value!r} is there twice")
            else:
                mapping.set(key_node.value, value, self._source(key_node))
        for each in merged:
            for key, value in each.entries.items():
                if key not in mapping.entries:
                    mapping.set(key, value, each.key_sources[key])
        return mapping

    def _source(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"


def _mappings(value: Node, key_node: yaml.Node) -> list[Mapping]:
    found = value.items if isinstance(value, Sequence) else [value]
    mappings = [each for each in found if isinstance(each, Mapping)]
    if len(mappings) != len(found):
        raise _problem(key_node, "<< takes a mapping")
    return mappings


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def find(node: Node | None, path: str) -> Node | None:
    """Returns the node at a path of names with dots between; None if it is not there or has no value."""
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node.entries:
            return None
        node = node.entries[name]
    return None if isinstance(node, Scalar) and node.is_null else node


def iter_entries(node: Node | None) -> Iterator[tuple[str, Node, str]]:
    """Yields key, value and place of the key; nothing if the node is no mapping."""
    if isinstance(node, Mapping):
        for key, value in node.entries.items():
            yield key, value, node.key_sources[key]
