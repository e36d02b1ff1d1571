"""``roadstead history``."""

from __future__ import annotations

import re

import pytest

from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName, Tag
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.images import image, layer
from tests.factories.registries import on_registry, push_image

DATABASES = BOTH

NEW = image([layer({"etc/version": b"2"})])


@pytest.fixture(autouse=True)
def moved(command: Command) -> None:
    """The tag `latest` is moved."""
    on_registry(command.folder, lambda registry: push_image(registry, "library/app", NEW, "latest"))


def test_what_a_tag_stood_for_newest_first(command: Command) -> None:
    rows = [line.split("\t") for line in command("history", "library/app:latest").stdout.splitlines()]
    assert [(row[1], row[2], row[3], row[4], row[5]) for row in rows] == [
        ("latest", "push", str(NEW.digest), "there", "tester"),
        ("latest", "push", str(APP.digest), "there", "tester"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[0]) for row in rows)


def test_every_change_of_a_repository(command: Command) -> None:
    assert [(row["tag"], row["action"]) for row in command.json("history", "library/app")] == [
        ("latest", "push"),
        ("multi", "push"),
        ("latest", "push"),
        ("1.0", "push"),
    ]
    assert [row["digest"] for row in command.json("history", "library/app", "--limit", "2")] == [
        NEW.digest,
        PLATFORMS.digest,
    ]


def test_pages_make_no_difference(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = command("history", "library/app").stdout
    monkeypatch.setattr("roadstead.cli.content.history.PAGE", 1)
    assert command("history", "library/app").stdout == whole
    assert command("history", "library/app", "--limit", "3").stdout.splitlines() == whole.splitlines()[:3]


def test_it_says_what_can_be_restored_and_what_is_gone(command: Command) -> None:
    command("rm", f"library/app@{APP.digest}")
    deleted = command.json("history", "library/app:1.0")
    assert [(row["action"], row["is_there"]) for row in deleted] == [("delete", False), ("push", False)]
    assert deleted[0]["restorable_until"] > deleted[0]["at"]
    assert "\trestorable until 2" in command("history", "library/app:1.0").stdout
    command("gc", "--grace", "0")
    assert [row["restorable_until"] for row in command.json("history", "library/app:1.0")] == [None, None]
    assert "\tgone\t" in command("history", "library/app:1.0").stdout


def test_who_did_it_is_no_code_for_the_terminal(command: Command) -> None:
    eve = Cause(actor="eve\x1b[31m")
    on_registry(
        command.folder,
        lambda registry: registry.tags.delete(RepositoryName("library/app"), Tag("1.0"), cause=eve),
    )
    assert "\teve\\x1b[31m\n" in command("history", "library/app:1.0").stdout
    assert command.json("history", "library/app:1.0")[0]["by"] == eve.actor


def test_at_a_terminal(command: Command) -> None:
    command("rm", f"library/app@{APP.digest}")
    seen = command.terminal("history", "library/app:1.0", columns=110, NO_COLOR="1", TZ="UTC").splitlines()
    assert seen[0].split() == ["WHEN", "TAG", "ACTION", "DIGEST", "STATE", "BY"]
    until = r"restorable until \d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"1\.0  delete  sha256:[0-9a-f]{{12}}  {until}  local:\S+$", seen[1])
    assert max(map(len, seen)) <= 110
    assert "library/app:never has no history" in command.terminal("history", "library/app:never")


def test_a_history_outlives_its_tag_and_its_repository(command: Command) -> None:
    command("rm", "library/app", "--all", "--yes")
    assert [row["action"] for row in command.json("history", "library/app:1.0")] == ["delete", "push"]


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("nothing", 1, "there is no repository nothing"),
        (f"library/app@{Digest.of(b'')}", 2, "a digest has no history"),
        ("library/app:-", 2, "library/app:-"),
    ],
)
def test_what_has_no_history(command: Command, reference: str, code: int, said: str) -> None:
    result = command("history", reference)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_tag_that_never_was_has_an_empty_history(command: Command) -> None:
    result = command("history", "library/app:never")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
