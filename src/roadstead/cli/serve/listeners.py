"""Opens a server's sockets before anything else, so that an address in use is found before data is touched."""

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Generator
from typing import Final

from roadstead.config import ListenAddress
from roadstead.errors import RoadsteadError

EVERY_ADDRESS: Final = "::"


class ListenError(RoadsteadError):
    """An address cannot be listened on."""

    def __init__(self, address: ListenAddress, remedy: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}; choose another address with {remedy}")


@contextlib.contextmanager
def listener(address: ListenAddress, remedy: str) -> Generator[socket.socket, None, None]:
    """Binds a socket to ``address``; ``remedy`` says how the person who started the server can choose another one.

    ``[::]`` is every address, IPv6 and IPv4; on a system without IPv6, every IPv4 one.

    Raises:
        ListenError: it cannot be bound.
    """
    host = address.host
    if host == EVERY_ADDRESS and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - what was asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == EVERY_ADDRESS:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listening.bind((host, address.port))
        except OSError as error:
            in_use = "another program uses it" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise ListenError(address, remedy, in_use) from error
        listening.setblocking(False)  # noqa: FBT003 - its only parameter
        yield listening


def raise_file_limit() -> None:
    """Raises the limit of open files: each connection and each open blob is a file, and the usual 1024 are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
