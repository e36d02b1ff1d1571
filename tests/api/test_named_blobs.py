"""Whatever digest a manifest names is kept as long as the manifest is, also where it need not be there at all.

Build tools export their cache as an index whose entries are blobs; who mirrors Windows images for a closed network
pushes their foreign layers on purpose.
"""

import pytest

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import layout
from roadstead.registry.garbage.collection_preview import Preview
from roadstead.registry.garbage.why import Keeper, explain
from roadstead.registry.integrity.check import Checker
from roadstead.registry.integrity.statistics import measure_waiting
from roadstead.registry.progress import Silence
from roadstead.registry.removal.rules import DAY_MS
from roadstead.testing.asgi import Answer
from roadstead.testing.images import (
    OCI_INDEX,
    BlobContent,
    ManifestContent,
    artifact,
    build_cache,
    describe,
    digest_of,
    foreign_image,
    image,
    index,
    raw_manifest,
)
from roadstead.testing.instance import Instance
from tests.api.test_garbage import collect, collect_everything, delete, require_whole, stored
from tests.databases import IN_BUCKETS_TOO, IN_FOLDERS
from tests.factories.access import BY_TEST

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

CACHE = build_cache(b"cached layer", b"another")
WINDOWS = foreign_image(b"windows", b"own layer")
KINDS = {"build cache": CACHE, "foreign layers": WINDOWS}
EVERYTHING = 2 * DAY_MS / 1000


async def pulled(instance: Instance, repository: str, digest: str) -> int:
    return (await instance.client.request("HEAD", f"/v2/{repository}/blobs/{digest}")).status


