"""``roadstead check``: what it prints, and its exit codes; what it finds is in tests/unit/registry."""

from __future__ import annotations

import json
import os

import pytest

from roadstead.cli.care.check import REMEDIES
from roadstead.registry.integrity.findings import FindingKind
from tests.api.cli.conftest import APP, Command
from tests.factories.registries import blob_file, on_registry, push_image

LAYER = APP.layers[0].digest


def test_nothing_is_damaged(command: Command) -> None:
    result = command("check")
    said = "No damage found: lengths only; --deep reads every byte\n"
    assert (result.exit_code, result.output) == (0, said), "also in a pipe: silence would say nothing"
    assert command.json("check", "--deep") == [{"summary": {"damage": 0, "note": 0, "quarantined": 0, "deep": True}}]
    assert "No damage found: lengths only; --deep reads every byte" in command.terminal("check", NO_COLOR="1")
    assert "No damage found: every byte was read" in command.terminal("check", "--deep", NO_COLOR="1")


def test_damage_is_named_and_has_exit_code_4(command: Command) -> None:
    os.truncate(blob_file(command.folder, LAYER), 1)
    result = command("check")
    assert result.exit_code == 4
    severity, kind, subject, detail, remedy = result.stdout.rstrip("\n").split("\t")
    assert (severity, kind, subject) == ("damage", "blob-length", LAYER)
    assert "it has 1 bytes instead of" in detail
    assert "--quarantine" in remedy
    result = command("check", "--json")
    finding, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, finding["kind"], finding["quarantined"]) == (4, "blob-length", False)
    assert summary["summary"]["damage"] == 1
    seen = command.terminal("check", columns=90, NO_COLOR="1")
    assert f"damage blob-length {LAYER}" in seen
    assert "Found damage in 1 place" in seen


def test_quarantine_puts_damage_aside_until_it_is_pushed_again(command: Command) -> None:
    file = blob_file(command.folder, LAYER)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = command("check", "--deep", "--quarantine", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout.splitlines()[0])["quarantined"] is True
    assert not file.exists()
    result = command("check")
    assert result.exit_code == 4
    assert "blob-quarantined" in result.stdout
    on_registry(command.folder, lambda registry: push_image(registry, "library/app", APP))
    assert command("check", "--deep").exit_code == 0


def test_notes_change_nothing(command: Command) -> None:
    blob_file(command.folder, LAYER).with_name("stray").write_bytes(b"?")
    result = command("check")
    assert result.exit_code == 0
    assert result.stdout.startswith("note\tbytes-unrecorded\t")
    assert "No damage found (1 note)" in command.terminal("check", NO_COLOR="1")


@pytest.mark.parametrize("keep", [100, 8192])
def test_a_catalogue_that_cannot_be_opened_is_a_finding(command: Command, keep: int) -> None:
    command("check")
    os.truncate(command.folder / "roadstead.db", keep)
    result = command("check", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout.splitlines()[0])["kind"] == "catalogue-damaged"


def test_what_takes_long_shows_a_bar_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a hole of some gigabytes takes long to hash and no space."""
    os.truncate(blob_file(command.folder, LAYER), 4 << 30)
    import sqlite3  # noqa: PLC0415 - only here

    with sqlite3.connect(command.folder / "roadstead.db") as connection:
        connection.execute("UPDATE blobs SET size_bytes = ? WHERE digest = ?", (4 << 30, LAYER))
    connection.close()
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = command.terminal("check", "--deep", columns=80)
    assert "blobs" in seen
    assert "GB" in seen
    assert f"blob-digest \x1b[0m\x1b[1m{LAYER}" in seen or LAYER in seen


def test_every_kind_of_finding_has_a_remedy() -> None:
    assert set(REMEDIES) == set(FindingKind)
