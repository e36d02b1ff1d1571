"""Files that the kernel sends, on real sockets."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.connection.conftest import wait_until

Serve = Callable[..., Any]
CONTENT = os.urandom(8 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def get(path: Path, first: int, length: int) -> bytes:
    return b"GET /file?%b,%d,%d HTTP/1.1\r\nHost: x\r\n\r\n" % (os.fsencode(path), first, length)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("first", "length"), [(0, len(CONTENT)), (1, 1), (12_345, 3_000_000), (4096, 200_000)])
def test_it_comes_between_what_is_before_and_after(serve: Serve, path: Path, first: int, length: int) -> None:
    client = serve().client()
    for _ in range(3):
        client.send(get(path, first, length))
        assert client.answer().read() == b"head" + CONTENT[first : first + length] + b"tail"


def test_pipelined_answers_stay_in_order(serve: Serve, path: Path) -> None:
    client = serve().client()
    requests = [get(path, 0, 1_000_000), b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n", get(path, 7, 500_000)]
    client.send(b"".join(requests * 3))
    for _ in range(3):
        assert client.answer().read() == b"head" + CONTENT[:1_000_000] + b"tail"
        assert client.answer().read() == b"/ok"
        assert client.answer().read() == b"head" + CONTENT[7:500_007] + b"tail"


def test_it_comes_after_a_long_answer_that_the_client_has_not_read(serve: Serve, path: Path) -> None:
    client = serve().client(receive_buffer_bytes=65536)
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + get(path, 0, 300_000))
    time.sleep(0.1)
    assert len(client.answer().read()) == 64 << 20
    assert client.answer().read() == b"head" + CONTENT[:300_000] + b"tail"


def test_it_is_sent_from_the_disk_too(serve: Serve, path: Path) -> None:
    client = serve().client()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    client.send(get(path, 0, len(CONTENT)))
    assert client.answer().read() == b"head" + CONTENT + b"tail"


def test_one_that_became_shorter_ends_the_connection(serve: Serve, path: Path) -> None:
    client = serve().client()
    client.send(get(path, 0, len(CONTENT) + 10))
    assert client.answer().read(len(CONTENT) + 4) == b"head" + CONTENT
    assert client.is_closed()


def test_a_client_that_reads_slowly_gets_all_of_it(serve: Serve, path: Path) -> None:
    client = serve(write_idle_timeout_seconds=0.4).client(receive_buffer_bytes=65536)
    client.send(get(path, 0, len(CONTENT)))
    answer = client.answer()
    read = b""
    while len(read) < 1 << 20:
        read += answer.read(65536)
        time.sleep(0.05)
    read += answer.read()
    assert read == b"head" + CONTENT + b"tail"


def test_a_client_that_does_not_read_loses_the_connection(serve: Serve, path: Path) -> None:
    server = serve(write_idle_timeout_seconds=0.3)
    client = server.client(receive_buffer_bytes=65536)
    client.send(get(path, 0, len(CONTENT)))
    assert server.has_refused("write_idle")
    assert wait_until(lambda: not server.state.connections)
    (piece,) = server.application.files
    assert 0 < piece.left < len(CONTENT)


def test_nothing_stays_open_when_clients_go_away(serve: Serve, path: Path) -> None:
    server = serve()
    before = open_files()
    for _ in range(20):
        client = server.client(receive_buffer_bytes=65536)
        client.send(get(path, 0, len(CONTENT)))
        assert client.answer().read(4) == b"head"
        client.socket.close()
    assert wait_until(lambda: not server.state.connections and not server.state.tasks)
    assert open_files() <= before


def test_a_server_that_stops_cuts_it_short(serve: Serve, path: Path) -> None:
    server = serve()
    client = server.client(receive_buffer_bytes=65536)
    client.send(get(path, 0, len(CONTENT)))
    assert client.answer().read(4) == b"head"
    (connection,) = server.state.connections
    connection.loop.call_soon_threadsafe(connection.transport.close)
    assert wait_until(lambda: not server.state.connections)
