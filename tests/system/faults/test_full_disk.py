"""A file system without space: pushes are refused with 507, everything else goes on, and space heals it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from tests import skips
from tests.system.faults.checker import Checker
from tests.system.faults.client import Client, RefusedError, digest_of
from tests.system.faults.recorder import Journal
from tests.system.faults.server import FaultyServer, serving
from tests.system.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB: Final = 1 << 20
DISK_BYTES: Final = 48 * MIB
RESERVE_BYTES: Final = 8 * MIB
REPOSITORY: Final = "full/disk"

pytestmark = pytest.mark.xdist_group("full_disk")


@pytest.fixture
def disk(scratch: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = scratch / f"disk-{secrets.token_hex(3)}"
    folder.mkdir()
    if os.geteuid() != 0:
        skips.skip("mounting a small file system needs root", enable_with="sudo make test")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "roadstead-test", folder],
        check=False, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    if mounted.returncode:
        skips.skip(f"this machine mounts no tmpfs: {mounted.stderr.strip()}", enable_with="a machine where root may")
    try:
        yield folder
    finally:
        run(["umount", folder])
        folder.rmdir()


def fill(disk: Path, leave_bytes: int = 0) -> Path:
    """Take all space but some."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - leave_bytes
        with contextlib.suppress(OSError):
            while free > 0:
                free -= file.write(b"\0" * min(free, MIB))
                file.flush()
    return filler


def pushed(server: FaultyServer, journal: Journal, tag: str) -> bytes:
    """An image that was acknowledged; the bytes of its layer."""
    layer = secrets.token_bytes(50_000)
    with Client(server.port) as client:
        manifest = client.push_image(REPOSITORY, tag, [layer])
    digest = digest_of(manifest)
    journal.bodies[digest] = manifest
    journal.manifests.settle((REPOSITORY, digest), True)  # noqa: FBT003 - a value
    journal.tags.settle((REPOSITORY, tag), digest)
    return layer


def require_serving(server: FaultyServer, journal: Journal) -> None:
    problems = Checker(server.port, server.data).check([journal])
    assert not problems, "\n".join(problems)
    with Client(server.port) as client:
        assert client.expect(200, "GET", "/v2/_catalog").document["repositories"] == [REPOSITORY]


def require_full(refused: RefusedError) -> None:
    assert refused.reply.status == 507, str(refused)
    assert refused.reply.codes == ["UNAVAILABLE"]
    assert "storage is full" in refused.reply.errors[0]["message"]


def test_the_reserve_is_kept(disk: Path, scratch: Path) -> None:
    """Below `storage.minimum_free_bytes` pushes are refused while there is space to record what is deleted."""
    journal = Journal()
    server = FaultyServer(
        scratch / f"full-{secrets.token_hex(3)}",
        data=disk / "data",
        settings={"storage.minimum_free_bytes": RESERVE_BYTES},
    )
    with serving(server), Client(server.port) as client:
        pushed(server, journal, "kept")
        pushed(server, journal, "deleted")
        location = client.begin(REPOSITORY)
        client.patch(location, b"0123456789")
        with pytest.raises(RefusedError) as large:
            client.post_blob(REPOSITORY, secrets.token_bytes(DISK_BYTES))
        require_full(large.value)
        filler = fill(disk, leave_bytes=RESERVE_BYTES - MIB)
        with pytest.raises(RefusedError) as small:
            client.put_blob(REPOSITORY, b"small")
        require_full(small.value)
        require_serving(server, journal)
        client.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/deleted")
        journal.tags.settle((REPOSITORY, "deleted"), None)
        server.kill()
        client.close()
        server.start()  # also without space
        require_serving(server, journal)
        assert client.offset(location) == 10
        filler.unlink()
        client.finish(location, digest_of(b"0123456789and more"), b"and more")
        pushed(server, journal, "after")
        require_serving(server, journal)
        server.check_data("--deep")
        server.check()


def test_no_byte_is_left(disk: Path, scratch: Path) -> None:
    """Without any reserve: neither blobs nor the catalogue can grow. Reading goes on, and nothing is lost."""
    journal = Journal()
    server = FaultyServer(
        scratch / f"full-{secrets.token_hex(3)}", data=disk / "data", settings={"storage.minimum_free_bytes": 0}
    )
    with serving(server), Client(server.port) as client:
        layer = pushed(server, journal, "kept")
        manifest = client.manifest(REPOSITORY, "kept")
        filler = fill(disk)
        with pytest.raises(RefusedError) as blob:
            client.post_blob(REPOSITORY, secrets.token_bytes(MIB))
        require_full(blob.value)
        refusals = push_until_refused(client, journal, manifest)
        require_full(refusals)
        assert client.blob(REPOSITORY, digest_of(layer)) == layer
        require_serving(server, journal)
        client.close()
        server.shut_down()
        server.start()
        require_serving(server, journal)
        filler.unlink()
        pushed(server, journal, "after")
        client.expect(202, "DELETE", f"/v2/{REPOSITORY}/manifests/after")
        journal.tags.settle((REPOSITORY, "after"), None)
        require_serving(server, journal)
        server.check_data("--deep")
        server.check()


def push_until_refused(client: Client, journal: Journal, manifest: bytes) -> RefusedError:
    """Tags need only records: they are taken for as long as the catalogue's files have room."""
    for number in range(20_000):
        tag = f"full-{number}"
        try:
            digest = client.put_manifest(REPOSITORY, tag, manifest)
        except RefusedError as refused:
            return refused
        journal.tags.settle((REPOSITORY, tag), digest)
    pytest.fail("the catalogue took twenty thousand tags on a full disk")


def test_a_new_registry_on_a_full_disk_says_so(disk: Path, scratch: Path) -> None:
    """It does not start, and says what to do."""
    fill(disk)
    server = FaultyServer(scratch / f"full-{secrets.token_hex(3)}", data=disk / "data")
    code, said = server.launch()
    assert code == 3, said
    assert "space" in said or "full" in said
    assert "Traceback" not in said
    shutil.rmtree(server.folder)
