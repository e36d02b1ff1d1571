"""What a restart leaves untouched: uploads under way, requests in hand, the address."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.faults.client import Client, digest_of, manifest_of
from tests.system.faults.server import FaultyServer, Tracer, serving
from tests.system.faults.wire import Wire, head
from tests.system.process import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPOSITORY: Final = "restart/app"
PIECE: Final = 300_000


@pytest.fixture
def server(scratch: Path) -> Iterator[FaultyServer]:
    with serving(FaultyServer(scratch / f"restart-{secrets.token_hex(3)}")) as running:
        yield running


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_an_upload_goes_on_after_a_restart(server: FaultyServer, end: str) -> None:
    """In chunks across two restarts; the closing PUT does not read again what came before them."""
    blob = secrets.token_bytes(3 * PIECE)
    location = ""
    for number in range(3):
        with Client(server.port) as client:
            location = location or client.begin(REPOSITORY)
            assert client.offset(location) == number * PIECE
            client.patch(location, blob[number * PIECE : (number + 1) * PIECE], number * PIECE)
        restart(server, end)
    with Client(server.port) as client:
        read = bytes_read_while(server, lambda: client.finish(location, digest_of(blob)))
        assert read < PIECE, f"the closing PUT read {read} bytes of a blob of {len(blob)}"
        assert client.blob(REPOSITORY, digest_of(blob)) == blob


def restart(server: FaultyServer, end: str) -> None:
    if end == "SIGKILL":
        server.kill()
    else:
        server.shut_down()
    server.start()


def bytes_read_while(server: FaultyServer, work: Callable[[], object]) -> int:
    """Bytes that the server's process read, from files and sockets, while something was done."""

    def total() -> int:
        with open(f"/proc/{server.pid}/io") as counters:  # noqa: PTH123 - a file of the kernel
            return int(next(line for line in counters if line.startswith("rchar")).split()[1])

    before = total()
    work()
    return total() - before


