"""The image as bytes: the same whenever and wherever it is built, small, and with what scanners look for."""

from __future__ import annotations

import hashlib
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.image.building import EPOCH, digest_of_file
from tests.system.process import run
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.image.building import Built

LARGEST_BYTES = 170_000_000  # the client of object stores takes 15 of them
SHELLS = {"sh", "bash", "dash", "busybox", "perl", "apt", "dpkg", "su", "mount"}

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("image")]


class Layout:
    """The contents of an OCI layout in a tar."""

    def __init__(self, path: Path) -> None:
        self.tar = tarfile.open(path)  # noqa: SIM115 - as long as the layout
        (self.entry,) = self.json("index.json")["manifests"]
        self.manifest = json.loads(self.blob(self.entry["digest"]))
        self.config = json.loads(self.blob(self.manifest["config"]["digest"]))

    def json(self, name: str) -> Any:
        """A document of the layout."""
        file = self.tar.extractfile(name)
        assert file is not None
        return json.load(file)

    def blob(self, digest: str) -> bytes:
        """A blob, which has its digest."""
        file = self.tar.extractfile(f"blobs/{digest.replace(':', '/')}")
        assert file is not None
        content = file.read()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest
        return content

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Everything in all layers."""
        for layer in self.manifest["layers"]:
            file = self.tar.extractfile(f"blobs/{layer['digest'].replace(':', '/')}")
            with tarfile.open(fileobj=file, mode="r:gz") as tar:
                yield from tar


@pytest.fixture(scope="module")
def layout(image: Built) -> Iterator[Layout]:
    opened = Layout(image.file("*.oci.tar"))
    yield opened
    opened.tar.close()


def test_built_twice_the_bytes_are_equal(image: Built, build_again: Callable[[str], Path]) -> None:
    again = build_again("image")

    for pattern in ("*.oci.tar", "*.docker.tar"):
        (other,) = again.glob(pattern)
        assert digest_of_file(other) == digest_of_file(image.file(pattern))


def test_it_is_small(layout: Layout) -> None:
    assert sum(member.size for member in layout.members()) <= LARGEST_BYTES


def test_every_digest_is_that_of_its_bytes(layout: Layout) -> None:
    assert len(layout.blob(layout.entry["digest"])) == layout.entry["size"]
    for each in [layout.manifest["config"], *layout.manifest["layers"]]:
        assert len(layout.blob(each["digest"])) == each["size"]
    assert len(layout.config["rootfs"]["diff_ids"]) == len(layout.config["history"]) == len(layout.manifest["layers"])


def test_it_says_what_it_is(layout: Layout, image: Built) -> None:
    said = layout.manifest["annotations"]
    assert said == layout.config["config"]["Labels"]
    assert said["org.opencontainers.image.version"] == image.version
    assert said["org.opencontainers.image.created"] == layout.config["created"] == "2026-01-01T00:00:00Z"
    assert EPOCH == 1_767_225_600
    assert layout.config["config"]["User"] == "65532:0"
    assert layout.config["config"]["Volumes"] == {"/var/lib/registry": {}}


def test_nothing_in_it_gives_more_rights_or_a_shell(layout: Layout) -> None:
    for member in layout.members():
        assert not member.mode & 0o6000, f"{member.name} is setuid or setgid"
        assert member.name.rpartition("/")[2] not in SHELLS or "/share/" in member.name or member.isdir(), member.name
        if member.mode & 0o002 and not member.issym():
            assert member.name in {"tmp", "var/tmp"}, f"everybody may write to {member.name}"
        assert member.mtime == 0


def test_scanners_find_the_release_the_packages_and_the_wheels(layout: Layout) -> None:
    links = {member.name: member.linkname for member in layout.members()}
    names = set(links)

    assert {"etc/os-release", "usr/lib/os-release"} <= names
    records = {name.rpartition("/")[2] for name in names if name.startswith("var/lib/dpkg/status.d/")}
    assert {"libc6", "libssl3t64", "python3.13-minimal", "libsqlite3-0"} <= records
    assert any("cryptography-" in name and name.endswith(".dist-info/METADATA") for name in names)
    notices = {record: links.get(f"usr/share/doc/{record}") or record for record in records if record}
    assert not [record for record, place in notices.items() if f"usr/share/doc/{place}/copyright" not in names]


@pytest.mark.needs("skopeo")
def test_skopeo_and_the_archives_agree(image: Built, layout: Layout) -> None:
    skopeo = [path_of("skopeo"), "inspect", "--raw"]

    raw = run([*skopeo, f"oci-archive:{image.file('*.oci.tar')}"]).stdout.encode()
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == layout.entry["digest"]

    docker = json.loads(run([*skopeo, f"docker-archive:{image.file('*.docker.tar')}"]).stdout)
    assert docker["config"]["digest"] == layout.manifest["config"]["digest"], "docker calls the image by another id"
