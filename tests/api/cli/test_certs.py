"""``roadstead certs trust`` and ``certs create``: what they say, where no program of the system is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from roadstead.cli import program

if TYPE_CHECKING:
    from pathlib import Path


def certs(*arguments: str | Path) -> Result:
    return CliRunner().invoke(program, ["certs", *map(str, arguments)])


def trusted(*arguments: str | Path) -> list[dict[str, Any]]:
    done = certs("trust", *arguments, "--host", "registry.example.com:5000", "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_store_that_was_not_made_to_count_is_so_the_second_time(tmp_path: Path) -> None:
    """The first time its program may have failed, or not have been there."""
    folder, root = tmp_path / "certs", tmp_path / "root"
    assert certs("create", "--host", "registry.example.com", "--out", folder).exit_code == 0
    (root / "usr/local/share/ca-certificates").mkdir(parents=True)
    for state in ("written", "unchanged"):
        [said] = trusted(folder / "ca.crt", "--for", "system", "--root", root)
        assert said["state"] == state
        assert said["notes"][0] == "run update-ca-certificates on that machine"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder, root = tmp_path / "certs", tmp_path / "root"
    assert certs("create", "--host", "registry.example.com", "--out", folder).exit_code == 0
    (root / "etc/docker").mkdir(parents=True)
    [said] = trusted(folder / "ca.crt", "--root", root, "--dry-run")
    assert said["state"] == "would be written"
    assert not list((root / "etc/docker").iterdir())


def test_the_certificate_of_a_server_is_no_authority(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    assert certs("create", "--host", "registry.example.com", "--out", folder).exit_code == 0
    refused = certs("trust", folder / "server.crt", "--host", "registry.example.com", "--for", "docker")
    assert (refused.exit_code, "give its ca.crt" in refused.stderr) == (1, True)


def test_a_user_whose_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    assert certs("create", "--host", "registry.example.com", "--client", "a/b", "--out", folder).exit_code == 0
    refused = certs("create", "--client", "a_b", "--out", folder)
    assert refused.exit_code != 0
    assert "not that of 'a_b'" in refused.stderr
