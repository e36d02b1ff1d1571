"""Converts keys of registry:2 to our settings: logs, storage, limits, content, health.

Each function reads its keys and leaves the rest alone. Where nothing is said, registry:2's default is said, if ours is
another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roadstead.config.registry2.conversion_callers import convert_auth, convert_middleware, convert_notifications
from roadstead.config.registry2.conversion_http import convert_http
from roadstead.config.registry2.draft import Draft
from roadstead.config.registry2.finding import Verdict
from roadstead.config.registry2.nodes import Mapping, Node, Scalar, Sequence, find, iter_entries
from roadstead.config.registry2.patterns import from_go
from roadstead.config.registry2.values import (
    NO_TEXTS,
    GoValueError,
    duration_seconds,
    is_bare_number,
    is_truth,
    number,
    parse_duration,
    text,
    texts,
    truth,
)

DEFAULT_ROOT: Final = "/var/lib/registry"
_NOT_DRIVERS: Final = frozenset({"maintenance", "cache", "delete", "redirect", "tag"})
_LEVELS: Final = {"error": "error", "warn": "warning", "info": "info", "debug": "debug"}
_FORMATS: Final = {"text": "human", "json": "json", "logstash": "json"}
_PURGE_AGE: Final = "168h"
_PURGE_INTERVAL: Final = "24h"
_DAY: Final = 24 * 3600
_CATALOGUE_MAXIMUM: Final = 1000
_TAGS_MAXIMUM: Final = 100_000
_CHECK_INTERVAL: Final = 10.0
_BAD_STATUS: Final = 400


def convert(draft: Draft) -> None:
    """Converts all keys."""
    for section in _SECTIONS:
        section(draft)


def _convert_log(draft: Draft) -> None:
    for path in ("loglevel", "log.level"):
        if draft.find(path) is not None:
            level = draft.read(path, lambda node: _choice(node, _LEVELS, lower=True), "info")
            draft.set("log.level", level, path)
    if draft.find("loglevel") is not None and draft.find("log.level") is not None:
        draft.say("loglevel", Verdict.IGNORED, "log.level is set too and counts, as with registry:2.")
    if draft.read("log.formatter", text, ""):
        draft.set("log.format", draft.read("log.formatter", lambda node: _choice(node, _FORMATS), "auto"),
                  "log.formatter")  # fmt: skip
    if draft.find("log.accesslog.disabled") is not None:
        path = "log.accesslog.disabled"
        draft.set("log.access", not draft.read(path, truth, default=False), path)


def _choice(node: Node, choices: dict[str, str], *, lower: bool = False) -> str:
    written = text(node).lower() if lower else text(node)
    if written not in choices:
        raise GoValueError(f"expected one of {', '.join(choices)}")
    return choices[written]


def _convert_storage(draft: Draft) -> None:
    drivers = [
        name for name, _, _ in iter_entries(draft.find("storage")) if name not in _NOT_DRIVERS
    ]  # fmt: skip
    if len(drivers) != 1:
        problem = (
            f"exactly one driver must be given, here are {', '.join(drivers)}" if drivers else "no driver is given"
        )
        draft.say("storage", Verdict.INVALID, f"{problem}: write storage.filesystem.rootdirectory")
        return
    if drivers != ["filesystem"]:
        return  # the table refuses it
    path = "storage.filesystem.rootdirectory"
    root = Path(draft.read(path, text, DEFAULT_ROOT) or DEFAULT_ROOT).expanduser().absolute()
    keys = (path,) if draft.find(path) is not None else ()
    if keys:
        draft.set("storage.url", root.as_uri(), *keys)
        draft.set("data.folder", str(root), *keys)
    else:
        reason = f"registry:2's storage is {DEFAULT_ROOT} unless the file says otherwise"
        draft.set_default("storage.url", root.as_uri(), reason)
        draft.set_default("data.folder", str(root), "the catalogue is beside registry:2's tree")


def _convert_deletion(draft: Draft) -> None:
    path = "storage.delete.enabled"
    node = draft.find(path)
    if node is not None and is_truth(node):
        draft.set("content.deletion", draft.read(path, truth, default=False), path)
        return
    if node is not None:
        draft.say(path, Verdict.IGNORED, "Only true without quotes lets clients delete, with registry:2 too.")
    draft.set_default("content.deletion", value=False, reason="registry:2 lets nobody delete unless told to")


def _convert_sizes(draft: Draft) -> None:
    reason = "registry:2 does not compare the sizes that a manifest states with those of its blobs"
    draft.set_default("content.wrong_sizes", value="accept", reason=reason)


def _convert_read_only(draft: Draft) -> None:
    """Converts ``readonly``; without anything below it registry:2 does not start, but it is a wish all the same."""
    path = "storage.maintenance.readonly"
    node = _entry(draft.find("storage.maintenance"), "readonly")
    if node is None:
        return
    if not isinstance(node, Mapping):
        draft.say(path, Verdict.INVALID, "expected enabled: true or false below it", source=node.source)
        return
    switch = _entry(node, "enabled")
    if isinstance(switch, Scalar) and switch.is_null:
        draft.say(f"{path}.enabled", Verdict.INVALID, "expected true or false", source=switch.source)
    elif switch is not None:
        is_on = draft.read(f"{path}.enabled", truth, default=True)
        draft.set("maintenance.mode", "read-only" if is_on else "off", f"{path}.enabled")


def _entry(node: Node | None, name: str) -> Node | None:
    """Returns the node under a name, even if it has no value."""
    return next((value for key, value, _ in iter_entries(node) if key == name), None)


def _convert_purging(draft: Draft) -> None:
    path = "storage.maintenance.uploadpurging"
    node = draft.find(path)
    if node is not None and not isinstance(node, Mapping):
        draft.say(path, Verdict.INVALID, "expected enabled, age, interval and dryrun below it", source=node.source)
    is_on = _is_purging_on(draft, f"{path}.enabled")
    is_dry = draft.read(f"{path}.dryrun", truth, default=False)
    keys = tuple(f"{path}.{name}" for name in ("enabled", "dryrun") if draft.find(f"{path}.{name}") is not None)
    if keys:
        draft.set("limits.upload_purge", "off" if not is_on else "dry-run" if is_dry else "on", *keys)
    for name, target, default in (
        ("age", "limits.upload_age_seconds", _PURGE_AGE),
        ("interval", "limits.upload_purge_interval_seconds", _PURGE_INTERVAL),
    ):
        if draft.find(f"{path}.{name}") is None:
            seconds = int(parse_duration(default))
            draft.set_default(target, seconds, f"registry:2's {name} of purging uploads is {default}")
        else:
            seconds_read = draft.read(f"{path}.{name}", _textual_duration, parse_duration(default))
            draft.set(target, seconds_read, f"{path}.{name}")


def _is_purging_on(draft: Draft, path: str) -> bool:
    node = draft.find(path)
    if node is None or is_truth(node):
        return draft.read(path, truth, default=True)
    draft.say(path, Verdict.IGNORED, "Only false without quotes turns it off, with registry:2 too.")
    return True


def _textual_duration(node: Node) -> float:
    """Returns seconds; here registry:2 takes no bare number."""
    if is_bare_number(node):
        raise GoValueError('expected a duration with its unit, such as "168h"')
    return parse_duration(text(node))


def _convert_pages(draft: Draft) -> None:
    path = "catalog.maxentries"
    if draft.find(path) is not None:
        most = draft.read(path, number, _CATALOGUE_MAXIMUM)
        draft.set("limits.catalog_page_maximum", most if most > 0 else _CATALOGUE_MAXIMUM, path)
    path = "tags.maxtags"
    if draft.find(path) is None:
        draft.set_default("limits.page_maximum", _TAGS_MAXIMUM, "registry:2 lists all tags in one answer")
        return
    most = draft.read(path, number, _CATALOGUE_MAXIMUM)
    if most < 0:
        draft.say(path, Verdict.INVALID, "expected a number that is not negative")
    draft.set("limits.page_maximum", most if most > 0 else _CATALOGUE_MAXIMUM, path)


def _convert_validation(draft: Draft) -> None:
    """Converts ``validation``: registry:2 refuses every layer with a URL without a pattern; disabled, none."""
    enabled, disabled = "validation.enabled", "validation.disabled"
    is_disabled = draft.read(disabled, truth, default=False)
    is_enabled = draft.read(enabled, truth, default=False) or not is_disabled
    switches = tuple(path for path in (disabled, enabled) if draft.find(path) is not None)
    lists = [f"validation.manifests.urls.{name}" for name in ("allow", "deny")]
    if not is_enabled:
        draft.set("content.foreign_urls_allow", (), *switches)
        for path in lists:
            if draft.find(path) is not None:
                draft.say(path, Verdict.IGNORED, "validation.disabled turns it off, as with registry:2.")
        return
    allow, deny = (draft.read(path, _patterns, NO_TEXTS) for path in lists)
    for name, path, patterns in zip(("allow", "deny"), lists, (allow, deny), strict=True):
        if patterns:
            draft.set(f"content.foreign_urls_{name}", patterns, path)
    if not allow and not deny:
        reason = "registry:2 accepts no layer that names a URL as its source, unless told to"
        draft.set_default("content.foreign_urls_allow", ("^$",), reason)


def _patterns(node: Node) -> tuple[str, ...]:
    return tuple(from_go(pattern) for pattern in texts(node))


def _convert_storage_health(draft: Draft) -> None:
    path = "health.storagedriver"
    if draft.find(f"{path}.enabled") is None:
        for name in ("interval", "threshold"):
            if draft.find(f"{path}.{name}") is not None:
                draft.say(f"{path}.{name}", Verdict.IGNORED, "It counts only with enabled: true, as with registry:2.")
        return
    if not draft.read(f"{path}.enabled", truth, default=False):
        draft.set("health.storage_interval_seconds", 0.0, f"{path}.enabled")
        return
    interval = draft.read(f"{path}.interval", duration_seconds, _CHECK_INTERVAL) or _CHECK_INTERVAL
    keys = [each for each in (f"{path}.interval", f"{path}.enabled") if draft.find(each) is not None]
    draft.set("health.storage_interval_seconds", interval, *keys)
    _say_nanoseconds(draft, f"{path}.interval")
    threshold = max(draft.read(f"{path}.threshold", number, 1), 1)
    keys = [each for each in (f"{path}.threshold", f"{path}.enabled") if draft.find(each) is not None]
    draft.set("health.storage_threshold", threshold, *keys)


def _say_nanoseconds(draft: Draft, path: str) -> None:
    node = draft.find(path)
    if node is not None and is_bare_number(node) and isinstance(node, Scalar):
        draft.say(path, Verdict.DIFFERENT, f"{node.text} without a unit is nanoseconds, as registry:2 reads it: write"
                  f" {node.text}s for seconds.")  # fmt: skip


_CHECK_DEFAULTS: Final[dict[str, float]] = {"interval": _CHECK_INTERVAL, "threshold": 1.0}
"""Values of a check that gives none; it has no timeout then."""

_CHECKS: Final = (("file", "file", "files"), ("http", "uri", "urls"), ("tcp", "addr", "addresses"))


@dataclass(frozen=True, slots=True)
class _SharedValue:
    """A value of one check, or registry:2's default, for a setting that all checks share here."""

    value: float
    path: str
    is_given: bool


