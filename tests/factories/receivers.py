"""A real HTTP server that events are posted to: remembers what came, and answers as a test wants."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Posted:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    document: dict[str, Any]
    answer: int

    @property
    def event(self) -> dict[str, Any]:
        """The only event of the envelope."""
        (event,) = self.document["events"]
        return dict(event)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


class ReceivingServer:
    """Listens on a free port of this machine as long as it is entered; ``reply`` may be changed at any time."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply] = lambda _event: Reply()) -> None:
        self.reply = reply
        self.posted: list[Posted] = []
        self._changed = threading.Condition()
        self._server: _Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/events"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that were taken, in the order in which they came."""
        return [posted.event for posted in self.posted if posted.answer < 400]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Returns once ``condition`` is true, which is asked after each request."""
        until = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not condition():
                left = until - time.monotonic()
                assert left > 0, f"did not happen: {what}; {len(self.posted)} requests came"
                self._changed.wait(min(left, 0.1))

    def wait_for_events(self, count: int) -> list[dict[str, Any]]:
        """The events, once so many were taken."""
        self.wait_for(lambda: len(self.events) >= count, f"{count} events")
        return self.events

    def start(self) -> None:
        """Listens, on the same port as before if there was one."""
        receiving = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiving._receive(self)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = _Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None

    def _receive(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        document = json.loads(request.rfile.read(int(headers["content-length"])))
        reply = self.reply(document["events"][0])
        with self._changed:
            self.posted.append(Posted(request.path, headers, document, reply.status))
            self._changed.notify_all()
        request.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | dict(reply.headers)).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(reply.body)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: set[Any] = set()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no failure of a test."""

    def end_connections(self) -> None:
        """What is open is cut, as when the process dies."""
        for connection in list(self._connections):
            super().shutdown_request(connection)
