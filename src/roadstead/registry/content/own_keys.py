"""Nobody is kept out where a key is used once: an ``Exclusive`` of buckets.

What ``exclusive`` makes certain by holds follows from the keys there: bytes are written under a key that nobody has had
before, and a record says which. So a removal that comes late, of a process that was frozen, removes an object that no
record names any more, and a push never puts bytes where somebody else's are. Whoever decides about a record because of
its bytes names the key at which they were seen, and decides nothing where the record says another by then.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from roadstead.database import Transaction
from roadstead.oci import Digest
from roadstead.registry.content.exclusive import Hold
from roadstead.registry.content.places import Places
from roadstead.registry.model import Blob
from roadstead.storage import ObjectStore, StorageError


class OwnKeys:
    """Holds that hold nothing."""

    is_fenced = False

    def __init__(self, places: Places, storage: ObjectStore, *, is_shared: bool) -> None:
        """``is_shared``: replicas share the catalogue."""
        self.is_shared = is_shared
        self._places = places
        self._storage = storage

    def hold(self, *digests: Digest) -> "_OpenHold":  # noqa: ARG002 - as the protocol has it
        """Returns at once, whoever else is at the same blobs."""
        return _OpenHold(self._places, self._storage)


class _OpenHold(AbstractAsyncContextManager[Hold]):
    def __init__(self, places: Places, storage: ObjectStore) -> None:
        self._places = places
        self._storage = storage

    async def __aenter__(self) -> Hold:
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Nothing was held."""

    async def require(self, transaction: Transaction) -> None:
        """Nothing: nobody can have taken over."""

    async def remove(self, blobs: Sequence[Blob]) -> Sequence[bool | StorageError]:
        keys = [await self._places.keys(blob.digest, blob.object_key) for blob in blobs]
        outcomes = iter(await self._storage.delete_all([key for each in keys for key in each]))
        return [_worst([next(outcomes) for _ in each]) for each in keys]

    async def remove_aside(self, digests: Sequence[Digest]) -> Sequence[bool | StorageError]:
        return [False] * len(digests)

    async def put_aside(self, digest: Digest) -> None:
        """Nothing: the bytes stay where they are, and whoever pushes the blob again gives it another place."""


def _worst(outcomes: Sequence[bool | StorageError]) -> bool | StorageError:
    return next((outcome for outcome in outcomes if isinstance(outcome, StorageError)), True)
