"""The access log: when it writes, what a line says, and that it fails alone."""

import asyncio
import io
from typing import Any

import msgspec
import pytest

from roadstead.telemetry import AccessLog, AccessRecord
from roadstead.telemetry.access import BUFFER_BYTES, FLUSH_SECONDS, TEXT_LENGTH


class FixedClock:
    """2024-02-29 12:00:00.007 UTC for ever."""

    def now_ms(self) -> int:
        """That time."""
        return 1_709_208_000_007

    def grace_ms(self) -> int:
        """The same."""
        return self.now_ms()

    def monotonic_seconds(self) -> float:
        """No time passes."""
        return 0.0


def record(path: str = "/v2/app/manifests/latest", user_agent: str = "docker/27.1") -> AccessRecord:
    return AccessRecord(
        "", "id-1", "GET", path, 200, 512, 0.001234, "10.0.0.1", user_agent, "manifest", "app", "-"
    )  # fmt: skip


def written(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_all_there_is_to_say() -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream, clock=FixedClock())
        log.record(record())
        log.flush()

    asyncio.run(run())
    assert written(stream) == [
        {
            "event": "request",
            "time": "2024-02-29T12:00:00.007Z",
            "request_id": "id-1",
            "method": "GET",
            "path": "/v2/app/manifests/latest",
            "status": 200,
            "bytes": 512,
            "duration_seconds": 0.001234,
            "client": "10.0.0.1",
            "user_agent": "docker/27.1",
            "handler": "manifest",
            "repository": "app",
            "actor": "-",
        }
    ]


def test_lines_are_written_together_after_a_moment() -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream)
        for _ in range(10):
            log.record(record())
        assert not stream.getvalue()
        await asyncio.sleep(FLUSH_SECONDS * 1.5)
        assert len(written(stream)) == 10
        log.record(record())
        await asyncio.sleep(FLUSH_SECONDS * 1.5)
        assert len(written(stream)) == 11

    asyncio.run(run())


def test_a_full_buffer_is_written_at_once() -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream)
        size = 0
        while not stream.getvalue():
            log.record(record())
            size += 1
        assert BUFFER_BYTES <= len(stream.getvalue()) < BUFFER_BYTES + 1024
        assert len(written(stream)) == size

    asyncio.run(run())


@pytest.mark.parametrize("is_human", [True, False])
def test_a_client_cannot_forge_lines_or_fill_the_disk(is_human: bool) -> None:  # noqa: FBT001
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream, is_human=is_human)
        log.record(record(path="/v2/\n\x1b[31mforged\u00e9" + "x" * 10_000, user_agent="\r\n" * 5000))
        log.flush()

    asyncio.run(run())
    assert stream.getvalue().count(b"\n") == 1
    assert b"\x1b" not in stream.getvalue()
    assert len(stream.getvalue()) < 8 * TEXT_LENGTH


def test_a_line_that_cannot_be_encoded_is_lost_alone() -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream)
        log.record(record())
        log.record(record(path="\ud800"))
        log.record(record())
        log.flush()
        assert log.dropped_lines == 1

    asyncio.run(run())
    assert len(written(stream)) == 2


def test_people_get_a_line_they_can_read() -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream, is_human=True, clock=FixedClock())
        log.record(record())
        log.flush()

    asyncio.run(run())
    assert stream.getvalue() == (
        b"2024-02-29T12:00:00.007Z 200 GET /v2/app/manifests/latest 512B 1.2ms 10.0.0.1 docker/27.1 id-1\n"
    )


DIGEST = f"sha256:{'0123456789ab' + 'c' * 52}"
LONG_AGENT = "docker/27.1 go/go1.22.5 git-commit/ca5f5fe kernel/6.1 os/linux arch/amd64"


@pytest.mark.parametrize(
    ("columns", "path", "expected"),
    [
        (120, "/v2/app/manifests/latest",
         "12:00:00.007Z 200 GET /v2/app/manifests/latest 512B 1.2ms 10.0.0.1 docker/27.1 id-1"),
        (80, "/v2/app/manifests/latest",
         "12:00:00.007Z 200 GET /v2/app/manifests/latest 512B 1.2ms 10.0.0.1 docker/27.1"),
        (60, "/v2/app/manifests/latest", "12:00:00.007Z 200 GET /v2/app/manifests/latest 512B 1.2ms"),
        (80, f"/v2/app/blobs/{DIGEST}",
         "12:00:00.007Z 200 GET /v2/app/blobs/sha256:0123456789ab… 512B 1.2ms 10.0.0.1"),
        (60, f"/v2/library/app/blobs/{DIGEST}", "12:00:00.007Z 200 GET /v2/libra…256:0123456789ab… 512B 1.2ms"),
        (10, "/v2/library/app/manifests/latest", "12:00:00.007Z 200 GET /v2/l…sts/latest 512B 1.2ms"),
        (0, f"/v2/app/blobs/{DIGEST}",
         f"2024-02-29T12:00:00.007Z 200 GET /v2/app/blobs/{DIGEST} 512B 1.2ms 10.0.0.1 docker/27.1 id-1"),
    ],
)  # fmt: skip
def test_a_line_for_people_does_not_wrap(columns: int, path: str, expected: str) -> None:
    stream = io.BytesIO()

    async def run() -> None:
        log = AccessLog(stream, is_human=True, columns=lambda: columns, clock=FixedClock())
        log.record(record(path=path, user_agent=LONG_AGENT))
        log.flush()

    asyncio.run(run())
    assert stream.getvalue().decode() == f"{expected}\n"
    assert columns < 60 or len(expected) <= columns
