"""Let's Encrypt's own test server, pebble, with a DNS server in which every name is this machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING

import httpx

from tests.system.process import Daemon
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.tls.machinery import Certificates

_A = 1


class _Resolver(socketserver.StreamRequestHandler):
    """Answers questions for an A record with 127.0.0.1, and others with nothing; over TCP, as pebble asks."""

    def handle(self) -> None:
        while length := self.rfile.read(2):
            answer = _answer(self.rfile.read(int.from_bytes(length, "big")))
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)


def _answer(query: bytes) -> bytes:
    end = 12
    while query[end]:
        end += query[end] + 1
    kind = struct.unpack(">H", query[end + 1 : end + 3])[0]
    question = query[12 : end + 5]
    count = 1 if kind == _A else 0
    answer = b"\xc0\x0c" + struct.pack(">HHIH", _A, 1, 1, 4) + socket.inet_aton("127.0.0.1")
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0)
    return header + question + answer * count


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextlib.contextmanager
def names_of_this_machine() -> Iterator[str]:
    """The address of a DNS server in which every name is 127.0.0.1."""
    with _Server(("127.0.0.1", 0), _Resolver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Pebble(Daemon):
    """An ACME server; certificates live `lifetime_seconds`, challenges are asked for on `challenge_port`."""

    def __init__(
        self,
        folder: Path,
        own: Certificates,
        names: str,
        *,
        challenge_port: int,
        lifetime_seconds: int = 7_776_000,
        rejected_nonces: int = 5,
    ) -> None:
        self.port = free_port()
        self.management_port = free_port()
        self._own = own
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(own.certificate),
            "privateKey": str(own.key),
            "httpPort": challenge_port,
            "tlsPort": 1,
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "default", "validityPeriod": lifetime_seconds}},
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        environment = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_AUTHZREUSE": "0",
            "PEBBLE_WFE_NONCEREJECT": str(rejected_nonces),
        }
        command: list[str | Path] = [path_of("pebble"), "-config", folder / "pebble.json", "-dnsserver", names]
        super().__init__(command, folder=folder, is_ready=self._answers, env=environment)

    @property
    def directory(self) -> str:
        """What `tls.acme_directory` is set to."""
        return f"https://127.0.0.1:{self.port}/dir"

    def root(self) -> bytes:
        """The certificate of the authority that signs what is ordered; another one after each start."""
        return httpx.get(
            f"https://127.0.0.1:{self.management_port}/roots/0", verify=False, trust_env=False, timeout=10
        ).content

    def _answers(self) -> bool:
        try:
            return httpx.get(self.directory, verify=False, trust_env=False, timeout=1).is_success
        except httpx.TransportError:
            return False
