"""Compares a registry, over the wire and on its disk, with what clients were told. Lists every difference.

It shares no code with the server: it reads answers, hashes bytes, and looks into the catalogue by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.system.faults.client import Client, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.system.faults.recorder import Journal


class Checker:
    """Looks at one registry once; `problems` is what it found."""

    def __init__(self, port: int, data: Path, database_url: str = "") -> None:
        """`database_url` is where the catalogue is, if it is not a file in `data`."""
        self._port = port
        self._data = data
        self._url = database_url
        self._good_blobs: set[tuple[str, str]] = set()
        self.problems: list[str] = []

    def check(self, journals: Iterable[Journal]) -> list[str]:
        """Every difference between what the journals allow and what is there; then the journals know what is there."""
        with Client(self._port) as client:
            for journal in journals:
                self._check_manifests(client, journal)
                self._check_tags(client, journal)
                self._check_listings(client, journal)
                self._check_blobs(client, journal)
                self._check_referrers(client, journal)
                self._check_uploads(client, journal)
        self._check_disk()
        return self.problems

    def _say(self, problem: str) -> None:
        self.problems.append(problem)

    def _check_manifests(self, client: Client, journal: Journal) -> None:
        for repository, digest in journal.manifests.known():
            reply = client.ask("GET", f"/v2/{repository}/manifests/{digest}")
            is_there = reply.status == 200
            possible = journal.manifests.possible((repository, digest))
            if reply.status not in {200, 404} or is_there not in possible:
                self._say(f"manifest {repository}@{digest}: {reply.status}, expected one of {possible}")
                continue
            journal.manifests.settle((repository, digest), is_there)
            if is_there:
                self._check_body(client, repository, digest, reply.body, journal)

    def _check_body(self, client: Client, repository: str, digest: str, body: bytes, journal: Journal) -> None:
        if digest_of(body) != digest or body != journal.bodies[digest]:
            self._say(f"manifest {repository}@{digest} is not what was pushed")
            return
        document = json.loads(body)
        for blob in [document["config"], *document["layers"]] if "layers" in document else []:
            self._check_blob(client, repository, blob["digest"], f"of manifest {digest}")

    def _check_blob(self, client: Client, repository: str, digest: str, why: str) -> None:
        if (repository, digest) in self._good_blobs:
            return
        reply = client.ask("GET", f"/v2/{repository}/blobs/{digest}")
        if reply.status != 200:
            self._say(f"blob {repository}@{digest} {why}: {reply.status}")
        elif digest_of(reply.body) != digest:
            self._say(f"blob {repository}@{digest} {why}: {len(reply.body)} bytes that hash otherwise")
        else:
            self._good_blobs.add((repository, digest))

    def _check_tags(self, client: Client, journal: Journal) -> None:
        for repository, tag in journal.tags.known():
            reply = client.ask("GET", f"/v2/{repository}/manifests/{tag}")
            found = digest_of(reply.body) if reply.status == 200 else None
            possible = journal.tags.possible((repository, tag))
            if reply.status not in {200, 404} or found not in possible:
                self._say(f"tag {repository}:{tag} is {found} ({reply.status}), expected one of {possible}")
                continue
            if found is not None and reply.header("Docker-Content-Digest") != found:
                self._say(f"tag {repository}:{tag} states {reply.header('Docker-Content-Digest')} but gives {found}")
            journal.tags.settle((repository, tag), found)

    def _check_listings(self, client: Client, journal: Journal) -> None:
        """A list has each tag that must be there; nothing but tags that somebody knows of is the others' to say."""
        for repository in {repository for repository, _ in journal.tags.known()}:
            listed = client.tags(repository)
            mine = {
                tag: journal.tags.sure((repository, tag)) for name, tag in journal.tags.known() if name == repository
            }
            wrong = [tag for tag, digest in mine.items() if (tag in listed) != (digest is not None)]
            if wrong:
                self._say(f"tags of {repository}: the list is wrong about {wrong}")
            if listed != sorted(set(listed)):
                self._say(f"tags of {repository}: not in order, or twice")

    def _check_blobs(self, client: Client, journal: Journal) -> None:
        for repository, digest in journal.blobs.known():
            possible = journal.blobs.possible((repository, digest))
            if possible == {True}:
                self._check_blob(client, repository, digest, "that was acknowledged")
                continue
            reply = client.ask("HEAD", f"/v2/{repository}/blobs/{digest}")
            is_there = reply.status == 200
            if reply.status not in {200, 404} or is_there not in possible:
                self._say(f"blob {repository}@{digest}: {reply.status}, expected one of {possible}")
                continue
            journal.blobs.settle((repository, digest), is_there)
            if is_there:
                self._check_blob(client, repository, digest, "that may be there")

    def _check_referrers(self, client: Client, journal: Journal) -> None:
        for repository, digest in journal.manifests.known():
            subject = journal.subjects.get(digest)
            if subject is None:
                continue
            reply = client.ask("GET", f"/v2/{repository}/referrers/{subject}?n=1000")
            listed = {entry["digest"] for entry in reply.document["manifests"]} if reply.status == 200 else set()
            if (digest in listed) != journal.manifests.sure((repository, digest)):
                self._say(f"referrers of {repository}@{subject}: wrong about {digest} ({reply.status})")

    def _check_uploads(self, client: Client, journal: Journal) -> None:
        for upload in list(journal.uploads):
            reply = client.ask("GET", upload.location)
            if reply.status == 404:
                self._say(f"upload {upload.location} is gone")
                continue
            offset = int(reply.header("Range").partition("-")[2]) + 1
            offset = 0 if offset == 1 else offset
            if not upload.acknowledged <= offset <= len(upload.content):
                self._say(f"upload {upload.location} stands at {offset}, {upload.acknowledged} were acknowledged")
            upload.acknowledged = offset

    # ── The disk ──────────────────────────────────────────────────────────────────────────────────────────────

    def _check_disk(self) -> None:
        """No blob's file without its record, nor the reverse; no upload's file without a session.

        Where others may share the catalogue, what a process has left without a record goes some minutes after it.
        """
        objects = self._data / "registry"
        records = _read_server(self._url) if self._url else _read_file(self._data / "roadstead.db")
        sizes, sessions = records.sizes, records.sessions
        may_linger = bool(self._url)
        found = {
            f"{path.parts[-4]}:{path.parts[-2]}": path
            for path in (objects / "docker" / "registry" / "v2" / "blobs").glob("*/*/*/data")
        }
        for digest, path in found.items():
            if digest not in sizes and (digest in records.manifests or may_linger):
                continue
            if digest not in sizes:
                self._say(f"a blob's file without a record: {digest}")
            elif path.stat().st_size != sizes[digest] or digest_of(path.read_bytes(), digest[:6]) != digest:
                self._say(f"a blob's file is damaged: {digest}")
        for digest in sizes.keys() - found.keys():
            self._say(f"a blob's record without a file: {digest}")
        for path in (objects / "uploads").glob("*"):
            if path.name not in sessions:
                if not may_linger:
                    self._say(f"an upload's file without a session: {path.name}")
            elif path.stat().st_size < sessions[path.name]:
                self._say(f"an upload's file is shorter than its session says: {path.name}")


_QUERIES = (
    "SELECT digest, size_bytes FROM blobs WHERE quarantined_ms IS NULL",
    "SELECT digest, 0 FROM manifests",
    "SELECT id, offset_bytes FROM upload_sessions WHERE offset_bytes >= 0",
)


@dataclass(frozen=True, slots=True)
class _Records:
    """What the catalogue says that the disk has: lengths by digest, manifests, offsets by session."""

    sizes: dict[str, int]
    manifests: dict[str, int]
    """Digests; for registry:2 their bodies are among the blobs."""
    sessions: dict[str, int]


def _read_file(path: Path) -> _Records:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return _Records(*(dict(connection.execute(query)) for query in _QUERIES))


def _read_server(url: str) -> _Records:
    async def read() -> list[dict[Any, Any]]:
        connection = await asyncpg.connect(url)
        try:
            return [{row[0]: row[1] for row in await connection.fetch(query)} for query in _QUERIES]
        finally:
            await connection.close()

    return _Records(*asyncio.run(read()))
