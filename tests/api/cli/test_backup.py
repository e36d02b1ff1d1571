"""``roadstead backup`` and ``restore-backup``: what they print, and their exit codes; what they do is in tests/unit."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from roadstead.backup import BackupFolder
from roadstead.backup.folder import hash_file, manifest_sum
from roadstead.cli import program
from roadstead.oci import Digest
from tests.api.cli.conftest import APP, Command
from tests.factories.registries import blob_file, on_registry, push_blob

LAYER = APP.layers[0].digest


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to"


def roadstead(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_there_and_back(command: Command, to: Path, tmp_path: Path) -> None:
    result = command("backup", str(to), "--json", "--keep", "3")
    assert result.exit_code == 0
    (taken,) = lines(result)
    snapshot = taken["snapshot"]
    assert isinstance(snapshot, dict)
    assert (snapshot["missing"], snapshot["has_secrets"]) == ([], False)
    assert taken["pruned"] == {"snapshots": [], "blobs": 0, "bytes": 0}
    assert lines(roadstead("backup", to, "--list", "--json")) == [snapshot]
    listed = roadstead("backup", to, "--list").stdout.rstrip("\n").split("\t")
    assert listed == [snapshot["name"], str(snapshot["blobs"]), str(snapshot["blob_bytes"]),
                      str(snapshot["copied_bytes"]), "no", "0"]  # fmt: skip
    verified = roadstead("backup", to, "--verify")
    assert (verified.exit_code, verified.stdout) == (0, "No damage found in 1 snapshot: every byte was read\n")
    result = roadstead("restore-backup", to, "--data", tmp_path / "new", "--json")
    assert result.exit_code == 0
    restored, summary = lines(result)
    assert isinstance(restored["restored"], dict)
    assert restored["restored"]["snapshot"] == snapshot["name"]
    assert restored["restored"]["blobs"] == snapshot["blobs"]
    assert summary["summary"] == {"damage": 0, "note": 0, "quarantined": 0, "deep": True}
    before, after = (
        roadstead("ls", "library/app", "--data", data, "--json") for data in (command.folder, tmp_path / "new")
    )
    assert before.stdout == after.stdout


def test_for_people(command: Command, to: Path, tmp_path: Path) -> None:
    seen = command.terminal("backup", str(to), "--with-secrets", NO_COLOR="1")
    assert "Snapshot" in seen
    assert "included" in seen
    assert "not included (--with-secrets)" in command("backup", str(to)).stdout
    listed = command.terminal("backup", str(to), "--list", NO_COLOR="1")
    assert listed.startswith("SNAPSHOT")
    assert len(listed.splitlines()) == 3
    restored = Command(tmp_path / "new").terminal("restore-backup", str(to), NO_COLOR="1")
    assert "As of" in restored
    assert "No damage found: every byte was read" in restored


def test_damage_in_the_registry_is_named_and_has_exit_code_4(command: Command, to: Path) -> None:
    blob_file(command.folder, LAYER).unlink()
    result = command("backup", str(to))
    assert result.exit_code == 4
    assert f"damage\tblob-not-copied\t{LAYER}\tits bytes are missing" in result.stdout
    assert "Missing" in result.stdout


def test_damage_in_the_backup_is_named_and_has_exit_code_4(command: Command, to: Path, tmp_path: Path) -> None:
    command("backup", str(to))
    file = next(to.glob(f"blobs/sha256/*/{LAYER.partition(':')[2]}"))
    os.truncate(file, 1)
    result = roadstead("restore-backup", to, "--data", tmp_path / "new")
    assert result.exit_code == 4
    assert LAYER in result.output
    result = roadstead("backup", to, "--verify", "--json")
    assert result.exit_code == 4
    found, summary = lines(result)
    assert (found["subject"], summary["summary"]) == (LAYER, {"snapshots": 1, "damage": 1})
    result = roadstead("restore-backup", to, "--data", tmp_path / "new", "--skip-damaged")
    assert result.exit_code == 4
    assert f"damage\tblob-not-restored\t{LAYER}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("backup", "TO", "--list", "--verify"), 2, "exclude"),
        (("backup", "TO", "--snapshot", "x"), 2, "--verify"),
        (("backup", "TO", "--keep", "0"), 2, "--keep"),
        (("backup", "nowhere", "--list"), 3, "holds no backup"),
        (("backup", "TO", "--verify", "--snapshot", "x"), 1, "has no snapshot x"),
        (("backup", "TO", "--prune"), 2, "--keep"),
        (("backup", "TO", "--prune", "--keep", "1", "--list"), 2, "exclude"),
        (("backup", "nowhere", "--prune", "--keep", "1"), 3, "holds no backup"),
        (("backup", "OTHER"), 3, "not empty"),
        (("backup", "DATA"), 3, "is inside"),
        (("backup", "DATA/here"), 3, "is inside"),
        (("backup", "DATA/registry/here"), 3, "is inside"),
        (("restore-backup", "TO", "--data", "TO"), 3, "is inside the backup"),
        (("restore-backup", "TO", "--data", "TO/new"), 3, "is inside the backup"),
        (("restore-backup", "TO"), 1, "--force"),
        (("restore-backup", "TO", "--snapshot", "x"), 1, "has no snapshot x"),
        (("restore-backup", "DATA"), 3, "holds no backup"),
    ],
)
def test_refusals(command: Command, to: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    command("backup", str(to))
    (to.parent / "other" / "photos").mkdir(parents=True)
    places = {"TO": to, "DATA": command.folder, "OTHER": to.parent / "other"}
    spelt = [str(places[first] / rest) if (first := argument.partition("/")[0]) in places else argument
             for argument in arguments for rest in (argument.partition("/")[2],)]  # fmt: skip
    result = roadstead(*spelt) if "--data" in spelt else command(*spelt)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_backup_that_is_being_taken_refuses_others(command: Command, to: Path) -> None:
    command("backup", str(to))
    with BackupFolder(to).locked():
        result = command("backup", str(to))
    assert result.exit_code == 1
    assert "another process is working on" in result.stderr


def test_a_damaged_catalogue_is_not_backed_up(command: Command, to: Path) -> None:
    database = command.folder / "roadstead.db"
    with closing(sqlite3.connect(database)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tags'").fetchone()[0]
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    result = command("backup", str(to))
    assert result.exit_code == 4
    assert "roadstead check" in result.stderr
    assert roadstead("backup", to, "--list").stdout == ""


def test_the_scrub(command: Command) -> None:
    assert command("scrub").stdout == "Scrub  no pass yet\n"
    assert "No damage" in command("scrub", "--now").stdout
    assert "no damage" in command("scrub").stdout
    os.truncate(blob_file(command.folder, LAYER), 1)
    result = command("scrub", "--now", "--json")
    assert result.exit_code == 4
    found, state = lines(result)
    assert (found["kind"], found["subject"]) == ("blob", LAYER)
    assert isinstance(state["scrub"], dict)
    assert state["scrub"]["completed_damage"] == 1
    assert command("scrub").exit_code == 4
    assert command("scrub", "--bytes-per-second", "2000").exit_code == 2
    assert "1 in quarantine" in command("stats").stdout


def test_a_damaged_snapshot_is_listed_and_keeps_others_from_being_pruned(command: Command, to: Path) -> None:
    for _ in range(2):
        command("backup", str(to))
    first, second = BackupFolder(to).names()
    (to / "snapshots" / second / "manifest.json").write_bytes(b"{")
    result = roadstead("backup", to, "--list")
    assert result.exit_code == 4
    whole, damaged = result.stdout.splitlines()
    assert whole.startswith(f"{first}\t")
    assert damaged.startswith(f"damage\t{second}\tmanifest.json")
    assert lines(roadstead("backup", to, "--list", "--json"))[1]["subject"] == second
    result = command("backup", str(to), "--keep", "2", "--json")
    assert result.exit_code == 4
    (taken,) = lines(result)
    assert isinstance(taken["snapshot"], dict)
    assert (taken["snapshot"]["name"], taken["pruned"]) == (BackupFolder(to).names()[-1], None)
    assert "nothing was pruned" in result.stderr
    assert command("backup", str(to), "--keep", "1").exit_code == 0, "it is no longer among those that stay"


def test_pruning_alone(command: Command, to: Path) -> None:
    for _ in range(3):
        command("backup", str(to))
    names = BackupFolder(to).names()
    (done,) = lines(roadstead("backup", to, "--prune", "--keep", "2", "--json"))
    assert done == {"pruned": {"snapshots": names[:1], "blobs": 0, "bytes": 0}}
    assert roadstead("backup", to, "--prune", "--keep", "2").stdout == "Pruned  0 snapshots, 0 blobs (0 B)\n"
    assert BackupFolder(to).names() == names[1:]


def test_a_backup_without_its_marker_has_exit_code_4(command: Command, to: Path, tmp_path: Path) -> None:
    command("backup", str(to))
    (to / "backup.json").write_bytes(b"")
    for result in (
        command("backup", str(to)),
        roadstead("backup", to, "--verify"),
        roadstead("restore-backup", to, "--data", tmp_path / "new"),
    ):
        assert result.exit_code == 4
        assert "backup.json is damaged or missing" in result.stderr


def test_a_snapshot_of_a_newer_version_moves_nothing_aside(command: Command, to: Path, tmp_path: Path) -> None:
    command("backup", str(to))
    (snapshot,) = (to / "snapshots").iterdir()
    with closing(sqlite3.connect(snapshot / "roadstead.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    manifest = json.loads((snapshot / "manifest.json").read_bytes())
    manifest["catalogue_digest"] = hash_file(snapshot / "roadstead.db")
    content = json.dumps(manifest).encode()
    (snapshot / "manifest.json").write_bytes(content)
    (snapshot / "manifest.sha256").write_bytes(manifest_sum(content))
    before = sorted(path.name for path in command.folder.iterdir())
    result = command("restore-backup", str(to), "--force")
    assert result.exit_code == 3
    assert "9999" in result.stderr
    assert sorted(path.name for path in command.folder.iterdir()) == before
    assert roadstead("restore-backup", to, "--data", tmp_path / "new").exit_code == 3
    assert not (tmp_path / "new").exists()


def test_what_was_moved_aside_is_said_also_when_it_fails(command: Command, to: Path) -> None:
    command("backup", str(to))
    next(to.glob(f"blobs/sha256/*/{LAYER.partition(':')[2]}")).unlink()
    result = command("restore-backup", str(to), "--force", "--json")
    assert result.exit_code == 4
    moved, error = (json.loads(line) for line in result.stderr.splitlines())
    assert any("-roadstead.db" in path for path in moved["moved_aside"])
    assert all(Path(path).exists() for path in moved["moved_aside"])
    assert LAYER in error["error"]


def test_a_missing_parent_may_be_a_disk_that_is_not_mounted(command: Command, tmp_path: Path) -> None:
    result = command("backup", str(tmp_path / "disk" / "backup"))
    assert result.exit_code == 3
    assert "mounted" in result.stderr
    assert f"mkdir -p {tmp_path / 'disk'}" in result.stderr
    assert not (tmp_path / "disk").exists()
    assert command("backup", str(tmp_path / "backup")).exit_code == 0
    words = ["restore-backup", str(tmp_path / "backup"), "--data", str(tmp_path / "disk" / "data")]
    result = roadstead(*words)
    assert result.exit_code == 3
    assert f"mkdir -p {tmp_path / 'disk'}" in result.stderr
    assert not (tmp_path / "disk").exists()


def test_where_only_the_catalogue_was_lost_the_blobs_stay(command: Command, to: Path) -> None:
    """What was pushed since the backup stays too, and comes back with a rebuild or a push."""
    command("backup", str(to))
    late = b"pushed after the backup"
    on_registry(command.folder, lambda registry: push_blob(registry, "library/app", late))
    blob_file(command.folder, LAYER).unlink()
    with (command.folder / "roadstead.db").open("r+b") as file:
        file.write(b"damaged")
    assert "--force" in command("restore-backup", str(to), "--keep-blobs").stderr
    result = command("restore-backup", str(to), "--keep-blobs", "--force", "--json")
    assert result.exit_code == 0, result.output
    assert "bytes-unrecorded" in result.stdout
    (restored,) = (each["restored"] for each in lines(result) if "restored" in each)
    assert isinstance(restored, dict)
    assert restored["kept_blobs"] == restored["blobs"] - 1
    (moved,) = (name for name in restored["moved_aside"] if name.endswith("roadstead.db"))
    assert Path(moved).read_bytes().startswith(b"damaged")
    assert blob_file(command.folder, Digest.of(late)).exists()
    assert command("check", "--deep").exit_code == 0
    assert "until it is confirmed" in command("gc").stderr
