"""Memory and the waits of others are bounded, whatever clients send: measured on a real server, beside each load."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.system.bounds.measuring import MIB, measured
from tests.system.faults.client import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Client, descriptor, digest_of, manifest_of
from tests.system.faults.server import FaultyServer
from tests.system.faults.wire import Wire, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT: Final = 4 * MIB
MANY: Final = 20_000
AT_ONCE: Final = 8
BUDGET_BYTES: Final = 64 * MIB
"""`limits.body_memory_bytes`."""

WORKING_BYTES: Final = 64 * MIB
"""What one long manifest takes while it is read and recorded, with what the allocator keeps."""

pytestmark = pytest.mark.xdist_group("bounds")


@pytest.fixture
def server(scratch: Path) -> Iterator[FaultyServer]:
    """A server with the default settings, which has answered its first requests."""
    with FaultyServer(scratch / f"bounds-{secrets.token_hex(3)}") as running:
        with Client(running.port) as client:
            client.push_image("small", "latest", [b"layer"])
            client.manifest("small", "latest")
        yield running
        running.shut_down()
    shutil.rmtree(running.folder)


def encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def padded(document: dict[str, Any]) -> bytes:
    """A document with a member that nobody knows, as long as a manifest may be."""
    padding = "x" * (LIMIT - 20 - len(encoded(document)))
    return encoded(document | {"padding": padding})


def image_document(**more: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(manifest_of(b"{}", []))
    return document | more


def unknown_layers(seed: int) -> bytes:
    """An image of layers that nobody has."""
    digests = (f"sha256:{number + seed * MANY:064x}" for number in range(MANY))
    return encoded(image_document(layers=[{"mediaType": OCI_LAYER, "digest": each, "size": 1} for each in digests]))


def unknown_children(seed: int) -> bytes:
    """An index of manifests that nobody has."""
    digests = (f"sha256:{number + seed * MANY:064x}" for number in range(MANY))
    children = [{"mediaType": OCI_MANIFEST, "digest": each, "size": 1} for each in digests]
    return encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})


def bomb(text: bytes) -> bytes:
    """An image with a member full of ``text``."""
    start = encoded(image_document())[:-1] + b',"more":['
    return start + text * ((LIMIT - len(start) - 10) // len(text)) + b"0]}"


LOADS: Final[dict[str, tuple[Callable[[int], bytes], int]]] = {
    "lists in lists": (lambda _seed: bomb(b"[[]],"), 400),
    "objects": (lambda _seed: bomb(b"{},"), 400),
    "numbers": (lambda _seed: bomb(b"1,"), 400),
    "as many values as there may be": (lambda _seed: encoded(image_document(more=[[]] * 240_000)), 400),
    "one long text of escapes": (lambda _seed: bomb(b'"\\n\\"",')[: 3 * MIB].rsplit(b",", 1)[0] + b"]}", 400),
    "missing layers": (unknown_layers, 400),
    "missing children": (unknown_children, 201),
}


@pytest.mark.parametrize("name", LOADS)
def test_long_manifests_at_once(server: FaultyServer, name: str) -> None:
    make, status = LOADS[name]
    bodies = [make(seed) for seed in range(AT_ONCE)]
    media_types = [OCI_INDEX if name == "missing children" else OCI_MANIFEST] * AT_ONCE

    def push(number: int) -> int:
        with Client(server.port) as client:
            target = f"/v2/bounds/manifests/m{number}"
            return client.ask("PUT", target, bodies[number], {"Content-Type": media_types[number]}).status

    with measured(server) as found, ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(push, range(AT_ONCE)))
        time.sleep(0.1)
    assert statuses == [status] * AT_ONCE
    found.require(grown_bytes=AT_ONCE * LIMIT + WORKING_BYTES)


def test_a_page_of_referrers_of_long_manifests(server: FaultyServer) -> None:
    subject = descriptor(OCI_MANIFEST, b"subject")
    with Client(server.port) as client:
        client.put_blob("bounds", b"{}")
        for number in range(100):
            body = padded(image_document(subject=subject, annotations={"number": str(number)}))
            client.put_manifest("bounds", f"m{number}", body)

        def list_referrers() -> int:
            with Client(server.port) as mine:
                reply = mine.expect(200, "GET", f"/v2/bounds/referrers/{subject['digest']}")
                return len(reply.document["manifests"])

        with measured(server) as found, ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in range(20):
                assert set(pool.map(lambda _: list_referrers(), range(AT_ONCE))) == {100}
    found.require(grown_bytes=8 * LIMIT)  # of 100 manifests; a busy machine is still reading the last pushes


def test_slow_pushes_of_manifests_share_a_budget(server: FaultyServer) -> None:
    pushes = 100
    with measured(server) as found:
        wires = [Wire(server.port) for _ in range(pushes)]
        for wire in wires:
            headers = {"Content-Length": str(LIMIT), "Content-Type": OCI_MANIFEST}
            wire.send(head("PUT", "/v2/bounds/manifests/slow", headers))
        pieces = 16
        for _ in range(pieces):  # all but the last byte
            for wire in wires:
                wire.send(bytes((LIMIT - 1) // pieces))
                time.sleep(0.001)
        with Client(server.port) as client:
            time.sleep(2.5)  # by now the slowest give way
            client.put_blob("bounds", b"{}")
            client.put_manifest("bounds", "quick", padded(image_document()))
    told = [wire.reply() for wire in wires if wire.has_answer(0)]
    for wire in wires:
        wire.close()
    assert {reply.status for reply in told} == {503}
    assert all(int(reply.header("Retry-After")) > 0 for reply in told)
    assert len(told) >= pushes - BUDGET_BYTES // LIMIT
    found.require(grown_bytes=BUDGET_BYTES + WORKING_BYTES)


@pytest.mark.parametrize("count", [1, 50])
def test_readers_that_do_not_read(server: FaultyServer, count: int) -> None:
    """Of one manifest, which is there once; of as many manifests, which share the budget."""
    readers = 50
    digests: list[str] = []
    with Client(server.port) as client:
        client.put_blob("bounds", b"{}")
        for number in range(count):
            body = padded(image_document(annotations={"number": str(number)}))
            digests.append(client.put_manifest("bounds", digest_of(body), body))
    with measured(server) as found:
        wires = [Wire(server.port) for _ in range(readers)]
        for number, wire in enumerate(wires):
            wire.send(head("GET", f"/v2/bounds/manifests/{digests[number % count]}"))
        assert all(wire.has_answer(20) for wire in wires)
        time.sleep(2.5)
        with Client(server.port) as client:
            assert len(client.manifest("bounds", digests[-1])) >= LIMIT - 100
    for wire in wires:
        wire.close()
    found.require(grown_bytes=(LIMIT if count == 1 else BUDGET_BYTES) + WORKING_BYTES)


def test_short_pushes_beside_long_ones_are_not_forgotten(server: FaultyServer) -> None:
    """Long transactions run elsewhere, but they are transactions: short ones come after them, and all are kept."""
    done = threading.Event()

    def push_long() -> None:
        with Client(server.port) as client:
            for seed in range(4):
                body = unknown_children(seed)
                client.expect(201, "PUT", f"/v2/bounds/manifests/long{seed}", body, {"Content-Type": OCI_INDEX})
        done.set()

    thread = threading.Thread(target=push_long)
    thread.start()
    count = 0
    with Client(server.port) as client:
        while not done.is_set():
            client.push_image("bounds/short", f"t{count}", [secrets.token_bytes(10)])
            count += 1
        thread.join()
        assert sorted(client.tags("bounds/short")) == sorted(f"t{number}" for number in range(count))
        assert sorted(client.tags("bounds")) == [f"long{number}" for number in range(4)]
