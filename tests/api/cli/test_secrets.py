"""``roadstead secrets``: what people and scripts see, which is never a value, and what they do at a loss."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from roadstead.app import build_secrets, open_registry
from roadstead.cli import program
from roadstead.config import load_settings
from tests.api.cli.conftest import Command


def fill(folder: Path, environment: dict[str, str] | None = None) -> str:
    """A signing key and a credential; the value of the first, as digits."""

    async def work() -> str:
        settings = load_settings(None, environment or {}, {"data.folder": folder})
        async with open_registry(settings) as registry:
            secrets = build_secrets(registry.database, registry.clock, settings)
            await secrets.put_credential("endpoint/other", b"a password")
            return (await secrets.signing_key("tokens")).value.hex()

    return asyncio.run(work())


def own_file(command: Command) -> Path:
    return command.folder / "secrets" / "master.key"


def test_without_a_secret_nothing_is_made(command: Command) -> None:
    assert command.json("secrets", "list") == []
    assert command.json("secrets", "status")[0]["master_key"] is None
    assert "none yet" in command("secrets", "status").stdout
    assert "no signing keys yet" in command("secrets", "renew", "--signing").stdout
    assert not own_file(command).exists()


def test_list_and_status_show_no_value(command: Command) -> None:
    value = fill(command.folder)
    listed = command.json("secrets", "list")
    status = command.json("secrets", "status")[0]
    assert [(each["name"], each["kind"], each["generation"]) for each in listed] == [
        ("endpoint/other", "credential", 1),
        ("tokens", "signing key", 1),
    ]
    assert all(each["age_seconds"] < 600 and each["master_key"] == status["master_key"] for each in listed)
    assert status["opens_everything"]
    assert status["sealed"] == {status["master_key"]: 2}
    shown = command.terminal("secrets", "list", NO_COLOR="1") + command.terminal("secrets", "status", NO_COLOR="1")
    assert shown.startswith("NAME")
    key = own_file(command).read_text().split()[-1]
    for said in (shown, json.dumps([listed, status])):
        assert value not in said
        assert key not in said
        assert "a password" not in said
    assert stat.S_IMODE(own_file(command).stat().st_mode) == 0o600


def test_renew(command: Command) -> None:
    fill(command.folder)
    assert command.json("secrets", "renew", "tokens") == [{"name": "tokens", "generation": 2, "revoked": False}]
    uses = [line.split("\t")[4] for line in command("secrets", "list").stdout.splitlines()]
    assert uses[:2] == ["", "signs"]
    assert uses[2].startswith("verifies until ")
    assert "not accepted any more" in command("secrets", "renew", "--signing", "--revoke").stdout
    assert [each["generation"] for each in command.json("secrets", "list")] == [1, 3]
    for words, code, said in (
        (("renew",), 2, "--signing"),
        (("renew", "tokens", "--signing"), 2, "--signing"),
        (("renew", "nothing"), 1, "no such secret"),
        (("renew", "endpoint/other"), 1, "only its owner can renew"),
    ):
        result = command("secrets", *words)
        assert (result.exit_code, said in result.output) == (code, True)


def test_rotate_on_one_machine(command: Command) -> None:
    fill(command.folder)
    before = command.json("secrets", "status")[0]["master_key"]
    done = command.json("secrets", "rotate")[0]
    assert (done["before"], done["resealed"], done["changed"]) == (before, 2, True)
    assert command.json("secrets", "status")[0]["keys"] == [done["master_key"], before]
    assert "2 secrets sealed anew" in command("secrets", "rotate").stdout
    assert "Keep a copy" in command.terminal("secrets", "rotate", NO_COLOR="1")


def test_rotate_with_a_file_of_the_administrator(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("ROADSTEAD_SECRETS__MASTER_KEY_FILE", str(file))
    assert command("secrets", "rotate").exit_code == 2
    assert not file.exists(), "only new-key makes it"
    made = command.process("secrets", "new-key", str(file))
    assert made.returncode == 2, "it works on no registry"
    first = new_key(file)
    fill(command.folder, {"ROADSTEAD_SECRETS__MASTER_KEY_FILE": str(file)})
    assert "Nothing to do" in command("secrets", "rotate").stdout
    second = new_key(file)
    assert command.json("secrets", "rotate") == [
        {"before": first, "master_key": second, "resealed": 2, "changed": True}
    ]


def new_key(file: Path) -> str:
    result = CliRunner().invoke(program, ["secrets", "new-key", str(file), "--json"])
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["id"])


def test_new_keys_are_printed_where_no_file_is_named(tmp_path: Path) -> None:
    printed = [CliRunner().invoke(program, ["secrets", "new-key"]).stdout for _ in range(2)]
    assert printed[0] != printed[1]
    assert all(len(each.strip()) == 64 for each in printed)
    record = json.loads(CliRunner().invoke(program, ["secrets", "new-key", "--json"]).stdout)
    assert set(record) == {"master_key", "id"}
    wrong = CliRunner().invoke(program, ["secrets", "new-key", str(tmp_path / "not" / "there" / "key")])
    assert wrong.exit_code == 3


def test_a_lost_key(command: Command) -> None:
    fill(command.folder)
    own_file(command).unlink()
    status = command("secrets", "status", "--json")
    assert (status.exit_code, json.loads(status.stdout)["opens_everything"]) == (1, False)
    assert "Missing" in command("secrets", "status").stdout
    refused = command("secrets", "renew", "tokens")
    assert refused.exit_code == 2
    assert str(own_file(command)) in refused.output
    assert "put it back" in refused.output
    assert not own_file(command).exists(), "a new key would open nothing"
    assert "--yes" in command("secrets", "reset").output
    assert "nothing was forgotten" in command.terminal("secrets", "reset", keys=b"n\n")
    assert len(command.json("secrets", "list")) == 2
    assert "Forgot 2 secrets" in command("secrets", "reset", "--yes").stdout
    fill(command.folder)
    assert command.json("secrets", "status")[0]["opens_everything"]


def test_a_server_says_at_its_start_what_is_wrong(command: Command) -> None:
    fill(command.folder)
    ports = ("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
    right = own_file(command).read_bytes()
    for content, said in (
        (b"", "there is no master key in it"),
        (right.split()[-1][:40], "key 1 in it has 40 digits, not 64"),
        (b"0123456789abcdef" * 4, "is not made by chance"),
    ):
        own_file(command).write_bytes(content)
        refused = command.process("serve", *ports)
        assert refused.returncode == 2
        assert f"{own_file(command)}: " in refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_settings_file_with_the_master_key_is_in_no_backup(command: Command, tmp_path: Path) -> None:
    key = "0123456789abcdeffedcba98765432100f1e2d3c4b5a69788796a5b4c3d2e1f0"
    config = tmp_path / "roadstead.yaml"
    config.write_text(f"secrets:\n  master_key: >-\n    {key}\n")
    refused = command("backup", str(tmp_path / "to"), "--with-secrets", "--config", str(config))
    assert refused.exit_code == 1
    assert "which no backup may have" in refused.output
    assert command("backup", str(tmp_path / "to"), "--config", str(config)).exit_code == 0
    shown = command("config", "show", "--config", str(config))
    assert "secrets.master_key" in shown.output
    assert key not in shown.output


def test_a_restoration_says_what_became_of_secrets(command: Command, tmp_path: Path) -> None:
    fill(command.folder)
    key_id = command.json("secrets", "status")[0]["master_key"]
    to, new = tmp_path / "to", Command(tmp_path / "new")
    assert command("backup", str(to), "--with-secrets").exit_code == 0
    restored = new.json("restore-backup", str(to))[0]["restored"]
    assert (restored["credentials"], restored["missing_master_keys"]) == (1, [key_id])
    said = new("restore-backup", str(to), "--force").stdout
    assert f"{key_id} is needed in {own_file(new)}; no backup has it" in said
    assert "new ones: what was signed before is not accepted any more" in said
    with closing(sqlite3.connect(new.folder / "roadstead.db")) as connection:
        assert connection.execute("SELECT kind FROM secrets").fetchall() == [("credential",)]
