"""What clients send in odd moments gets the answer that registry:2 and registry:3 give.

Each request goes over a socket to a peer and to ours, which hold the same image: the status and the path in `Location`
must be the same, and the error code where the peer states one. What differs on purpose has a row in
`docs/*/how-to/from-registry2.md`, and no case here.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from tests import skips
from tests.system.faults.client import OCI_MANIFEST, digest_of, manifest_of
from tests.system.faults.wire import Reply, chunked, exchange, head, request
from tests.system.process import Daemon
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOB: Final = b"hello"
CONFIG: Final = b"{}"
MANIFEST: Final = manifest_of(CONFIG, [BLOB])
UPLOADS: Final = "/v2/owner/image/blobs/uploads/"
ACCEPT: Final = {"Accept": OCI_MANIFEST}
PEERS: Final = ("docker-registry", "registry3")

OF_BOTH: Final = {
    # mounts that cannot be one
    "mount of a word": request("POST", f"{UPLOADS}?mount=latest&from=owner/image"),
    "mount of nothing": request("POST", f"{UPLOADS}?mount=&from=owner/image"),
    "mount of few digits": request("POST", f"{UPLOADS}?mount=sha256:abc&from=owner/image"),
    "mount of another algorithm": request("POST", f"{UPLOADS}?mount=md5:{'a' * 32}&from=owner/image"),
    "mount from no name": request("POST", f"{UPLOADS}?mount={digest_of(BLOB)}&from=Not..One"),
    # a digest, but no body
    "digest without a length": head("POST", f"{UPLOADS}?digest={digest_of(BLOB)}"),
    "digest with a length of 0": request("POST", f"{UPLOADS}?digest={digest_of(BLOB)}"),
    "digest with an empty chunked body": chunked("POST", f"{UPLOADS}?digest={digest_of(BLOB)}", []),
    "an empty digest": request("POST", f"{UPLOADS}?digest="),
    # paths
    "encoded name of a manifest": head("GET", "/v2/owner%2Fimage/manifests/v1", ACCEPT),
    "encoded name of tags": head("GET", "/v2/owner%2fimage/tags/list"),
    "encoded name of a blob": head("GET", f"/v2/owner%2Fim%61ge/blobs/{digest_of(BLOB)}"),
    "encoded name of an upload": request("POST", "/v2/owner%2Fimage/blobs/uploads/"),
    "everything encoded": head("GET", "/v2%2Fowner%2Fimage%2Ftags%2Flist"),
    "doubled slash at the beginning": head("GET", "//v2/"),
    "doubled slash after v2": head("GET", "/v2//owner/image/tags/list?n=1"),
    "doubled slash in a name": head("HEAD", "/v2/owner//image/manifests/v1", ACCEPT),
    "doubled slash before a tag": head("GET", "/v2/owner/image/manifests//v1", ACCEPT),
    "doubled slash of a push": request("POST", "/v2//owner/image/blobs/uploads/"),
    "doubled slash of a deletion": request("DELETE", "/v2/owner//image/manifests/v9"),
    # tags that are none, and repositories that are not there
    "a malformed tag": head("GET", "/v2/owner/image/manifests/.hidden", ACCEPT),
    "a malformed tag, HEAD": head("HEAD", "/v2/owner/image/manifests/.hidden", ACCEPT),
    "a malformed tag, DELETE": request("DELETE", "/v2/owner/image/manifests/.hidden"),
    "a tag that is too long": head("GET", f"/v2/owner/image/manifests/{'a' * 129}", ACCEPT),
    "a tag of no repository": head("GET", "/v2/no/body/manifests/v1", ACCEPT),
    "a digest of no repository": head("GET", f"/v2/no/body/manifests/{digest_of(CONFIG)}", ACCEPT),
    "deleting a digest of no repository": request("DELETE", f"/v2/no/body/manifests/{digest_of(CONFIG)}"),
    "a blob of no repository": head("GET", f"/v2/no/body/blobs/{digest_of(BLOB)}"),
    "deleting a blob of no repository": request("DELETE", f"/v2/no/body/blobs/{digest_of(BLOB)}"),
    "tags of no repository": head("GET", "/v2/no/body/tags/list"),
    # pages
    "an empty n of tags": head("GET", "/v2/owner/image/tags/list?n="),
    "an empty n of the catalogue": head("GET", "/v2/_catalog?n=&last="),
}
OF_REGISTRY3: Final = {
    "a chunk out of order and of another length": ("0-2", "50-54"),
    "a chunk received already, and of another length": ("0-2", "0-7"),
    "a chunk in its place, but of another length": ("0-2", "3-20"),
    "a chunk in its place": ("0-2", "3-5"),
}
"""Content-Range of a chunk of three bytes, and of another after it; registry:2 takes them all as they come."""


class Peer(Daemon):
    """Debian's registry:2, or registry:3, on a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        file = folder / "config.yml"
        file.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n"
        )
        super().__init__([path_of(name), "serve", file], folder=folder, is_ready=self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module", params=PEERS)
def ports(request: pytest.FixtureRequest, scratch: Path) -> Iterator[tuple[int, int]]:
    """The ports of a peer and of ours, each with the same image."""
    skips.require(request.param)
    folder = scratch / f"same-{secrets.token_hex(3)}"
    with Peer(folder / "peer", request.param) as peer, RegistryServer(folder / "ours", peer="") as ours:
        for port in (peer.port, ours.port):
            push(port)
        yield peer.port, ours.port
        ours.check()
    shutil.rmtree(folder)


def push(port: int) -> None:
    for blob in (BLOB, CONFIG):
        location = begin(port)
        joint = "&" if "?" in location else "?"
        assert exchange(port, request("PUT", f"{location}{joint}digest={digest_of(blob)}", blob)).status == 201
    pushed = request("PUT", "/v2/owner/image/manifests/v1", MANIFEST, {"Content-Type": OCI_MANIFEST})
    assert exchange(port, pushed).status == 201


def begin(port: int) -> str:
    reply = exchange(port, request("POST", UPLOADS))
    assert reply.status == 202, reply
    return path_in(reply.header("Location"))


def path_in(location: str) -> str:
    """A location without scheme and host, which ours leaves out unless it is told to write them."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def require_same(theirs: Reply, ours: Reply) -> None:
    assert ours.status == theirs.status, f"theirs: {theirs}\nours: {ours}"
    if theirs.status == 301:
        assert path_in(ours.header("Location")) == path_in(theirs.header("Location"))
    if theirs.body.startswith(b'{"errors"'):
        assert ours.codes == theirs.codes
    if theirs.status == 200:
        assert ours.body.split() == theirs.body.split() or ours.document == theirs.document


@pytest.mark.parametrize("name", OF_BOTH)
def test_the_answer_is_the_same(ports: tuple[int, int], name: str) -> None:
    require_same(*(exchange(port, OF_BOTH[name]) for port in ports))


@pytest.mark.parametrize("ports", ["registry3"], indirect=True)
@pytest.mark.parametrize("name", OF_REGISTRY3)
def test_a_chunk_gets_the_same_status(ports: tuple[int, int], name: str) -> None:
    theirs, ours = (send_chunks(port, OF_REGISTRY3[name]) for port in ports)
    assert ours == theirs


def send_chunks(port: int, ranges: tuple[str, ...]) -> list[int]:
    """The status that each chunk of three bytes gets."""
    location = begin(port)
    statuses: list[int] = []
    for stated in ranges:
        headers = {"Content-Range": stated, "Content-Type": "application/octet-stream"}
        reply = exchange(port, request("PATCH", location, b"abc", headers))
        statuses.append(reply.status)
        location = path_in(reply.header("Location")) or location
    return statuses
