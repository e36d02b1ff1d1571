"""Registries in this process, by the kind of database and storage that a test asks for (`tests.databases`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obstore.store import MemoryStore

from roadstead.storage.bucket import BucketStore
from roadstead.testing.instance import Instance
from roadstead.testing.repeating_database import RepeatingDatabase

if TYPE_CHECKING:
    from pathlib import Path


def instance_of(folder: Path, database_kind: str, database_url: str) -> Instance:
    """A registry that is not opened yet."""
    instance = Instance(folder, database_url=database_url)
    if database_kind == "sqlite-twice":
        instance.wrap_database = RepeatingDatabase
    if database_kind.endswith("-bucket"):
        instance.bucket = BucketStore(MemoryStore())
    return instance
