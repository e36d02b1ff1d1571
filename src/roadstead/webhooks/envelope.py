"""Builds the document about an event, as registry:2 and registry:3 write it.

Source: distribution's ``notifications/event.go``, and what ``docker-registry`` 2.8.2 and registry:3 send (a test
compares them field by field). Empty fields are left out, as there.
"""

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from roadstead.events import Event, EventAction, StoredEvent

CONTENT_TYPE: Final = "application/vnd.docker.distribution.events.v2+json"

BLOB: Final = "application/octet-stream"
"""Media type of every blob in an event."""

_KEPT: Final = ("mediaType", "digest", "size", "annotations", "urls", "platform", "artifactType")
"""Properties of a descriptor that a reference repeats; embedded data would make an event as large as a blob."""


class _Named(msgspec.Struct):
    """The keys under which a manifest has its descriptors."""

    config: dict[str, Any] | None = None
    layers: list[dict[str, Any]] | None = None
    manifests: list[dict[str, Any]] | None = None


_decode: Final = msgspec.json.Decoder(_Named).decode


@dataclass(frozen=True, slots=True)
class Source:
    """The registry that an event comes from."""

    instance: str
    """A UUID that stays the same for the life of the catalogue."""
    address: str
    """Host and port of the registry."""
    base_url: str = ""
    """URL under which clients reach the registry, for events that no request caused."""

    def event_id(self, stored: StoredEvent) -> str:
        """Returns an event's id, which is the same in each try, so that a receiver recognises repetitions.

        The time is part of it since a catalogue that was restored from a backup gives its ids again.
        """
        return str(uuid.uuid5(uuid.UUID(self.instance), f"{stored.id}:{stored.at_ms}"))

    def envelope(self, stored: StoredEvent, body: bytes | None = None) -> bytes:
        """Returns the document of one event; with the ``body`` of its manifest, also its references."""
        event = stored.event
        cause = event.cause
        request = {
            "id": cause.request_id,
            "addr": cause.client,
            "host": cause.host,
            "method": cause.method,
            "useragent": cause.user_agent,
        }
        target = self._target(event)
        if body is not None:
            target["references"] = references(body)
        document = {
            "id": self.event_id(stored),
            "timestamp": timestamp(stored.at_ms),
            "action": event.action.value,
            "target": target,
            "request": _without_empty(request),
            "actor": _without_empty({"name": cause.actor}),
            "source": {"addr": self.address, "instanceID": self.instance},
        }
        return json.dumps({"events": [document]}, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )

    def _target(self, event: Event) -> dict[str, Any]:
        if event.action is EventAction.DELETE:
            return self._deleted(event)
        return _without_empty(
            {"mediaType": event.media_type}
            | {"digest": event.digest}
            | {"repository": event.repository, "fromRepository": event.source_repository}
            | {"url": self._url(event), "tag": event.tag}
        ) | {"size": event.size_bytes, "length": event.size_bytes}

    def _deleted(self, event: Event) -> dict[str, Any]:
        """Returns only names: a tag without the digest that it pointed at, since that manifest is still there."""
        if event.tag:
            return {"digest": "", "repository": event.repository, "tag": event.tag}
        return _without_empty({"digest": event.digest, "repository": event.repository})

    def _url(self, event: Event) -> str:
        base_url = event.cause.base_url or self.base_url
        kind = "blobs" if event.media_type == BLOB else "manifests"
        return f"{base_url}/v2/{event.repository}/{kind}/{event.digest}" if base_url else ""


def timestamp(at_ms: int) -> str:
    """Formats a time in RFC 3339, UTC."""
    seconds, rest = divmod(at_ms, 1000)
    when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def references(body: bytes) -> list[dict[str, Any]]:
    """Returns the descriptors in a manifest that was accepted: config and layers, or the manifests of an index."""
    try:
        named = _decode(body)
    except msgspec.MsgspecError:  # accepted by a version that was less strict
        return []
    descriptors = [named.config or {}, *(named.layers or ()), *(named.manifests or ())]
    return [{key: one[key] for key in _KEPT if one.get(key)} for one in descriptors if one]


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
