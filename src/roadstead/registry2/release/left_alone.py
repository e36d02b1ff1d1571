"""Remembers what an adoption left alone in each repository, so that no later writing of links removes it.

The tree cannot say it by itself: a link to bytes that are missing looks the same whether the disk lost the bytes before
the adoption, and an administrator may bring them back, or we collected them after the link's manifest was deleted. So
the adoption writes down the keys, and each new adoption writes them down anew.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import json

from roadstead.database import Database, Reader, Transaction
from roadstead.jobs import delete_state, delete_states, find_state, save_state
from roadstead.oci import Digest
from roadstead.registry2.links import TreeFinding, TreeFindingKind, paths
from roadstead.registry2.links.writer import RepositoryContent

_PREFIX: Final = "left-alone:"

_UNDERSTOOD: Final = frozenset({TreeFindingKind.DIGEST_ALIAS, TreeFindingKind.FOREIGN, TreeFindingKind.LEFTOVER})
"""Kinds of findings among manifests that are no manifests which only registry:2 understands."""


async def find_left_alone(reader: Reader, repository: str) -> frozenset[str]:
    """Returns the keys that the last adoption left alone in a repository, those of folders among them."""
    value = await find_state(reader, _PREFIX + repository)
    return frozenset(json.decode(value, type=list[str])) if value else frozenset()


async def save_left_alone(transaction: Transaction, repository: str, keys: Iterable[str]) -> None:
    """Replaces the remembered keys by ``keys``."""
    if texts := sorted({*keys}):
        await save_state(transaction, _PREFIX + repository, json.encode(texts).decode())
    else:
        await delete_state(transaction, _PREFIX + repository)


async def claim(database: Database, repository: str, key: str, *, is_known: bool) -> bool:
    """Returns True if a link may be written or removed.

    What was left alone stays, until clients have put something in its place that the catalogue knows: from then on the
    link is ours like any other.
    """
    left_alone = await find_left_alone(database, repository)
    if key not in left_alone:
        return True
    if is_known:
        await database.write(lambda transaction: save_left_alone(transaction, repository, left_alone - {key}))
    return is_known


async def claim_all(database: Database, content: RepositoryContent) -> None:
    """Claims all links of a repository's content, which were written."""
    keys = {paths.layer_link(content.name, Digest(text)) for text in content.blobs}
    keys |= {paths.revision_link(content.name, Digest(text)) for text in content.manifests}
    keys |= {paths.current_link(content.name, tag) for tag in content.tags}
    rest = content.left_alone - keys
    if rest != content.left_alone:
        await database.write(lambda transaction: save_left_alone(transaction, content.name, rest))


async def forget_left_alone(transaction: Transaction) -> None:
    """Forgets the keys of all repositories: an adoption begins."""
    await delete_states(transaction, _PREFIX)


def keeps_all_links(repository: str, findings: Iterable[TreeFinding]) -> bool:
    """Returns True if a repository has a manifest that was not adopted, which may need any blob that it links to.

    registry:2 keeps what its own collector finds below ``revisions``; a tag that leads nowhere is none of that.
    """
    folder = f"{paths.repository_folder(repository)}/{paths.REVISIONS}"
    above = {folder, folder.rpartition("/")[0]}
    return any(
        finding.kind not in _UNDERSTOOD and (finding.key in above or finding.key.startswith(f"{folder}/"))
        for finding in findings
    )
