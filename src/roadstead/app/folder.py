"""Where the data folder's parts are."""

from roadstead.config import Settings
from roadstead.registry2.links import LINK_TREE
from roadstead.storage import DataFolder


def data_folder(settings: Settings) -> DataFolder:
    """The data folder that the settings name; one that is registry:2's own folder has its blobs where that has them."""
    objects = settings.storage_folder
    if settings.storage.url is None and not (objects / "docker").exists():
        data = settings.data.folder
        objects = data if (data / LINK_TREE).is_dir() else objects
    return DataFolder(
        settings.data.folder, catalogue=settings.database_file, objects=objects, group=settings.storage.group
    )
