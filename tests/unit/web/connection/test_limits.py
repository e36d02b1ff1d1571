"""Clients that are slow, greedy or silent, on real sockets; plain uvicorn would let each of them be."""

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]
pytestmark = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.2


def test_a_header_that_trickles_in_is_refused(serve: Serve) -> None:
    client = serve(header_timeout_seconds=SHORT).client()
    client.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n")
    started = time.monotonic()
    while time.monotonic() - started < SHORT / 2:  # each byte resets the clock of an idle limit, not of this one
        client.send(b"X")
        time.sleep(0.02)
    assert client.error() == (408, "UNAVAILABLE")


def test_a_connection_that_says_nothing_is_closed_without_a_word(serve: Serve) -> None:
    server = serve(header_timeout_seconds=SHORT)
    assert server.client().seconds_until_closed() < 1
    assert not server.refusals


def test_empty_lines_are_no_beginning_of_a_request(serve: Serve) -> None:
    client = serve(header_timeout_seconds=SHORT).client()
    client.send(b"\r\n", b"\r\n")
    assert client.seconds_until_closed() < 1


def test_the_second_request_has_a_time_limit_as_well(serve: Serve) -> None:
    client = serve(header_timeout_seconds=SHORT).client()
    client.send(GET)
    assert client.answer().read() == b"/ok"
    client.send(b"GET /ok HTTP/1.1\r\n")
    assert client.error() == (408, "UNAVAILABLE")


def test_an_idle_connection_is_closed_after_the_keep_alive_time(serve: Serve) -> None:
    client = serve(keep_alive_timeout_seconds=SHORT).client()
    client.send(GET)
    assert client.answer().read() == b"/ok"
    assert 0.1 < client.seconds_until_closed() < 1


def test_a_connection_in_use_outlives_the_keep_alive_time(serve: Serve) -> None:
    client = serve(keep_alive_timeout_seconds=SHORT).client()
    for _ in range(5):
        client.send(GET)
        assert client.answer().read() == b"/ok"
        time.sleep(SHORT / 2)


def test_a_body_that_stops_is_refused_and_the_application_hears_of_it(serve: Serve) -> None:
    server = serve(body_idle_timeout_seconds=SHORT)
    client = server.client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", b"some")
    assert client.error() == (408, "UNAVAILABLE")
    assert server.application.disconnected.wait(5)
    assert server.application.scopes[0]["roadstead.refused"] == 408


def test_a_slow_but_steady_body_is_accepted(serve: Serve) -> None:
    client = serve(body_idle_timeout_seconds=SHORT, body_minimum_bytes_per_second=0).client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
    for _ in range(8):
        time.sleep(SHORT / 4)
        client.send(b"x")
    assert client.answer().read() == b"8"


def test_a_body_that_comes_too_slowly_is_refused_however_steadily(serve: Serve) -> None:
    server = serve(body_idle_timeout_seconds=SHORT, body_minimum_bytes_per_second=1000)
    client = server.client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while not server.refusals and time.monotonic() - started < 5:
            time.sleep(SHORT / 8)
            client.send(b"x")
    assert client.error() == (408, "UNAVAILABLE")
    assert [refusal.reason for refusal in server.refusals] == ["body_rate"]
    assert server.application.disconnected.wait(5)


def test_a_body_that_comes_fast_enough_is_accepted(serve: Serve) -> None:
    client = serve(body_idle_timeout_seconds=SHORT, body_minimum_bytes_per_second=1000).client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")
    for _ in range(10):  # ten times as fast as it must be, so that a pause of the machine's does no harm
        time.sleep(SHORT / 2)
        client.send(b"x" * 1000)
    assert client.answer().read() == b"10000"


