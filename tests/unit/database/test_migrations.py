"""Migrations: the tables in the code are those of a migrated catalogue, and each step can be undone and done again."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import roadstead.database
from roadstead.database import DatabaseDamagedError, SchemaUnknownError, metadata, migrate
from roadstead.database.migrate import HEAD, current_revision
from roadstead.database.sqlite import connect
from roadstead.events import tables as event_tables
from roadstead.jobs import tables as job_tables
from roadstead.registry import tables
from roadstead.webhooks import tables as webhook_tables

FOLDER = Path(roadstead.database.__file__).parent / "migrations"


@pytest.fixture
def config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "roadstead.db"
    assert migrate(path)
    return path


def schema(path: Path) -> set[tuple[str, str]]:
    """What the database has, in its own words."""
    with closing(sqlite3.connect(path)) as connection:
        return set(
            connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'"
            )
        )


def downgrade(config: Config, path: Path) -> None:
    engine = create_engine("sqlite://", creator=lambda: connect(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    engine.dispose()


def test_the_code_s_tables_are_those_of_the_catalogue(catalogue: Path) -> None:
    for known in (tables.blobs, event_tables.events, job_tables.leases, webhook_tables.parked_events):
        assert known.metadata is metadata
    engine = create_engine(f"sqlite:///{catalogue}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == [], "change the tables and write a migration, both"


def test_the_code_knows_the_newest_revision(config: Config) -> None:
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrating_twice_changes_nothing(catalogue: Path) -> None:
    before = catalogue.read_bytes()
    assert current_revision(catalogue) == HEAD
    assert not migrate(catalogue)
    assert catalogue.read_bytes() == before


def test_down_and_up_again(catalogue: Path, config: Config) -> None:
    full = schema(catalogue)
    downgrade(config, catalogue)
    assert {name for name, _ in schema(catalogue)} == {"alembic_version"}
    assert migrate(catalogue)
    assert schema(catalogue) == full


def test_a_catalogue_of_a_newer_version(catalogue: Path) -> None:
    with closing(sqlite3.connect(catalogue)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaUnknownError, match="start it with the version that wrote it"):
        migrate(catalogue)


def test_a_file_that_is_no_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "roadstead.db"
    path.write_bytes(b"#!/bin/sh\n" * 100)
    with pytest.raises(DatabaseDamagedError):
        migrate(path)
