"""The access log: a line for each request, gathered in memory and written in one piece.

Promises: a line is handed on at most 100 ms after its request ended, earlier when 64 KiB have gathered, and at
shutdown. What becomes of it then is the stream's matter, which neither blocks nor fails: see ``log_writer``.
"""

import asyncio
import datetime as dt
import re
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from roadstead.clock import Clock, SystemClock
from roadstead.telemetry.redaction import escape_control, escape_json

FLUSH_SECONDS: Final = 0.1
BUFFER_BYTES: Final = 64 * 1024
TIME_OF_DAY: Final = len("2026-03-02T")
"""Number of characters before the time of day in a time."""

LEAST_PATH: Final = 16
"""Number of a path's characters that a line shows at least, however narrow the terminal."""

_DELETE: Final = b"\x7f"
TEXT_LENGTH: Final = 1024
"""Number of a path's or user agent's characters that are kept: a line stays readable, whatever a client sends."""

_DIGEST: Final = re.compile(r"(sha(?:256|512):[0-9a-f]{12})[0-9a-f]+")


class AccessRecord(msgspec.Struct, tag_field="event", tag="request", gc=False):
    """The fields of a request in the log; the log itself fills in ``time``."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    bytes: int
    """Number of bytes of the answer's body that were sent."""
    duration_seconds: float
    client: str
    user_agent: str
    handler: str
    repository: str
    actor: str


class ByteStream(Protocol):
    """A stream that takes bytes."""

    def write(self, data: bytearray, /) -> object:
        """Adds bytes; they are the stream's from here on."""
        ...


class AccessLog:
    """Writes records to a stream; used from the event loop only."""

    def __init__(
        self,
        stream: ByteStream,
        *,
        is_human: bool = False,
        columns: Callable[[], int] = lambda: 0,
        clock: Clock | None = None,
    ) -> None:
        """Keeps its arguments; ``columns`` gives the terminal's width, so that lines do not wrap; 0: no terminal."""
        self._stream = stream
        self._append = self._append_human if is_human else self._append_json
        self._columns = columns
        self._clock = clock or SystemClock()
        self._encode = msgspec.json.Encoder().encode
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._second_text = ""
        self.dropped_lines = 0
        """Number of lines that could not be written."""

    def record(self, record: AccessRecord) -> None:
        """Adds a request that has ended; the record is the log's from here on."""
        record.time = self._time()
        if len(record.path) > TEXT_LENGTH:
            record.path = record.path[:TEXT_LENGTH]
        if len(record.user_agent) > TEXT_LENGTH:
            record.user_agent = record.user_agent[:TEXT_LENGTH]
        self._append(record)
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes the lines that have gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._buffer:
            self._stream.write(self._buffer)
            self._buffer = bytearray()

    def _append_json(self, record: AccessRecord) -> None:
        try:
            line = self._encode(record)  # encode_into would leave garbage behind if it failed
        except UnicodeEncodeError:  # a lone surrogate; uvicorn makes none, another server may
            self.dropped_lines += 1
            return
        if not line.isascii() or _DELETE in line:  # the encoder escapes all other control characters of ASCII
            line = escape_json(line.decode()).encode()
        self._buffer += line + b"\n"

    def _append_human(self, record: AccessRecord) -> None:
        """Appends a line for people, important fields first; on a terminal, what does not fit is cut or left out."""
        columns = self._columns()
        before = f"{record.time[TIME_OF_DAY:] if columns else record.time} {record.status} {record.method} "
        after = f" {record.bytes}B {record.duration_seconds * 1000:.1f}ms"
        path = _fitted(record.path, columns - len(before) - len(after)) if columns else record.path
        text = f"{before}{path}{after}"
        for part in (record.client, record.actor, record.user_agent.partition(" ")[0], record.request_id):
            if part not in {"", "-"} and not 0 < columns < len(text) + 1 + len(part):
                text += f" {part}"
        self._buffer += escape_control(text, keep="").encode("utf-8", "backslashreplace") + b"\n"

    def _time(self) -> str:
        """Returns the time in RFC 3339; the text up to the second is made once a second."""
        second, millisecond = divmod(self._clock.now_ms(), 1000)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._second_text}{millisecond:03d}Z"


def _fitted(path: str, room: int) -> str:
    """Shortens ``path`` to ``room`` characters: first its digests, as docker shows them, else its middle."""
    if len(path) <= room:
        return path
    path = _DIGEST.sub(r"\1…", path)
    room = max(room, LEAST_PATH)
    if len(path) <= room:
        return path
    tail = (room - 1) * 2 // 3
    return f"{path[: room - 1 - tail]}…{path[-tail:]}"