def test_time_in_which_the_application_does_not_read_is_not_the_clients(serve: Serve) -> None:
    size = 4 * 1024 * 1024
    client = serve(body_idle_timeout_seconds=SHORT).client()
    client.send(b"PUT /thinking HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(bytes(size))
    assert client.answer().read() == b"%d" % size


def test_a_client_that_waits_for_100_continue_is_not_idle(serve: Serve) -> None:
    client = serve(body_idle_timeout_seconds=SHORT).client()
    client.send(b"PUT /thinking HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.take(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert client.answer().read() == b"4"


def test_no_100_continue_is_sent_when_the_answer_is_known_without_the_body(serve: Serve) -> None:
    client = serve().client()
    client.send(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.answer().status == 413


def test_a_request_whose_body_never_ends_is_refused(serve: Serve) -> None:
    client = serve(request_timeout_seconds=SHORT).client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    started = time.monotonic()
    while time.monotonic() - started < SHORT:
        client.send(b"1\r\nx\r\n")
        time.sleep(0.02)
    assert client.error() == (408, "UNAVAILABLE")


def test_a_request_that_is_never_answered_is_given_up(serve: Serve) -> None:
    server = serve(request_timeout_seconds=SHORT)
    client = server.client()
    client.send(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.error() == (503, "UNAVAILABLE")
    assert server.application.disconnected.wait(5)


def test_an_answer_that_never_ends_is_cut_so_that_the_client_knows(serve: Serve) -> None:
    server = serve(request_timeout_seconds=SHORT)
    client = server.client()
    client.send(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().read(4) == b"half"
    assert client.is_closed()
    assert server.application.disconnected.wait(5)


def test_a_client_that_does_not_read_its_answer_loses_the_connection(serve: Serve) -> None:
    server = serve(write_idle_timeout_seconds=SHORT)
    client = server.client(receive_buffer_bytes=4096)
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert server.has_refused("write_idle")
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := client.socket.recv(1 << 20):
            received += len(piece)
    assert received < 64 << 20


def test_a_client_that_reads_slowly_gets_all_of_its_answer(serve: Serve) -> None:
    server = serve(write_idle_timeout_seconds=SHORT)
    client = server.client(receive_buffer_bytes=1 << 20)
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = client.answer()
    size = 0
    while piece := answer.read(4 << 20):
        size += len(piece)
        time.sleep(SHORT / 8)
    assert size == 64 << 20
    assert not server.refusals


def test_a_header_beyond_the_limit_is_refused(serve: Serve) -> None:
    client = serve(header_bytes=4096).client()
    client.send(b"GET /ok HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 100) for n in range(50)))
    client.send(b"\r\n")
    assert client.error() == (431, "SIZE_INVALID")


def test_a_single_field_without_end_is_refused_while_it_arrives(serve: Serve) -> None:
    server = serve(header_bytes=4096)
    client = server.client()
    client.send(b"GET /ok HTTP/1.1\r\nX: ")
    sent = 0
    try:
        while not server.refusals and sent < 16 << 20:
            client.send(b"y" * 1024)
            sent += 1024
            time.sleep(0.001)
    except OSError:
        pass
    assert sent < 1 << 20
    assert client.error() == (431, "SIZE_INVALID")


def test_a_header_within_the_limit_is_accepted_in_any_pieces(serve: Serve) -> None:
    client = serve(header_bytes=4096).client()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = b"GET /ok HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 3890 + b"\r\n\r\n"
    for start in range(0, len(request), 100):
        client.send(request[start : start + 100])
    assert client.answer().read() == b"/ok"


def test_a_small_header_with_a_large_body_in_one_piece_is_accepted(serve: Serve) -> None:
    client = serve(header_bytes=4096).client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000) + GET)
    assert client.answer().read() == b"200000"
    assert client.answer().read() == b"/ok"


def test_trailers_without_end_are_refused(serve: Serve) -> None:
    server = serve(header_bytes=4096)
    client = server.client()
    client.send(b"PUT /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    try:
        for _ in range(1000):
            client.send(b"X-Trailer: " + b"y" * 90 + b"\r\n")
            if server.refusals:
                break
            time.sleep(0.001)
    except OSError:
        pass
    assert server.has_refused("header_size")


def test_a_url_beyond_the_limit_is_refused(serve: Serve) -> None:
    client = serve(url_bytes=1024).client()
    client.send(b"GET /" + b"a" * 1024 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.error() == (414, "SIZE_INVALID")


def test_a_url_of_the_limits_length_is_accepted(serve: Serve) -> None:
    client = serve(url_bytes=1024).client()
    client.send(b"GET /" + b"a" * 1023 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().status == 200


def test_a_connection_too_many_is_told_so(serve: Serve) -> None:
    server = serve(connections=2)
    first, second = server.client(), server.client()
    for client in (first, second):
        client.send(GET)
        assert client.answer().read() == b"/ok"
    assert server.client().error() == (503, "UNAVAILABLE")
    first.send(GET)
    assert first.answer().read() == b"/ok"


def test_the_rest_of_a_refused_body_is_read_for_a_while_so_that_the_answer_arrives(serve: Serve) -> None:
    client = serve(header_timeout_seconds=SHORT).client()
    client.send(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", bytes(1_000_000))
    assert client.answer().read() == b"too large"
    client.send(GET)
    assert client.answer().read() == b"/ok"


def test_the_rest_of_a_refused_body_is_not_waited_for_any_longer(serve: Serve) -> None:
    client = serve(header_timeout_seconds=SHORT).client()
    client.send(b"PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", bytes(1000))
    assert client.answer().read() == b"too large"
    assert client.seconds_until_closed() < 1


def test_other_clients_do_not_notice(serve: Serve) -> None:
    server = serve(header_timeout_seconds=SHORT, write_idle_timeout_seconds=SHORT)
    slow = [server.client() for _ in range(50)]
    for client in slow:
        client.send(b"GET /ok HT")
    good = server.client()
    for _ in range(20):
        good.send(GET)
        assert good.answer().read() == b"/ok"
        time.sleep(SHORT / 10)
    assert all(client.error() == (408, "UNAVAILABLE") for client in slow)
