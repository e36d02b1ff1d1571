"""What HTTP allows and what it does not, on real sockets."""

import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.web.connection.conftest import wait_until

Serve = Callable[..., Any]
pytestmark = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"

GARBAGE = {
    "noise": b"\x17\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a sentence": b"hello, is this a registry?\r\n\r\n",
    "no such version": b"GET /ok HTTP/7.3\r\n\r\n",
    "http/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a null byte in the URL": b"GET /o\x00k HTTP/1.1\r\n\r\n",
    "a null byte in a field": b"GET /ok HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    "a space before the colon": b"GET /ok HTTP/1.1\r\nHost : x\r\n\r\n",
    "a bare line feed in a field": b"GET /ok HTTP/1.1\r\nX: a\nY: b\r\n\r\n\r\n",
    "a negative length": b"PUT /body HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"PUT /body HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "length and chunks": b"PUT /body HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /ok HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two hosts": b"GET /ok HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "two equal hosts": b"GET /ok HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n",
    "two hosts in HTTP/1.0": b"GET /ok HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
    "two hosts in a wish to upgrade": b"GET /ok HTTP/1.1\r\nHost: x\r\nHost: y\r\n"
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a bad URL": b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_gets_400_with_the_specifications_body(serve: Serve, name: str) -> None:
    server = serve()
    client = server.client()
    client.send(GARBAGE[name])
    assert client.error() == (400, "UNSUPPORTED")
    assert [refusal.reason for refusal in server.refusals] == ["malformed"]
    assert not server.application.scopes


@pytest.mark.parametrize("coding", [b"cow", b"chunked"])
def test_a_body_that_cannot_be_read_ends_the_request(serve: Serve, coding: bytes) -> None:
    server = serve()
    client = server.client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %s\r\n\r\nnonsense\r\n" % coding)
    assert client.error() == (400, "UNSUPPORTED")
    assert server.application.disconnected.wait(5)


def test_a_good_request_before_a_bad_one_is_answered_whole(serve: Serve) -> None:
    client = serve().client()
    client.send(GET + b"GARBAGE\r\n\r\n")
    assert client.answer().read() == b"/ok"
    assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    client = serve().client()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20)))
    assert [client.answer().read() for _ in range(20)] == [b"/%d" % number for number in range(20)]


def test_too_many_pipelined_requests_are_not_kept(serve: Serve) -> None:
    server = serve()
    client = server.client()
    client.send(GET * 500)
    answers = 0
    while client.has_more():
        assert client.answer().read() == b"/ok"
        answers += 1
    assert 0 < answers <= 66
    assert server.has_refused("pipelined")


def test_a_refusal_of_head_has_no_body(serve: Serve) -> None:
    client = serve(url_bytes=1024).client()
    client.send(b"HEAD /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().status == 414
    assert client.is_closed()


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_a_wish_to_upgrade_is_ignored_and_the_body_kept(serve: Serve, protocol: bytes) -> None:
    server = serve()
    client = server.client()
    client.send(
        b"PUT /body HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nfive!" % protocol
    )
    assert client.answer().read() == b"5"
    client.send(GET)
    assert client.answer().read() == b"/ok"
    assert b"upgrade" not in dict(server.application.scopes[0]["headers"])


def test_a_wish_to_upgrade_is_ignored_when_the_body_comes_later(serve: Serve) -> None:
    client = serve().client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n")
    client.send(b"fi", b"ve!", GET)
    assert client.answer().read() == b"5"
    assert client.answer().read() == b"/ok"


def test_after_a_wish_to_upgrade_requests_are_read_as_before_it(serve: Serve) -> None:
    """What follows a request that asks to close is dropped, as on any connection, and takes its answer from nobody."""
    upgrade = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    closing = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for first in (GET, upgrade):
        server = serve()
        client = server.client()
        client.send(first + upgrade + GET + closing + GET)
        assert [client.answer().read() for _ in range(4)] == [b"/ok", b"/ok", b"/ok", b"/last"]
        assert client.is_closed()
        assert not server.refusals


def test_trailers_do_not_become_headers(serve: Serve) -> None:
    server = serve()
    client = server.client()
    client.send(
        b"PUT /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nbody\r\n0\r\nX-Request-Id: late\r\n\r\n"
    )
    assert client.answer().read() == b"4"
    assert b"x-request-id" not in dict(server.application.scopes[0]["headers"])


def test_http_1_0_is_answered_and_closed(serve: Serve) -> None:
    client = serve().client()
    client.send(b"GET /ok HTTP/1.0\r\n\r\n")
    assert client.answer().read() == b"/ok"
    assert client.is_closed()


def test_a_client_that_asks_to_close_is_obeyed(serve: Serve) -> None:
    client = serve().client()
    client.send(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.answer().read() == b"/ok"
    assert client.is_closed()


def test_a_client_that_goes_away_is_noticed(serve: Serve) -> None:
    server = serve()
    client = server.client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome")
    client.socket.close()
    assert server.application.disconnected.wait(5)


@pytest.mark.parametrize("waiting", [1, 20])
def test_a_client_that_goes_away_with_requests_waiting_is_noticed(serve: Serve, waiting: int) -> None:
    server = serve()
    client = server.client()
    client.send(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n" + GET * waiting)
    assert wait_until(lambda: bool(server.application.scopes))
    client.socket.close()
    assert server.application.disconnected.wait(5)
    assert len(server.application.scopes) == 1, "nobody is left who waits for the others"


def test_an_answer_under_way_ends_when_its_client_goes_with_requests_waiting(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    client = server.client(receive_buffer_bytes=4096)
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + GET * 3)
    client.take(10_000)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    assert wait_until(lambda: not server.state.tasks)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
