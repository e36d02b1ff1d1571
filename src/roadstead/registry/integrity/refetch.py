"""Fetches again what is in quarantine, from a registry that has it too.

Whoever found the damage, a pull, a check or the scrub, has put the blob into quarantine; this works through what is
there. What comes is taken in as an upload like any other, so that nothing is served but bytes of the right digest.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

import structlog
from sqlalchemy import literal, select

from roadstead.database import Statement, parameter
from roadstead.errors import RoadsteadError
from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.content import store
from roadstead.registry.errors import RegistryClosedError, RegistryReadOnlyError
from roadstead.registry.service import Registry
from roadstead.registry.tables import blobs, manifest_blobs, manifests, repositories, repository_blobs
from roadstead.remotes import Upstream, UpstreamError

REPOSITORIES: Final = 5
"""Of those that have a blob, the ones under whose names it is asked for."""

BATCH: Final = 100

MANIFEST_BYTES: Final = 4 << 20
"""Bytes of a manifest that any registry must take, and that most give at most."""

FIRST_WAIT_MS: Final = 60_000
LONGEST_WAIT_MS: Final = 86_400_000
"""After a failure a blob is tried again after a minute, then twice as late each time, at last once a day."""

PATIENCE_SECONDS: Final = 120.0
SLOWEST_BYTES_PER_SECOND: Final = 16 << 10
"""An upstream that takes longer is given up for now: what else is damaged waits behind it, and so does the scrub."""

CAUSE: Final = Cause.of_work("scrub")

_log = structlog.get_logger("roadstead.scrub")

_LIST_QUARANTINED: Final = Statement(
    select(blobs.c.digest, blobs.c.size_bytes)
    .where(blobs.c.quarantined_ms.is_not(None), blobs.c.deleting_ms.is_(None), blobs.c.digest > parameter("after"))
    .order_by(blobs.c.digest)
    .limit(parameter("limit"))
)
_LIST_QUARANTINED_OF_MANIFEST: Final = Statement(
    select(blobs.c.digest, blobs.c.size_bytes)
    .join(manifest_blobs, manifest_blobs.c.blob_digest == blobs.c.digest)
    .join(manifests, manifests.c.id == manifest_blobs.c.manifest_id)
    .where(
        manifests.c.digest == parameter("digest"),
        manifest_blobs.c.is_required == literal(1),
        blobs.c.quarantined_ms.is_not(None),
    )
    .limit(parameter("limit"))
)
_LIST_HOLDING: Final = Statement(
    select(repositories.c.name)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(blobs.c.digest == parameter("digest"), repositories.c.removed_ms.is_(None))
    .limit(parameter("limit"))
)


class Refetcher:
    """Heals one registry from one upstream; see ``run_alone``."""

    def __init__(self, registry: Registry, upstream: Upstream, on_heal: Callable[[], None]) -> None:
        """``on_heal`` is told of each blob and manifest that is whole again."""
        self._registry = registry
        self._upstream = upstream
        self._on_heal = on_heal
        self._waits: dict[str, tuple[int, int]] = {}
        """Blobs that could not be had: when to try again, and how long was waited."""

    async def round(self) -> bool:
        """Tries each blob in quarantine whose time has come; False, since more comes only by itself."""
        after = ""
        known: set[str] = set()
        while rows := await self._registry.database.fetch_all(_LIST_QUARANTINED, after=after, limit=BATCH):
            for text, size_bytes in rows:
                known.add(text)
                now_ms = round(self._registry.clock.monotonic_seconds() * 1000)
                due_ms, waited_ms = self._waits.get(text, (0, 0))
                if now_ms >= due_ms and not await self._fetch_blob(Digest.parse(text), size_bytes):
                    wait_ms = min(max(FIRST_WAIT_MS, 2 * waited_ms), LONGEST_WAIT_MS)
                    self._waits[text] = (now_ms + wait_ms, wait_ms)
            after = rows[-1][0]
            await asyncio.sleep(0)  # requests go first: nothing else here waits when nothing is due
        self._waits = {text: wait for text, wait in self._waits.items() if text in known}
        return False

    async def heal_manifest(self, digest: Digest) -> bool:
        """Fetches a damaged manifest, and its blobs that are in quarantine, and takes them in; whether that worked."""
        for text, size_bytes in await self._registry.database.fetch_all(
            _LIST_QUARANTINED_OF_MANIFEST, digest=digest, limit=BATCH
        ):
            await self._fetch_blob(Digest.parse(text), size_bytes)  # or the manifest would be refused
        rows = await self._registry.database.fetch_all(
            store.LIST_REPOSITORIES_OF_MANIFEST, digest=digest, limit=REPOSITORIES
        )
        for (repository,) in rows:
            try:
                async with self._patience(MANIFEST_BYTES):
                    body, media_type = await self._upstream.fetch_manifest(repository, digest, MANIFEST_BYTES)
                if Digest.of(body, digest.algorithm) != digest:
                    raise UpstreamError(self._upstream.url, "what it gives has another digest")
                async with self._registry.maintenance.change():
                    await self._registry.manifests.push(
                        RepositoryName(repository),
                        body,
                        media_type,
                        digest=digest,
                        tags=[],
                        cause=CAUSE,
                        is_known=True,
                    )
            except RoadsteadError as error:
                _log.warning("not fetched again", digest=digest, repository=repository, reason=str(error))
                continue
            self._healed("manifest", digest, repository)
            return True
        return False

    async def _fetch_blob(self, digest: Digest, size_bytes: int) -> bool:
        """Fetches a blob under the name of one of its repositories; whether it is whole again."""
        rows = await self._registry.database.fetch_all(_LIST_HOLDING, digest=digest, limit=REPOSITORIES)
        for (repository,) in rows:
            try:
                async with self._patience(size_bytes), self._upstream.open_blob(repository, digest) as body:
                    await self._take_in(RepositoryName(repository), digest, size_bytes, body)
            except (RegistryReadOnlyError, RegistryClosedError):
                return False
            except RoadsteadError as error:
                _log.warning("not fetched again", digest=digest, repository=repository, reason=str(error))
                continue
            self._healed("blob", digest, repository)
            return True
        return False

    async def _take_in(
        self, repository: RepositoryName, digest: Digest, size_bytes: int, body: AsyncIterator[bytes]
    ) -> None:
        stop = asyncio.Event()
        async with self._registry.maintenance.change(stop.set):
            uploads = self._registry.uploads
            session = await uploads.start(repository, digest.algorithm, cause=CAUSE)
            bounded = self._bounded(body, size_bytes, stop)
            try:
                await uploads.finish(repository, session.id, bounded, digest, cause=CAUSE)
            except BaseException:
                await asyncio.shield(self._cancel(repository, session.id))
                raise

    async def _bounded(self, body: AsyncIterator[bytes], size_bytes: int, stop: asyncio.Event) -> AsyncIterator[bytes]:
        """Ends with an error what is longer than it can be, since it would fill the disk, and on ``stop``."""
        left = size_bytes
        async for piece in body:
            if stop.is_set():
                raise UpstreamError(self._upstream.url, "maintenance has begun")
            left -= len(piece)
            if left < 0:
                raise UpstreamError(self._upstream.url, f"it sends more than the {size_bytes} bytes of this blob")
            yield piece

    @contextlib.asynccontextmanager
    async def _patience(self, size_bytes: int) -> AsyncGenerator[None, None]:
        """Ends with an error what takes longer than so many bytes should."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + size_bytes / SLOWEST_BYTES_PER_SECOND):
                yield
        except TimeoutError as error:
            raise UpstreamError(self._upstream.url, "it takes too long") from error

    async def _cancel(self, repository: RepositoryName, session_id: str) -> None:
        try:
            await self._registry.uploads.cancel(repository, session_id, cause=CAUSE)
        except RoadsteadError:
            return  # it has ended by itself

    def _healed(self, kind: str, digest: Digest, repository: str) -> None:
        self._on_heal()
        self._waits.pop(digest, None)
        _log.info("fetched again", kind=kind, digest=digest, repository=repository)
