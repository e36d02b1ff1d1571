"""Where the data folder's parts are, and the one check of their owner that stands before all work on bytes.

A server locks the bytes, then makes them its catalogue's (``lock_storage``, ``own_storage``). A command beside it asks
whether they are, and whether no other server is at them (``require_storage``). How that is known is told in
``roadstead.registry.operation.storage_owner``.
"""

from typing import Final

from roadstead.config import Settings
from roadstead.registry import Registry
from roadstead.registry.layout import BLOBS
from roadstead.registry.operation.storage_owner import claim, require_owned
from roadstead.registry2.links import LINK_TREE
from roadstead.storage import DataFolder
from roadstead.storage.data_folder import folder_error

_PARTS: Final = BLOBS.split("/")
_FOLDERS: Final = tuple("/".join(_PARTS[: number + 1]) for number in range(len(_PARTS)))
"""The folder of blobs, and those that lead to it from the root."""


def data_folder(settings: Settings) -> DataFolder:
    """The data folder that the settings name; one that is registry:2's own folder has its blobs where that has them."""
    objects = settings.storage_folder
    if settings.storage.url is None and not (objects / "docker").exists():
        data = settings.data.folder
        objects = data if (data / LINK_TREE).is_dir() else objects
    return DataFolder(
        settings.data.folder, catalogue=settings.database_file, objects=objects, group=settings.storage.group
    )


async def require_storage(registry: Registry, folder: DataFolder) -> None:
    """Sees that a command may work on the bytes in ``folder`` with this catalogue.

    Raises:
        StorageForeignError, StorageMissingError, StorageUnavailableError: the bytes are another's, or not there.
        DataFolderBusyError: a server of another data folder works on them.
    """
    await require_owned(registry.database, folder.objects)
    folder.require_no_other_server()


async def lock_storage(registry: Registry, folder: DataFolder, *, takes_over: bool = False) -> None:
    """Makes the place of the bytes ready, and keeps every other server out of it; nothing is made where they are gone.

    Raises:
        StorageForeignError, StorageMissingError, StorageUnavailableError: as ``require_storage``; not those that
            ``takes_over`` is about.
        DataFolderError: the folder cannot be used, or another server works on it.
    """
    if not takes_over:
        await require_owned(registry.database, folder.objects)
    folder.prepare_objects(_FOLDERS)
    folder.lock_objects()


async def own_storage(registry: Registry, folder: DataFolder, *, takes_over: bool = False) -> None:
    """Makes the bytes those of this catalogue, unless they are; both are locked.

    Raises:
        StorageForeignError, StorageMissingError, StorageUnavailableError, DataFolderError: as ``lock_storage``.
    """
    try:
        await claim(registry.database, folder.objects, folder.catalogue, takes_over=takes_over)
        folder.prepare_objects(_FOLDERS)
    except OSError as error:
        raise folder_error(folder.objects, error) from error
