"""Errors of storage."""

from roadstead.errors import RoadsteadError


class StorageError(RoadsteadError):
    """Storage could not do what it was asked to; ``key`` names the object."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class ObjectUnknownError(StorageError):
    """There is no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__("no such object in storage", key)


class ObjectBusyError(StorageError):
    """Another writer, in this process or another, has the object open."""

    def __init__(self, key: str) -> None:
        super().__init__("another request is writing this object", key)


class ObjectBarredError(StorageError):
    """Whoever wanted to remove the object was taken for dead meanwhile: it is another's to decide about."""

    def __init__(self, key: str) -> None:
        super().__init__("another process has taken over the object", key)


class StorageFullError(StorageError):
    """There is no space left, or less than the reserve that keeps the catalogue writable."""

    def __init__(self, key: str = "") -> None:
        super().__init__("storage is full", key)


class StorageUnavailableError(StorageError):
    """Storage answered with an error of its own (input/output error, permission, network)."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"storage is unavailable: {reason}", key)
        self.reason = reason


class StorageAbsentError(StorageUnavailableError):
    """The storage as a whole is not there: its disk is not mounted, or it is another catalogue's by now.

    Nothing is known about any object, so that none counts as missing.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(key, reason)
        self.args = (reason,)
