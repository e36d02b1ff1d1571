"""Stores of bytes: one small interface, and the back ends that implement it."""

from roadstead.storage.data_folder import DataFolder, DataFolderBusyError, DataFolderError, DataFolderForbiddenError
from roadstead.storage.errors import (
    ObjectBarredError,
    ObjectBusyError,
    ObjectUnknownError,
    StorageAbsentError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from roadstead.storage.filesystem import FilesystemStore
from roadstead.storage.measured import MeasuredStore
from roadstead.storage.modes import TreeModes
from roadstead.storage.presence import Mark, Presence
from roadstead.storage.protocol import (
    Buffer,
    FileObject,
    FolderStore,
    ObjectReader,
    ObjectSink,
    ObjectStore,
    ObjectWriter,
    SinkStore,
    StoredObject,
)
from roadstead.storage.small_files import Entry, EntryKind, SmallFile, SmallFiles

__all__ = [
    "Buffer",
    "DataFolder",
    "DataFolderBusyError",
    "DataFolderError",
    "DataFolderForbiddenError",
    "Entry",
    "EntryKind",
    "FileObject",
    "FilesystemStore",
    "FolderStore",
    "Mark",
    "MeasuredStore",
    "ObjectBarredError",
    "ObjectBusyError",
    "ObjectReader",
    "ObjectSink",
    "ObjectStore",
    "ObjectUnknownError",
    "ObjectWriter",
    "Presence",
    "SinkStore",
    "SmallFile",
    "SmallFiles",
    "StorageAbsentError",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "StoredObject",
    "TreeModes",
]
