"""``roadstead restore``."""

from __future__ import annotations

import pytest

from roadstead.oci import Digest
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.api.cli.test_completion import complete
from tests.databases import BOTH, SQLITE_ALONE
from tests.factories.images import image, layer
from tests.factories.registries import on_registry, push_image

DATABASES = BOTH

NEW = image([layer({"etc/version": b"2"})])


def tags(command: Command, repository: str = "library/app") -> dict[str, str]:
    """What each tag stands for."""
    return {row["name"]: row["digest"] for row in command.json("ls", repository)}


@pytest.fixture
def moved(command: Command) -> Command:
    """The tag `latest` stands for another image now."""
    on_registry(command.folder, lambda registry: push_image(registry, "library/app", NEW, "latest"))
    return command


def test_an_overwritten_tag_goes_back_and_forth(moved: Command) -> None:
    assert moved("restore", "library/app:latest").stdout == f"library/app:latest is {APP.digest} again.\n"
    assert tags(moved)["latest"] == APP.digest
    assert moved("restore", "library/app:latest").stdout == f"library/app:latest is {NEW.digest} again.\n"
    assert tags(moved)["latest"] == NEW.digest


def test_a_deleted_tag_comes_back(command: Command) -> None:
    command("rm", "library/app:multi")
    assert command.json("restore", "library/app:multi") == [
        {"repository": "library/app", "tags": [{"tag": "multi", "digest": PLATFORMS.digest}], "manifests": []}
    ]
    assert tags(command)["multi"] == PLATFORMS.digest


@pytest.mark.parametrize("length", [12, 19, 71])
def test_a_tag_goes_to_a_state_named_by_its_digest_or_the_beginning_of_it(moved: Command, length: int) -> None:
    assert moved("restore", "library/app:latest", "--to", APP.digest[:length]).exit_code == 0
    assert tags(moved)["latest"] == APP.digest


@pytest.mark.parametrize(
    ("wanted", "code", "said"),
    [
        (str(Digest.of(b"never")), 1, "its grace time is over"),
        ("sha256:0123", 1, "never was sha256:0123; `roadstead history library/app:latest` lists what it was"),
        ("latest", 2, "neither a digest nor the beginning of one"),
    ],
)
def test_a_state_that_is_none(moved: Command, wanted: str, code: int, said: str) -> None:
    result = moved("restore", "library/app:latest", "--to", wanted)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert tags(moved)["latest"] == NEW.digest


def test_a_deleted_manifest_comes_back_with_its_tags(command: Command) -> None:
    command("rm", f"library/app@{APP.digest}")
    result = command("restore", f"library/app@{APP.digest}")
    assert result.stdout == f"Restored the manifest library/app@{APP.digest} and its tags 1.0, latest.\n"
    assert tags(command)["1.0"] == APP.digest
    assert command("check", "--deep").exit_code == 0


def test_a_deleted_repository_comes_back(command: Command) -> None:
    before = tags(command)
    command("rm", "library/app", "--all", "--yes")
    assert command("restore", "library/app").stdout == "Restored library/app with 5 manifests and 3 tags.\n"
    assert tags(command) == before
    assert command("check", "--deep").exit_code == 0


@pytest.mark.parametrize("reference", ["library/app", f"library/app@{APP.digest}", "library/app:1.0", "nothing:1"])
def test_nothing_to_restore(command: Command, reference: str) -> None:
    result = command("restore", reference)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be restored" in result.stderr or "there is no repository" in result.stderr


@pytest.mark.parametrize("reference", ["library/app:1.0", f"library/app@{APP.digest}", "library/app"])
def test_what_was_collected_is_gone(command: Command, reference: str) -> None:
    command("rm", "library/app", "--all", "--yes")
    command("gc", "--grace", "0")
    assert command("restore", reference).exit_code == 1
    assert command("check", "--deep").exit_code == 0


def test_a_state_is_for_tags(command: Command) -> None:
    result = command("restore", "library/app", "--to", APP.digest)
    assert result.exit_code == 2
    assert "name REPO:TAG" in result.stderr


@pytest.mark.parametrize("words", [("restore", "library/app:latest"), ("rm", "library/app:latest"), ("gc",)])
def test_nothing_changes_while_the_registry_stands_still(moved: Command, words: tuple[str, ...]) -> None:
    moved("maintenance", "read-only")
    result = moved(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: the registry is read-only; `roadstead maintenance off` ends that\n"
    assert tags(moved)["latest"] == NEW.digest
    moved("maintenance", "off")
    by_settings = moved(*words, env={"ROADSTEAD_MAINTENANCE__MODE": "closed"})
    assert (by_settings.exit_code, by_settings.stdout) == (1, "")
    assert "by its settings (maintenance.mode)" in by_settings.stderr
    assert moved(*words).exit_code == 0


@SQLITE_ALONE  # a shell that completes words asks no server
def test_states_are_completed(moved: Command) -> None:
    data = f"--data {moved.folder}"
    states = [NEW.digest.removeprefix("sha256:"), APP.digest.removeprefix("sha256:")]  # bash breaks words at colons
    assert complete(f"roadstead restore {data} library/app:latest --to sha256:", moved.folder) == states
    assert complete(f"roadstead restore {data} library/app --to sha256:", moved.folder) == []