def _convert_checks(draft: Draft) -> None:
    """Converts health checks; here they share interval, threshold and timeout, and the strictest value counts."""
    shared: dict[str, list[_SharedValue]] = {"interval": [], "threshold": [], "timeout": []}
    for section, name, target in _CHECKS:
        kept: dict[str, str] = {}
        for place, entry in _iter_entries_of(draft, f"health.{section}"):
            node = find(entry, name)
            value = draft.value(f"{place}.{name}", node, text, "") if node is not None else ""
            if not value or (section == "http" and _is_left_out(draft, place, entry)):
                continue
            kept.setdefault(value, f"{place}.{name}")
            _note_shared(draft, place, entry, shared)
        if kept:
            draft.set(f"health.{target}", tuple(kept), *kept.values())
    for name, found in shared.items():
        if found:
            _set_shared(draft, name, found)


def _set_shared(draft: Draft, name: str, found: list[_SharedValue]) -> None:
    target = f"health.{name}" if name == "threshold" else f"health.{name}_seconds"
    strictest = min(each.value for each in found)
    keys = [each.path for each in found if each.is_given]
    if not keys:
        draft.set_default(target, strictest, f"registry:2's {name} of such a check is {_CHECK_DEFAULTS[name]:g}")
        return
    draft.set(target, strictest, *keys)
    for each in found:
        if each.is_given and each.value > strictest:
            draft.say(each.path, Verdict.DIFFERENT, f"{strictest:g} counts: all checks of files, URLs and addresses"
                      " share the strictest.")  # fmt: skip


