"""Pushes on the wire, as clients do them, and the check that what came back is what was sent.

`push_as_docker` is POST, one PATCH with a chunked body, PUT with the digest: docker, podman, skopeo. `push_whole` is
POST, then PUT with the whole body and its length: containerd, BuildKit, nerdctl.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from typing import TYPE_CHECKING

from benchmarks.content import CHUNK_BYTES, MANIFEST_TYPE, Blob, Image, Source, digest_of, framed_suffix
from benchmarks.wire import Connection, UnexpectedResponseError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers import Server

REPOSITORY = "bench/image"
TAG = "v1"
OCTETS = "application/octet-stream"
SENDFILE_BYTES = 1 << 30


def begin_upload(connection: Connection, repository: str) -> str:
    """Open an upload session and return where it is."""
    return connection.request("POST", f"/v2/{repository}/blobs/uploads/", b"").expect(202).location()


def close_upload(connection: Connection, location: str, digest: str) -> None:
    """Commit an upload session under a digest."""
    connection.request("PUT", _with_digest(location, digest), b"").expect(201)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def push_as_docker(connection: Connection, repository: str, source: Source, blob: Blob) -> None:
    """Push a blob of a source: POST, chunked PATCH, PUT."""
    location = begin_upload(connection, repository)
    headers = {"Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    connection.socket.sendall(connection.head("PATCH", location, headers))
    send_file(connection, source.framed)
    connection.socket.sendall(framed_suffix(blob))
    close_upload(connection, connection.read().expect(202).location(), blob.digest)


def push_whole(connection: Connection, repository: str, source: Source, blob: Blob) -> None:
    """Push a blob of a source: POST, then PUT with the body."""
    location = begin_upload(connection, repository)
    headers = {"Content-Type": OCTETS, "Content-Length": str(blob.size_bytes)}
    connection.socket.sendall(connection.head("PUT", _with_digest(location, blob.digest), headers))
    send_file(connection, source.plain)
    connection.socket.sendall(blob.suffix)
    connection.read().expect(201)


def send_file(connection: Connection, path: Path) -> None:
    """Send a file through the socket inside the kernel."""
    with path.open("rb") as file:
        if isinstance(connection.socket, ssl.SSLSocket):
            connection.socket.sendfile(file)
            return
        offset, size = 0, path.stat().st_size
        while offset < size:
            offset += os.sendfile(connection.socket.fileno(), file.fileno(), offset, min(size - offset, SENDFILE_BYTES))


def frame(content: bytes) -> bytes:
    """Return a small content as a chunked body."""
    parts = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def push_small_blob(connection: Connection, repository: str, digest: str, framed: bytes) -> None:
    """Push a blob as docker does: ask for it, then POST, PATCH, PUT."""
    connection.request("HEAD", f"/v2/{repository}/blobs/{digest}").expect(404)
    location = begin_upload(connection, repository)
    headers = {"Content-Type": OCTETS, "Transfer-Encoding": "chunked"}
    connection.socket.sendall(connection.head("PATCH", location, headers) + framed)
    close_upload(connection, connection.read().expect(202).location(), digest)


def push_image(server: Server, image: Image, tag: str = TAG) -> None:
    """Bring an image to a server: over the wire, or as files where the server is no registry."""
    if not server.peer.is_registry:
        blobs = [image.config, *image.layers]
        for content in blobs:
            _put_file(server, f"blobs/{digest_of(content)}", content)
        _put_file(server, f"manifests/{tag}", image.manifest)
        return
    connection = server.connect()
    for content in (*image.layers, image.config):
        push_small_blob(connection, REPOSITORY, digest_of(content), frame(content))
    put_manifest(connection, REPOSITORY, tag, image.manifest)
    connection.close()


def _put_file(server: Server, name: str, content: bytes) -> None:
    path = server.peer.files(server.folder) / "v2" / REPOSITORY / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_manifest(connection: Connection, repository: str, tag: str, manifest: bytes) -> None:
    """Push a manifest under a tag."""
    target = f"/v2/{repository}/manifests/{tag}"
    connection.request("PUT", target, manifest, {"Content-Type": MANIFEST_TYPE}).expect(201)


def bring_blob(server: Server, source: Source) -> Blob:
    """Bring a blob of a source to a server: over the wire, or as a file where the server is no registry."""
    blob = source.blob()
    if server.peer.is_registry:
        connection = server.connect()
        push_as_docker(connection, REPOSITORY, source, blob)
        connection.close()
    else:
        _put_file(server, f"blobs/{blob.digest}", source.plain.read_bytes() + blob.suffix)
    return blob


def check_blob(server: Server, digest: str) -> None:
    """Pull a blob, hash it, and raise when it is another."""
    connection = server.connect()
    response = connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}").expect(200)
    connection.close()
    if "sha256:" + hashlib.sha256(response.body).hexdigest() != digest:
        raise UnexpectedResponseError(f"{server.peer.key} gave back another blob than {digest}")


def check_manifest(server: Server, image: Image, tag: str = TAG) -> None:
    """Pull a manifest and raise when it is not byte for byte what was pushed."""
    connection = server.connect()
    target = f"/v2/{REPOSITORY}/manifests/{tag}"
    response = connection.request("GET", target, headers={"Accept": MANIFEST_TYPE}).expect(200)
    connection.close()
    if response.body != image.manifest:
        raise UnexpectedResponseError(f"{server.peer.key} gave back another manifest")
