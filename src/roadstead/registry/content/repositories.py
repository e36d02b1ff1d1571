"""Repositories: found, made, listed."""

from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.access.pattern import LIBRARY
from roadstead.database import Database, Reader, Script, Step, Transaction
from roadstead.database.script import AGAIN, absent, given, run_steps
from roadstead.oci import RepositoryName
from roadstead.registry.content import store
from roadstead.registry.errors import RepositoryUnknownError
from roadstead.registry.model import Page, RepositorySummary
from roadstead.registry.removal import store as removal_store


class Repositories:
    """The repositories of a registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_names(self, *, visible: VisibleRepositories, after: str = "", limit: int) -> Page:
        """Names of visible repositories that hold a manifest, in order, beginning after ``after``."""
        if not visible.is_all:
            return await self._list_within(visible, after, limit)
        rows = await self._database.fetch_all(store.LIST_REPOSITORIES, after=after, limit=limit + 1)
        return page([row[0] for row in rows], limit)

    async def _list_within(self, visible: VisibleRepositories, after: str, limit: int) -> Page:
        """A page range by range, along the index, so that what lies between costs nothing."""
        found: list[str] = []
        for low, high in visible.after(after):
            rows = await self._database.fetch_all(
                store.LIST_REPOSITORIES_IN_RANGE, low=low, high=high, limit=limit + 1 - len(found)
            )
            found += [row[0] for row in rows]
            if len(found) > limit:
                break
        if visible.has_unslashed:
            rows = await self._database.fetch_all(store.LIST_UNSLASHED_REPOSITORIES, after=after, limit=limit + 1)
            found = sorted({*found, *(row[0] for row in rows)})[: limit + 1]
        return page(found, limit)

    async def summarise(self, repository: RepositoryName, *, visible: VisibleRepositories) -> RepositorySummary:
        """Counts of what a repository holds.

        Raises:
            RepositoryUnknownError: there is none of this name.
        """
        require_visible(repository, visible)
        repository_id = await get_repository_id(self._database, repository)
        row = await self._database.fetch_one(store.SUMMARISE_REPOSITORY, repository_id=repository_id)
        tags, manifests = row or (0, 0)
        return RepositorySummary(repository, tags, manifests)


def page(found: list[str], limit: int) -> Page:
    """A page of up to ``limit`` of what was ``found`` by asking for one more."""
    items = tuple(found[:limit])
    return Page(items, items[-1] if items and len(found) > limit else "")


def require_visible(repository: RepositoryName, visible: VisibleRepositories) -> None:
    """Answers for a repository that the caller may not see as if it did not exist.

    Raises:
        RepositoryUnknownError: it is not among ``visible``.
    """
    if not visible.is_all and repository not in visible:  # the first is cheaper, and on the way of every pull
        raise RepositoryUnknownError(repository)


async def get_repository_id(reader: Reader, repository: RepositoryName) -> int:
    """The key of a repository's row.

    Raises:
        RepositoryUnknownError: there is none of this name.
    """
    row = await reader.fetch_one(store.FIND_REPOSITORY, repository=repository)
    if row is None:
        raise RepositoryUnknownError(repository)
    return int(row[0])


def project_of(repository: str) -> str:
    """The name of the project that a repository belongs to: the first part of its own, or ``library``."""
    first, slash, _ = repository.partition("/")
    return first if slash else LIBRARY


ENSURE_REPOSITORY: Final = (  # found, or made with its project; a removed one is brought back
    Step(removal_store.FIND_REPOSITORY_EVEN_REMOVED, gives=("repository_id", "removed_ms", "known_project_id")),
    Step(store.FIND_PROJECT_TO_KEEP, when=absent("known_project_id"), gives=("project_id",)),
    Step(
        store.ADD_PROJECT,
        when=absent("known_project_id") & absent("project_id"),
        gives=("project_id",),
        binds={"created_ms": "now_ms"},
    ),
    Step(  # made by a version that knew no projects
        store.PUT_REPOSITORY_INTO_PROJECT, when=given("repository_id") & absent("known_project_id")
    ),
    Step(
        store.ADD_REPOSITORY,
        when=absent("repository_id"),
        gives=("repository_id",),
        binds={"name": "repository", "created_ms": "now_ms"},
    ),
    Step(  # somebody else has added it at this moment
        store.FIND_REPOSITORY, when=absent("repository_id"), gives=("repository_id",), otherwise=AGAIN
    ),
    Step(removal_store.BRING_REPOSITORY_BACK, when=given("removed_ms")),
)
_ENSURE_REPOSITORY: Final = Script("ensure_repository", *ENSURE_REPOSITORY, returns=("repository_id",))


async def ensure_repository(transaction: Transaction, repository: RepositoryName, now_ms: int) -> int:
    """The key of a repository's row, made if need be, with its project; a removed one is brought back."""
    values = {"repository": repository, "project": project_of(repository), "now_ms": now_ms}
    (repository_id,) = await run_steps(_ENSURE_REPOSITORY, transaction, values)
    return int(repository_id)
