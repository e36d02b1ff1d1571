"""Referrers: the manifests of a repository that name another as their subject.

The list is an index over the ``subject`` of every manifest pushed, so it is right whether or not the client kept the
"referrers tag" that older registries need: what such a tag's index lists is here too if it is still in the repository
and has the subject, and never listed if it is gone.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

from roadstead.access import VisibleRepositories
from roadstead.database import Database, Row
from roadstead.oci import Digest, RepositoryName, read_annotations
from roadstead.oci.errors import ManifestInvalidError
from roadstead.registry.content import store
from roadstead.registry.model import Referrer, ReferrerPage

PAGE_BYTES: Final = 3 << 20
"""A page ends before it grows past this, since clients read at most 4 MiB of an index."""

ENTRY_BYTES: Final = 300
"""Bytes that a descriptor takes besides its types and annotations: names of fields, a digest, a size."""

NONE: Final = "{}"


class Referrers:
    """The referrers of a registry's manifests."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reading = asyncio.Semaphore(1)

    async def list(
        self,
        repository: RepositoryName,
        subject: Digest,
        *,
        visible: VisibleRepositories,
        artifact_type: str = "",
        after: str = "",
        limit: int,
    ) -> ReferrerPage:
        """Referrers of ``subject`` in order of their digests, only those of ``artifact_type`` if given.

        A page has as many as fit in ``PAGE_BYTES``, and at least one. A subject or repository that does not exist has
        none. Source: distribution specification, section "Listing Referrers".
        """
        if limit == 0 or repository not in visible:
            return ReferrerPage((), "")
        parameters = {"repository": repository, "digest": subject, "after": after, "limit": limit + 1}
        if artifact_type:
            rows = await self._database.fetch_all(
                store.LIST_REFERRERS_OF_TYPE, artifact_type=artifact_type, **parameters
            )
        else:
            rows = await self._database.fetch_all(store.LIST_REFERRERS, **parameters)
        count = _count_that_fit(rows[:limit])
        items = [
            Referrer(row[1], Digest(row[0]), row[2], row[3], await self._annotations(Digest(row[0]), row[4], row[5]))
            for row in rows[:count]
        ]
        return ReferrerPage(tuple(items), items[-1].digest if count < len(rows) else "")

    async def _annotations(self, digest: Digest, size_bytes: int | None, text: str | None) -> str:
        """A referrer's annotations: as listed, else from their own row, else from the manifest, if it is still there.

        Only manifests that a version before 0004 recorded have to be read, one at a time.
        """
        if size_bytes is None:
            async with self._reading:
                row = await self._database.fetch_one(store.GET_MANIFEST_BODY, digest=digest)
                text = await asyncio.to_thread(_from_body, row[0]) if row else NONE
        elif text is None:
            row = await self._database.fetch_one(store.GET_MANIFEST_ANNOTATIONS, digest=digest)
            text = row[0] if row else NONE
        return "" if text is None or text == NONE else text


def _count_that_fit(rows: Sequence[Row]) -> int:
    """The number of a listing's rows that fit on a page; annotations of unknown size count as the whole manifest."""
    size = 0
    for count, (_, media_type, manifest_bytes, artifact_type, annotations_bytes, _) in enumerate(rows):
        size += ENTRY_BYTES + len(media_type) + len(artifact_type)
        size += manifest_bytes if annotations_bytes is None else annotations_bytes
        if count and size > PAGE_BYTES:
            return count
    return len(rows)


def _from_body(body: bytes) -> str:
    try:
        return json.dumps(read_annotations(body), ensure_ascii=False, separators=(",", ":"))
    except ManifestInvalidError:  # damaged, or accepted by a version that was less strict: not for a listing to say
        return NONE
