"""What is in quarantine is fetched again, through the same door as every push; bad upstreams do no harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from roadstead.database import Transaction
from roadstead.events import KEPT
from roadstead.oci import Digest, parse_manifest
from roadstead.registry.content import store
from roadstead.registry.content.manifest_records import ensure_manifest
from roadstead.registry.integrity.refetch import Refetcher
from roadstead.remotes import Upstream, UpstreamError
from roadstead.testing.images import OCI_MANIFEST, BlobContent, describe, encode
from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

CONTENT = b"content" * 100
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"


class Source(Upstream):
    """An upstream of a few bytes; the real one is in tests/unit/remotes and tests/system."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__("http://upstream.example.com")
        self.pieces = pieces
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def open_blob(self, repository: str, digest: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """The pieces, whatever is asked for."""
        self.asked.append(f"{repository}@{digest}")
        if not self.pieces:
            raise UpstreamError(self.url, "it answers 404")

        async def body() -> AsyncIterator[bytes]:
            for piece in self.pieces:
                yield piece

        yield body()


class ManifestSource(Upstream):
    """An upstream of one manifest."""

    def __init__(self, body: bytes, media_type: str) -> None:
        super().__init__("http://upstream.example.com")
        self.body = body
        self.media_type = media_type

    async def fetch_manifest(self, repository: str, digest: str, maximum_bytes: int) -> tuple[bytes, str]:
        """The manifest, whatever is asked for."""
        assert repository
        assert digest
        assert len(self.body) <= maximum_bytes
        return self.body, self.media_type


async def quarantined(instance: Instance) -> Digest:
    digest = Digest(await instance.push_blob("team/app", CONTENT))
    await instance.registry.blobs.quarantine(digest, "for the test")
    return digest


async def status(instance: Instance, digest: Digest) -> int:
    return (await instance.client.request("GET", f"/v2/team/app/blobs/{digest}")).status


async def test_a_blob_is_healed(instance: Instance) -> None:
    digest = await quarantined(instance)
    healed: list[None] = []
    source = Source(CONTENT[:100], CONTENT[100:])
    refetcher = Refetcher(instance.registry, source, lambda: healed.append(None))
    assert not await refetcher.round()
    assert source.asked == [f"team/app@{digest}"]
    assert len(healed) == 1
    assert await status(instance, digest) == 200
    await refetcher.round()
    assert len(source.asked) == 1, "nothing is left to do"


async def test_what_was_taken_up_is_healed_though_it_could_not_be_pushed(instance: Instance) -> None:
    """A registry:2 had taken a size that is wrong, and another one a type that was withdrawn since."""
    config, layer = BlobContent(b"{}"), BlobContent(b"layer")
    wrong: dict[str, object] = {"config": describe(config), "layers": [describe(layer, size=7)]}
    withdrawn = {"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": [describe(layer)]}
    for blob in (config, layer):
        await instance.push_blob("team/app", blob.content)
    for document in ({"schemaVersion": 2, "mediaType": OCI_MANIFEST} | wrong, withdrawn):
        body, media_type = encode(document), str(document["mediaType"])
        digest = Digest.of(body)

        async def take_up(transaction: Transaction, body: bytes = body, digest: Digest = digest) -> None:
            manifest_id = await ensure_manifest(transaction, parse_manifest(body, ""), digest, body[:-1], 0)
            await transaction.execute(store.LINK_MANIFEST, repository_id=1, manifest_id=manifest_id, pushed_ms=0)

        await instance.registry.database.write(take_up, locks=[KEPT])
        source = ManifestSource(body, media_type)
        assert await Refetcher(instance.registry, source, lambda: None).heal_manifest(digest)
        answer = await instance.client.request("GET", f"/v2/team/app/manifests/{digest}")
        assert (answer.body, answer.header("content-type")) == (body, media_type)


@pytest.mark.parametrize(
    "pieces", [(), (b"wrong",), (bytes(len(CONTENT)),), (CONTENT, b"!"), (bytes(1 << 20),) * 3, (CONTENT[:-1],)]
)
async def test_wrong_bytes_are_not_taken(instance: Instance, pieces: tuple[bytes, ...]) -> None:
    """Also too many of them: they must not fill the disk."""
    digest = await quarantined(instance)
    source = Source(*pieces)
    refetcher = Refetcher(instance.registry, source, lambda: None)
    await refetcher.round()
    assert await status(instance, digest) == 404
    assert not [key for key in instance.files() if key.startswith("uploads/")]
    await refetcher.round()
    assert len(source.asked) == 1, "it waits before it tries again"
    instance.clock.advance(61)
    await refetcher.round()
    assert len(source.asked) == 2
    instance.clock.advance(61)
    await refetcher.round()
    assert len(source.asked) == 2, "and longer each time"
    source.pieces = (CONTENT,)
    instance.clock.advance(86_400)
    await refetcher.round()
    assert await status(instance, digest) == 200


async def test_an_upstream_that_dawdles_holds_nobody_up(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await quarantined(instance)
    monkeypatch.setattr("roadstead.registry.integrity.refetch.PATIENCE_SECONDS", 0.2)

    class Dawdling(Source):
        @contextlib.asynccontextmanager
        async def open_blob(self, repository: str, digest: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
            """A byte now and then."""
            self.asked.append(f"{repository}@{digest}")

            async def body() -> AsyncIterator[bytes]:
                for byte in CONTENT:
                    yield bytes([byte])
                    await asyncio.sleep(0.05)

            yield body()

    source = Dawdling(CONTENT)
    await asyncio.wait_for(Refetcher(instance.registry, source, lambda: None).round(), 10)
    assert source.asked == [f"team/app@{digest}"]
    assert await status(instance, digest) == 404
    assert not [key for key in instance.files() if key.startswith("uploads/")]
