"""A server of limited connections on a real socket, in a thread of its own, and a client that says what it likes."""

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import uvloop
from uvicorn.server import ServerState

from roadstead.certificates.context import ContextRules, build_context
from roadstead.certificates.folder import CertificateFolder
from roadstead.certificates.hosts import parse_hosts
from roadstead.clock import SystemClock
from roadstead.config import LimitSettings
from roadstead.web.connection import ListeningContext, Reason, server_config
from roadstead.web.connection.tls_peer import CertificateUserPart
from roadstead.web.context import Refusal
from roadstead.web.http import ClientDisconnectedError, Message, Receive, Request, Scope, Send
from roadstead.web.transfer import FILES_KEY, FilePiece


class Application:
    """An ASGI application with an endpoint for each way to treat a request."""

    def __init__(self) -> None:
        self.files: list[FilePiece] = []
        self.received = bytearray()
        self.is_received: list[bool] = []
        self.scopes: list[Scope] = []
        self.disconnected = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers by path; ``ok`` where no other endpoint is."""
        self.scopes.append(scope)
        await ENDPOINTS.get(scope["path"], ok)(Exchange(self, scope, receive, send))


@dataclass
class Exchange:
    """What an endpoint is given."""

    application: Application
    scope: Scope
    receive: Receive
    send: Send

    async def answer(self, status: int, body: bytes) -> None:
        """All of an answer."""
        headers = [(b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


async def ok(exchange: Exchange) -> None:
    await exchange.answer(200, exchange.scope["path"].encode())


async def early(exchange: Exchange) -> None:
    await exchange.answer(413, b"too large")


async def body(exchange: Exchange) -> None:
    size = 0
    while True:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            exchange.application.disconnected.set()
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    await exchange.answer(200, b"%d" % size)


async def thinking(exchange: Exchange) -> None:
    """Takes its time before it asks for the body: more than the idle limit of the tests."""
    await asyncio.sleep(0.4)
    await body(exchange)


async def never(exchange: Exchange) -> None:
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await exchange.receive()
    exchange.application.disconnected.set()


async def half(exchange: Exchange) -> None:
    await exchange.send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await exchange.send({"type": "http.response.body", "body": b"half", "more_body": True})
    await never(exchange)


async def large(exchange: Exchange) -> None:
    piece = bytes(1024 * 1024)
    headers = [(b"content-length", b"%d" % (64 * len(piece)))]
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(64):
        await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
    await exchange.send({"type": "http.response.body", "body": b""})


async def filled(exchange: Exchange) -> None:
    """Takes the body as a push is taken, into two buffers in turn whose length is the query."""
    request = Request(exchange.scope, exchange.receive)
    content = request.upload_body()
    application = exchange.application
    application.is_received.append(not hasattr(content, "__aiter__"))
    digest = hashlib.sha256()
    if hasattr(content, "__aiter__"):
        async for message in request.iter_body():
            digest.update(message)
    else:
        buffers = [memoryview(bytearray(int(exchange.scope["query_string"] or b"65536"))) for _ in range(2)]
        with contextlib.suppress(ClientDisconnectedError):
            while piece := await content.fill(buffers[0]):
                digest.update(piece)
                application.received += piece
                buffers.reverse()
                await asyncio.sleep(0)
    await exchange.answer(200, digest.hexdigest().encode())


async def once(exchange: Exchange) -> None:
    """Fills one buffer and answers before the end of the body."""
    content: Any = Request(exchange.scope, exchange.receive).upload_body()
    await content.fill(memoryview(bytearray(65536)))
    await exchange.answer(413, b"too large")


async def mixed(exchange: Exchange) -> None:
    """Fills one buffer and then asks as for any body."""
    digest = hashlib.sha256()
    request = Request(exchange.scope, exchange.receive)
    content: Any = request.upload_body()
    digest.update(await content.fill(memoryview(bytearray(65536))))
    async for piece in request.iter_body():
        digest.update(piece)
    await exchange.answer(200, digest.hexdigest().encode())


async def file(exchange: Exchange) -> None:
    """Sends a file between two pieces of its own; the query says which and how much of it."""
    path, first, length = exchange.scope["query_string"].decode().split(",")
    assert FILES_KEY in exchange.scope
    headers = [(b"content-length", b"%d" % (int(length) + 8))]
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": b"head", "more_body": True})
    opened = os.open(path, os.O_RDONLY)
    piece = FilePiece(opened, int(first), int(length))
    exchange.application.files.append(piece)
    await exchange.send({"type": "http.response.body", "body": piece, "more_body": True})
    os.close(opened)  # the connection has its own
    try:
        await piece.sent()
    except EOFError:
        return
    if not piece.left:
        await exchange.send({"type": "http.response.body", "body": b"tail"})


ENDPOINTS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "/body": body,
    "/early": early,
    "/file": file,
    "/filled": filled,
    "/half": half,
    "/large": large,
    "/mixed": mixed,
    "/never": never,
    "/once": once,
    "/thinking": thinking,
}


class Answer:
    """An HTTP answer; its body is read from the connection when it is asked for."""

    def __init__(self, client: "Client") -> None:
        self.status = int(client.line().split(b" ")[1])
        self.headers: dict[str, str] = {}
        while line := client.line():
            name, _, value = line.decode().partition(": ")
            self.headers[name] = value
        self._client = client
        self._left = int(self.headers.get("content-length", "0"))

    def read(self, size: int | None = None) -> bytes:
        """The next ``size`` bytes of the body, all that are left by default."""
        wanted = self._left if size is None else min(size, self._left)
        self._left -= wanted
        return self._client.take(wanted)


class Client:
    """A TCP connection to the server."""

    def __init__(self, port: int, receive_buffer_bytes: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._received = bytearray()

    def send(self, *pieces: bytes) -> None:
        """Sends each piece by itself."""
        for piece in pieces:
            self.socket.sendall(piece)

    def line(self) -> bytes:
        """The next line, without its end."""
        while b"\r\n" not in self._received:
            self._receive()
        line, _, rest = bytes(self._received).partition(b"\r\n")
        self._received = bytearray(rest)
        return line

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self._received) < size:
            self._receive()
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def answer(self) -> Answer:
        """The next answer."""
        return Answer(self)

    def error(self) -> tuple[int, str]:
        """Status and code of an answer in the specification's error format, after which the server closes."""
        answer = self.answer()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert answer.headers["connection"] == "close"
        assert "server" not in answer.headers
        document: Any = msgspec.json.decode(answer.read())
        assert self.is_closed()
        (error,) = document["errors"]
        return answer.status, error["code"]

    def is_closed(self) -> bool:
        """Whether the server ends the connection, within the socket's timeout, without a further byte."""
        try:
            return not self._received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def has_more(self) -> bool:
        """Waits for the next byte or the end, and says which."""
        if not self._received:
            self._received += self.socket.recv(1)
        return bool(self._received)

    def seconds_until_closed(self) -> float:
        """How long the server takes to end the connection."""
        started = time.monotonic()
        assert self.is_closed()
        return time.monotonic() - started

    def _receive(self) -> None:
        piece = self.socket.recv(1 << 20)
        assert piece, f"the server closed the connection after {bytes(self._received[:200])!r}"
        self._received += piece


