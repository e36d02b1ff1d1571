"""Real registries over a folder, what is pushed to them, and what each says that it has."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx

from roadstead import app
from roadstead.config import load_settings
from roadstead.registry2.adoption.adoption import Adoption, AdoptionSummary
from roadstead.registry2.links import TreeFindingKind
from roadstead.telemetry import Metrics
from roadstead.testing.images import ManifestContent, digest_of, image, index
from tests.system.process import Daemon
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from roadstead.registry2.links import TreeFinding

PROGRAMS: Final = {"registry:2": "docker-registry", "registry:3": "registry3"}
"""The tool of each registry, as ``tests/system/tools.py`` names it."""

ACCEPT: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)
TREE: Final = "docker/registry/v2"


class Registry2(Daemon):
    """Debian's docker-registry, or registry:3, over ``root``."""

    def __init__(self, kind: str, root: Path, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yml"
        storage = f"storage: {{filesystem: {{rootdirectory: '{root}'}}, delete: {{enabled: true}}}}"
        self.config.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: '127.0.0.1:{self.port}'}}\n")
        self.program = path_of(PROGRAMS[kind])
        super().__init__(
            [self.program, "serve", self.config],
            folder=folder,
            is_ready=self._answers,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/", timeout=1, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


class Client(httpx.Client):
    """Pushes and pulls as any client does."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, trust_env=False, timeout=30, headers={"accept": ACCEPT})

    def __enter__(self) -> Self:
        """Opens the client."""
        super().__enter__()
        return self

    def push_blob(self, repository: str, content: bytes, digest: str) -> None:
        """Uploads a blob."""
        location = self.post(f"/v2/{repository}/blobs/uploads/").raise_for_status().headers["location"]
        mark = "&" if "?" in location else "?"
        answer = self.put(
            f"{location}{mark}digest={digest}", content=content, headers={"content-type": "application/octet-stream"}
        )
        assert answer.status_code == 201, answer.text

    def push(self, repository: str, manifest: ManifestContent, *tags: str) -> str:
        """Pushes a manifest with all it names, by tag or else by digest; returns its digest."""
        for blob in manifest.blobs:
            self.push_blob(repository, blob.content, blob.digest)
        for child in manifest.children:
            self.push(repository, child)
        for reference in tags or (manifest.digest,):
            answer = self.put(
                f"/v2/{repository}/manifests/{reference}",
                content=manifest.content,
                headers={"content-type": manifest.media_type},
            )
            assert answer.status_code == 201, answer.text
        return manifest.digest

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository."""
        answer = self.get(f"/v2/{repository}/tags/list")
        return sorted(answer.json()["tags"] or []) if answer.status_code == 200 else []

    def repositories(self) -> list[str]:
        """The repositories that hold something."""
        return sorted(self.get("/v2/_catalog?n=1000").raise_for_status().json()["repositories"] or [])


@dataclass(slots=True)
class Content:
    """All that a registry gives to a client: what two registries must have in common."""

    tags: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Digest and media type of each ``repository:tag``."""
    manifests: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Media type and sha256 of the body of each ``repository@digest`` that the tags reach or that was asked for."""
    blobs: dict[str, str] = field(default_factory=dict)
    """The sha256 of the bytes of each blob, by ``repository@digest``; a status where it is refused."""


def read_content(url: str, extra: list[tuple[str, str]] | None = None) -> Content:
    """Pulls everything from a registry; ``extra`` are manifests of repositories that no tag reaches."""
    found = Content()
    with Client(url) as client:
        for repository in client.repositories():
            for tag in client.tags(repository):
                answer = client.get(f"/v2/{repository}/manifests/{tag}").raise_for_status()
                digest = answer.headers["docker-content-digest"]
                found.tags[f"{repository}:{tag}"] = (digest, answer.headers["content-type"])
                _read_manifest(client, repository, digest, found)
        for repository, digest in extra or []:
            _read_manifest(client, repository, digest, found)
    return found


def _read_manifest(client: Client, repository: str, digest: str, found: Content) -> None:
    answer = client.get(f"/v2/{repository}/manifests/{digest}")
    name = f"{repository}@{digest}"
    if answer.status_code != 200:
        found.manifests[name] = (str(answer.status_code), "")
        return
    found.manifests[name] = (answer.headers["content-type"], hashlib.sha256(answer.content).hexdigest())
    document = answer.json()
    for child in document.get("manifests", []):
        _read_manifest(client, repository, child["digest"], found)
    for blob in [document[key] for key in ("config",) if key in document] + document.get("layers", []):
        got = client.get(f"/v2/{repository}/blobs/{blob['digest']}")
        is_there = got.status_code == 200
        found.blobs[f"{repository}@{blob['digest']}"] = (
            hashlib.sha256(got.content).hexdigest() if is_there else str(got.status_code)
        )


def fill(url: str) -> dict[str, str]:
    """Pushes a bit of everything; returns digests by what they are."""
    with Client(url) as client:
        one, two = image(b"layer one", b"common"), image(b"layer two", b"common", docker=True)
        digests = {
            "one": client.push("app", one, "v1", "latest"),
            "two": client.push("app", two, "v2"),
            "moved": client.push("app", image(b"layer three", b"common"), "latest"),
            "index": client.push("team/multi/arch", index(image(b"amd64"), image(b"arm64")), "1.0"),
            "list": client.push("team/multi", index(image(b"amd64", docker=True), docker=True), "docker"),
            "untagged": client.push("team/multi", image(b"nobody points here")),
            "untyped": client.push("app", _untyped(one), "untyped"),
        }
        sha512 = "sha512:" + hashlib.sha512(b"named by another digest").hexdigest()
        client.push_blob("alias", b"named by another digest", sha512)
        client.push("alias", image(b"beside it"), "1")
        named = image(b"layer with a long name", algorithm="sha512")
        client.push("alias", named, "long")
        digests["long"] = digest_of(named.content)  # registry:2 itself names a manifest by sha256
    return digests


def _untyped(manifest: ManifestContent) -> ManifestContent:
    """An OCI manifest may leave out its media type."""
    content = manifest.content.replace(b'"mediaType": "application/vnd.oci.image.manifest.v1+json",', b"", 1)
    return ManifestContent(content, manifest.media_type, manifest.blobs)


def snapshot(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below a registry's tree: time, length, digest; and every folder's time."""
    found: dict[str, tuple[int, int, str]] = {}
    for path in sorted((root / "docker").rglob("*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            assert path.suffix == ".tmp", path  # a link that a server was just writing has its name by now
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[str(path.relative_to(root))] = (status.st_mtime_ns, status.st_size, content)
    return found


def adopt(root: Path, data: Path) -> tuple[AdoptionSummary, list[TreeFinding]]:
    """Adopts ``root`` into a catalogue in ``data``, in this process."""
    settings = load_settings(environment={}, overrides={"data.folder": data, "storage.url": root.as_uri()})
    findings: list[TreeFinding] = []

    async def work() -> AdoptionSummary:
        installation = app.Installation(settings)
        installation.lock()
        installation.migrate()
        folder = installation.folder
        registry = await app.build_registry(settings, Metrics("0"))
        try:
            adoption = Adoption(
                registry.database,
                app.build_link_files(folder),
                registry.clock,
                registry.rules,
                progress=Silence(),
                report=findings.append,
            )
            return await adoption.run()
        finally:
            await app.close_registry(registry)
            folder.unlock()

    return asyncio.run(work()), findings


@dataclass
class Volume:
    """A copy of it, to be damaged."""

    root: Path
    data: Path
    digests: dict[str, str]

    @property
    def tree(self) -> Path:
        """The tree below the root."""
        return self.root / TREE

    def blob(self, digest: str) -> Path:
        """A blob's file."""
        algorithm, _, encoded = digest.partition(":")
        return self.tree / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def layer(self, repository: str, digest: str) -> Path:
        """A link to a blob."""
        return self.tree / "repositories" / repository / "_layers" / digest.replace(":", "/") / "link"

    def revision(self, repository: str, digest: str) -> Path:
        """A link to a manifest."""
        return self.tree / "repositories" / repository / "_manifests/revisions" / digest.replace(":", "/") / "link"

    def tag(self, repository: str, tag: str) -> Path:
        """A tag's folder."""
        return self.tree / "repositories" / repository / "_manifests/tags" / tag

    def write(self, path: Path, content: bytes | str) -> Path:
        """Writes a file with its folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def put_manifest(self, repository: str, content: bytes) -> str:
        """Adds bytes as a manifest of a repository."""
        digest = digest_of(content)
        self.write(self.blob(digest), content)
        self.write(self.revision(repository, digest), digest)
        return digest

    def adopt(self) -> tuple[AdoptionSummary, set[tuple[TreeFindingKind, str]]]:
        """Adopts twice, since the second time must change nothing and say the same; the tree must stay as it is."""
        before = snapshot(self.root)
        summary, findings = adopt(self.root, self.data)
        again, same = adopt(self.root, self.data)
        assert snapshot(self.root) == before
        assert (again.added, again.removed) == (0, 0)
        assert again.tags == summary.tags
        told = {(finding.kind, finding.subject) for finding in findings}
        kind = TreeFindingKind
        once = {kind.BLOB_DAMAGED, kind.MANIFEST_SIZES, kind.MANIFEST_WITHDRAWN}  # of what is taken up only then
        assert {each for each in told if each[0] not in once} <= {(f.kind, f.subject) for f in same}
        return summary, told

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the catalogue."""
        with sqlite3.connect(self.data / "roadstead.db") as connection:
            return connection.execute(query).fetchall()

    def tags(self, repository: str) -> dict[str, str]:
        """Tags of a repository with their digests."""
        query = (
            "SELECT t.name, m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id"
            f" JOIN repositories r ON r.id = t.repository_id WHERE r.name = '{repository}'"
        )
        return dict(self.rows(query))  # type: ignore[arg-type]

    def blobs(self, repository: str) -> set[str]:
        """Blobs that a repository may give to clients."""
        query = (
            "SELECT b.digest FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id"
            f" JOIN repositories r ON r.id = l.repository_id WHERE r.name = '{repository}'"
            " AND b.quarantined_ms IS NULL"
        )
        return {str(row[0]) for row in self.rows(query)}


class Silence:
    """A progress that nobody watches."""

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""
