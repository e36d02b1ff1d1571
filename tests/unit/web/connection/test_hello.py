"""A client that tries TLS on the plain port, as docker and containerd do before each push and pull to localhost."""

import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

Serve = Callable[..., Any]


def client_hello() -> bytes:
    """What OpenSSL sends first."""
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


HELLO = client_hello()
HELLOS = {
    "whole": [HELLO],
    "byte by byte": [HELLO[:1], HELLO[1:2], HELLO[2:3], HELLO[3:]],
    "larger than a head may be": [b"\x16\x03\x01\x40\x00" + bytes(40_000)],
    "with line feeds": [b"\x16\x03\x01\x07\x00" + b"\n" * 1000],
    "of SSL 3.0": [b"\x16\x03\x00" + HELLO[3:]],
    "in the form of SSL 2.0": [b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(range(37))],
}


@pytest.mark.parametrize("name", HELLOS)
def test_a_hello_is_known_for_what_it_is_and_no_alarm(serve: Serve, name: str) -> None:
    server = serve()
    client = server.client()
    with capture_logs() as logs:
        for piece in HELLOS[name]:
            with contextlib.suppress(ConnectionError):  # the first byte was enough
                client.send(piece)
            time.sleep(0.02)
        assert server.has_refused("tls")
    assert client.answer().status == 400
    assert [refusal.reason for refusal in server.refusals] == ["tls"]
    assert {line["log_level"] for line in logs} == {"debug"}


def test_only_the_first_bytes_are_a_hello(serve: Serve) -> None:
    server = serve()
    client = server.client()
    client.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().read() == b"/ok"
    client.send(HELLO)
    assert client.error() == (400, "UNSUPPORTED")
    assert [refusal.reason for refusal in server.refusals] == ["malformed"]
