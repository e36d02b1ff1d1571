"""Posting to real servers: what counts as what, what is sent, what is never followed, read or printed."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead.certificates.authority import make_authority, make_key
from roadstead.clock import SystemClock
from roadstead.config import NotificationEndpoint
from roadstead.config.secret import SecretText
from roadstead.webhooks.envelope import CONTENT_TYPE
from roadstead.webhooks.receiver import MOST_READ_BYTES, Answer, Receiver, Result
from tests.factories.receivers import ReceivingServer, Reply

pytestmark = pytest.mark.anyio

Headers = dict[str, tuple[SecretText, ...]]

ENVELOPE = b'{"events":[{"id":"1"}]}'


@pytest.fixture
def server() -> Iterator[ReceivingServer]:
    with ReceivingServer() as server:
        yield server


async def post(endpoint: NotificationEndpoint, times: int = 1) -> Answer:
    receiver = Receiver(endpoint)
    try:
        for _ in range(times - 1):
            await receiver.post(ENVELOPE)
        return await receiver.post(ENVELOPE)
    finally:
        await receiver.close()


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.DELIVERED),
        (204, Result.DELIVERED),
        (302, Result.DELIVERED),
        (304, Result.DELIVERED),
        (400, Result.REFUSED),
        (413, Result.REFUSED),
        (422, Result.REFUSED),
        (401, Result.UNAVAILABLE),
        (404, Result.UNAVAILABLE),
        (410, Result.UNAVAILABLE),
        (429, Result.UNAVAILABLE),
        (500, Result.UNAVAILABLE),
        (599, Result.UNAVAILABLE),
    ],
)
async def test_what_an_answer_means(server: ReceivingServer, status: int, result: Result) -> None:
    server.reply = lambda _event: Reply(status)
    answer = await post(NotificationEndpoint(name="ci", url=server.url))
    assert (answer.result, answer.status) == (result, status)
    assert answer.text.startswith(str(status))


async def test_what_is_sent(server: ReceivingServer) -> None:
    headers: Headers = {"Authorization": (SecretText("Bearer 4f1c"),), "X-Two": (SecretText("a"),)}
    await post(NotificationEndpoint(name="ci", url=server.url, headers=headers))
    (posted,) = server.posted
    assert posted.headers["content-type"] == CONTENT_TYPE
    assert posted.headers["authorization"] == "Bearer 4f1c"
    assert posted.headers["x-two"] == "a"
    assert posted.document == {"events": [{"id": "1"}]}


async def test_a_content_type_of_the_settings_takes_the_place_of_ours(server: ReceivingServer) -> None:
    v1 = "application/vnd.docker.distribution.events.v1+json"
    await post(NotificationEndpoint(name="ci", url=server.url, headers={"content-type": (SecretText(v1),)}))
    assert server.posted[0].headers["content-type"] == v1


async def test_redirects_are_not_followed(server: ReceivingServer) -> None:
    with ReceivingServer() as elsewhere:
        server.reply = lambda _event: Reply(307, {"Location": elsewhere.url})
        assert (await post(NotificationEndpoint(name="ci", url=server.url))).result is Result.DELIVERED
        assert not elsewhere.posted


async def test_proxies_of_the_environment_are_not_asked(
    server: ReceivingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ReceivingServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await post(NotificationEndpoint(name="ci", url=server.url))
        assert not proxy.posted
    assert len(server.posted) == 1


async def test_a_long_answer_is_not_read(server: ReceivingServer) -> None:
    server.reply = lambda _event: Reply(200, body=b"x" * (40 * MOST_READ_BYTES))
    answer = await post(NotificationEndpoint(name="ci", url=server.url), times=3)
    assert answer.result is Result.DELIVERED


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("x", 0.0), ("-1", 0.0), ("9" * 40, 0.0)])
async def test_retry_after(server: ReceivingServer, value: str, seconds: float) -> None:
    server.reply = lambda _event: Reply(503, {"Retry-After": value})
    assert (await post(NotificationEndpoint(name="ci", url=server.url))).wait_seconds == seconds


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = await post(NotificationEndpoint(name="ci", url=f"http://user:pw@127.0.0.1:{taken.getsockname()[1]}/s"))
    assert answer.result is Result.UNAVAILABLE
    assert answer.text == "ConnectError: Connection refused"


async def test_a_name_that_does_not_exist_and_a_server_without_tls() -> None:
    answer = await post(NotificationEndpoint(name="ci", url="http://no-such-host.invalid/s3cr3t"))
    assert answer.result is Result.UNAVAILABLE
    assert re.fullmatch("ConnectError: .*(not known|resolution).*", answer.text), answer.text
    with ReceivingServer() as plain:
        answer = await post(NotificationEndpoint(name="ci", url=plain.url.replace("http://", "https://")))
    assert answer == Answer(Result.UNAVAILABLE, "ConnectError: WRONG_VERSION_NUMBER")


async def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(tmp_path: Path) -> None:
    issued = make_authority("localhost", make_key("ecdsa"), SystemClock().now_ms())
    file = tmp_path / "server.pem"
    file.write_bytes(issued.certificate_pem + issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            connection, _ = listening.accept()
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                received.append(secured.recv(65536))

        thread = threading.Thread(target=accept)
        thread.start()
        url = f"https://localhost:{listening.getsockname()[1]}/s3cr3t"
        answer = await post(NotificationEndpoint(name="ci", url=url))
        thread.join()
    assert answer.result is Result.UNAVAILABLE
    assert answer.text == "ConnectError: CERTIFICATE_VERIFY_FAILED: self-signed certificate"
    assert not any(received)


async def test_whoever_takes_the_connection_and_says_nothing_costs_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        answer = await post(NotificationEndpoint(name="ci", url=url, timeout_seconds=0.1))
    assert answer == Answer(Result.UNAVAILABLE, "no answer in 0.1 s")


async def test_an_answer_whose_body_never_ends_is_an_answer() -> None:
    """A byte at a time would keep a timeout between two bytes from ever passing."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        answer = await post(NotificationEndpoint(name="ci", url=url, timeout_seconds=0.3))
        stop.set()
        thread.join()
    assert answer.result is Result.DELIVERED


async def test_nothing_secret_is_logged(server: ReceivingServer, caplog: pytest.LogCaptureFixture) -> None:
    """The library logs URLs at INFO and headers at DEBUG unless it is told not to."""
    caplog.set_level(logging.DEBUG)
    headers: Headers = {"Authorization": (SecretText("Bearer 4f1c"),)}
    await post(NotificationEndpoint(name="ci", url=f"{server.url}/s3cr3t", headers=headers))
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "s3cr3t" not in logged
    assert "4f1c" not in logged
