"""Converts the sections about people and other systems: ``auth``, ``notifications``, ``middleware``, ``proxy``."""

import re
from collections.abc import Container
from collections.abc import Mapping as MappingType
from typing import Any, Final

from roadstead.config.registry2.draft import Draft
from roadstead.config.registry2.finding import Verdict
from roadstead.config.registry2.nodes import Mapping, Node, Scalar, Sequence, find, iter_entries
from roadstead.config.registry2.values import (
    NO_TEXTS,
    duration_seconds,
    headers,
    is_bare_number,
    number,
    text,
    texts,
    truth,
)

_HTPASSWD: Final = "auth.htpasswd"
_ENDPOINTS: Final = "notifications.endpoints"
_ACTIONS: Final = ("push", "pull", "mount", "delete")
_NO_WORD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 64
_TIMEOUT_SECONDS: Final = 1.0
_THRESHOLD: Final = 10
_BACKOFF_SECONDS: Final = 1.0

OPEN: Final = "it has no auth, with which registry:2 lets everybody in"


def convert_auth(draft: Draft) -> None:
    """Converts ``auth``; a file without it lets everybody in, as registry:2 does."""
    schemes = [name for name, _, _ in iter_entries(draft.find("auth"))]
    if len(schemes) > 1:
        draft.say("auth", Verdict.INVALID, f"exactly one way may be given, here are {', '.join(schemes)}")
        return
    if not schemes:
        draft.set_default("authentication.mode", "none", OPEN)
    elif schemes[0].lower() == "none":
        draft.set("authentication.mode", "none", f"auth.{schemes[0]}")
        draft.say(f"auth.{schemes[0]}", Verdict.HONOURED, "Nobody is asked who they are.")
    elif schemes[0] == "htpasswd":
        _convert_htpasswd(draft)


def _convert_htpasswd(draft: Draft) -> None:
    path = draft.read(f"{_HTPASSWD}.path", text, "")
    if not path:
        draft.say(_HTPASSWD, Verdict.INVALID, "expected path: the file of users", source=draft.source(_HTPASSWD))
        return
    draft.set("authentication.mode", "htpasswd", f"{_HTPASSWD}.path")
    draft.set("authentication.htpasswd_file", path, f"{_HTPASSWD}.path")
    realm = draft.read(f"{_HTPASSWD}.realm", text, "")
    if realm:
        draft.set("authentication.realm", realm, f"{_HTPASSWD}.realm")


def convert_notifications(draft: Draft) -> None:
    """Converts ``notifications``: the endpoints that are told of changes."""
    path = "notifications.events.includereferences"
    if draft.find(path) is not None:
        draft.set("notifications.include_references", draft.read(path, truth, default=False), path)
    node = draft.find(_ENDPOINTS)
    if node is None:
        return
    if not isinstance(node, Sequence):
        draft.say(_ENDPOINTS, Verdict.INVALID, "expected a list of endpoints, each begun with -", source=node.source)
        return
    endpoints: dict[str, MappingType[str, Any]] = {}
    for index, item in enumerate(node.items):
        endpoint = _endpoint(draft, f"{_ENDPOINTS}[{index}]", item, endpoints)
        if endpoint["url"] or not endpoint["disabled"]:
            endpoints[endpoint["name"]] = endpoint
    draft.set("notifications.endpoints", tuple(endpoints.values()), _ENDPOINTS)


def _endpoint(draft: Draft, place: str, entry: Node, others: Container[str]) -> MappingType[str, Any]:
    def read(name: str, reader: Any, default: Any) -> Any:  # noqa: ANN401 - as Draft.value
        node = find(entry, name)
        return default if node is None else draft.value(f"{place}.{name}", node, reader, default)

    def seconds(name: str, default: float) -> float:
        node = find(entry, name)
        if node is not None and is_bare_number(node) and isinstance(node, Scalar):
            draft.say(f"{place}.{name}", Verdict.DIFFERENT, f"{node.text} without a unit is nanoseconds, as registry:2"
                      f" reads it: write {node.text}s for seconds.")  # fmt: skip
        value: float = read(name, duration_seconds, default)
        return value if value > 0 else default

    media_types = (*read("ignore.mediatypes", texts, NO_TEXTS), *read("ignoredmediatypes", texts, NO_TEXTS))
    threshold: int = read("threshold", number, _THRESHOLD)
    return {
        "name": _endpoint_name(draft, place, read("name", text, ""), others),
        "url": read("url", text, ""),
        "disabled": read("disabled", truth, default=False),
        "headers": read("headers", headers, {}),
        "timeout_seconds": seconds("timeout", _TIMEOUT_SECONDS),
        "threshold": threshold if threshold > 0 else _THRESHOLD,
        "backoff_seconds": seconds("backoff", _BACKOFF_SECONDS),
        "ignored_media_types": tuple(dict.fromkeys(media_types)),
        "ignored_actions": tuple(
            dict.fromkeys(action for action in read("ignore.actions", texts, NO_TEXTS) if action in _ACTIONS)
        ),
    }


def _endpoint_name(draft: Draft, place: str, written: str, others: Container[str]) -> str:
    """Returns a name of one word that no other endpoint has, since it is part of commands and metrics."""
    number = place.rpartition("[")[2].rstrip("]")
    name = _NO_WORD.sub("-", written).strip("-._")[:_LONGEST_NAME] or f"endpoint-{number}"
    if name in others:
        name = f"{name[: _LONGEST_NAME - len(number) - 1]}-{number}"
    if name != written:
        draft.say(f"{place}.name", Verdict.DIFFERENT, f"The endpoint is called {name} here: names are single words, and"
                  " no two are the same.")  # fmt: skip
    return name


def convert_middleware(draft: Draft) -> None:
    """Converts ``middleware`` and ``proxy``: disabled or empty entries may be ignored."""
    for place, node, _ in iter_entries(draft.find("middleware")):
        if isinstance(node, Scalar) and node.is_null:
            continue
        entries = node.items if isinstance(node, Sequence) else [node]
        if all(_is_disabled(entry) for entry in entries):
            _forgive(draft, f"middleware.{place}", "It is disabled.")
    if draft.find("proxy") is not None and not draft.read("proxy.remoteurl", text, ""):
        _forgive(draft, "proxy", "Without proxy.remoteurl it has no effect.")


def _is_disabled(entry: Node) -> bool:
    node = find(entry, "disabled") if isinstance(entry, Mapping) else None
    try:
        return node is not None and truth(node)
    except ValueError:
        return False


def _forgive(draft: Draft, path: str, reason: str) -> None:
    for each, finding in tuple(draft.findings.items()):
        if each == path or each.startswith((f"{path}.", f"{path}[")):
            draft.say(each, Verdict.IGNORED, reason, source=finding.source)
