"""``roadstead access explain``: the decision of a server with the same settings, told to a person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from roadstead.access import Action, Resource, Subject
from roadstead.app import build_policy
from roadstead.cli import program
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.config import load_settings
from tests.unit.access.test_policy import NAMES

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
authentication: {mode: htpasswd, htpasswd_file: users}
access:
  rules:
    - {users: [alice], repositories: ["*"], actions: [pull, push, delete]}
    - {users: ["*"], repositories: ["team/*", "project:library"], actions: [pull]}
    - {users: [anonymous], repositories: ["public/*"], actions: [pull]}
"""


YES = """\
Yes: rule 2 lets 'bob' pull in team/app.
To forbid it: narrow rule 2 of access.rules; nothing else allows it.
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "roadstead.yaml"
    path.write_text(RULES)
    (tmp_path / "users").touch()
    return path


def explain(config: Path | None, *words: str) -> tuple[int, str, str]:
    options = ["--config", str(config)] if config else []
    result = CliRunner().invoke(program, ["access", "explain", *words, *options])
    return result.exit_code, result.stdout, result.stderr


def test_yes_names_the_rule_and_what_would_forbid_it(config: Path) -> None:
    assert explain(config, "bob", "pull", "team/app") == (
        ExitCode.DONE,
        YES,
        "",
    )
    assert "narrow rule 1 and rule 2 of" in explain(config, "alice", "pull", "team/app")[1]
    assert explain(config, "bob", "pull", "app")[0] == ExitCode.DONE


def test_no_says_what_would_allow_it(config: Path) -> None:
    code, out, err = explain(config, "bob", "push", "team/app")
    assert (code, err) == (ExitCode.REFUSED, "")
    assert out.startswith("No: no rule lets 'bob' push in team/app.\nTo allow it: a rule in access.rules with 'bob'")
    code, out, _ = explain(config, "--anonymous", "pull", "team/app")
    assert code == ExitCode.REFUSED
    assert "log in as a user who may do it, or a rule in access.rules with 'anonymous'" in out
    assert explain(config, "--anonymous", "pull", "public/app")[0] == ExitCode.DONE


def test_without_rules(tmp_path: Path) -> None:
    code, out, _ = explain(None, "--anonymous", "delete", "app", "--data", str(tmp_path))
    assert code == ExitCode.DONE
    assert "let users log in (authentication.mode), or write access.rules" in out
    config = tmp_path / "roadstead.yaml"
    config.write_text("authentication: {mode: htpasswd, htpasswd_file: users}\n")
    assert "write access.rules" in explain(config, "bob", "delete", "app")[1]
    assert "log in as any user" in explain(config, "--anonymous", "pull", "app")[1]


@pytest.mark.parametrize("name", ["", "alice", "bob", "anonymous"])
def test_it_is_the_servers_decision(config: Path, name: str) -> None:
    policy = build_policy(load_settings(config, {}))
    for action in Action:
        for repository in NAMES:
            code, out, _ = explain(config, name or "--anonymous", action.value, repository, "--json")
            found = json.loads(out)
            decision = policy.decide(Subject(name), action, Resource(repository))
            caller = policy.caller(name) if name else policy.anonymous
            assert found["is_allowed"] == decision.is_allowed == caller.may(action, repository) == (code == 0)
            assert (found["reason"], found["rule"] or 0) == (decision.reason, decision.rule)
            assert found["remedy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bob", "read", "app"], "'read' is not one of 'pull', 'push', 'delete'"),
        (["", "pull", "app"], "USER is empty"),
        (["--anonymous", "bob", "pull", "app"], "'bob' is not one of"),
        (["bob", "pull", "UPPER"], "lower-case"),
        (["bob", "pull"], "Missing argument"),
    ],
)
def test_wrong_use(config: Path, words: list[str], said: str) -> None:
    code, out, err = explain(config, *words)
    assert (code, out) == (ExitCode.USAGE, "")
    assert said in err
