"""How often a request waits for the server: counted between the two, as answers to what was asked."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from roadstead.testing.images import digest_of, image
from roadstead.testing.instance import Instance
from roadstead.testing.wrapped_database import WrappedDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
DATABASES = ("postgresql",)

LAYERS = 10
MOST = LAYERS + 2
"""One for each layer, one for the configuration, one for the manifest."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Counter:
    """Stands between a registry and its server, and counts how often the server says that it is ready for more."""

    def __init__(self, host: str, port: int) -> None:
        self.answers = 0
        self._target = host, port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes on what one connection says, in both directions."""
        answers, requests = await asyncio.open_connection(*self._target)
        sending = asyncio.create_task(self._pass_on(reader, requests))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await answers.readexactly(5)
                writer.write(head + await answers.readexactly(int.from_bytes(head[1:], "big") - 4))
                self.answers += head[:1] == b"Z"
        sending.cancel()
        writer.close()
        requests.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
        writer.close()


@contextlib.asynccontextmanager
async def opened(
    folder: Path, database_url: str, *, in_steps: bool = False
) -> AsyncGenerator[tuple[Instance, Counter], None]:
    """A registry that has pushed before, so that its statements are prepared, and its functions there."""
    parts = urlsplit(database_url)
    counter = Counter(parts.hostname or "", parts.port or 5432)
    server = await asyncio.start_server(counter.serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    user = parts.netloc.rpartition("@")[0]
    query = "&".join(filter(None, (parts.query, "sslmode=disable")))
    through = parts._replace(netloc=f"{user}@127.0.0.1:{port}", query=query)
    instance = Instance(folder, database_url=urlunsplit(through))
    if in_steps:
        instance.wrap_database = WrappedDatabase
    await instance.open()
    for number in range(2):
        await push(instance, number, in_pieces=bool(number))
    yield instance, counter
    await instance.close()
    server.close()


@pytest.fixture
async def counted(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Instance, Counter]]:
    async with opened(tmp_path, database_url) as found:
        yield found


async def push(instance: Instance, number: int, *, in_pieces: bool = False) -> None:
    """An image of ten layers, each pushed by ``POST`` and ``PUT``, or with a ``PATCH`` between."""
    content = image(*(b"layer %d of %d" % (each, number) for each in range(LAYERS)), config=b"{}%d" % number)
    for blob in content.blobs:
        started = await instance.client.request("POST", "/v2/team/app/blobs/uploads/")
        location, body = started.headers("location")[0], blob.content
        if in_pieces:
            answer = await instance.client.request("PATCH", location, body=body)
            location, body = answer.headers("location")[0], b""
        mark = "&" if "?" in location else "?"
        answer = await instance.client.request("PUT", f"{location}{mark}digest={blob.digest}", body=body)
        assert answer.status == 201
    headers = {"content-type": content.media_type}
    target = f"/v2/team/app/manifests/v{number}"
    answer = await instance.client.request("PUT", target, headers=headers, body=content.content)
    assert answer.status == 201


async def test_a_push_waits_once_for_each_blob_and_once_for_the_manifest(counted: tuple[Instance, Counter]) -> None:
    instance, counter = counted
    before = counter.answers
    await push(instance, 7)
    assert counter.answers - before <= MOST


async def test_a_push_in_pieces_waits_twice_for_each_blob(counted: tuple[Instance, Counter]) -> None:
    instance, counter = counted
    before = counter.answers
    await push(instance, 8, in_pieces=True)
    assert counter.answers - before <= 2 * (LAYERS + 1) + 1


@pytest.mark.parametrize(("content", "status"), [(b"absent", 404), (b"layer 0 of 0", 200)])
async def test_a_question_for_a_blob_waits_once(counted: tuple[Instance, Counter], content: bytes, status: int) -> None:
    instance, counter = counted
    for _ in range(2):  # at the first the statements are prepared
        before = counter.answers
        answer = await instance.client.request("HEAD", f"/v2/team/app/blobs/{digest_of(content)}")
        assert answer.status == status
    assert counter.answers - before == 1


async def test_without_functions_each_commit_is_about_nine(tmp_path: Path, database_url: str) -> None:
    async with opened(tmp_path, database_url, in_steps=True) as (instance, counter):
        before = counter.answers
        await push(instance, 7)
        assert 8 < (counter.answers - before) / MOST < 10
