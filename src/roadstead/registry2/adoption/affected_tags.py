"""Finds the tags that clients lose by something damaged that an adoption found: people know tags, not digests."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from roadstead.database import Reader
from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry.integrity.findings import Severity
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.records import RepositoryRecords
from roadstead.registry2.links import TreeFinding, TreeFindingKind

NAMED: Final = 10
"""Number of tags that a finding names at most."""

REACHED: Final = 1000
"""Number of manifests that are looked at for one finding, at most: a base layer may be in every image of a
repository."""


async def name_tags(
    reader: Reader, records: RepositoryRecords, tags: Mapping[str, Sequence[str]], findings: Iterable[TreeFinding]
) -> list[TreeFinding]:
    """Returns the findings of one repository, those about its blobs and manifests with the tags that lead there.

    ``tags`` are those of the tree by the digest that each points at, also where that was not taken up.
    """
    return [await _name_tags_of(reader, records, tags, finding) for finding in findings]


async def _name_tags_of(
    reader: Reader, records: RepositoryRecords, tags: Mapping[str, Sequence[str]], finding: TreeFinding
) -> TreeFinding:
    digest = _digest(finding)
    if digest is None or (finding.severity is Severity.NOTE and finding.kind is not TreeFindingKind.MANIFEST_SIZES):
        return finding
    named: list[str] = []
    for each in await _naming(reader, records.repository_id, digest):
        named += [f"{records.name}:{tag}" for tag in tags.get(each, ())]
    return dataclasses.replace(finding, tags=tuple(sorted(named)[:NAMED]))


async def _naming(reader: Reader, repository_id: int, digest: str) -> list[str]:
    """Returns ``digest``, and the manifests of the repository that name it, directly or through others."""
    reached = {digest: None}
    pending = [digest]
    while pending and len(reached) < REACHED:
        each = pending.pop()
        for (found,) in await reader.fetch_all(
            adoption_store.LIST_NAMING, repository_id=repository_id, digest=each, limit=REACHED
        ):
            if found not in reached:
                reached[found] = None
                pending.append(found)
    return list(reached)


def _digest(finding: TreeFinding) -> str | None:
    """Returns the digest that a finding is about: in its subject, or in the folder of its link."""
    _, mark, text = finding.subject.partition("@")
    if not mark:
        text = ":".join(finding.key.split("/")[-3:-1])
    try:
        return Digest.parse(text)
    except DigestInvalidError:
        return None
