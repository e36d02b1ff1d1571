"""``roadstead gc``."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roadstead.database import Transaction
from roadstead.oci import Digest
from roadstead.registry import Registry, layout
from roadstead.registry.garbage.holds import hold_collection
from roadstead.registry.operation.confirmation import await_confirmation
from roadstead.storage import FilesystemStore
from roadstead.storage.set_aside import SetAside
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.registries import on_registry, push_blob

DATABASES = BOTH

OVER = "it was deleted, and its time is over"
NOTHING = {
    "expired": 0,
    "links": 0,
    "blobs": 0,
    "blob_bytes": 0,
    "manifests": 0,
    "untagged": 0,
    "repositories": 0,
    "failed": 0,
    "looked_at": 0,
}


def blobs(command: Command) -> set[str]:
    """The digests of the blobs that are stored."""
    below = command.folder / "registry" / layout.BLOBS
    return {f"sha256:{path.parent.name}" for path in below.glob("sha256/*/*/data")}


def test_nothing_is_due_before_its_time(command: Command) -> None:
    before = blobs(command)
    command("rm", "library/app", "--all", "--yes")
    assert command("gc").stdout == "Nothing was due.\n"
    assert command.json("gc") == [NOTHING]
    assert command("gc", "--grace", "3600").stdout == "Nothing was due.\n"
    assert command("gc", "--dry-run").stdout == ""
    assert blobs(command) == before


def test_what_was_deleted_is_freed_and_nothing_else(command: Command) -> None:
    command("rm", f"library/app@{PLATFORMS.digest}")
    for child in PLATFORMS.images:
        command("rm", f"library/app@{child.digest}")
    result = command("gc", "--grace", "0")
    assert result.stdout.startswith("Freed ")
    assert result.stdout.endswith(": 4 blobs and 3 manifests.\n")
    assert command("check", "--deep").exit_code == 0
    assert APP.image_id in blobs(command)
    assert not blobs(command) & {child.image_id for child in PLATFORMS.images}
    assert command("gc", "--grace", "0").stdout == "Nothing was due.\n"


def test_a_dry_run_shows_what_would_go_and_changes_nothing(command: Command) -> None:
    lonely = on_registry(command.folder, lambda registry: push_blob(registry, "team/tool", b"lonely"))
    command("rm", f"library/app@{PLATFORMS.digest}")
    before = blobs(command)
    rows = [line.split("\t") for line in command("gc", "--dry-run", "--grace", "0").stdout.splitlines()]
    assert [row for row in rows if row[0] == "manifest"] == [
        [
            "manifest",
            PLATFORMS.digest,
            str(len(PLATFORMS.manifest)),
            "library/app",
            "it was deleted, and its time is over",
        ]
    ]
    assert ["blob", lonely, "6", "team/tool", "no manifest names it"] in rows
    shown = command.json("gc", "--dry-run", "--grace", "0")
    assert [row["digest"] for row in shown] == [row[1] for row in rows]
    assert set(shown[0]) == {"kind", "digest", "size_bytes", "where", "reason"}
    assert blobs(command) == before
    command("gc", "--grace", "0")
    assert before - blobs(command) == {row["digest"] for row in shown if row["kind"] == "blob"}


def test_untagged_manifests_go_only_when_asked_for(command: Command) -> None:
    command("rm", "library/app:multi")
    assert command("gc", "--grace", "0").stdout == "Nothing was due.\n"
    shown = command.json("gc", "--dry-run", "--grace", "0", "--untagged")
    assert [(row["digest"], row["reason"]) for row in shown] == [
        (PLATFORMS.digest, "no tag reaches it; it goes to the trash first")
    ]
    assert command.json("gc", "--untagged") == [NOTHING]  # a week has not gone by
    [done] = command.json("gc", "--untagged", "--grace", "0")
    assert (done["untagged"], done["manifests"], done["blobs"]) == (3, 3, 4)
    assert command("check", "--deep").exit_code == 0
    assert command.json("inspect", "library/app:1.0")[0]["referrers"] != []


def test_at_a_terminal(command: Command) -> None:
    command("rm", "library/app", "--all", "--yes")
    seen = command.terminal("gc", "--dry-run", "--grace", "0", columns=100, NO_COLOR="1")
    assert seen.splitlines()[0].split() == ["KIND", "DIGEST", "SIZE", "REPOSITORY", "WHY"]
    assert "items of" in seen.splitlines()[-1]
    assert max(map(len, seen.splitlines())) <= 100
    assert "Nothing is due" in command.terminal("gc", "--dry-run")
    assert "Freed" in command.terminal("gc", "--grace", "0")


def test_a_backup_that_holds_blobs_up_is_named(command: Command) -> None:
    command("rm", "library/app", "--all", "--yes")
    before = blobs(command)

    async def collect(registry: Registry) -> str:
        async with hold_collection(registry.database, registry.clock, "a backup to /mnt"):
            return command.terminal("gc", "--grace", "0")

    seen = on_registry(command.folder, collect)
    assert "Blobs stay as long as this goes on: a backup to /mnt" in seen
    assert blobs(command) == before
    assert command("gc").exit_code == 0
    assert len(blobs(command)) < len(before)


def test_what_cannot_be_removed_is_told_and_the_rest_goes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("rm", "library/app", "--all", "--yes")
    spoiled = layout.blob_key(Digest(PLATFORMS.images[0].image_id))

    def failing(original: Callable[..., object]) -> Callable[..., object]:
        def call(self: object, key: str, *more: object) -> object:
            if key == spoiled:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(self, key, *more)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(FilesystemStore, "_delete", failing(FilesystemStore._delete))
        patched.setattr(SetAside, "_take", failing(SetAside._take))  # of whom others may take over
        result = command("gc", "--grace", "0")
    assert result.exit_code == 3
    assert "1 object could not be removed" in result.stdout
    assert "Input/output error" in result.stderr
    assert PLATFORMS.images[0].image_id in blobs(command)
    assert PLATFORMS.images[1].image_id not in blobs(command)
    assert command("check", "--deep").exit_code == 0
    assert ": 1 blob and 0 manifests." in command("gc", "--grace", "0").stdout


@pytest.mark.parametrize("words", [("--grace", "-1"), ("--grace", "soon"), ("library/app",)])
def test_a_wish_that_is_none(command: Command, words: tuple[str, ...]) -> None:
    assert command("gc", *words).exit_code == 2


def test_it_says_how_far_it_is(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        "roadstead.cli.terminal.progress.ProgressBar.begin", lambda _self, *words, **_more: told.append(words)
    )
    command("rm", "library/app", "--all", "--yes")
    command("gc", "--grace", "0")
    assert told[0][0] == "collecting"


# ── After a restoration ───────────────────────────────────────────────────────────────────────────────────────


def wait_for_confirmation(command: Command) -> Digest:
    """As a restoration leaves it, beside a blob that it does not know; the blob."""

    async def work(registry: Registry) -> None:
        def row(transaction: Transaction) -> Awaitable[None]:
            return await_confirmation(transaction, "the backup of yesterday was restored", 1_700_000_000_000)

        await registry.database.write(row)

    on_registry(command.folder, work)
    stray = Digest.of(b"pushed since")
    file = command.folder / "registry" / layout.blob_key(stray)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"pushed since")
    return stray


def test_nothing_goes_before_it_is_confirmed(command: Command) -> None:
    stray = wait_for_confirmation(command)
    command("rm", f"library/app@{PLATFORMS.digest}")
    before = blobs(command)
    refused = command("gc", "--grace", "0")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "since the backup of yesterday was restored: `roadstead gc --dry-run` shows" in refused.stderr
    assert "nothing is removed until `gc --confirm`: the backup of yesterday was restored" in command("stats").stdout
    shown = command("gc", "--dry-run").stdout
    assert "Blobs    1 (12 B) that it does not know; they stay unless --remove-unrecorded is given" in shown
    assert command("check", "--quarantine").exit_code == 1
    assert command("check").exit_code == 0
    unasked = command("gc", "--confirm")
    assert unasked.exit_code == 1
    assert "look at what waits, then add --yes" in unasked.stderr
    assert "Since    2023-11-14T22:13:20Z" in unasked.stdout
    assert blobs(command) == before
    assert command("gc", "--confirm", "--yes").exit_code == 0
    assert command("gc", "--grace", "0").exit_code == 0
    assert stray.encoded in {digest.partition(":")[2] for digest in blobs(command)}, "it stays"
    assert "nothing waits for a confirmation" in command("gc", "--confirm").stderr


def test_whoever_is_there_is_asked(command: Command) -> None:
    stray = wait_for_confirmation(command)
    assert "may these go?" in command.terminal("gc", "--confirm", keys=b"n\n", NO_COLOR="1")
    assert command("gc").exit_code == 1
    seen = command.terminal("gc", "--confirm", "--remove-unrecorded", keys=b"y\n", NO_COLOR="1")
    assert "1 blob without a record will be collected" in seen
    assert command("gc").exit_code == 0
    assert stray not in blobs(command)


@pytest.mark.parametrize("options", [("--yes",), ("--remove-unrecorded",), ("--confirm", "--grace", "0")])
def test_options_that_do_not_go_together(command: Command, options: tuple[str, ...]) -> None:
    assert command("gc", *options).exit_code == 2
