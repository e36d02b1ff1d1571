"""Objects of a bucket that no row names: found by listing it, and removed when they are old.

Such are left by whoever dies between the end of an object and its row, by a removal that failed, and where a push gave
a blob another place. Why nothing goes that somebody relies on, whoever is frozen wherever:

1. An object is taken for one of these if it is a day old by the store's own clock and no row names it. That alone would
   not do: S3 gives an object of a multipart upload the time at which that began, and a process may sleep for longer
   than a day between the end of an object and its row.
2. So the key is recorded as swept *before* the object goes, in a transaction that waits for all commits under way and
   keeps new ones out (``SETTLED``), and in which the rows are asked again. A commit of a key, which holds ``KEPT``,
   asks in its own transaction if it was swept, and then records nothing (``blob_records``): its client tries again.
3. Only keys below this installation's prefix are listed, and nothing goes before somebody has confirmed what the
   catalogue knows.
"""

from collections.abc import Sequence
from typing import Final

from roadstead.database import Transaction, as_list
from roadstead.events import SETTLED
from roadstead.registry import layout
from roadstead.registry.content import place_store
from roadstead.registry.garbage.halts import Halts
from roadstead.registry.removal.rules import DAY_MS
from roadstead.registry.service import Registry
from roadstead.storage import StorageError, StoredObject

OLD_MS: Final = DAY_MS
"""The age from which an object may be swept: no upload leaves an object without a row for longer, unless it is dead."""

REMEMBERED_MS: Final = 365 * DAY_MS
"""Time for which a swept key is known: no process sleeps for longer between the end of an object and its row."""

BATCH: Final = 500
"""Objects that are looked up at once."""


class ObjectSweep:
    """The sweep of one registry's bucket."""

    def __init__(self, registry: Registry) -> None:
        self._database = registry.database
        self._storage = registry.storage
        self._clock = registry.clock
        self._halts = Halts(registry)

    async def round(self) -> int:
        """Goes through the whole bucket once; returns how many objects were removed.

        Raises:
            StorageError, DatabaseError: the next round begins anew.
        """
        if await self._halts.is_paused():
            return 0
        before_ms = await self._storage_ms() - OLD_MS
        removed = 0
        batch: list[StoredObject] = []
        async for found in self._storage.iter_objects(layout.OBJECTS):
            if found.modified_ms < before_ms:
                batch.append(found)
            if len(batch) == BATCH:
                removed += await self._sweep([each.key for each in batch])
                batch.clear()
        if batch:
            removed += await self._sweep([each.key for each in batch])
        await self._forget_swept()
        return removed

    async def _sweep(self, keys: Sequence[str]) -> int:
        """Removes those of ``keys`` that no row names; the rows are asked without a lock first."""
        unnamed = set(keys) - await self._named(keys)
        if not unnamed or await self._halts.is_paused():
            return 0
        wanted, now_ms = sorted(unnamed), self._clock.grace_ms()

        async def work(transaction: Transaction) -> list[str]:
            rows = await transaction.fetch_all(place_store.LIST_NAMED_KEYS, keys=as_list(wanted))
            swept = sorted(set(wanted) - {str(key) for (key,) in rows})
            await transaction.execute_many(
                place_store.ADD_SWEPT, [{"object_key": key, "now_ms": now_ms} for key in swept]
            )
            return swept

        swept = await self._database.write(work, locks=[SETTLED], is_long=True)
        outcomes = await self._storage.delete_all(swept)
        return sum(not isinstance(outcome, StorageError) for outcome in outcomes)

    async def _named(self, keys: Sequence[str]) -> set[str]:
        rows = await self._database.fetch_all(place_store.LIST_NAMED_KEYS, keys=as_list(keys))
        return {str(key) for (key,) in rows}

    async def _forget_swept(self) -> None:
        before_ms = self._clock.grace_ms() - REMEMBERED_MS

        async def work(transaction: Transaction) -> None:
            await transaction.execute(place_store.DELETE_OLD_SWEPT, before_ms=before_ms)

        await self._database.write(work, durable=False)

    async def _storage_ms(self) -> int:
        """The time by the store's own clock: that of an object made now."""
        key = layout.new_object_key().replace(layout.OBJECTS, layout.CLOCKS)
        await self._storage.put(key, b"")
        found = await self._storage.find(key)
        await self._storage.delete(key)
        return 0 if found is None else found.modified_ms