class Server:
    """What the tests know of the running server."""

    def __init__(
        self,
        port: int,
        state: ServerState,
        application: Application,
        refusals: list[Refusal],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self.state = state
        self.application = application
        self.refusals = refusals
        self.tls = tls
        """What clients connect with; None for plain HTTP."""
        self._clients: list[Client] = []

    def client(self, *, receive_buffer_bytes: int | None = None, tls: ssl.SSLContext | None = None) -> Client:
        """A new connection."""
        self._clients.append(Client(self.port, receive_buffer_bytes, tls or self.tls))
        return self._clients[-1]

    def has_refused(self, reason: str) -> bool:
        """Waits a little for a refusal that a client cannot see."""
        return wait_until(lambda: any(refusal.reason == reason for refusal in self.refusals))

    def close(self) -> None:
        """Closes all clients."""
        for client in self._clients:
            client.socket.close()


def wait_until(is_true: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def running(
    limits: LimitSettings, tls: "TlsSides | None" = None, certificate_user: CertificateUserPart = "none"
) -> Iterator[Server]:
    """The server, until the end of the block; fails when a connection or a task outlives its clients."""
    application = Application()
    refusals: list[Refusal] = []
    state = ServerState()
    config = server_config(
        application,
        limits,
        host="127.0.0.1",
        port=0,
        on_refusal=refusals.append,
        certificate_user=certificate_user,
    )
    config.load()

    def note(reason: Reason, detail: str) -> None:
        refusals.append(Refusal(reason.word, reason.status, detail, ""))

    seconds: dict[str, Any] = {}
    listening = None
    if tls is not None:  # as ListeningServer has it
        listening = ListeningContext(lambda: tls.server, limits.connections, note)
        seconds = {
            "ssl_handshake_timeout": limits.header_timeout_seconds,
            "ssl_shutdown_timeout": limits.write_idle_timeout_seconds,
        }
    loop = uvloop.new_event_loop()

    def connection() -> asyncio.Protocol:
        kind: Any = config.http_protocol_class
        made: asyncio.Protocol = kind(config=config, server_state=state, app_state={})
        return made

    async def serve() -> asyncio.AbstractServer:
        return await loop.create_server(connection, "127.0.0.1", 0, ssl=listening, **seconds)

    asyncio_server = loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    port: int = cast("Any", asyncio_server).sockets[0].getsockname()[1]
    server = Server(port, state, application, refusals, None if tls is None else tls.client)
    try:
        yield server
        server.close()
        assert wait_until(lambda: not state.connections and not state.tasks)
    finally:
        server.close()
        loop.call_soon_threadsafe(_end, loop, state)
        thread.join()
        asyncio_server.close()
        loop.run_until_complete(asyncio_server.wait_closed())
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, state: ServerState) -> None:
    """Drops what a failed test has left, so that the failure is all there is to see."""
    for connection in list(state.connections):
        connection.transport.abort()
    for task in list(state.tasks):
        task.cancel()
    loop.call_later(0.01, loop.stop)


@dataclass
class TlsSides:
    """The contexts of a server and of its clients; the server's may be exchanged while it runs."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def make_tls(folder: Path, **rules: Any) -> TlsSides:
    """A server's certificate for localhost, and clients that trust it; ``rules`` are of the server's context."""
    now_ms = SystemClock().now_ms()
    certificates = CertificateFolder(folder)
    authority, _ = certificates.ensure_authority("localhost", now_ms)
    certificates.issue_server(authority, parse_hosts(["localhost"]), now_ms, 1)
    pair = certificates.server_certificate, certificates.server_key
    client = ssl.create_default_context(cafile=certificates.authority_file)
    return TlsSides(build_context(*pair, ContextRules(**rules)), client)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsSides:
    """A certificate that clients trust."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def is_tls() -> bool:
    """Whether servers speak TLS; modules whose tests hold for both are parametrized with it."""
    return False


@pytest.fixture
def serve(is_tls: bool, tls: TlsSides) -> Iterator[Callable[..., Server]]:  # noqa: FBT001 - a fixture
    """Starts a server; arguments are limits that differ from the usual ones."""
    contexts: list[Any] = []

    def start(**limits: Any) -> Server:
        contexts.append(running(LimitSettings(**limits), tls if is_tls else None))
        server: Server = contexts[-1].__enter__()
        return server

    yield start
    for context in reversed(contexts):
        context.__exit__(None, None, None)
