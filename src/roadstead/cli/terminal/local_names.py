"""Reads names for shell completion straight from the catalogue's file.

A person waits at the prompt for this: the registry's services would take half a second to import, sqlite3 takes ten
milliseconds. So these queries stand here, against the rule; a test compares them with the services' answers. They
never fail and never write: where something is wrong there is nothing to propose.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

MOST: Final = 200
"""Number of names that are proposed at most: more than a person reads."""

_REPOSITORIES: Final = """
    SELECT name FROM repositories
    WHERE name >= :begin AND substr(name, 1, length(:begin)) = :begin
      AND EXISTS (SELECT 1 FROM repository_manifests WHERE repository_id = repositories.id)
    ORDER BY name LIMIT :most
"""
_TAGS: Final = """
    SELECT name FROM tags
    WHERE repository_id = (SELECT id FROM repositories WHERE name = :repository)
      AND name >= :begin AND substr(name, 1, length(:begin)) = :begin
    ORDER BY name LIMIT :most
"""
_STATES: Final = """
    SELECT digest FROM tag_history
    WHERE repository_id = (SELECT id FROM repositories WHERE name = :repository) AND tag = :tag
    GROUP BY digest ORDER BY max(id) DESC LIMIT :most
"""


def find_repositories(data: Path | None, begin: str) -> list[str]:
    """Returns the repositories whose names begin with ``begin``."""
    return _names(data, _REPOSITORIES, begin=begin)


def find_tags(data: Path | None, repository: str, begin: str) -> list[str]:
    """Returns the tags of a repository that begin with ``begin``."""
    return _names(data, _TAGS, repository=repository, begin=begin)


def find_states(data: Path | None, repository: str, tag: str) -> list[str]:
    """Returns the digests that a tag has pointed at, the newest first."""
    return _names(data, _STATES, repository=repository, tag=tag)


def _names(data: Path | None, query: str, **parameters: str) -> list[str]:
    if os.environ.get("ROADSTEAD_DATABASE__URL", "").startswith("postgres"):
        return []  # to connect to a server takes longer than a person should wait for a proposal
    folder = data or Path(os.environ.get("ROADSTEAD_DATA__FOLDER") or "data")
    catalogue = folder.absolute() / "roadstead.db"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(catalogue)) as connection:
        return [row[0] for row in connection.execute(query, {**parameters, "most": MOST})]
    return []


def _connect(catalogue: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{catalogue.as_uri()}?mode=ro", uri=True, timeout=0)
