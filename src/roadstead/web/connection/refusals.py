"""Reasons why a client is refused before an application hears of it, and the words in which it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from roadstead.oci import ErrorCode


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason why a client is refused, with the answer to it."""

    word: str
    status: int
    code: ErrorCode
    message: str


MALFORMED: Final = Reason(
    "malformed", 400, ErrorCode.UNSUPPORTED, "this is no HTTP/1.1 request that the server can read"
)
HOST: Final = Reason("malformed", 400, ErrorCode.UNSUPPORTED, "a request has one Host header (RFC 9112, section 3.2)")
TLS: Final = Reason("tls", 400, ErrorCode.UNSUPPORTED, "this port speaks plain HTTP, not TLS")
PLAIN_HTTP: Final = Reason(
    "plain_http", 400, ErrorCode.UNSUPPORTED, "this port speaks HTTPS: begin the URL with https://"
)
TLS_HANDSHAKE: Final = Reason("tls_handshake", 0, ErrorCode.UNSUPPORTED, "")
HEADER_TOO_LARGE: Final = Reason(
    "header_size",
    431,
    ErrorCode.SIZE_INVALID,
    "the request's header fields are larger than the server accepts",
)
URL_TOO_LONG: Final = Reason("url_size", 414, ErrorCode.SIZE_INVALID, "the URL is longer than the server accepts")
HEADER_TIMEOUT: Final = Reason(
    "header_timeout",
    408,
    ErrorCode.UNAVAILABLE,
    "the request's header did not arrive in time",
)
BODY_IDLE: Final = Reason("body_idle", 408, ErrorCode.UNAVAILABLE, "the request's body stopped arriving")
BODY_RATE: Final = Reason("body_rate", 408, ErrorCode.UNAVAILABLE, "the request's body arrives too slowly")
MEMORY: Final = Reason(
    "memory", 503, ErrorCode.UNAVAILABLE, "the server needs the memory that this slow request takes: try again"
)
REQUEST_TIMEOUT: Final = Reason("request_timeout", 408, ErrorCode.UNAVAILABLE, "the request took too long to arrive")
ANSWER_TIMEOUT: Final = Reason("request_timeout", 503, ErrorCode.UNAVAILABLE, "the request took too long to answer")
WRITE_IDLE: Final = Reason("write_idle", 0, ErrorCode.UNAVAILABLE, "")
CONNECTIONS: Final = Reason("connections", 503, ErrorCode.UNAVAILABLE, "the server has too many connections")
PIPELINED: Final = Reason("pipelined", 429, ErrorCode.TOOMANYREQUESTS, "too many requests wait on this connection")


def refusal_answer(
    reason: Reason,
    request_id: str,
    default_headers: Sequence[tuple[bytes, bytes]],
    *,
    is_head: bool,
    added: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Builds an answer with the specification's error body, after which the connection closes.

    ``added`` are the headers of the settings.
    """
    error = {"code": reason.code, "message": reason.message, "detail": None}
    body = msgspec.json.encode({"errors": [error]}) + b"\n"
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"x-request-id", request_id.encode("ascii")),
        (b"connection", b"close"),
    ]
    if reason.status == HTTPStatus.SERVICE_UNAVAILABLE:
        fixed.append((b"retry-after", b"5"))
    names = {name for name, _ in fixed}
    added = [header for header in added if header[0] not in names]
    if not any(name == b"x-content-type-options" for name, _ in added):
        fixed.append((b"x-content-type-options", b"nosniff"))
    headers = [*default_headers, *fixed, *added]
    status_line = f"HTTP/1.1 {reason.status} {HTTPStatus(reason.status).phrase}\r\n".encode("ascii")
    return status_line + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + (b"" if is_head else body)
