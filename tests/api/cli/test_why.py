"""``roadstead why``."""

from __future__ import annotations

import pytest

from roadstead.oci import Digest
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.registries import on_registry, push_blob

DATABASES = BOTH


def test_a_blob_is_kept_by_every_manifest_that_names_it(command: Command) -> None:
    result = command("why", f"library/app@{APP.image_id}")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"The blob {APP.image_id} is kept, since",
        f"  the manifest library/app@{APP.digest} names it",
        f"  the manifest team/tool@{APP.digest} names it",
    ]
    assert command.json("why", f"team/tool@{APP.image_id}") == [
        {"digest": APP.image_id, "keeper": "manifest", "where": f"{repository}@{APP.digest}", "until": None}
        for repository in ("library/app", "team/tool")
    ]


def test_a_manifest_is_kept_by_tags_indexes_and_its_repository(command: Command) -> None:
    assert command("why", "library/app:1.0").stdout.splitlines() == [
        f"The manifest {APP.digest} is kept, since",
        "  the tag library/app:1.0 points at it",
        "  the tag library/app:latest points at it",
        "  the tag team/tool:1.0 points at it",
        f"  the repository has it as library/app@{APP.digest}",
        f"  the repository has it as team/tool@{APP.digest}",
    ]
    child = PLATFORMS.images[0].digest
    assert {row["keeper"] for row in command.json("why", f"library/app@{child}")} == {"index", "link"}


def test_what_can_be_restored_is_kept_until_then(command: Command) -> None:
    command("rm", f"library/app@{PLATFORMS.digest}")
    for child in PLATFORMS.images:
        command("rm", f"library/app@{child.digest}")
    [kept] = command.json("why", f"library/app@{PLATFORMS.images[0].image_id}")
    assert (kept["keeper"], kept["where"]) == ("trash", f"library/app@{PLATFORMS.images[0].digest}")
    assert "was deleted and can be restored until 2" in command("why", f"library/app@{PLATFORMS.digest}").stdout


def test_a_blob_waits_for_its_manifest(command: Command) -> None:
    lonely = on_registry(command.folder, lambda registry: push_blob(registry, "team/tool", b"lonely"))
    [kept] = command.json("why", f"team/tool@{lonely}")
    assert (kept["keeper"], kept["where"]) == ("waiting", "team/tool")
    assert kept["until"] is not None


def test_nothing_keeps_it(command: Command) -> None:
    digest = Digest.of(b"nothing")
    result = command("why", f"library/app@{digest}")
    assert (result.exit_code, result.stdout) == (1, f"There is no blob or manifest {digest}.\n")
    lonely = on_registry(command.folder, lambda registry: push_blob(registry, "team/tool", b"lonely"))
    command("maintenance", "off")
    assert command("why", f"team/tool@{lonely}").exit_code == 0
    command("gc", "--grace", "0")
    assert command("why", f"team/tool@{lonely}").exit_code == 1
    assert command("why", f"team/tool@{lonely}", "--json").stdout == ""


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("library/app", 2, "name a digest or a tag"),
        ("library/app:never", 1, "there is no library/app:never"),
        ("nothing:1", 1, "there is no repository nothing"),
    ],
)
def test_what_cannot_be_explained(command: Command, reference: str, code: int, said: str) -> None:
    result = command("why", reference)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_at_a_terminal(command: Command) -> None:
    command("rm", f"library/app@{PLATFORMS.digest}")
    seen = command.terminal("why", f"library/app@{PLATFORMS.digest}", TZ="UTC")
    assert "can be restored until 2" in seen
    assert "Z" not in seen
