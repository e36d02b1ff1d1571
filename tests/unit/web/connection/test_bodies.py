"""Bodies received into the application's buffers, on real sockets: in every fragmentation, with what comes after."""

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadstead.config import LimitSettings
from tests.unit.web.connection.conftest import TlsSides, running, wait_until

Serve = Callable[..., Any]

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
BOTH = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
CONTENT = os.urandom(700_000)
LEAST = 64 << 10
"""Bodies that are shorter are not received so."""


def stated(path: bytes, content: bytes, *fields: bytes) -> bytes:
    lines = [b"PUT %s HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % len(content), *fields]
    return b"\r\n".join([*lines, b"", content])


def chunked(path: bytes, chunks: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"PATCH %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def split(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def server(request: pytest.FixtureRequest, tls: TlsSides) -> Iterator[Any]:
    """One server for many bodies."""
    with running(LimitSettings(), tls if request.param else None) as started:
        yield started


def send_slowly(client: Any, data: bytes, cuts: list[int]) -> None:
    """Sends ``data`` in pieces that the server mostly sees one by one."""
    last = 0
    for cut in [*sorted(cuts), len(data)]:
        client.send(data[last:cut])
        last = cut
        time.sleep(0.0005)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.one_of(st.integers(0, 300_000), st.sampled_from([LEAST - 1, LEAST, LEAST + 1, 131_072, 262_144])),
    buffer=st.sampled_from([4096, 65536, 65537, 100_000, 1 << 20]),
    chunk=st.one_of(st.none(), st.integers(1, 70_000), st.sampled_from([4096, 32768, 65536])),
    seed=st.integers(0, 2**32),
    pieces=st.integers(0, 12),
)
def test_what_arrives_is_what_was_sent(
    server: Any, size: int, buffer: int, chunk: int | None, seed: int, pieces: int
) -> None:
    """Two bodies and a request behind them on one connection, in pieces of any length."""
    generator = random.Random(seed)
    content = CONTENT[:size]
    path = b"/filled?%d" % buffer
    chunk = None if chunk is None else max(chunk, size // 3000)
    request = stated(path, content) if chunk is None else chunked(path, split(content, chunk))
    client = server.client()
    data = request + GET
    send_slowly(client, data, [generator.randrange(len(data)) for _ in range(pieces)])
    assert client.answer().read() == digest(content)
    assert client.answer().read() == b"/ok"
    client.send(stated(path, content) + GET + GET)
    assert client.answer().read() == digest(content)
    assert [client.answer().read() for _ in range(2)] == [b"/ok"] * 2
    client.socket.close()


@pytest.mark.parametrize("around", range(-24, 25))
def test_a_buffer_may_end_anywhere_in_the_frame_of_a_chunk(server: Any, around: int) -> None:
    buffer = 65536
    content = CONTENT[: 3 * buffer]
    first = buffer - 8 + around
    client = server.client()
    client.send(chunked(b"/filled?%d" % buffer, [content[:first], content[first:]]) + GET)
    assert client.answer().read() == digest(content)
    assert client.answer().read() == b"/ok"


@pytest.mark.parametrize("cut", range(12))
def test_the_frame_of_a_chunk_may_arrive_in_pieces(server: Any, cut: int) -> None:
    client = server.client()
    content = CONTENT[:200_000]
    data = chunked(b"/filled?65536", [content[:100_000], content[100_000:]])
    frame = data.index(b"\r\n186a0\r\n", 1000)
    client.send(data[: frame + cut])
    time.sleep(0.02)
    client.send(data[frame + cut :] + GET)
    assert client.answer().read() == digest(content)
    assert client.answer().read() == b"/ok"


def test_it_is_received_and_not_parsed(server: Any) -> None:
    client = server.client()
    for request in (stated(b"/filled", CONTENT), chunked(b"/filled", split(CONTENT, 32768))):
        head = request.index(b"\r\n\r\n") + 4
        server.application.is_received.clear()
        client.send(request[:head])
        time.sleep(0.02)
        client.send(request[head:])
        assert client.answer().read() == digest(CONTENT)
        assert server.application.is_received == [True]


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nX-Trailer: late\r\n\r\n",
        b"5;name=value\r\nabcde\r\n0\r\n\r\n",
        b"000\r\n\r\n",
        b"00000005\r\nabcde\r\n0\r\n\r\n",
    ],
    ids=["trailer", "extension", "zeros", "leading zeros"],
)
def test_what_is_no_plain_chunk_is_parsed(server: Any, end: bytes) -> None:
    client = server.client()
    content = CONTENT[:300_000] + (b"abcde" if b"abcde" in end else b"")
    client.send(chunked(b"/filled", split(CONTENT[:300_000], 32768), end) + GET)
    assert client.answer().read() == digest(content)
    assert client.answer().read() == b"/ok"


