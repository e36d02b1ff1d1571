"""``REGISTRY_…`` variables, laid over a file's tree as Go's parser does it (``configuration/parser.go``).

The words between underscores are Go's field names in capitals; below a map they are its keys; in a list a number names
an entry, and the number after the last one adds one (only registry:3 honours that, registry:2 is silent). Variables are
applied in the order of their names, so that the more specific comes later. What a variable has is YAML. An empty one
makes the value empty; it does not count as not set.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from roadstead.config.errors import SettingInvalidError
from roadstead.config.registry2.finding import Finding, Verdict
from roadstead.config.registry2.keys import TREE, Key, Kind, Place
from roadstead.config.registry2.nodes import Mapping as MappingNode
from roadstead.config.registry2.nodes import Node, Scalar, Sequence, parse
from roadstead.config.service_variables import is_of_a_service

PREFIX: Final = "REGISTRY_"

_SHORT_FORMS: Final = frozenset({"storage", "auth"})
"""Keys whose mapping may be written as a single word: the mapping's one key."""


class _UnrecognisedError(Exception):
    """A variable sets no key that registry:2 has."""


def registry_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the variables that may be registry:2's, in the order in which it applies them."""
    for name in sorted(environment):
        if name.startswith(PREFIX) and not is_of_a_service(name, environment[name]):
            yield name, environment[name]


def overlay(tree: MappingNode, environment: Mapping[str, str]) -> list[Finding]:
    """Sets in ``tree`` what variables set; returns findings that name variables without effect.

    Raises:
        SettingsInvalidError: what a variable has is no YAML, or a number in its name does not fit its list.
    """
    findings: list[Finding] = []
    for name, value in registry_variables(environment):
        words = name.removeprefix(PREFIX).split("_")
        try:
            _set_below(tree, TREE, words, parse(value, name) or Scalar("", name), name)
        except _UnrecognisedError:
            text = "no key has this name, so registry:2 ignores it too: unset it, or correct it"
            findings.append(Finding(name, name, Verdict.UNKNOWN, text))
    _rename_sources(tree, frozenset(environment))
    return findings


def key_of_variable(name: str) -> Key | None:
    """Returns the key that a variable would set, if it surely is one of registry:2's."""
    place: Place = TREE
    found: Key | None = None
    for word in name.removeprefix(PREFIX).split("_"):
        if word.isdecimal() and (place.entry is not None or (found is not None and found.kind is Kind.TEXTS)):
            place = place.entry or place
            continue
        below = next((child for child in place.children.values() if child.variable == word), None)
        if below is None:
            return found if found is not None and found.kind in {Kind.ANY, Kind.HEADERS} else None
        place, found = below, below.key or found
    return found or _first_protective(place)


def _first_protective(place: Place) -> Key | None:
    """Returns a protective key below the section that a variable such as REGISTRY_AUTH sets as a whole, or None."""
    for child in place.children.values():
        key = child.key if child.key is not None else _first_protective(child)
        if key is not None and key.is_protective:
            return key
    return next((child.key for child in place.children.values() if child.key is not None), None)


def _set_below(node: MappingNode, place: Place, words: list[str], value: Node, source: str) -> None:
    """Sets the value that ``words`` name in a mapping."""
    name, below = _name_of(node, place, words[0])
    if len(words) == 1:
        node.set(name, value, source)
        return
    inner = _expanded(node.entries.get(name), below, source)
    _set_inside(inner, below, words[1:], value, source)
    node.set(name, inner, node.key_sources.get(name, source))


def _name_of(node: MappingNode, place: Place, word: str) -> tuple[str, Place]:
    for name, child in place.children.items():
        if child.variable == word:
            return name, child
    if not place.is_free:
        raise _UnrecognisedError
    name = next((each for each in node.entries if each.upper() == word), word.lower())
    return name, Place(f"{place.path}.{name}", key=place.key)


def _set_inside(inner: Node, place: Place, words: list[str], value: Node, source: str) -> None:
    if isinstance(inner, Sequence):
        _set_in_list(inner, place, words, value, source)
    elif isinstance(inner, MappingNode):
        _set_below(inner, place, words, value, source)
    else:
        raise _UnrecognisedError


def _set_in_list(items: Sequence, place: Place, words: list[str], value: Node, source: str) -> None:
    if not words[0].isdecimal() or int(words[0]) > len(items.items):
        raise SettingInvalidError(
            source, f"{words[0]} names no entry of {place.path}", f"number its entries from 0 to {len(items.items)}"
        )
    number = int(words[0])
    if number == len(items.items):
        items.items.append(Scalar("", source))
    if len(words) == 1:
        items.items[number] = value
        return
    entry = place.entry or Place(f"{place.path}[]", key=place.key)
    inner = _expanded(items.items[number], entry, source)
    _set_inside(inner, entry, words[1:], value, source)
    items.items[number] = inner


def _expanded(node: Node | None, place: Place, source: str) -> Node:
    """Returns the node that is there, or an empty one of the kind in which a name can be set."""
    if node is None or (isinstance(node, Scalar) and node.is_null):
        is_list = place.entry is not None or (place.key is not None and place.key.kind is Kind.TEXTS)
        return Sequence([], source) if is_list else MappingNode(source=source)
    if isinstance(node, Scalar) and place.path in _SHORT_FORMS:
        return long_form(node)
    return node


def long_form(node: Scalar) -> MappingNode:
    """Writes ``storage: filesystem`` out as a mapping with that word as its one key."""
    mapping = MappingNode(source=node.source)
    mapping.set(node.text, Scalar("", node.source), node.source)
    return mapping


def _rename_sources(node: Node, variables: frozenset[str]) -> None:
    """Names the variable as the source of values below a node: they have no line."""
    name, _, line = node.source.rpartition(":")
    if line.isdecimal() and name in variables:
        node.source = name
    if isinstance(node, Sequence):
        for item in node.items:
            _rename_sources(item, variables)
    elif isinstance(node, MappingNode):
        for key, value in node.entries.items():
            place, _, number = node.key_sources[key].rpartition(":")
            if number.isdecimal() and place in variables:
                node.key_sources[key] = place
            _rename_sources(value, variables)
