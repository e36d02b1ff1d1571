"""Answers an ACME server's HTTP challenges on a listener that is open only while a certificate is ordered.

Source: RFC 8555, section 8.3.
"""

import contextlib
import http.server
import os
import socket
import threading
from collections.abc import Generator, Mapping
from http import HTTPStatus
from typing import Final

from roadstead.certificates.errors import CertificateOrderError
from roadstead.config import ListenAddress

CONNECTION_SECONDS: Final = 10
"""Time for which a silent connection is kept open."""


@contextlib.contextmanager
def answered(address: ListenAddress, answers: Mapping[str, str]) -> Generator[None, None, None]:
    """Answers each path of ``answers`` with its text, and everything else with 404, until the end of the block.

    Raises:
        CertificateOrderError: the address cannot be listened on.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = CONNECTION_SECONDS
        server_version = "roadstead"
        sys_version = ""

        def do_GET(self) -> None:
            text = answers.get(self.path)
            body = (text or "").encode("ascii")
            self.send_response(HTTPStatus.OK if text is not None else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Logs nothing: the ACME server says whether the answer was right."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        daemon_threads = True
        block_on_close = False

        def server_bind(self) -> None:
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = address.host, address.port

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignores errors of a connection: anybody may connect and go away again."""

    try:
        server = Server((address.host, address.port), Handler)
    except OSError as error:
        raise CertificateOrderError(_why_not(address, error)) from error
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _why_not(address: ListenAddress, error: OSError) -> str:
    reason = os.strerror(error.errno or 0)
    remedy = "choose another tls.acme_challenge_listen, to which port 80 of the host is forwarded"
    if isinstance(error, PermissionError):
        remedy = f"allow it (AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit), or {remedy}"
    return f"cannot listen on {address} for the challenge of the ACME server: {reason}; {remedy}"
