"""The sockets of a server: opened before anything else, so that an address in use is found before data is touched."""

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Generator

from roadstead.config import ListenAddress
from roadstead.errors import RoadsteadError


class ListenError(RoadsteadError):
    """An address cannot be listened on."""

    def __init__(self, address: ListenAddress, flag: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}; choose another address with {flag}")


@contextlib.contextmanager
def listener(address: ListenAddress, flag: str) -> Generator[socket.socket, None, None]:
    """A socket bound to ``address``.

    Raises:
        ListenError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address.host, address.port))
        except OSError as error:
            in_use = "another program uses it" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise ListenError(address, flag, in_use) from error
        listening.setblocking(False)  # noqa: FBT003 - its only parameter
        yield listening


def raise_file_limit() -> None:
    """Each connection and each open blob is a file; the usual limit of 1024 would be met by a busy hour."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
