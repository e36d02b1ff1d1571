"""The document of an event: fields as registry:2 has them, an id that stays, nothing that an event can break."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.events import Cause, Event, EventAction, StoredEvent
from roadstead.testing.images import image, index
from roadstead.webhooks.envelope import BLOB, Source, references, timestamp

SOURCE = Source("6f0c2a2e-8f44-4f0f-9c3b-0d7f6f3f6a01", "registry:5000")
CAUSE = Cause(
    actor="alice",
    request_id="r1",
    client="192.0.2.7:41000",
    host="registry.example.com",
    method="PUT",
    user_agent="docker/27",
    base_url="https://registry.example.com",
)
DIGEST = "sha256:" + "ab" * 32
PUSH = Event(
    action=EventAction.PUSH,
    repository="team/app",
    digest=DIGEST,
    media_type="application/vnd.oci.image.manifest.v1+json",
    size_bytes=475,
    tag="1.0",
    cause=CAUSE,
)


def event_of(event: Event, body: bytes | None = None, source: Source = SOURCE) -> dict[str, Any]:
    (found,) = json.loads(source.envelope(StoredEvent(7, 1_768_243_504_123, event), body))["events"]
    return dict(found)


def test_a_push_has_every_field() -> None:
    event = event_of(PUSH)
    assert re.fullmatch(r"[0-9a-f-]{36}", event.pop("id"))
    assert event == {
        "timestamp": "2026-01-12T18:45:04.123Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": DIGEST,
            "size": 475,
            "length": 475,
            "repository": "team/app",
            "url": f"https://registry.example.com/v2/team/app/manifests/{DIGEST}",
            "tag": "1.0",
        },
        "request": {
            "id": "r1",
            "addr": "192.0.2.7:41000",
            "host": "registry.example.com",
            "method": "PUT",
            "useragent": "docker/27",
        },
        "actor": {"name": "alice"},
        "source": {"addr": "registry:5000", "instanceID": SOURCE.instance},
    }


def test_a_mount_says_where_the_blob_came_from_and_a_blob_is_below_blobs() -> None:
    event = Event(
        action=EventAction.MOUNT,
        repository="b",
        digest=DIGEST,
        media_type=BLOB,
        size_bytes=1,
        source_repository="a",
        cause=CAUSE,
    )
    target = event_of(event)["target"]
    assert target["fromRepository"] == "a"
    assert target["url"] == f"https://registry.example.com/v2/b/blobs/{DIGEST}"


@pytest.mark.parametrize(
    ("tag", "target"),
    [
        ("", {"digest": DIGEST, "repository": "a"}),
        ("1.0", {"digest": "", "repository": "a", "tag": "1.0"}),
    ],
)
def test_a_deletion_only_names_and_that_of_a_tag_does_not_name_the_manifest_that_stays(
    tag: str, target: dict[str, str]
) -> None:
    deleted = Event(action=EventAction.DELETE, repository="a", digest=DIGEST, media_type=BLOB, tag=tag, cause=CAUSE)
    assert event_of(deleted)["target"] == target


def test_what_nobody_asked_for_has_no_request_and_the_url_of_the_settings() -> None:
    event = Event(action=EventAction.PUSH, repository="a", digest=DIGEST, media_type="m", size_bytes=1, cause=Cause())
    alone = event_of(event)
    assert (alone["request"], alone["actor"]) == ({}, {})
    assert "url" not in alone["target"]
    told = event_of(event, source=Source(SOURCE.instance, SOURCE.address, "https://registry.example.com/r"))
    assert told["target"]["url"] == f"https://registry.example.com/r/v2/a/manifests/{DIGEST}"


def test_the_id_is_that_of_the_event_and_of_no_other() -> None:
    same = StoredEvent(7, 1_000, PUSH)
    assert SOURCE.event_id(same) == SOURCE.event_id(StoredEvent(7, 1_000, PUSH))
    others = [
        SOURCE.event_id(StoredEvent(8, 1_000, PUSH)),
        SOURCE.event_id(StoredEvent(7, 1_001, PUSH)),  # the same number after a restored backup
        Source("0f0c2a2e-8f44-4f0f-9c3b-0d7f6f3f6a01", "registry:5000").event_id(same),
    ]
    assert len({SOURCE.event_id(same), *others}) == 4


def test_references_are_those_of_the_manifest_without_embedded_data() -> None:
    content = image(b"layer", b"two")
    found = references(content.content)
    assert [one["digest"] for one in found] == [
        each["digest"] for each in [json.loads(content.content)["config"], *json.loads(content.content)["layers"]]
    ]
    children = index(content)
    assert [one["digest"] for one in references(children.content)] == [content.digest]
    embedded = {"config": {"mediaType": "m", "digest": DIGEST, "size": 1, "data": "AAAA", "annotations": {"a": "b"}}}
    assert references(json.dumps(embedded).encode()) == [
        {"mediaType": "m", "digest": DIGEST, "size": 1, "annotations": {"a": "b"}}
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"config": 1}', b'{"layers": {"a": 1}}', b"\xff"])
def test_references_of_something_else_are_none(body: bytes) -> None:
    assert references(body) == []


@given(agent=st.text(), actor=st.text(), tag=st.text())
def test_any_text_makes_a_document(agent: str, actor: str, tag: str) -> None:
    cause = Cause(actor=actor, user_agent=agent)
    event = Event(action=EventAction.PULL, repository="a", digest=DIGEST, tag=tag, cause=cause)
    assert event_of(event)["action"] == "pull"


def test_times_before_a_second_have_three_digits() -> None:
    assert timestamp(1_005) == "1970-01-01T00:00:01.005Z"
