"""Posts events to one endpoint over HTTP, and classifies the answers.

Promises: redirects are not followed and no proxy of the environment is used, so that events go where the settings say
and nowhere else; an answer's body is not kept, however long it is; nothing takes longer than the endpoint's timeout; no
URL and no header is ever part of an error's text.
"""

import asyncio
import contextlib
import enum
import functools
import logging
import os
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from roadstead.webhooks.envelope import CONTENT_TYPE

if TYPE_CHECKING:  # imported when there is somebody to tell: it takes a fifth of a second and 15 MB
    import httpx

    from roadstead.config import NotificationEndpoint

MOST_READ_BYTES: Final = 64 << 10
"""Bytes of an answer's body that are read, so that the connection can be used again; after a longer one it is
closed."""

MOST_ERROR_CHARACTERS: Final = 200

_REFUSALS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.CONFLICT,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""Answers about the event; all other errors are about the endpoint, and will change when it does."""

_WAITING: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers whose ``Retry-After`` is heeded."""


class Result(enum.Enum):
    """The result of a post."""

    DELIVERED = enum.auto()
    """The answer was 2xx or 3xx, as registry:2 has it."""
    REFUSED = enum.auto()
    """The endpoint is there and does not want this event."""
    UNAVAILABLE = enum.auto()
    """The endpoint cannot be reached, or cannot take any event now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a post, also in words."""

    result: Result
    text: str
    status: int = 0
    """Status of the answer; 0 if there was none."""
    wait_seconds: float = 0.0
    """Time for which the endpoint asks for no event."""


class Receiver:
    """The HTTP receiver behind one endpoint; ``close`` closes it."""

    def __init__(self, endpoint: "NotificationEndpoint") -> None:
        self.name = endpoint.name
        self._url = endpoint.url
        self._timeout_seconds = endpoint.timeout_seconds
        self._headers = _headers(endpoint)
        self._client: httpx.AsyncClient | None = None

    async def post(self, body: bytes) -> Answer:
        """Posts an envelope."""
        import httpx  # noqa: PLC0415 - see above

        if self._client is None:
            for library in ("httpx", "httpcore"):  # which log the URL, and headers at the level of debugging
                logging.getLogger(library).setLevel(logging.WARNING)
            self._client = httpx.AsyncClient(
                verify=_trust(),
                trust_env=False,
                follow_redirects=False,
                timeout=self._timeout_seconds,
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            )
        answer: list[Answer] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._exchange(self._client, body, answer)
        except (TimeoutError, httpx.TimeoutException):
            return answer[0] if answer else Answer(Result.UNAVAILABLE, f"no answer in {self._timeout_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - the library lets others through when a connection ends too early
            return answer[0] if answer else Answer(Result.UNAVAILABLE, _words(error))
        return answer[0]

    async def _exchange(self, client: "httpx.AsyncClient", body: bytes, answer: list[Answer]) -> None:
        """Posts, and fills ``answer`` as soon as the status is known: nothing that follows changes it."""
        async with client.stream("POST", self._url, content=body, headers=self._headers) as response:
            answer.append(_judge(response.status_code, response.headers.get("retry-after", "")))
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > MOST_READ_BYTES:
                    return

    async def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            with contextlib.suppress(Exception):  # it is not needed any more, whatever it says
                await self._client.aclose()
            self._client = None


def _headers(endpoint: "NotificationEndpoint") -> list[tuple[str, str]]:
    given = [(name, str(value)) for name, values in endpoint.headers.items() for value in values]
    names = {name.lower() for name, _ in given}
    ours = [("Content-Type", CONTENT_TYPE), ("User-Agent", "roadstead")]
    return [*((name, value) for name, value in ours if name.lower() not in names), *given]


@functools.cache
def _trust() -> ssl.SSLContext:
    """Returns the authorities that the system trusts, as for Go's programs; made once, since it takes milliseconds."""
    return ssl.create_default_context()


def _judge(status: int, retry_after: str) -> Answer:
    try:
        text = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        text = str(status)
    if HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST:
        return Answer(Result.DELIVERED, text, status)
    if status in _REFUSALS:
        return Answer(Result.REFUSED, text, status)
    wait = float(retry_after) if status in _WAITING and retry_after.isdecimal() and len(retry_after) < 9 else 0.0  # noqa: PLR2004 - a number that is no mistake
    return Answer(Result.UNAVAILABLE, text, status, wait)


def _words(error: Exception) -> str:
    """Describes an error without the URL, which may hold a secret."""
    kind = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"{kind}: {cause.reason or 'TLS failed'}: {getattr(cause, 'verify_message', '')}".rstrip(": ")
        if isinstance(cause, OSError) and cause.errno:
            return f"{kind}: {_of_system(cause)}"[:MOST_ERROR_CHARACTERS]
        cause = cause.__cause__ or cause.__context__  # even where suppressed: the library hides what it translates
    return kind


def _of_system(error: OSError) -> str:
    """Returns the system's own words; the texts of some event loops name addresses."""
    return str(error.strerror) if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
