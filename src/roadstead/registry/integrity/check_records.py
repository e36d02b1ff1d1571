"""Looks at records that need other records: what was deleted, what is to be looked at, what is going."""

from collections.abc import AsyncIterator

from roadstead.access.pattern import LIBRARY
from roadstead.database import Database, Row, Statement
from roadstead.registry.integrity import store as check_store
from roadstead.registry.integrity.findings import Finding, FindingKind, Severity

PAGE = 500


async def find_dangling_records(database: Database) -> AsyncIterator[Finding]:
    """Records that stand alone, or where they cannot be."""
    for (name,) in await database.fetch_all(check_store.LIST_FULL_THOUGH_REMOVED, limit=PAGE):
        yield Finding(
            FindingKind.RECORD_DANGLING, name, "the repository is recorded as deleted, but manifests are in it"
        )
    for name, digest in await database.fetch_all(check_store.LIST_DELETED_THOUGH_LIVE, limit=PAGE):
        yield _note(f"{name}@{digest}", "it is in use and recorded as deleted as well")
    for (digest,) in await database.fetch_all(check_store.LIST_LINKED_THOUGH_GOING, limit=PAGE):
        yield Finding(FindingKind.RECORD_DANGLING, digest, "it is being deleted, but a repository has it")
    for statement, what in (
        (check_store.COUNT_LOST_TRASH, "deleted manifests"),
        (check_store.COUNT_LOST_HISTORY, "entries of tags' histories"),
        (check_store.COUNT_LOST_REVIEWS, "things to be looked at by the collector"),
    ):
        row = await database.fetch_one(statement)
        if row and row[0]:
            yield _note("catalogue", f"{row[0]} {what} refer to something that is not there")
    async for finding in _find_names_twice(database):
        yield finding
    async for repository, digest in _iter_unreviewed(database):
        detail = "no manifest names it, and nothing is going to look at it: its space is never freed"
        yield Finding(FindingKind.GARBAGE_FORGOTTEN, f"{repository}@{digest}", detail, Severity.NOTE)


async def _find_names_twice(database: Database) -> AsyncIterator[Finding]:
    """Repositories that are two, although some clients and users take their names for the same."""
    after = ""
    while rows := await database.fetch_all(check_store.LIST_NAMES_TWICE, after=after, limit=PAGE):
        for (after,) in rows:
            detail = f"{LIBRARY}/{after} exists beside it, in the same project; each has content of its own"
            yield Finding(FindingKind.NAME_TWICE, after, detail, Severity.NOTE)


async def _iter_unreviewed(database: Database) -> AsyncIterator[tuple[str, str]]:
    after_repository, after_blob = -1, -1
    while rows := await _page(database, check_store.LIST_UNREVIEWED_LINKS, after_repository, after_blob):
        for after_repository, after_blob, repository, digest in rows:  # noqa: B007 - where the next page begins
            yield repository, digest


async def _page(database: Database, statement: Statement, after_repository: int, after_blob: int) -> list[Row]:
    return await database.fetch_all(statement, after_repository=after_repository, after_blob=after_blob, limit=PAGE)


def _note(subject: str, detail: str) -> Finding:
    return Finding(FindingKind.RECORD_DANGLING, subject, detail, Severity.NOTE)
