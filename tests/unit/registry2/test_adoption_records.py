"""An adoption records the same, whether or not its transactions run more than once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from roadstead.registry import layout
from roadstead.registry.progress import Silence
from roadstead.registry2.adoption.adoption import Adoption, AdoptionSummary
from roadstead.registry2.links import TOP_FOLDERS, paths
from roadstead.storage import SmallFiles
from roadstead.testing.images import BlobContent, ManifestContent, image, index
from tests.databases import REPEATING_TOO

if TYPE_CHECKING:
    from roadstead.oci import Digest
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio
DATABASES = REPEATING_TOO

ONE, TWO, BOTH = image(b"one", b"common"), image(b"two", b"common"), index(image(b"amd64"), image(b"arm64"))


def write(instance: Instance, key: str, content: bytes | str) -> None:
    path = instance.objects / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_blob(instance: Instance, blob: BlobContent | ManifestContent) -> Digest:
    digest = paths.parse_digest(blob.digest)
    assert digest is not None
    write(instance, layout.blob_key(digest), blob.content)
    return digest


def put(instance: Instance, repository: str, manifest: ManifestContent, *tags: str) -> None:
    """Files of the tree as registry:2 writes them for a push."""
    for blob in manifest.blobs:
        digest = put_blob(instance, blob)
        write(instance, paths.layer_link(repository, digest), digest)
    for child in manifest.children:
        put(instance, repository, child)
    digest = put_blob(instance, manifest)
    write(instance, paths.revision_link(repository, digest), digest)
    for tag in tags:
        write(instance, paths.index_link(repository, tag, digest), digest)
        write(instance, paths.current_link(repository, tag), digest)


def remove(instance: Instance, key: str) -> None:
    shutil.rmtree(instance.objects / key)


async def adopt(instance: Instance) -> AdoptionSummary:
    registry = instance.registry
    files = SmallFiles(instance.objects, trusted=TOP_FOLDERS)
    adoption = Adoption(
        registry.database, files, registry.clock, registry.rules, progress=Silence(), report=lambda _finding: None
    )
    return await adoption.run()


async def tags(instance: Instance, repository: str) -> list[str]:
    answer = await instance.client.request("GET", f"/v2/{repository}/tags/list")
    return list(answer.json()["tags"]) if answer.status == 200 else []


async def is_readable(instance: Instance, repository: str, manifest: ManifestContent, reference: str) -> bool:
    """Whether a client gets the manifest by ``reference``, and each of its blobs."""
    answer = await instance.client.request("GET", f"/v2/{repository}/manifests/{reference}")
    if answer.status != 200 or answer.body != manifest.content:
        return False
    urls = [f"/v2/{repository}/blobs/{blob.digest}" for blob in manifest.blobs]
    return all([(await instance.client.request("HEAD", url)).status == 200 for url in urls])


async def test_what_the_tree_has_is_recorded_once(instance: Instance) -> None:
    put(instance, "app", ONE, "1", "latest")
    put(instance, "app", TWO, "2")
    put(instance, "team/multi", BOTH, "1")
    summary = await adopt(instance)
    assert (summary.repositories, summary.tags, summary.manifests) == (2, 4, 5)
    links = len({*ONE.blobs, *TWO.blobs}) + len({blob for child in BOTH.children for blob in child.blobs})
    assert (summary.blobs, summary.added) == (links, links + 5 + 4)
    assert await tags(instance, "app") == ["1", "2", "latest"]
    assert await is_readable(instance, "app", ONE, "latest")
    assert await is_readable(instance, "app", TWO, "2")
    assert await is_readable(instance, "team/multi", BOTH, "1")
    assert await is_readable(instance, "team/multi", BOTH.children[0], BOTH.children[0].digest)
    again = await adopt(instance)
    assert (again.added, again.removed) == (0, 0)


async def test_what_changed_in_the_tree_changes_here(instance: Instance) -> None:
    put(instance, "app", ONE, "1", "latest")
    put(instance, "gone", TWO, "1")
    await adopt(instance)
    put(instance, "app", TWO, "latest", "2")
    remove(instance, paths.tag_folder("app", "1"))
    remove(instance, paths.repository_folder("gone"))
    again = await adopt(instance)
    assert again.added == 1 + 2 + len(set(TWO.blobs) - set(ONE.blobs))
    assert again.removed == 1 + 1 + 1 + len(TWO.blobs)
    assert await tags(instance, "app") == ["2", "latest"]
    assert await is_readable(instance, "app", TWO, "latest")
    assert await tags(instance, "gone") == []
    put(instance, "gone", ONE, "1")
    assert (await adopt(instance)).removed == 0
    assert await is_readable(instance, "gone", ONE, "1")


async def test_a_tag_waits_for_its_manifest(instance: Instance) -> None:
    """A tag whose manifest is not in the tree stays away, and comes with it."""
    put(instance, "app", ONE, "1")
    put(instance, "app", TWO, "2")
    digest = paths.parse_digest(TWO.digest)
    assert digest is not None
    (instance.objects / paths.revision_link("app", digest)).unlink()
    assert (await adopt(instance)).tags == 1
    assert await tags(instance, "app") == ["1"]
    write(instance, paths.revision_link("app", digest), digest)
    assert (await adopt(instance)).tags == 2
    assert await is_readable(instance, "app", TWO, "2")
