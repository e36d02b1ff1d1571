"""Referrers: the manifests of a repository that name another as their subject.

The list is an index over the ``subject`` of every manifest pushed, so it is right whether or not the client kept the
"referrers tag" that older registries need: what such a tag's index lists is here too if it is still in the repository
and has the subject, and never listed if it is gone.
"""

import json
from typing import Any, Final, cast

from roadstead.database import Database
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import store
from roadstead.registry.model import Referrer, ReferrerPage

PAGE_BYTES: Final = 3 << 20
"""A page ends before it grows past this, since clients read at most 4 MiB of an index."""


class Referrers:
    """The referrers of a registry's manifests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, repository: RepositoryName, subject: Digest, *, artifact_type: str = "", after: str = "", limit: int
    ) -> ReferrerPage:
        """Referrers of ``subject`` in order of their digests, only those of ``artifact_type`` if given.

        A subject or repository that does not exist has none. Source: distribution specification, section "Listing
        Referrers".
        """
        if limit == 0:
            return ReferrerPage((), "")
        parameters = {"repository": repository, "digest": subject, "after": after, "limit": limit + 1}
        if artifact_type:
            rows = await self._database.fetch_all(
                store.LIST_REFERRERS_OF_TYPE, artifact_type=artifact_type, **parameters
            )
        else:
            rows = await self._database.fetch_all(store.LIST_REFERRERS, **parameters)
        items: list[Referrer] = []
        size = 0
        for digest, media_type, size_bytes, found_type, body in rows[:limit]:
            size += size_bytes
            if items and size > PAGE_BYTES:
                break
            items.append(Referrer(media_type, Digest(digest), size_bytes, found_type, _annotations(body)))
        return ReferrerPage(tuple(items), items[-1].digest if len(items) < len(rows) else "")


def _annotations(body: bytes) -> dict[str, str]:
    document = cast("dict[str, Any]", json.loads(body))  # found valid when it was pushed
    annotations = cast("dict[str, str | None]", document.get("annotations") or {})
    return {key: value for key, value in annotations.items() if value is not None}
