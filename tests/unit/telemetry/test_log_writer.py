"""Where log lines go: in order and whole, without waiting, and counted where they are lost."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

from roadstead.telemetry import LogWriter, log_stream
from roadstead.telemetry.log_writer import END_SECONDS, PENDING_BYTES

LINE = b"a line of the log\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def read(descriptor: int, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


def test_lines_of_all_threads_are_whole(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    lines = [b"%d of thread %d\n" % (number, thread) for thread in range(4) for number in range(200)]
    threads = [
        threading.Thread(target=lambda mine=lines[start : start + 200]: [writer.write(line) for line in mine])
        for start in range(0, 800, 200)
    ]
    for thread in threads:
        thread.start()
    found = read(pipe[0], sum(map(len, lines))).splitlines(keepends=True)
    assert sorted(found) == sorted(lines)
    assert writer.lost_lines == 0
    writer.end()


def test_nothing_waits_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1])
    offered = 4 * PENDING_BYTES // len(LINE)
    began = time.monotonic()
    for _ in range(offered):
        assert writer.write(LINE) == len(LINE)
    writer.end()
    assert time.monotonic() - began < END_SECONDS + 5
    kept = offered - writer.lost_lines
    assert PENDING_BYTES // len(LINE) <= kept <= (PENDING_BYTES + (128 << 10)) // len(LINE)
    assert read(pipe[0], kept * len(LINE)) == LINE * kept, "what was not lost waits for the reader"


@pytest.mark.parametrize("kind", ["full", "closed", "gone"])
def test_what_cannot_be_written_is_counted(pipe: tuple[int, int], kind: str) -> None:
    os.close(pipe[0])
    descriptor = pipe[1]
    if kind == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    with log_stream(descriptor) as (writer, stream):
        if kind == "closed":
            os.close(descriptor)
        for _ in range(10):
            stream.write("two\nlines\n")
    assert writer.lost_lines == 20
    stream.write("too late\n")
    assert writer.lost_lines == 21
    if kind == "full":
        os.close(descriptor)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1])
    count = PENDING_BYTES // len(LINE) // 2
    for _ in range(count):
        writer.write(LINE)
    assert read(pipe[0], count * len(LINE)) == LINE * count
    writer.end()
    assert writer.lost_lines == 0


def test_what_is_no_text_is_written_all_the_same(pipe: tuple[int, int]) -> None:
    with log_stream(pipe[1]) as (_, stream):
        stream.write("caf\u00e9 \udcff\n")
    assert os.read(pipe[0], 100) == b"caf\xc3\xa9 \\udcff\n"
