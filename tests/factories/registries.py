"""Registries in a folder, filled through their services: no server, no network, the real catalogue and files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from roadstead.app import open_registry, prepare
from roadstead.config import Settings, load_settings
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import Registry, layout
from tests.factories.access import BY_TEST
from tests.factories.images import Image, Index, descriptor, encode

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DATABASE_VARIABLE: Final = "ROADSTEAD_DATABASE__URL"
SIGNATURE: Final = "application/vnd.example.signature"

T = TypeVar("T")


def make_folder(folder: Path) -> Path:
    """An empty registry: its folders and its catalogue; the folder."""
    prepare(_settings(folder)).folder.unlock()
    return folder


def _settings(folder: Path) -> Settings:
    """Those of a folder, whose catalogue may be where the environment says."""
    told = {DATABASE_VARIABLE: os.environ[DATABASE_VARIABLE]} if DATABASE_VARIABLE in os.environ else {}
    return load_settings(None, told, {"data.folder": folder})


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Registry, None]:
    """The services of the registry in a folder."""
    async with open_registry(_settings(folder)) as registry:
        yield registry


def on_registry(folder: Path, work: Callable[[Registry], Awaitable[T]]) -> T:
    """What ``work`` returns, run to its end outside of any loop."""

    async def run() -> T:
        async with opened(folder) as registry:
            return await work(registry)

    return asyncio.run(run())


async def push_blob(registry: Registry, repository: str, content: bytes) -> Digest:
    """Uploads a blob."""
    name, digest = RepositoryName(repository), Digest.of(content)
    session = await registry.uploads.start(name, "sha256", cause=BY_TEST)
    await registry.uploads.finish(name, session.id, _body(content), digest, cause=BY_TEST)
    return digest


async def _body(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def push_manifest(registry: Registry, repository: str, body: bytes, *tags: str) -> Digest:
    """Pushes a manifest whose document says its type."""
    media_type = json.loads(body)["mediaType"]
    pushed = await registry.manifests.push(
        RepositoryName(repository), body, media_type, digest=None, tags=[Tag(tag) for tag in tags], cause=BY_TEST
    )
    return pushed.digest


async def push_image(registry: Registry, repository: str, content: Image | Index, *tags: str) -> Digest:
    """Pushes an image, or an index with its images."""
    for each in content.images if isinstance(content, Index) else (content,):
        for blob in each.blobs().values():
            await push_blob(registry, repository, blob)
        if each is not content:
            await push_manifest(registry, repository, each.manifest)
    return await push_manifest(registry, repository, content.manifest, *tags)


async def push_referrer(
    registry: Registry, repository: str, subject: Image, *, artifact_type: str = SIGNATURE, **annotations: str
) -> Digest:
    """Pushes an artifact that refers to an image."""
    await push_blob(registry, repository, b"{}")
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": descriptor(subject.manifest, subject.media_type),
        "annotations": annotations,
    }
    return await push_manifest(registry, repository, encode(document))


def blob_file(folder: Path, digest: str) -> Path:
    """Where a blob's bytes are."""
    return folder / "registry" / layout.blob_key(Digest(digest))
