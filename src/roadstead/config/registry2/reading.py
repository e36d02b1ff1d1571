"""Reads a configuration of registry:2 or registry:3, with the variables that go with it."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from roadstead.config.errors import SettingsFileInvalidError
from roadstead.config.registry2.conversion import convert
from roadstead.config.registry2.draft import Assignment, Draft
from roadstead.config.registry2.environment import long_form, overlay
from roadstead.config.registry2.finding import STOPPING, Finding, Verdict
from roadstead.config.registry2.keys import BY_PATH, TREE, Place
from roadstead.config.registry2.nodes import Mapping as MappingNode
from roadstead.config.registry2.nodes import Node, Scalar, Sequence

VERSION: Final = "0.1"


@dataclass(frozen=True, slots=True)
class Registry2Configuration:
    """The result of converting a configuration of registry:2."""

    assignments: tuple[Assignment, ...]
    """Settings of ours, in the order in which they were made."""
    findings: tuple[Finding, ...]
    """A finding for each key that is set, in the order of the file, then for variables without effect."""

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """The findings that keep a server from starting."""
        return tuple(finding for finding in self.findings if finding.verdict in STOPPING)


def is_registry2(tree: Node | None) -> bool:
    """Returns True if a document is one of registry:2's: it names its version, which no file of ours does."""
    return isinstance(tree, MappingNode) and "version" in tree.entries


def read_tree(tree: MappingNode, name: str, environment: Mapping[str, str]) -> Registry2Configuration:
    """Converts a file's tree and the variables over it. The tree is changed.

    Raises:
        SettingsFileInvalidError: it is of another version.
        SettingsInvalidError: a variable does not fit.
    """
    _require_version(tree)
    for short in ("storage", "auth"):
        _expand(tree, short)
    lost = overlay(tree, environment)
    for short in ("storage", "auth"):
        _expand(tree, short)
    draft = Draft(tree, name)
    for finding in _walk(tree, TREE, ""):
        draft.findings[finding.key] = finding
    convert(draft)
    return Registry2Configuration(tuple(draft.assignments.values()), (*draft.findings.values(), *lost))


def _require_version(tree: MappingNode) -> None:
    version = tree.entries["version"]
    if not isinstance(version, Scalar) or version.text != VERSION:
        shown = version.text if isinstance(version, Scalar) else "a mapping or list"
        raise SettingsFileInvalidError(
            version.source, f"version {shown} of registry's configuration is not known", f"it must be {VERSION}"
        )


def _expand(tree: MappingNode, key: str) -> None:
    """Expands ``auth: none`` and ``storage: filesystem``, which are short for a mapping with one key."""
    node = tree.entries.get(key)
    if isinstance(node, Scalar) and not node.is_null:
        tree.entries[key] = long_form(node)


def _walk(node: Node, place: Place, path: str) -> Iterator[Finding]:
    """Yields a finding for each key, with the usual verdict."""
    if isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            if place.entry is not None:
                yield from _walk(item, place.entry, f"{path}[{index}]")
    if not isinstance(node, MappingNode):
        return
    for name, value in node.entries.items():
        below = place.child(name)
        inner = f"{path}.{name}".lstrip(".")
        source = node.key_sources[name]
        if below is None:
            if place.key is None or not place.is_free:
                yield _unknown(place, name, inner, source)
        else:
            yield from _walk_known(value, below, inner, source)


def _walk_known(value: Node, place: Place, path: str, source: str) -> Iterator[Finding]:
    is_null = isinstance(value, Scalar) and value.is_null
    key = place.key
    if key is not None and (not is_null or _counts_empty(place)):
        yield Finding(path, source, key.verdict, key.text, key.targets)
    elif key is None and not is_null and not isinstance(value, Sequence if place.entry else MappingNode):
        yield Finding(path, source, Verdict.INVALID, f"expected {', '.join(place.children) or 'a list'} below it")
    yield from _walk(value, place, path)


def _counts_empty(place: Place) -> bool:
    """Returns True for a driver or a way to authenticate, which counts by its name alone, as in ``inmemory:``."""
    return place.path.count(".") == 1 and place.path.split(".", 1)[0] in {"storage", "auth"}


def _unknown(place: Place, name: str, path: str, source: str) -> Finding:
    if place.path == "storage":
        return Finding(path, source, Verdict.REFUSED, "no such storage driver: write storage.filesystem")
    if place.path == "auth":
        if name.lower() == "none":
            return Finding(path, source, Verdict.HONOURED, BY_PATH["auth.none"].text, ("authentication.mode",))
        return Finding(path, source, Verdict.REFUSED, "no such way to authenticate: use auth.htpasswd")
    if place.path == "middleware":
        return Finding(path, source, Verdict.REFUSED, BY_PATH["middleware.storage"].text)
    nearest = next(iter(difflib.get_close_matches(name, list(place.children), n=1)), None)
    hint = f"did you mean {nearest}?" if nearest else "remove it"
    return Finding(path, source, Verdict.UNKNOWN, f"registry:2 has no such key and ignores it too; {hint}")
