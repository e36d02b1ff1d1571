"""``roadstead db``: where the catalogue is, its schema and sizes; and bringing the schema up to date."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from roadstead.cli import program
from roadstead.database import metadata
from roadstead.database.migrate import HEAD
from tests.api.cli.conftest import Command
from tests.system.postgresql import PASSWORD, PgBouncer, PostgresServer

TABLES = {table.name for table in metadata.sorted_tables} | {"alembic_version"}


def run(url: str, *arguments: str, **more: str) -> Result:
    """The outcome of a command that is told of a database."""
    return CliRunner().invoke(program, list(arguments), env={"ROADSTEAD_DATABASE__URL": url, **more})


def status(url: str) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(run(url, "db", "status", "--json").stdout)
    return found


# ── A file ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_of_a_file(command: Command) -> None:
    (found,) = command.json("db", "status")
    assert found["catalogue"] == str(command.folder / "roadstead.db")
    assert (found["kind"], found["pooled"]) == ("sqlite", None)
    assert (found["schema"], found["expected_schema"], found["up_to_date"]) == (HEAD, HEAD, True)
    assert found["bytes"] >= (command.folder / "roadstead.db").stat().st_size
    rows = {each["name"]: each["rows"] for each in found["tables"]}
    assert set(rows) == TABLES
    assert (rows["repositories"], rows["tags"]) == (2, 4)


def test_status_for_a_person(command: Command) -> None:
    shown = command.terminal("db", "status")
    assert "roadstead.db" in shown
    assert "SQLite" in shown
    assert "repositories" in shown


def test_a_file_of_an_earlier_version_is_migrated_when_it_is_asked_for(tmp_path: Path) -> None:
    command = Command(tmp_path)
    with closing(sqlite3.connect(tmp_path / "roadstead.db")):
        (tmp_path / "roadstead.db").touch()
    result = command("db", "status")
    assert result.exit_code == 1
    assert f"none, this version needs {HEAD}: run `roadstead db migrate`" in result.stdout
    assert command.json("db", "migrate")[0]["migrated"] is True
    assert command.json("db", "migrate")[0]["migrated"] is False
    assert command.json("db", "status")[0]["up_to_date"] is True


@pytest.mark.parametrize("name", ["status", "migrate"])
def test_without_a_catalogue_nothing_is_made(tmp_path: Path, name: str) -> None:
    result = Command(tmp_path / "data")("db", name)
    assert result.exit_code == 3
    assert "there is no registry in" in result.stderr
    assert not (tmp_path / "data").exists()


# ── A server ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.needs("postgresql", "pgbouncer")
def test_a_server(postgres_url: str, pgbouncer: PgBouncer) -> None:
    result = run(postgres_url, "db", "status")
    assert result.exit_code == 1
    assert "Schema      none" in result.stdout
    result = run(postgres_url, "ls")
    assert result.exit_code == 3
    assert "there is no registry in postgresql://roadstead@127.0.0.1" in result.stderr
    assert "Migrated" in run(postgres_url, "db", "migrate").stdout
    assert "Up to date" in run(postgres_url, "db", "migrate").stdout
    found = status(postgres_url)
    assert (found["kind"], found["pooled"], found["schema"]) == ("postgresql", False, HEAD)
    assert {each["name"] for each in found["tables"]} == TABLES
    pooled = status(pgbouncer.url(postgres_url.rpartition("/")[2]))
    assert (pooled["pooled"], pooled["schema"]) == (True, HEAD)


@pytest.mark.needs("postgresql")
def test_a_server_of_a_later_version(postgres_server: PostgresServer, postgres_url: str) -> None:
    run(postgres_url, "db", "migrate")
    postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", postgres_url.rpartition("/")[2])
    assert run(postgres_url, "db", "status").exit_code == 1
    result = run(postgres_url, "db", "migrate")
    assert result.exit_code == 3
    assert "the catalogue has schema 9999, this version knows up to" in result.stderr
    result = run(postgres_url, "ls")
    assert result.exit_code == 3
    assert "has schema 9999" in result.stderr


@pytest.mark.needs("postgresql")
def test_a_server_that_cannot_be_used_is_explained(postgres_server: PostgresServer, tmp_path: Path) -> None:
    good = postgres_server.url("postgres")
    closed = good.replace(f":{postgres_server.port}/", ":1/")
    cases = {
        good.replace(PASSWORD, "wrong"): "refuses the user roadstead",
        good.replace("/postgres", "/absent"): "`createdb --owner roadstead absent`",
        closed: "cannot be reached",
        good.replace("127.0.0.1", "registry-database.invalid"): "cannot be reached",
        f"{good}?sslmode=require": "rejected SSL upgrade",
    }
    for url, message in cases.items():
        for command in (("db", "status"), ("db", "migrate"), ("ls",)):
            result = run(url, *command, "--data", str(tmp_path / "data"))
            assert result.exit_code == 3, result.output
            assert message in result.stderr
            assert PASSWORD not in result.output
            assert "wrong" not in result.output


@pytest.mark.needs("postgresql")
def test_a_user_without_rights_is_told_how_to_get_them(postgres_server: PostgresServer) -> None:
    name = "no-rights"
    postgres_server.execute(f'CREATE DATABASE "{name}"')
    try:
        result = run(postgres_server.url(name), "db", "migrate")
        assert result.exit_code == 3
        assert "permission denied for schema public" in result.stderr
        assert f'ALTER DATABASE "{name}" OWNER TO "roadstead"' in result.stderr
    finally:
        postgres_server.drop_database(name)


@pytest.mark.needs("postgresql")
def test_the_password_from_a_file(postgres_url: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    told = {"ROADSTEAD_DATABASE__PASSWORD_FILE": str(file)}
    bare = postgres_url.replace(f":{PASSWORD}@", "@")
    assert run(bare, "db", "migrate", **told).exit_code == 0
    result = run(bare, "config", "show", **told)
    assert f"database.url\t{bare}\t" in result.stdout
    assert PASSWORD not in result.output
