"""Names of what the registry's transactions keep and change (see ``roadstead.database.protocol``).

========================  ==================================  ========================================================
name                      kept by                             changed by
========================  ==================================  ========================================================
``repository/<name>``     who adds to it: pushes, mounts,     who takes out of it: deletions of manifests and blobs,
                          restorations, changes of tags       all that the collector does in it
``events``                everybody who writes an event       who reads up to where they are settled
``collection``            who marks blobs                     who holds the collector off
========================  ==================================  ========================================================

Rows that belong to no repository (blobs, manifests, and their reviews) are locked by themselves.
"""

from typing import Final

from roadstead.database import Lock, NameLock
from roadstead.events import KEPT

COLLECTION_KEPT: Final = NameLock(Lock.KEEP, "collection")
COLLECTION_CHANGED: Final = NameLock(Lock.CHANGE, "collection")


def adding_to(*repositories: str) -> tuple[NameLock, ...]:
    """Locks for work that puts something into repositories: others may do so beside it."""
    return (KEPT, *(NameLock(Lock.KEEP, f"repository/{each}") for each in repositories))


def removing_from(*repositories: str) -> tuple[NameLock, ...]:
    """Locks for work that takes something out of repositories, and relies on nothing being put in meanwhile."""
    return (KEPT, *(NameLock(Lock.CHANGE, f"repository/{each}") for each in repositories))
