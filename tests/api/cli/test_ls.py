"""``roadstead ls``."""

from __future__ import annotations

import asyncio
import re

import pytest

from roadstead.registry import Registry
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.registries import make_folder, on_registry, push_image, push_manifest

DATABASES = BOTH

EMPTY_INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_repositories_for_scripts(command: Command) -> None:
    assert command("ls").stdout == "library/app\t3\t5\nteam/tool\t1\t1\n"
    assert command.json("ls") == [
        {"name": "library/app", "tags": 3, "manifests": 5},
        {"name": "team/tool", "tags": 1, "manifests": 1},
    ]
    assert command("ls", "--limit", "1").stdout == "library/app\t3\t5\n"


def test_tags_for_scripts(command: Command) -> None:
    result = command("ls", "library/app")
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[:4] for line in lines] == [
        ["1.0", APP.digest, "image", "1"],
        ["latest", APP.digest, "image", "1"],
        ["multi", PLATFORMS.digest, "index", "2"],
    ]
    assert all(re.fullmatch(TIME, line[4]) for line in lines)
    (first, *_) = command.json("ls", "library/app", "--limit", "1")
    assert re.fullmatch(TIME, first.pop("updated"))
    assert first == {
        "name": "1.0",
        "digest": APP.digest,
        "media_type": APP.media_type,
        "artifact_type": "application/vnd.oci.image.config.v1+json",
        "platforms": 1,
    }


def test_no_such_repository(command: Command) -> None:
    result = command("ls", "nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: there is no repository nothing; `roadstead ls` lists those there are\n"


def test_on_a_terminal(command: Command) -> None:
    lines = command.terminal("ls", NO_COLOR="1").splitlines()
    assert lines == [
        "REPOSITORY   TAGS  MANIFESTS",
        "library/app     3          5",
        "team/tool       1          1",
    ]


@pytest.mark.parametrize(
    ("columns", "titles", "digits"),
    [
        (40, ["TAG", "UPDATED"], 0),
        (60, ["TAG", "DIGEST", "PLATFORMS", "UPDATED"], 12),
        (80, ["TAG", "DIGEST", "TYPE", "PLATFORMS", "UPDATED"], 12),
        (160, ["TAG", "DIGEST", "TYPE", "PLATFORMS", "UPDATED"], 64),
    ],
)
def test_what_does_not_fit_is_left_out(command: Command, columns: int, titles: list[str], digits: int) -> None:
    seen = command.terminal("ls", "library/app", columns=columns, NO_COLOR="1")
    heading, *rows = seen.splitlines()
    assert [title for title in heading.split() if title in titles] == titles
    assert len(rows) == 3
    assert all(len(line) <= columns for line in seen.splitlines())
    found = re.search(r"sha256:([0-9a-f]+)", seen)
    assert (len(found[1]) if found else 0) == digits


def test_colour_is_only_for_terminals_that_want_it(command: Command) -> None:
    assert "\x1b[" in command.terminal("ls")
    assert "\x1b[" not in command.terminal("ls", NO_COLOR="1")
    assert "\x1b[" not in command.terminal("ls", TERM="dumb")
    assert "\x1b[" not in command("ls").stdout


def test_an_empty_registry_says_what_to_do(tmp_path: object) -> None:
    command = Command(make_folder(tmp_path / "empty"))  # type: ignore[operator]
    assert command("ls").output == ""
    assert "docker push" in command.terminal("ls")


def test_listings_go_over_pages(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.cli.content.ls.PAGE", 3)
    monkeypatch.setattr("roadstead.cli.content.ls.REMEMBERED", 2)
    monkeypatch.setattr("roadstead.cli.terminal.output.BLOCK", 2)

    async def fill(registry: Registry) -> None:
        bodies = [EMPTY_INDEX.replace(b"[]}", b'[],"annotations":{"n":"%d"}}' % number) for number in range(10)]
        await asyncio.gather(
            *(push_manifest(registry, "many/tags", body, f"t{number}") for number, body in enumerate(bodies)),
            *(push_manifest(registry, f"many/r{number}", EMPTY_INDEX, "t") for number in range(10)),
        )

    on_registry(command.folder, fill)
    assert [row["name"] for row in command.json("ls", "many/tags")] == [f"t{number}" for number in range(10)]
    assert [row["name"] for row in command.json("ls")][1:11] == [f"many/r{number}" for number in range(10)]
    assert len(command("ls", "many/tags", "--limit", "7").stdout.splitlines()) == 7


def test_a_repository_without_tags_is_no_error(command: Command) -> None:
    on_registry(command.folder, lambda registry: push_image(registry, "untagged", APP))
    result = command("ls", "untagged")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 manifest that no tag points at" in command.terminal("ls", "untagged")


def test_options_may_come_from_a_settings_file(command: Command) -> None:
    settings = command.folder.parent / "roadstead.yaml"
    settings.write_text(f"data:\n  folder: {command.folder}\n")
    assert Command(command.folder).process("ls", "--config", str(settings)).stdout.startswith("library/app\t")
