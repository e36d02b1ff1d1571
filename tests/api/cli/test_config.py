"""``roadstead config check``, ``convert`` and ``show``."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner, Result

from roadstead.cli import program
from roadstead.config import describe_settings, load_settings
from tests.api.cli.conftest import PROGRAM, _read_all

THEIRS: Final = """\
version: 0.1
log:
  fields: {service: registry}
storage:
  filesystem: {rootdirectory: /srv/registry}
http:
  addr: localhost:5000
  secret: "s3cret"
  nonsense: 1
notifications:
  endpoints:
    - name: ci
      url: http://127.0.0.1:1/hook?token=t0ken
      headers: {Authorization: [Bearer s3cret]}
"""
UNSAFE: Final = THEIRS + "auth: {token: {realm: r, service: s}}\n"
OURS: Final = "listen:\n  main: 127.0.0.1:5005\nlimits:\n  page_maximum: 5\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["config", *map(str, arguments)])


def process(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "config", *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    file = tmp_path / "config.yml"
    file.write_text(THEIRS)
    return file


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_has_a_line_for_every_key(theirs: Path) -> None:
    result = run("check", theirs)
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(row[0].rpartition(":")[2], row[1], row[2]) for row in rows[:6]] == [
        ("1", "version", "honoured"),
        ("3", "log.fields", "ignored"),
        ("5", "storage.filesystem.rootdirectory", "honoured"),
        ("7", "http.addr", "honoured"),
        ("8", "http.secret", "ignored"),
        ("9", "http.nonsense", "unknown"),
    ]
    assert rows[3][3] == "listen.main"
    assert rows[4][4].startswith("Not needed")
    assert "s3cret" not in result.stdout
    assert "t0ken" not in result.stdout


def test_check_for_programs(theirs: Path) -> None:
    found = records(run("check", theirs, "--json"))
    assert found[3] == {
        "key": "http.addr",
        "source": f"{theirs}:7",
        "line": 7,
        "verdict": "honoured",
        "settings": ["listen.main"],
        "meaning": found[3]["meaning"],
    }


def test_check_ends_with_1_where_no_server_starts(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(UNSAFE)
    result = run("check", file, "--json")
    assert result.exit_code == 1
    assert [each["key"] for each in records(result) if each["verdict"] == "refused"] == [
        "auth.token",
        "auth.token.realm",
        "auth.token.service",
    ]


def test_check_counts_variables(theirs: Path) -> None:
    done = process("check", theirs, "--json", REGISTRY_AUTH="silly", REGISTRY_HTTP_ADDR="127.0.0.1:1")
    found = {each["key"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert (found["http.addr"]["source"], found["http.addr"]["line"]) == ("REGISTRY_HTTP_ADDR", None)
    assert found["auth.silly"]["verdict"] == "refused"


def test_check_tells_what_keys_do_not_fit_together(tmp_path: Path) -> None:
    file = tmp_path / "roadstead.yaml"
    file.write_text("listen: {main: ':5000'}")
    result = run("check", file, "--json")
    assert result.exit_code == 1
    *keys, problem = records(result)
    assert [key["verdict"] for key in keys] == ["honoured"]
    assert "--auth none" in problem["problem"]
    assert "--auth none" in run("check", file).stdout


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        (OURS, {"listen.main": "honoured", "limits.page_maximum": "honoured"}),
        ("limits: {page_maximum: 0}", {"limits.page_maximum": "invalid"}),
        ("limits: {pages: 1}\nlog: {level: info}", {"limits.pages": "invalid", "log.level": "honoured"}),
        ("limitz: {}", {"limitz": "invalid"}),
        ("", {}),
    ],
)
def test_check_of_our_own_file(tmp_path: Path, text: str, verdicts: dict[str, str]) -> None:
    file = tmp_path / "roadstead.yaml"
    file.write_text(text)
    result = run("check", file, "--json")
    assert {each["key"]: each["verdict"] for each in records(result)} == verdicts
    assert result.exit_code == (1 if "invalid" in verdicts.values() else 0)


@pytest.mark.parametrize("text", ["version: 0.1\nhttp: {", "- a", "version: 3"])
def test_check_of_a_file_that_is_none_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)
    done = process("check", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(file) in done.stderr


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = process("check", tmp_path / "none.yml", "--json")
    assert done.returncode == 2
    assert "No such file" in json.loads(done.stderr)["error"]


def test_check_for_a_person(theirs: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"})
        os.execv(PROGRAM, [str(PROGRAM), "config", "check", str(theirs)])
    seen = b"".join(_read_all(terminal)).decode().replace("\r\n", "\n")
    os.close(terminal)
    os.waitpid(child, 0)
    assert "line 7  http.addr" in seen
    assert "did you mean" not in seen
    assert "the file is registry:2's: a server starts with it" in seen
    assert all(len(line) <= 80 or "honoured" in line for line in seen.splitlines())


# ── convert ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_convert_prints_what_means_the_same(theirs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    out.write_text(run("convert", theirs).stdout)
    assert load_settings(out, {}) == load_settings(theirs, {})
    assert yaml.safe_load(out.read_text())["listen"]["main"] == "localhost:5000"


def test_convert_writes_a_file_for_its_owner_alone_and_replaces_none(theirs: Path, tmp_path: Path) -> None:
    out = tmp_path / "roadstead.yaml"
    assert process("convert", theirs, "-o", out).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert load_settings(out, {}) == load_settings(theirs, {})
    out.write_text("mine")
    done = process("convert", theirs, "-o", out)
    assert (done.returncode, out.read_text()) == (1, "mine")
    assert "--force replaces it" in done.stderr
    assert process("convert", theirs, "-o", out, "--force").returncode == 0
    assert load_settings(out, {}) == load_settings(theirs, {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.yml", "roadstead.yaml"]


def test_convert_counts_variables_and_says_so(theirs: Path) -> None:
    done = process("convert", theirs, REGISTRY_HTTP_ADDR="127.0.0.1:1", ROADSTEAD_LISTEN__MAIN="127.0.0.1:2")
    assert re.search(r"\n  # http.addr, from REGISTRY_HTTP_ADDR: Address .*\n  main: 127.0.0.1:1\n", done.stdout)


@pytest.mark.parametrize(("text", "code"), [(UNSAFE, 2), (OURS, 1), ("version: 0.1\nhttp: {", 2)])
def test_convert_refuses_what_it_cannot_say(tmp_path: Path, text: str, code: int) -> None:
    file, out = tmp_path / "config.yml", tmp_path / "out.yaml"
    file.write_text(text)
    done = process("convert", file, "-o", out)
    assert (done.returncode, done.stdout) == (code, "")
    assert not out.exists()


def test_convert_where_nothing_can_be_written(theirs: Path, tmp_path: Path) -> None:
    done = process("convert", theirs, "-o", tmp_path / "none" / "out.yaml")
    assert done.returncode == 3
    assert "No such file" in done.stderr


def test_convert_for_programs(theirs: Path) -> None:
    (found,) = records(run("convert", theirs, "--json"))
    assert found["output"] is None
    assert yaml.safe_load(found["text"])["content"] == {
        "deletion": False,
        "foreign_urls_allow": ["^$"],
        "wrong_sizes": "accept",
    }


# ── show ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_has_every_setting_with_its_source(theirs: Path) -> None:
    found = {each["key"]: each for each in records(run("show", "--config", theirs, "--json"))}
    assert list(found) == [setting.key for setting in describe_settings()]
    assert found["listen.main"] == {
        "key": "listen.main",
        "value": "localhost:5000",
        "source": f"{theirs}:7: http.addr",
    }
    assert found["log.level"]["source"] == "default"
    assert found["storage.url"]["value"] == "file:///srv/registry"


def test_show_hides_secrets(theirs: Path) -> None:
    shown = run("show", "--config", theirs).stdout
    assert "s3cret" not in shown
    assert "t0ken" not in shown
    assert "http://127.0.0.1:1/…" in shown


def test_show_only_what_was_changed() -> None:
    done = process("show", "--changed", "--data", "/srv/r", ROADSTEAD_LOG__LEVEL="debug")
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["data.folder", "/srv/r", "--data"],
        ["log.level", "debug", "ROADSTEAD_LOG__LEVEL"],
    ]


def test_show_of_settings_that_are_wrong() -> None:
    done = process("show", ROADSTEAD_LOG__LEVEL="loud")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ROADSTEAD_LOG__LEVEL" in done.stderr
