"""The root of every error that this package raises on purpose, and what all of it asks of the system's own errors."""

import errno
from typing import Final

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class RoadsteadError(Exception):
    """Something went wrong in a way that the code foresaw.

    Subclasses carry fields, not HTTP: what a client is told about them stands in ``roadstead.web.errors``, what the
    command line makes of them in ``roadstead.cli``. ``str(error)`` is a sentence for a person that names no path and no
    secret.
    """


def is_disk_full(error: OSError) -> bool:
    """True if there was no room: on the disk, or in what a user may have of it."""
    return error.errno in _DISK_FULL