async def put(instance: Instance, repository: str, manifest: ManifestContent, tag: str = "latest") -> Answer:
    """Pushes a manifest alone."""
    return await instance.client.request(
        "PUT",
        f"/v2/{repository}/manifests/{tag}",
        headers={"content-type": manifest.media_type},
        body=manifest.content,
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_manifest_names_is_kept_with_it(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest")
    await collect_everything(instance)
    await require_whole(instance, "app", manifest)
    instance.clock.advance(EVERYTHING)
    assert (await collect(instance)).links == 0, "the running server asks the same question"
    await require_whole(instance, "app", manifest)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dry_run_names_none_of_it(instance: Instance, kind: str) -> None:
    await instance.push("app", KINDS[kind], "latest")
    lonely = await instance.push_blob("app", b"lonely")
    preview = Preview(instance.registry, older_than_ms=0, untagged=True)
    assert [found.digest async for found in preview.iter_garbage()] == [lonely]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deletion_can_be_undone_until_its_time_is_over(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest")
    await delete(instance, f"app/manifests/{manifest.digest}")
    await collect(instance)
    await instance.registry.undo.restore_tag(RepositoryName("app"), Tag("latest"), cause=BY_TEST)
    await require_whole(instance, "app", manifest)
    await delete(instance, f"app/manifests/{manifest.digest}")
    await collect_everything(instance)
    assert stored(instance) == set()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_blob_that_a_manifest_names_cannot_be_deleted(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest")
    for blob in manifest.blobs:
        answer = await instance.client.request("DELETE", f"/v2/app/blobs/{blob.digest}")
        assert (answer.status, answer.codes) == (405, ["UNSUPPORTED"])
    await delete(instance, f"app/manifests/{manifest.digest}")
    for blob in manifest.blobs:
        await delete(instance, f"app/blobs/{blob.digest}")


async def test_a_child_is_deleted_as_ever(instance: Instance) -> None:
    child = image(b"layer")
    await instance.push("app", index(child), "latest")
    answer = await instance.client.request("DELETE", f"/v2/app/blobs/{child.digest}")
    assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
    await delete(instance, f"app/manifests/{child.digest}")


@pytest.mark.parametrize("kind", KINDS)
async def test_why_names_the_manifest(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest")
    for blob in manifest.blobs:
        found = await explain(instance.registry, Digest(blob.digest))
        assert [(each.keeper, each.where) for each in found.reasons] == [(Keeper.MANIFEST, f"app@{manifest.digest}")]


async def test_what_need_not_be_there_is_no_damage_where_it_is_not(instance: Instance) -> None:
    for blob in WINDOWS.required:
        await instance.push_blob("app", blob.content)
    await instance.push_manifest("app", WINDOWS, ["latest"])
    await instance.push_manifest("app", CACHE, ["cache"])
    assert [found async for found in Checker(instance.registry, Silence()).run()] == []
    await delete(instance, f"app/manifests/{WINDOWS.digest}")
    await delete(instance, f"app/manifests/{CACHE.digest}")
    assert [found async for found in Checker(instance.registry, Silence()).run()] == []
    for manifest in (WINDOWS, CACHE):
        await instance.registry.undo.restore_manifest(RepositoryName("app"), Digest(manifest.digest), cause=BY_TEST)


@IN_FOLDERS
@pytest.mark.parametrize("kind", KINDS)
async def test_a_check_says_who_names_a_damaged_blob(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest")
    (instance.objects / layout.blob_key(Digest(manifest.blobs[-1].digest))).unlink()
    (found,) = [found async for found in Checker(instance.registry, Silence()).run()]
    assert f"needed by app@{manifest.digest}" in found.detail


# --- the warning


async def test_blobs_that_are_there_are_not_counted_as_absent(instance: Instance) -> None:
    for blob in CACHE.blobs:
        await instance.push_blob("app", blob.content)
    assert (await put(instance, "app", CACHE)).headers("warning") == []


async def test_only_what_is_absent_is_counted_each_once(instance: Instance) -> None:
    await instance.push("app", image(b"here"), "here")
    await instance.push_blob("app", CACHE.blobs[0].content)
    await instance.push_blob("other", CACHE.blobs[1].content)
    named = [describe(image(b"here")), *map(describe, CACHE.blobs), describe(CACHE.blobs[1])]
    answer = await put(instance, "app", raw_manifest({"schemaVersion": 2, "manifests": named}, OCI_INDEX))
    absent = len(CACHE.blobs) - 1
    assert answer.header("warning") == f'299 - "{absent} of what this manifest names are not in this repository"'


# --- a name is no right, and no burden for others


@IN_FOLDERS
@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_grants_nothing_and_pins_nothing_of_others(instance: Instance, kind: str) -> None:
    """Who knows a digest of another repository can write it into a manifest of their own."""
    manifest = KINDS[kind]
    optional = [blob for blob in manifest.blobs if blob not in manifest.required]
    for blob in manifest.required:
        await instance.push_blob("attacker", blob.content)
    for blob in optional:
        await instance.push_blob("victim", blob.content)
    await instance.push_manifest("attacker", manifest, ["latest"])
    for blob in optional:
        assert await pulled(instance, "attacker", blob.digest) == 404
        answer = await instance.client.request("DELETE", f"/v2/attacker/blobs/{blob.digest}")
        assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
        found = await explain(instance.registry, Digest(blob.digest))
        assert {each.keeper for each in found.reasons} == {Keeper.WAITING}
    assert (await measure_waiting(instance.registry.database)).unneeded_blobs == len(optional)
    await delete(instance, f"victim/blobs/{optional[0].digest}")
    await collect_everything(instance)
    left = {layout.blob_key(Digest(blob.digest)) for blob in manifest.required}
    assert stored(instance) == left


async def test_a_blob_is_kept_where_it_is_named_and_not_beside_it(instance: Instance) -> None:
    for repository in ("app", "other"):
        for blob in CACHE.blobs:
            await instance.push_blob(repository, blob.content)
    await instance.push_manifest("app", CACHE, ["latest"])
    await collect_everything(instance)
    for blob in CACHE.blobs:
        assert (await pulled(instance, "app", blob.digest), await pulled(instance, "other", blob.digest)) == (200, 404)


async def test_a_blob_that_comes_after_the_manifest_is_kept_too(instance: Instance) -> None:
    await instance.push_manifest("app", CACHE, ["latest"])
    await instance.push("app", CACHE)
    await collect_everything(instance)
    await require_whole(instance, "app", CACHE)


async def test_a_subject_is_no_such_place(instance: Instance) -> None:
    """Referrers follow their subjects, never the reverse: a blob that only a subject names is garbage."""
    blob = BlobContent(b"subject")
    await instance.push_blob("app", blob.content)
    await instance.push("app", artifact(b"file", artifact_type="a/b", subject=blob), "latest")
    await collect_everything(instance)
    assert await pulled(instance, "app", blob.digest) == 404


# --- what no tag reaches


def attested() -> tuple[ManifestContent, ManifestContent]:
    """An index as buildkit writes it: an image, and its attestation under the platform unknown/unknown."""
    app, attestation = image(b"app"), image(b"attestation", artifact_type="application/vnd.in-toto+json")
    unknown = {"architecture": "unknown", "os": "unknown"}
    entries = [
        describe(app, platform={"architecture": "amd64", "os": "linux"}),
        describe(
            attestation,
            platform=unknown,
            annotations={
                "vnd.docker.reference.digest": app.digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
        ),
    ]
    both = raw_manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)
    return ManifestContent(both.content, OCI_INDEX, children=(app, attestation)), attestation


async def test_attestations_stay_with_their_index_and_go_with_it(instance: Instance) -> None:
    both, _ = attested()
    await instance.push("app", both, "latest")
    assert (await collect_everything(instance)).untagged == 0
    await require_whole(instance, "app", both)
    await delete(instance, "app/manifests/latest")
    assert (await collect_everything(instance)).untagged == 3
    assert stored(instance) == set()


async def test_a_chain_of_referrers_stays_with_its_subject_and_goes_with_it(instance: Instance) -> None:
    bill = artifact(b"bill", artifact_type="a/bill", subject=CACHE)
    signature = artifact(b"signature", artifact_type="a/signature", subject=bill)
    await instance.push("app", CACHE, "latest")
    for manifest in (bill, signature):
        await instance.push("app", manifest)
    await collect_everything(instance)
    for manifest in (CACHE, bill, signature):
        await require_whole(instance, "app", manifest)
    await delete(instance, "app/manifests/latest")
    await collect_everything(instance)
    assert stored(instance) == set()


@IN_FOLDERS
async def test_a_blob_entry_and_a_manifest_entry_of_one_index(instance: Instance) -> None:
    child, blob = image(b"layer"), BlobContent(b"beside")
    entries = [describe(child), describe(blob)]
    mixed = raw_manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX)
    await instance.push("app", ManifestContent(mixed.content, OCI_INDEX, (blob,), (child,)), "latest")
    assert (await collect_everything(instance)).untagged == 0
    await require_whole(instance, "app", child)
    assert await pulled(instance, "app", blob.digest) == 200
    await delete(instance, f"app/manifests/{child.digest}")
    await collect_everything(instance)
    left = {layout.blob_key(Digest(blob.digest))}
    assert stored(instance) == left
    assert digest_of(b"beside") == blob.digest
