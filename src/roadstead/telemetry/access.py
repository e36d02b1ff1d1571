"""The access log: a line a request, gathered in memory and written in one piece.

Promises: a line is written at most 100 ms after its request ended, earlier when 64 KiB have gathered, and at shutdown;
a write that fails loses lines (they are counted), never a request. A write blocks while nobody reads a full pipe, like
any log's.
"""

import asyncio
import datetime as dt
from typing import BinaryIO, Final

import msgspec

from roadstead.clock import Clock, SystemClock
from roadstead.telemetry.redaction import escape_control, escape_json

FLUSH_SECONDS: Final = 0.1
BUFFER_BYTES: Final = 64 * 1024
_DELETE: Final = b"\x7f"
TEXT_LENGTH: Final = 1024
"""Characters of a path or user agent that are kept: a line stays readable, whatever a client sends."""


class AccessRecord(msgspec.Struct, tag_field="event", tag="request", gc=False):
    """What the log says about a request; the log itself fills in ``time``."""

    time: str
    request_id: str
    method: str
    path: str
    status: int
    bytes: int
    """Of the body that was sent."""
    duration_seconds: float
    client: str
    user_agent: str
    handler: str
    repository: str
    actor: str


class AccessLog:
    """Writes records to a stream; used from the event loop only."""

    def __init__(self, stream: BinaryIO, *, is_human: bool = False, clock: Clock | None = None) -> None:
        self._stream = stream
        self._append = self._append_human if is_human else self._append_json
        self._clock = clock or SystemClock()
        self._encode = msgspec.json.Encoder().encode
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._second_text = ""
        self.dropped_lines = 0
        """Lines lost because they or the stream could not be written."""

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
        """Writes what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._buffer:
            return
        try:
            self._stream.write(self._buffer)
            self._stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that went away, a closed stream
            self.dropped_lines += self._buffer.count(b"\n")
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
        text = (
            f"{record.time} {record.client} {record.actor} {record.method} {record.path} {record.status}"
            f" {record.bytes}B {record.duration_seconds * 1000:.1f}ms {record.user_agent!r} {record.request_id}"
        )
        self._buffer += escape_control(text, keep="").encode() + b"\n"

    def _time(self) -> str:
        """The time in RFC 3339; the second's text is made once a second."""
        second, millisecond = divmod(self._clock.now_ms(), 1000)
        if second != self._second:
            self._second = second
            self._second_text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._second_text}{millisecond:03d}Z"