@pytest.mark.parametrize(
    "end",
    [
        b"nonsense\r\n",
        b"\r\n0\r\n\r\n",
        b"-5\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b" 5\r\nabcde\r\n0\r\n\r\n",
        b"5\nabcde",
    ],
)
@pytest.mark.parametrize("size", [100_000, 300_000])
def test_a_chunk_that_is_none_is_refused(server: Any, end: bytes, size: int) -> None:
    client = server.client()
    data = chunked(b"/filled", split(CONTENT[:size], 32768), end)
    head = data.index(b"\r\n\r\n") + 4
    client.send(data[:head])
    time.sleep(0.02)
    client.send(data[head:])
    assert client.error() == (400, "UNSUPPORTED")


def test_a_chunk_longer_than_it_says_is_refused(server: Any) -> None:
    client = server.client()
    head = b"PATCH /filled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head)
    time.sleep(0.02)
    client.send(b"186a0\r\n" + CONTENT[:100_000] + b"x\r\n0\r\n\r\n")
    assert client.error() == (400, "UNSUPPORTED")


def test_what_came_before_the_client_went_away_is_kept(server: Any) -> None:
    server.application.received.clear()
    client = server.client()
    client.send(stated(b"/filled?1048576", CONTENT)[:-1000])
    time.sleep(0.05)
    client.socket.close()
    assert wait_until(lambda: len(server.application.received) >= len(CONTENT) - 1000)
    assert bytes(server.application.received) == CONTENT[:-1000]


@pytest.mark.parametrize("path", [b"/once", b"/early"])
@pytest.mark.parametrize("kind", ["stated", "chunked"])
def test_after_an_early_answer_the_rest_is_dropped_and_the_next_request_served(
    server: Any, path: bytes, kind: str
) -> None:
    client = server.client()
    data = stated(path, CONTENT) if kind == "stated" else chunked(path, split(CONTENT, 32768))
    half = len(data) // 2
    client.send(data[:half])
    assert client.answer().read() == b"too large"
    client.send(data[half:] + GET)
    assert client.answer().read() == b"/ok"


@pytest.mark.parametrize("kind", ["stated", "chunked"])
def test_an_application_may_go_on_without_a_buffer(server: Any, kind: str) -> None:
    client = server.client()
    data = stated(b"/mixed", CONTENT) if kind == "stated" else chunked(b"/mixed", split(CONTENT, 32768))
    client.send(data + GET)
    assert client.answer().read() == digest(CONTENT)
    assert client.answer().read() == b"/ok"


def test_a_body_is_asked_for_with_100_continue(server: Any) -> None:
    client = server.client()
    data = stated(b"/filled", CONTENT, b"Expect: 100-continue")
    head = data.index(b"\r\n\r\n") + 4
    client.send(data[:head])
    assert client.line() == b"HTTP/1.1 100 Continue"
    assert client.line() == b""
    client.send(data[head:])
    assert client.answer().read() == digest(CONTENT)


def test_http_1_0_has_bodies_too(server: Any) -> None:
    client = server.client()
    client.send(stated(b"/filled", CONTENT).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    assert client.answer().read() == digest(CONTENT)
    assert client.is_closed()


def test_a_body_behind_an_unanswered_request_is_parsed(server: Any) -> None:
    client = server.client()
    client.send(GET + GET + stated(b"/filled", CONTENT) + GET)
    assert [client.answer().read() for _ in range(4)] == [b"/ok", b"/ok", digest(CONTENT), b"/ok"]


@BOTH
def test_one_that_stops_is_refused(serve: Serve) -> None:
    client = serve(body_idle_timeout_seconds=0.2).client()
    client.send(stated(b"/filled", CONTENT)[:200_000])
    assert client.error() == (408, "UNAVAILABLE")


@BOTH
def test_one_that_never_ends_is_refused(serve: Serve) -> None:
    client = serve(request_timeout_seconds=0.3).client()
    client.send(stated(b"/filled", bytes(10_000_000))[:100_000])
    started = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - started < 5:  # the server ends the connection at some point
            client.send(b"x" * 100)
            time.sleep(0.02)
    assert time.monotonic() - started < 5


@BOTH
def test_a_slow_but_steady_one_is_accepted(serve: Serve) -> None:
    client = serve(body_idle_timeout_seconds=0.3, body_minimum_bytes_per_second=1).client()
    data = stated(b"/filled", CONTENT)
    client.send(data[:-20])
    for byte in data[-20:]:
        client.send(bytes([byte]))
        time.sleep(0.04)
    assert client.answer().read() == digest(CONTENT)


@BOTH
def test_one_that_comes_too_slowly_is_refused(serve: Serve) -> None:
    """Bytes that are received into buffers count for the least rate as those do that are parsed."""
    client = serve(body_idle_timeout_seconds=0.3, body_minimum_bytes_per_second=10_000).client()
    data = stated(b"/filled", CONTENT)
    client.send(data[:-200])
    with contextlib.suppress(OSError):
        for byte in data[-200:]:
            client.send(bytes([byte]))
            time.sleep(0.02)
    answer = client.answer()
    assert answer.status == 408


@BOTH
def test_the_rest_of_a_refused_one_is_not_waited_for(serve: Serve) -> None:
    client = serve(header_timeout_seconds=0.3).client()
    client.send(stated(b"/once", CONTENT)[:200_000])
    assert client.answer().read() == b"too large"
    assert client.seconds_until_closed() < 2
