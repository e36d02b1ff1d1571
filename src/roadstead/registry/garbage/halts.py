"""Reasons for the collector not to go on: for a while, by a maintenance mode, a backup, or until somebody confirms."""

from roadstead.database import Reader, Transaction
from roadstead.registry.garbage.holds import HoldWatch
from roadstead.registry.operation.adoption_state import AdoptionPhase, find_adoption
from roadstead.registry.operation.maintenance import MaintenanceMode, find_maintenance
from roadstead.registry.service import Registry


class Halts:
    """The reasons for which one collector stands still."""

    def __init__(self, registry: Registry) -> None:
        self._database = registry.database
        self._holds = HoldWatch(registry.clock, is_shared=registry.exclusive.is_shared)
        self._confirmation = registry.confirmation

    async def is_paused(self) -> bool:
        """True if the registry is to stand still: by a maintenance mode, or since the tree on disk is the truth.

        From an adoption until a server serves, and from a release on, a registry:2 may write to the same folder: what
        the catalogue says of its bytes does not count then. Nor does it count before it was confirmed.
        """
        state = await find_maintenance(self._database)
        if state is not None and state.mode is not MaintenanceMode.OFF:
            return True
        if (await find_adoption(self._database)).phase not in {AdoptionPhase.NONE, AdoptionPhase.IN_CHARGE}:
            return True
        return await self.is_unconfirmed()

    async def is_unconfirmed(self, reader: Reader | None = None) -> bool:
        """True if nothing may be removed before somebody has confirmed what the catalogue knows."""
        return await self._confirmation.is_waiting(reader)

    async def is_marking_barred(self, transaction: Transaction) -> bool:
        """True if no blob may be marked just now, because a backup relies on it, or nobody has confirmed that it may.

        To be asked in the transaction that marks; rows of backups that died are removed.
        """
        if await self._holds.is_held(transaction) or await self.is_unconfirmed(transaction):
            return True
        await self._holds.forget_dead(transaction)
        return False

    async def list_holds(self) -> list[str]:
        """The reasons of those that hold the collector off just now."""
        return await self._holds.list_reasons(self._database)
