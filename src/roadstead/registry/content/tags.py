"""Tags: listed and deleted (a push sets them: ``manifests``)."""

from roadstead.access import VisibleRepositories
from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.events import Cause, Event, EventAction, Outbox
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.content import store
from roadstead.registry.content.repositories import get_repository_id, page, require_visible
from roadstead.registry.errors import ManifestUnknownError
from roadstead.registry.locks import adding_to
from roadstead.registry.model import Page, TagSummary
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change, drop_tag


class Tags:
    """The tags of a registry's repositories."""

    def __init__(self, database: Database, clock: Clock, rules: GarbageRules, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._outbox = outbox

    async def list_names(
        self, repository: RepositoryName, *, visible: VisibleRepositories, after: str = "", limit: int
    ) -> Page:
        """Tags in order of their bytes, beginning after ``after``.

        Source: distribution specification, section "Listing Tags".

        Raises:
            RepositoryUnknownError: there is none of this name.
        """
        require_visible(repository, visible)
        repository_id = await get_repository_id(self._database, repository)
        rows = await self._database.fetch_all(
            store.LIST_TAGS, repository_id=repository_id, after=after, limit=limit + 1
        )
        return page([row[0] for row in rows], limit)

    async def list_summaries(
        self, repository: RepositoryName, *, visible: VisibleRepositories, after: str = "", limit: int
    ) -> tuple[TagSummary, ...]:
        """Tags with what they point at, in the same order.

        Raises:
            RepositoryUnknownError: there is none of this name.
        """
        require_visible(repository, visible)
        repository_id = await get_repository_id(self._database, repository)
        rows = await self._database.fetch_all(
            store.SUMMARISE_TAGS, repository_id=repository_id, after=after, limit=limit
        )
        return tuple(
            TagSummary(name, Digest(digest), media_type, artifact_type, updated_ms)
            for name, digest, media_type, artifact_type, updated_ms in rows
        )

    async def list_of_manifest(
        self, repository: RepositoryName, digest: Digest, *, visible: VisibleRepositories, limit: int
    ) -> tuple[str, ...]:
        """The tags that point at a manifest.

        Raises:
            RepositoryUnknownError: there is no repository of this name.
        """
        require_visible(repository, visible)
        repository_id = await get_repository_id(self._database, repository)
        rows = await self._database.fetch_all(
            store.LIST_TAGS_OF_MANIFEST, repository_id=repository_id, digest=digest, limit=limit
        )
        return tuple(row[0] for row in rows)

    async def delete(self, repository: RepositoryName, tag: Tag, *, cause: Cause) -> None:
        """Removes a tag; the manifest that it pointed at stays.

        Its history stays too, so that it can be restored.

        Source: distribution specification, section "Deleting tags".

        Raises:
            RepositoryUnknownError, ManifestUnknownError: there is none.
        """

        async def work(transaction: Transaction) -> None:
            repository_id = await get_repository_id(transaction, repository)
            change = Change.at(self._clock, cause.actor, self._rules)
            digest = await drop_tag(transaction, repository_id, tag, change)
            if digest is None:
                raise ManifestUnknownError(repository, tag)
            event = Event(action=EventAction.DELETE, repository=repository, digest=digest, tag=tag, cause=cause)
            await self._outbox.record(transaction, event)

        await self._database.write(work, locks=adding_to(repository))
