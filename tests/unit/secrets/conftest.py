"""Two servers with one catalogue, on each database, and the files of their master keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from roadstead.database import Database, SqliteDatabase, migrate
from roadstead.database.postgresql import PostgresqlDatabase
from roadstead.secrets.key_file import KeyFile
from roadstead.secrets.keyring import Keyring, new_key
from roadstead.secrets.service import SecretStore
from roadstead.testing.clock import SettableClock
from roadstead.testing.repeating_database import RepeatingDatabase


@dataclass
class Servers:
    """Two servers: each with a connection, a key file and secrets of its own; one clock."""

    databases: list[Database]
    files: list[Path]
    clock: SettableClock = field(default_factory=SettableClock)
    stores: list[SecretStore] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Gives both the same key, and starts them."""
        self.give(new_key())
        self.stores = [self.restarted(number) for number in range(2)]

    @property
    def one(self) -> SecretStore:
        """The first server's secrets."""
        return self.stores[0]

    @property
    def two(self) -> SecretStore:
        """The second server's secrets."""
        return self.stores[1]

    def source(self, number: int = 0) -> KeyFile:
        """Where a server's keys are."""
        return KeyFile(self.files[number])

    def give(self, *keys: str, to: tuple[int, ...] = (0, 1)) -> tuple[str, ...]:
        """Write keys into the files of some servers; their ids."""
        text = "".join(f"{key}\n" for key in keys)
        for number in to:
            self.files[number].write_text(text)
        return Keyring.parse(text, "").ids

    def keys(self, number: int = 0) -> list[str]:
        """The keys that a server's file has."""
        return self.files[number].read_text().split()

    def restarted(self, number: int) -> SecretStore:
        """A server that knows nothing yet."""
        return SecretStore(self.databases[number], self.clock, self.source(number))


@pytest.fixture
async def servers(
    request: pytest.FixtureRequest, tmp_path: Path, database_kind: str, database_url: str
) -> AsyncIterator[Servers]:
    async with contextlib.AsyncExitStack() as stack:
        databases: list[Database] = []
        for _ in range(2):
            database: Database
            if database_kind == "postgresql":
                database = await PostgresqlDatabase.open(database_url, connections=2)
            else:
                migrate(tmp_path / "roadstead.db")
                database = SqliteDatabase.open(tmp_path / "roadstead.db")
            stack.push_async_callback(database.close)
            databases.append(RepeatingDatabase(database) if database_kind == "sqlite-twice" else database)
        yield Servers(databases, [tmp_path / "one.key", tmp_path / "two.key"])
