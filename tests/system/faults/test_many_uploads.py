"""Two thousand uploads at the same time: all of them finish, and memory does not follow their number."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import secrets
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.client import Client, digest_of
from tests.system.faults.server import FaultyServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UPLOADS: Final = 2000
BLOB_BYTES: Final = 60_000
FILES: Final = UPLOADS + 500
TIMEOUT_SECONDS: Final = 150
MEMORY_BYTES: Final = 220 << 20
"""Above rest, with 2,000 connections open in the middle of their bodies: 110 KB for each, of which its socket's parser,
its task and what it gathers are most. Without a bound it would be the blobs' own size twice over, and follow it."""

LARGER: Final = 8


@pytest.fixture
def many_files() -> Iterator[None]:
    """A connection each is a file each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"needs {FILES} open files -- enable with: ulimit -Hn {FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def blob(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Crowd:
    """Clients that all stand in the middle of a blob before any goes on."""

    def __init__(self, port: int, count: int, size: int) -> None:
        self._port = port
        self._count = count
        self._size = size
        self._seed = secrets.token_hex(4)
        self._waiting = 0
        self._all_half_way = asyncio.Event()
        self.peak_at_half_way = False

    async def run(self) -> list[int]:
        """The status that each was given."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return list(await asyncio.gather(*(self._push(number) for number in range(self._count))))

    async def _push(self, number: int) -> int:
        data = blob(f"{self._seed}/{number}", self._size)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            target = f"/v2/many/r{number % 50}/blobs/uploads/?digest={digest_of(data)}"
            writer.write(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n\r\n".encode())
            writer.write(data[: len(data) // 2])
            await writer.drain()
            await self._meet()
            writer.write(data[len(data) // 2 :])
            await writer.drain()
            status = int((await reader.readline()).split()[1])
            while (line := await reader.readline()) not in {b"\r\n", b""}:
                assert b"Traceback" not in line
            return status
        finally:
            writer.close()
            await writer.wait_closed()

    async def _meet(self) -> None:
        self._waiting += 1
        if self._waiting == self._count:
            self._all_half_way.set()
        await self._all_half_way.wait()


@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
@pytest.mark.xdist_group("many_uploads")
def test_thousands_of_parallel_uploads_finish(scratch: Path, many_files: None) -> None:
    """Each gets its 201; memory is bounded by connections, not by bytes: eight times the bytes need hardly more."""
    with serving(FaultyServer(scratch / f"many-{secrets.token_hex(3)}")) as server:
        rest = server.resident_bytes()
        server.forget_peak()
        statuses = asyncio.run(Crowd(server.port, UPLOADS, BLOB_BYTES).run())
        assert statuses == [201] * UPLOADS
        peak = server.peak_bytes() - rest
        assert server.is_healthy()

        server.forget_peak()
        before = server.resident_bytes()
        statuses = asyncio.run(Crowd(server.port, UPLOADS // LARGER, BLOB_BYTES * LARGER * LARGER).run())
        assert statuses == [201] * (UPLOADS // LARGER)
        larger = server.peak_bytes() - before
        print(f"at rest {rest >> 20} MiB; above it {peak >> 20} MiB, with larger blobs {larger >> 20} MiB more")
        assert peak < MEMORY_BYTES
        assert larger < MEMORY_BYTES

        with Client(server.port) as client:
            names = client.expect(200, "GET", "/v2/").document
            assert json.dumps(names) == "{}"
        assert not list((server.data / "registry" / "uploads").glob("*")), "no upload is left"
        server.check_data()
