"""One at a time for each digest: who replaces, puts aside or removes a blob's bytes, or decides about them.

There are two kinds. On one machine it is a lock on a file (``FileExclusive``): the kernel ends it with the process that
holds it, and a process that is frozen keeps it, so that nothing can happen in between. Replicas that share a PostgreSQL
have rows (``exclusive_rows.RowExclusive``): a holder that was frozen for long counts as dead, another takes over, and
the first may wake up at any later moment, before any of its system calls. Why it then does no harm:

**What is in place.** P: bytes that get a blob's key have its digest, whoever puts them there and however late, and are
durable before they take the place of others (``ObjectWriter.publish_copy``). So to publish late changes nothing that
anybody was told.

**Who removes.** R: bytes leave a blob's key only in ``Hold.remove`` and ``Hold.put_aside``, under the token of a hold,
after its holder has seen, or said, in the catalogue that the blob is *out of service* (``deleting_ms`` or
``quarantined_ms``). Bytes without a record get one that says ``deleting_ms`` first. A record comes back into service,
or goes, only in a transaction that begins with ``Hold.require``, which fails where the hold was taken over, and keeps
it from being taken over until the transaction ends.

**Who takes over.** T: whoever takes a row over bars its token from the digest's bytes *before* the row changes hands
(``FolderStore.bar``): from then on no removal by the former holder has an effect, however late its system call comes.
Whoever dies between has barred somebody who was dead, or makes one that lives fail, which is no harm. So while somebody
holds a digest, no removal by anybody else can take effect, by induction over all who held it before.

**What follows.** A push may record a blob without a hold if its record is absent or in service, which most pushes find
(``Uploads``): it puts its own bytes in place, at a moment p, and then in one transaction writes the row, which holds
it, sees that it is in service or new, and sees that no record of a blob was deleted since before p (``blob_records``).
Suppose that its bytes are removed, at a moment r after p. By R that holder had seen the record out of service.

- If the record was deleted since, it was after r: by the same holder, in the order of its program; or by one that had
  taken over, before which r had to be by T. Then it was after p too, and the push is told to hold the digest.
- If it has come back into service since, it was in a transaction of one who held the digest then, and who has put bytes
  in place, or seen them, after r by the same reasons: they are the same bytes, by P.
- If it is out of service, the push is told so; if it waits for a transaction that makes it so, it is told then. Who
  takes a blob out of service because of its bytes looks at them again in that transaction (``Blobs``).

A hold that begins later finds the record in service, and the bytes with it. So what was answered with 201 is there,
whoever was frozen where.

A holder that publishes records in a transaction with ``Hold.require``: nobody has held the digest since it began, so
nothing was removed by T, and its own bytes are in place. One that was taken over is told so, records nothing, and its
client tries again; its bytes are those of the digest by P, or are removed by whoever decides so.

**What remains.** The folder must be one for all replicas at once: names that a client of NFS remembers for a while
(``lookupcache`` other than ``none``) make a blob seem absent on another replica; it then counts as damaged until it is
pushed again. A server that loses what it has confirmed (PostgreSQL without ``fsync``, a standby that lags behind, an
asynchronous export of NFS) may forget a row or a bar. The file of an upload session is kept from a second writer by a
lock of the file system, which must work across machines; NFS 4 refuses a late write where such a lock has lapsed.
Bytes that a late publisher leaves behind after all others have gone stay until ``check`` names them.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from roadstead.database import Transaction
from roadstead.oci import Digest
from roadstead.registry import layout
from roadstead.registry.model import Blob
from roadstead.storage import FolderStore, StorageError


class Hold(Protocol):
    """The right to decide about the bytes of some digests, until it is given up or was taken over."""

    async def require(self, transaction: Transaction) -> None:
        """Sees that nobody has taken over, and that nobody does until the transaction ends.

        Raises:
            LeaseLostError: somebody has; nothing of the transaction may happen.
        """
        ...

    async def remove(self, blobs: Sequence[Blob]) -> Sequence[bool | StorageError]:
        """Removes blobs' bytes, whose records are out of service; for each what ``ObjectStore.delete`` would say."""
        ...

    async def remove_aside(self, digests: Sequence[Digest]) -> Sequence[bool | StorageError]:
        """Removes what ``put_aside`` has moved, of blobs whose records are going; for each as ``remove``."""
        ...

    async def put_aside(self, digest: Digest) -> None:
        """Moves a blob's bytes, whose record is in quarantine, to where the quarantined are.

        Where keys are used once they stay: whoever pushes the blob again gives it another place.

        Raises:
            ObjectUnknownError: there are none.
        """
        ...


class Exclusive(Protocol):
    """Gives holds."""

    @property
    def is_shared(self) -> bool:
        """True if replicas share the catalogue."""
        ...

    @property
    def is_fenced(self) -> bool:
        """True if holders may be taken over, so that what changes a record's service asks ``Hold.require``.

        Then, too, whoever makes a blob of a digest that is absent or in service need not hold it.
        """
        ...

    def hold(self, *digests: Digest) -> AbstractAsyncContextManager[Hold]:
        """Waits until nobody else holds one of the same digests, in any process of the registry, and holds them.

        Not to be entered twice by one task.

        Raises:
            StorageError, DatabaseError: it cannot be had.
        """
        ...


class FileExclusive:
    """Holds that are locks of the storage's own: for processes of one machine."""

    is_shared = False
    is_fenced = False

    def __init__(self, storage: FolderStore) -> None:
        self._storage = storage

    def hold(self, *digests: Digest) -> "_FileHold":
        """Holds the digests by the storage's locks."""
        return _FileHold(self._storage, digests)


class _FileHold(AbstractAsyncContextManager[Hold]):
    """A class, since a generator would cost a push more than the lock."""

    __slots__ = ("_locks", "_storage")

    def __init__(self, storage: FolderStore, digests: Sequence[Digest]) -> None:
        self._storage = storage
        self._locks = storage.exclusive(*digests)

    async def __aenter__(self) -> Hold:
        await self._locks.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._locks.__aexit__(None, None, None)

    async def require(self, transaction: Transaction) -> None:
        """Nothing: whoever runs holds its lock."""

    async def remove(self, blobs: Sequence[Blob]) -> Sequence[bool | StorageError]:
        return await self._storage.delete_all([layout.blob_key(blob.digest) for blob in blobs])

    async def remove_aside(self, digests: Sequence[Digest]) -> Sequence[bool | StorageError]:
        return await self._storage.delete_all([layout.quarantine_key(digest) for digest in digests])

    async def put_aside(self, digest: Digest) -> None:
        await self._storage.move(layout.blob_key(digest), layout.quarantine_key(digest))
