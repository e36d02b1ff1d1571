"""Folders, certificates and servers of the tests of TLS."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.system.tls.machinery import Certificates, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place(scratch: Path) -> Iterator[Path]:
    """A folder of the test, in which servers may leave nothing running."""
    path = scratch / f"tls-{secrets.token_hex(3)}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def certificates(place: Path) -> Certificates:
    """An authority, and a certificate for this machine."""
    return Certificates.make(place / "certificates")


@pytest.fixture
def start(place: Path, certificates: Certificates) -> Iterator[Callable[..., TlsServer]]:
    """Starts servers, with `certificates` unless told otherwise; they must end well."""
    running: list[TlsServer] = []

    def begin(*arguments: str, authority: Path | None = None, address: str = "127.0.0.1") -> TlsServer:
        folder = place / f"server-{len(running)}"
        flags = list(arguments) if authority else [*certificates.flags, *arguments]
        server = TlsServer(folder, authority or certificates.authority, flags, address=address)
        running.append(server)
        server.__enter__()
        return server

    yield begin
    try:
        for server in running:
            server.shut_down()
    finally:
        for server in running:
            server.stop()