def test_sigterm_waits_for_requests_in_hand(server: FaultyServer) -> None:
    """A push that is half-way when SIGTERM comes is finished; who connects after that is turned away."""
    blob = secrets.token_bytes(1 << 20)
    with Wire(server.port) as slow:
        slow.send(
            head(
                "POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(blob)}", {"Content-Length": str(len(blob))}
            )
        )
        slow.send(blob[: len(blob) // 2])
        until(lambda: any((server.data / "registry" / "uploads").glob("*")), what="the push has begun")
        server.terminate()
        until(lambda: not accepts(server.port), what="new connections are refused")
        assert server.exit_code is None, "it waits for the push"
        slow.send(blob[len(blob) // 2 :])
        assert slow.reply("POST").status == 201
    assert server.wait_for_end() == 0
    server.start()
    with Client(server.port) as client:
        assert client.blob(REPOSITORY, digest_of(blob)) == blob


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def test_idle_connections_do_not_hold_a_stop_up(server: FaultyServer) -> None:
    """Clients that keep their connections open wait for nothing."""
    with Client(server.port) as client, Wire(server.port):
        client.expect(200, "GET", "/v2/")
        server.terminate()
        assert server.wait_for_end(timeout_seconds=10) == 0
    server.start()


def test_a_stop_does_not_wait_for_ever(scratch: Path) -> None:
    """A client that never ends its request is dropped after `limits.drain_timeout_seconds`."""
    folder = scratch / f"drain-{secrets.token_hex(3)}"
    with FaultyServer(folder, settings={"limits.drain_timeout_seconds": 1}) as server, Wire(server.port) as hanging:
        hanging.send(
            head("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(b'a')}", {"Content-Length": "100"})
        )
        hanging.send(b"some")
        until(lambda: any((server.data / "registry" / "uploads").glob("*")), what="the push has begun")
        server.terminate()
        reply = hanging.reply("POST")
        assert reply.status == 503
        assert reply.errors[0]["message"] == "the server is stopping"
        assert server.wait_for_end(timeout_seconds=12) == 0
        assert "Traceback" not in server.log()
    shutil.rmtree(folder)


# ── Flushed before it is acknowledged ─────────────────────────────────────────────────────────────────────────

FLUSHES: Final = "fdatasync,fsync,rename,renameat,renameat2,link,linkat,pwrite64,write,writev,sendto,sendmsg"


def traced(server: FaultyServer, work: Callable[[Client], object]) -> list[str]:
    """What the server did to disk and sockets until the 201, a line a call, in the order in which they ended."""
    with Client(server.port) as client:
        client.expect(200, "GET", "/v2/")
        options = ("-f", "-y", "-s", "64", "-e", f"trace={FLUSHES}")
        with Tracer(*options, threads=[server.pid], log=server.folder / "strace") as tracer:
            work(client)
        return list(completed(tracer.lines()))


def completed(lines: list[str]) -> Iterator[str]:
    """Each call once: an answer where it begins, since it may be read from then on; all else where it has ended."""
    begun: dict[str, str] = {}
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
            if "HTTP/1.1" in call:
                yield call
        elif call.startswith("<... "):
            whole = begun.pop(thread, "") + call.partition("resumed>")[2]
            if "HTTP/1.1" not in whole:
                yield whole
        else:
            yield call


def position(calls: list[str], pattern: str, *, last: bool = False) -> int:
    found = [number for number, call in enumerate(calls) if re.search(pattern, call)]
    assert found, f"no {pattern} in:\n" + "\n".join(calls)
    return found[-1] if last else found[0]


@pytest.mark.needs("strace")
def test_a_blob_is_flushed_before_its_201(server: FaultyServer) -> None:
    """The bytes, then the name, then its folder, then the catalogue's log; then the client hears of it."""
    blob = secrets.token_bytes(100_000)
    digest = digest_of(blob)
    with Client(server.port) as client:
        location = client.begin(REPOSITORY)
    calls = traced(server, lambda client: client.finish(location, digest, blob))
    answer = position(calls, r"HTTP/1\.1 201")
    named = position(calls, rf"(rename|link).*{digest[7:]}(/|>, \")data")
    written = position(calls, r"write\(.*registry/uploads/", last=True)
    bytes_flushed = position(calls, r"(fdatasync|fsync)\(\d+<[^>]*registry/(uploads|docker)[^>]*/[^/>]*>\) += 0")
    folder_flushed = position(calls, rf"fsync\(\d+<[^>]*{digest[7:]}>\) += 0", last=True)
    logged = position(calls, r"pwrite64\(\d+<[^>]*roadstead\.db-wal>", last=True)
    log_flushed = position(calls, r"(fdatasync|fsync)\(\d+<[^>]*roadstead\.db-wal>\) += 0", last=True)
    assert written < bytes_flushed < log_flushed, "\n".join(calls)
    assert named < folder_flushed < log_flushed, "\n".join(calls)
    assert logged < log_flushed < answer, "\n".join(calls)


@pytest.mark.needs("strace")
def test_a_manifest_is_flushed_before_its_201(server: FaultyServer) -> None:
    """A manifest is a record: the catalogue's log is flushed after the last write to it, then the client hears."""
    layer, config = secrets.token_bytes(1000), b"{}"
    with Client(server.port) as client:
        client.put_blob(REPOSITORY, layer)
        client.put_blob(REPOSITORY, config)
    manifest = manifest_of(config, [layer])
    calls = traced(server, lambda client: client.put_manifest(REPOSITORY, "latest", manifest))
    logged = position(calls, r"pwrite64\(\d+<[^>]*roadstead\.db-wal>", last=True)
    log_flushed = position(calls, r"(fdatasync|fsync)\(\d+<[^>]*roadstead\.db-wal>\) += 0", last=True)
    assert logged < log_flushed < position(calls, r"HTTP/1\.1 201"), "\n".join(calls)
