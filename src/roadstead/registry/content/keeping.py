"""The parts of a registry that a folder and a bucket do differently, chosen once."""

from dataclasses import dataclass
from typing import Any

from roadstead.clock import Clock
from roadstead.database import Database
from roadstead.registry.content.exclusive import Exclusive, FileExclusive
from roadstead.registry.content.file_intake import FileIntake
from roadstead.registry.content.intake import Intake
from roadstead.registry.content.own_keys import OwnKeys
from roadstead.registry.content.part_intake import PartIntake
from roadstead.registry.content.places import Places
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.upload_sessions import UploadSessions
from roadstead.registry.removal.rules import GarbageRules
from roadstead.storage import FolderStore, ObjectStore, SinkStore


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where blobs are, who decides about one, and how sessions take bytes in."""

    places: Places
    exclusive: Exclusive
    sessions: UploadSessions
    intake: Intake[Any]
    run_id: bytes
    """Stands before a running digest that is saved, and must be the same for it to be trusted."""

    @classmethod
    def of(
        cls,
        database: Database,
        storage: ObjectStore,
        clock: Clock,
        rules: GarbageRules,
        traffic: Traffic,
        *,
        boot_id: str,
        exclusive: Exclusive | None,
        is_shared: bool,
    ) -> "Keeping":
        """That of a folder, or of a bucket.

        ``boot_id`` tells one running machine from another, and from itself before it lost power. ``exclusive`` is the
        folder's own, unless replicas share the catalogue.

        Raises:
            TypeError: ``storage`` is neither.
        """
        run_id = boot_id.encode("ascii") + b"\n"
        if isinstance(storage, SinkStore):
            places = Places(database, storage, has_own_keys=True)
            sessions = UploadSessions(database, clock, run_id, is_shared=is_shared)
            intake = PartIntake(database, storage, clock, rules, traffic, sessions)
            return cls(places, OwnKeys(places, storage, is_shared=is_shared), sessions, intake, b"\n")
        if not isinstance(storage, FolderStore):
            raise TypeError(storage)
        exclusive = exclusive or FileExclusive(storage)
        sessions = UploadSessions(database, clock, run_id, is_shared=exclusive.is_shared)
        files = FileIntake(database, storage, exclusive, clock, rules, traffic, sessions)
        return cls(Places(database, storage), exclusive, sessions, files, run_id)