def _iter_entries_of(draft: Draft, path: str) -> list[tuple[str, Node]]:
    node = draft.find(path)
    if node is None:
        return []
    if not isinstance(node, Sequence):
        draft.say(path, Verdict.INVALID, "expected a list of checks, each begun with -", source=node.source)
        return []
    return [(f"{path}[{index}]", item) for index, item in enumerate(node.items)]


def _is_left_out(draft: Draft, place: str, entry: Node) -> bool:
    status_node = find(entry, "statuscode")
    status = draft.value(f"{place}.statuscode", status_node, number, 0) if status_node is not None else 0
    if status < _BAD_STATUS and find(entry, "headers") is None:
        return False
    draft.say(f"{place}.uri", Verdict.IGNORED, "Left out, since it needs headers or a status of 400 and above: check it"
              " from elsewhere.")  # fmt: skip
    return True


def _note_shared(draft: Draft, place: str, entry: Node, shared: dict[str, list[_SharedValue]]) -> None:
    readers: dict[str, Callable[[Node], float]] = {
        "interval": duration_seconds,
        "timeout": duration_seconds,
        "threshold": number,
    }
    if place.startswith("health.file["):
        del readers["threshold"]  # a file counts at once
    for name, reader in readers.items():
        path, node = f"{place}.{name}", find(entry, name)
        value = 0.0 if node is None else float(draft.value(path, node, reader, 0.0))
        if value > 0:
            shared[name].append(_SharedValue(value, path, is_given=True))
        elif name in _CHECK_DEFAULTS:
            shared[name].append(_SharedValue(_CHECK_DEFAULTS[name], path, is_given=False))


_SECTIONS: Final[tuple[Callable[[Draft], None], ...]] = (
    _convert_log,
    _convert_storage,
    _convert_deletion,
    _convert_sizes,
    _convert_read_only,
    _convert_purging,
    convert_auth,
    convert_http,
    _convert_pages,
    _convert_validation,
    convert_notifications,
    convert_middleware,
    _convert_storage_health,
    _convert_checks,
)
