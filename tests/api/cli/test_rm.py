"""``roadstead rm``."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from roadstead.oci import Digest, RepositoryName
from roadstead.registry import Registry
from roadstead.registry.errors import BlobUnknownError, RepositoryUnknownError
from roadstead.registry.garbage.repository_removal import remove_repository
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.access import ALL_VISIBLE, BY_TEST
from tests.factories.registries import on_registry, opened, push_image, push_manifest

DATABASES = BOTH

EMPTY_INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'


def tags(command: Command, repository: str = "library/app") -> list[str]:
    return [row["name"] for row in command.json("ls", repository)]


def test_a_tag_goes_and_its_manifest_stays(command: Command) -> None:
    assert command("rm", "library/app:1.0").stdout == "Deleted the tag library/app:1.0.\n"
    assert tags(command) == ["latest", "multi"]
    assert command("inspect", f"library/app@{APP.digest}").exit_code == 0


def test_a_manifest_goes_with_its_tags(command: Command) -> None:
    result = command("rm", f"library/app@{APP.digest}")
    assert result.stdout == f"Deleted the manifest library/app@{APP.digest} and its tags 1.0, latest.\n"
    assert tags(command) == ["multi"]
    assert tags(command, "team/tool") == ["1.0"]


def test_for_scripts(command: Command) -> None:
    assert command.json("rm", "library/app:1.0") == [{"repository": "library/app", "tags": ["1.0"], "manifests": []}]
    assert command.json("rm", f"library/app@{APP.digest}") == [
        {"repository": "library/app", "tags": ["latest"], "manifests": [APP.digest]}
    ]
    assert command.json("rm", "library/app", "--all", "--yes") == [
        {"repository": "library/app", "tag_count": 1, "manifest_count": 4}
    ]


@pytest.mark.parametrize("reference", ["library/app:2.0", f"library/app@{Digest.of(b'')}", "nothing:1.0"])
def test_what_is_not_there(command: Command, reference: str) -> None:
    result = command("rm", reference)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: there is no ")


def test_all_of_a_repository(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.registry.garbage.repository_removal.STEP", 2)
    assert command("rm", "library/app", "--all", "--yes").stdout == "Deleted library/app with 3 tags and 5 manifests.\n"
    assert command.json("ls") == [{"name": "team/tool", "tags": 1, "manifests": 1}]
    assert command("ls", "library/app").exit_code == 1
    assert command("rm", "library/app", "--all", "--yes").exit_code == 1
    assert command("check", "--deep").exit_code == 0

    async def blob_is_gone(registry: Registry) -> bool:
        try:
            await registry.blobs.get(RepositoryName("library/app"), Digest(APP.image_id), visible=ALL_VISIBLE)
        except BlobUnknownError:
            return bool(
                await registry.blobs.get(RepositoryName("team/tool"), Digest(APP.image_id), visible=ALL_VISIBLE)
            )
        return False

    assert on_registry(command.folder, blob_is_gone)
    on_registry(command.folder, lambda registry: push_image(registry, "library/app", PLATFORMS, "again"))
    assert tags(command) == ["again"]


def test_a_person_is_asked(command: Command) -> None:
    seen = command.terminal("rm", "library/app", "--all", keys=b"n\n")
    assert "Delete library/app with 3 tags and 5 manifests? [y/N]" in seen
    assert "nothing was deleted" in seen
    assert len(tags(command)) == 3
    assert "Deleted library/app with" in command.terminal("rm", "library/app", "--all", keys=b"y\n")
    assert command("ls", "library/app").exit_code == 1


def test_a_script_is_refused_without_yes(command: Command) -> None:
    result = command("rm", "library/app", "--all", input="y\n")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    assert len(tags(command)) == 3


def test_pushes_meanwhile_leave_nothing_dangling(command: Command) -> None:
    async def push(registry: Registry) -> None:
        for number in range(200):
            body = EMPTY_INDEX.replace(b"[]}", b'[],"annotations":{"n":"%d"}}' % number)
            await push_manifest(registry, "library/app", body, f"t{number}")

    async def run() -> None:
        async with opened(command.folder) as pushing, opened(command.folder) as removing:
            task = asyncio.create_task(push(pushing))
            for _ in range(10):
                await asyncio.sleep(0.01)
                with contextlib.suppress(RepositoryUnknownError):  # the last one was quicker than the next push
                    await remove_repository(removing, RepositoryName("library/app"), cause=BY_TEST)
            await task

    asyncio.run(run())
    assert command("check", "--deep").exit_code == 0
