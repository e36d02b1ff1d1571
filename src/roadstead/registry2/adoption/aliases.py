"""Other names of blobs: registry:2 keeps what was pushed as ``sha512:…`` under sha256 and links the one to the other.

We keep bytes under the digest that clients ask for. So when the catalogue takes charge of a tree, and not before, since
an adoption changes nothing in it, the file gets its other name, without a second copy, if hashing proves it. What
cannot be proved stays a link that only registry:2 understands.
"""

import asyncio
from collections.abc import Sequence

from roadstead.clock import Clock
from roadstead.database import Database, Transaction
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.locks import adding_to
from roadstead.registry.removal.rules import GarbageRules
from roadstead.registry.removal.transitions import Change
from roadstead.registry2.adoption import store as adoption_store
from roadstead.registry2.adoption.content import FoundBlob, hash_object
from roadstead.registry2.adoption.records import RepositoryRecords, Step, pages, record_blobs, record_step
from roadstead.registry2.links import Link, LinkFiles, LinkTree


async def name_aliases(database: Database, files: LinkFiles, clock: Clock, rules: GarbageRules) -> None:
    """Makes blobs available under the other names that repositories have for them.

    May be interrupted at any moment and run again.

    Raises:
        StorageError, DatabaseError: not all have their names.
    """
    tree = LinkTree(files, lambda _finding: None)
    change = Change.at(clock, "", rules)
    async for _, name, removed_ms in pages(database, adoption_store.LIST_ALL_REPOSITORIES, "", 1):
        links = await asyncio.to_thread(tree.list_aliases, RepositoryName(name)) if removed_ms is None else []
        if links:
            await _name_aliases_of(database, files, RepositoryName(name), links, change)


async def _name_aliases_of(
    database: Database, files: LinkFiles, name: RepositoryName, links: Sequence[tuple[Digest, Link]], change: Change
) -> None:
    records = await RepositoryRecords.read(database, name)
    blobs: list[FoundBlob] = []
    is_proved = True
    for digest, link in links:
        blob = None
        if link.digest in records.blobs and digest not in records.blobs:
            blob = await asyncio.to_thread(_ensure_file, files, digest, link)
        if blob is not None:
            blobs.append(blob)
        is_proved &= blob is not None or digest in records.blobs

    async def work(transaction: Transaction, step: Step) -> None:
        if not is_proved:  # its manifests may need blobs by a name that is not known
            await transaction.execute(
                adoption_store.NOTE_LEFT_ALONE, repository_id=records.repository_id, now_ms=change.now_ms
            )
        await record_blobs(transaction, step, blobs, change)

    await record_step(database, records, work, adding_to(name))


def _ensure_file(files: LinkFiles, digest: Digest, link: Link) -> FoundBlob | None:
    """Ensures the blob's file under its other name; returns None if its bytes do not have that digest."""
    own, other = layout.blob_key(link.digest), layout.blob_key(digest)
    if files.find(other) is None:
        if hash_object(files, own, digest.algorithm) != digest:
            return None
        files.add_name(own, other)
    elif hash_object(files, other, digest.algorithm) != digest:
        return None
    found = files.find(other)
    return FoundBlob(digest, found[0], found[1], link.modified_ms, is_damaged=False) if found else None
