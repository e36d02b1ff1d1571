"""Manifests: pushed by tag and digest, given back byte for byte, refused, deleted; tags set and deleted.

Source: distribution specification, sections "Pulling manifests", "Pushing Manifests", "Deleting tags" and "Deleting
Manifests".
"""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ClauseElement

from roadstead.config import LimitSettings
from roadstead.database import Statement, metadata
from roadstead.events import KEPT
from roadstead.registry.content import store
from roadstead.registry.tables import repository_manifests, tags
from roadstead.testing.asgi import Answer
from roadstead.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_FOREIGN_LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    BlobContent,
    ManifestContent,
    artifact,
    describe,
    digest_of,
    encode,
    image,
    index,
    raw_manifest,
)
from roadstead.testing.instance import Instance
from tests.databases import IN_BUCKETS_TOO

pytestmark = pytest.mark.anyio

DATABASES = IN_BUCKETS_TOO

EMPTY_INDEX = index()
MANY = 20_000
KINDS = {
    "OCI image": image(b"layer", b"layer two"),
    "image without layers": image(),
    "Docker image": image(b"layer", docker=True),
    "sha512 image": image(b"layer", algorithm="sha512"),
    "artifact": artifact(b"file", artifact_type="application/vnd.example"),
    "OCI index": index(image(b"layer"), image(b"layer two")),
    "Docker list": index(image(b"layer", docker=True), docker=True),
    "index of indexes": index(index(image(b"layer")), EMPTY_INDEX),
    "empty index": EMPTY_INDEX,
    "same layer twice": image(b"layer", b"layer"),
}


async def put(
    instance: Instance, manifest: ManifestContent, reference: str = "latest", content_type: str | None = None
) -> Answer:
    """Pushes a manifest alone."""
    sent = manifest.media_type if content_type is None else content_type
    return await instance.client.request(
        "PUT",
        f"/v2/app/manifests/{reference}",
        headers={"content-type": sent} if sent else {},
        body=manifest.content,
    )


async def push_blobs(instance: Instance, manifest: ManifestContent) -> None:
    for blob in manifest.blobs:
        await instance.push_blob("app", blob.content, blob.algorithm)


@pytest.mark.parametrize("kind", KINDS)
async def test_pushed_and_pulled_by_digest_and_tag(instance: Instance, kind: str) -> None:
    manifest = KINDS[kind]
    await instance.push("app", manifest, "latest", "v1")
    for reference in ("latest", "v1", manifest.digest):
        answer = await instance.client.request("GET", f"/v2/app/manifests/{reference}")
        assert answer.status == 200
        assert answer.body == manifest.content
        assert answer.header("content-type") == manifest.media_type
        assert answer.header("docker-content-digest") == manifest.digest
        assert answer.header("etag") == f'"{manifest.digest}"'
        head = await instance.client.request("HEAD", f"/v2/app/manifests/{reference}")
        assert (head.status, sorted(head.raw_headers)) == (200, sorted(answer.raw_headers))


async def test_the_answer_to_a_push(instance: Instance) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    for reference in ("latest", manifest.digest):
        answer = await put(instance, manifest, reference)
        assert (answer.status, answer.body) == (201, b"")
        assert answer.header("location") == f"/v2/app/manifests/{manifest.digest}"
        assert answer.header("docker-content-digest") == manifest.digest
        assert answer.header("oci-subject") == ""
        assert answer.headers("oci-tag") == []
        assert answer.headers("warning") == []


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", OCI_INDEX, f"{DOCKER_MANIFEST}, {OCI_MANIFEST};q=0.5"])
async def test_bytes_are_the_same_whatever_is_accepted(instance: Instance, accept: str) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "latest")
    headers = {"accept": accept} if accept else {}
    answer = await instance.client.request("GET", "/v2/app/manifests/latest", headers=headers)
    assert (answer.status, answer.body) == (200, manifest.content)


async def test_conditions(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "latest")
    for method in ("GET", "HEAD"):
        for reference in ("latest", manifest.digest):
            answer = await instance.client.request(
                method, f"/v2/app/manifests/{reference}", headers={"if-none-match": f'"{manifest.digest}"'}
            )
            assert (answer.status, answer.body) == (304, b"")
            assert answer.header("docker-content-digest") == manifest.digest
    answer = await instance.client.request("GET", "/v2/app/manifests/latest", headers={"if-none-match": '"other"'})
    assert answer.status == 200


async def test_a_tag_moves(instance: Instance) -> None:
    first, second = image(b"one"), image(b"two")
    await instance.push("app", first, "latest")
    await instance.push("app", second, "latest")
    assert (await instance.client.request("GET", "/v2/app/manifests/latest")).body == second.content
    assert (await instance.client.request("GET", f"/v2/app/manifests/{first.digest}")).body == first.content


async def test_pushing_twice_changes_nothing(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "latest")
    await instance.push("app", manifest, "latest")
    answer = await instance.client.request("GET", "/v2/app/tags/list")
    assert answer.json()["tags"] == ["latest"]


async def test_many_tags_in_one_push(instance: Instance) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    tags = [f"v{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in [*tags, "v0"])
    answer = await put(instance, manifest, f"{manifest.digest}?{query}")
    assert answer.status == 201
    assert [tag for header in answer.headers("oci-tag") for tag in header.split(", ")] == tags
    listed = await instance.client.request("GET", "/v2/app/tags/list")
    assert listed.json()["tags"] == sorted(tags)
    assert (await instance.client.request("GET", "/v2/app/manifests/v11")).body == manifest.content


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("latest?tag=other", "UNSUPPORTED"),
        ("{digest}?tag=ok&tag=.bad", "TAG_INVALID"),
        ("{digest}?tag=", "TAG_INVALID"),
        ("{digest}?" + "&".join(f"tag=t{number}" for number in range(101)), "UNSUPPORTED"),
    ],
)
async def test_tags_that_are_refused(instance: Instance, target: str, code: str) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    answer = await put(instance, manifest, target.format(digest=manifest.digest))
    assert (answer.status, answer.codes) == (400, [code])
    assert (await instance.client.request("GET", f"/v2/app/manifests/{manifest.digest}")).status == 404
    assert (await instance.client.request("GET", "/v2/app/tags/list")).json()["tags"] == []


async def test_another_digest_than_its_own(instance: Instance) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    for other in (digest_of(b"other"), digest_of(b"other", "sha512")):
        answer = await put(instance, manifest, other)
        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        actual = digest_of(manifest.content, other.partition(":")[0])
        assert answer.json()["errors"][0]["detail"] == {"expected": other, "actual": actual}


async def test_missing_blobs_are_listed(instance: Instance) -> None:
    manifest = image(b"one", b"two", b"here", b"two")
    await instance.push_blob("app", b"here")
    await instance.push_blob("elsewhere", b"one")
    answer = await put(instance, manifest)
    assert answer.status == 400
    assert answer.codes == ["MANIFEST_BLOB_UNKNOWN"] * 3
    named = [entry["detail"]["digest"] for entry in answer.json()["errors"]]
    assert named == [digest_of(b"{}"), digest_of(b"one"), digest_of(b"two")]
    assert (await instance.client.request("GET", "/v2/app/manifests/latest")).status == 404


async def test_a_refused_push_makes_no_repository(instance: Instance) -> None:
    assert (await put(instance, image(b"layer"))).status == 400
    answer = await instance.client.request("GET", "/v2/app/tags/list")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


async def test_missing_blobs_are_accepted_when_told_so(instance: Instance) -> None:
    sparse = Instance(instance.folder, accepts_missing_blobs=True, database_url=instance.database_url)
    await instance.close()
    await sparse.open()
    try:
        manifest = image(b"one", b"two")
        await sparse.push_blob("app", b"one")
        answer = await put(sparse, manifest)
        assert answer.status == 201
        assert answer.header("warning") == '299 - "2 of what this manifest names are not in this repository"'
        assert (await sparse.client.request("GET", "/v2/app/manifests/latest")).body == manifest.content
    finally:
        await sparse.close()
        await instance.open()


async def test_a_sparse_index_is_accepted_with_a_warning(instance: Instance) -> None:
    here, absent = image(b"here"), image(b"absent")
    await instance.push("app", here)
    answer = await put(instance, index(here, absent))
    assert answer.status == 201
    assert answer.header("warning") == '299 - "1 of what this manifest names are not in this repository"'


async def test_layers_that_must_not_be_distributed_need_not_be_here(instance: Instance) -> None:
    config, foreign = BlobContent(b"{}"), BlobContent(b"windows", OCI_FOREIGN_LAYER)
    document = {"schemaVersion": 2, "config": describe(config), "layers": [describe(foreign)]}
    await instance.push_blob("app", config.content)
    answer = await put(instance, raw_manifest(document))
    assert (answer.status, answer.headers("warning")) == (201, [])


async def test_a_descriptor_with_another_size_than_the_blob(instance: Instance) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    document = manifest.document
    document["layers"] = [describe(manifest.blobs[1]) | {"size": 6}]
    answer = await put(instance, raw_manifest(document))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


async def test_other_sizes_are_accepted_when_told_so(instance: Instance) -> None:
    lenient = Instance(instance.folder, accepts_wrong_sizes=True, database_url=instance.database_url)
    await instance.close()
    await lenient.open()
    try:
        right = image(b"layer", b"other")
        await push_blobs(lenient, right)
        for wrong in ({"size": 6}, {"size": None}, {"size": 2**40}):
            document = right.document
            document["layers"] = [describe(blob) | wrong for blob in right.blobs[1:]]
            manifest = raw_manifest(document)
            answer = await put(lenient, manifest)
            assert answer.status == 201
            warning = '299 - "2 of the sizes that this manifest states are not those of its blobs"'
            assert answer.headers("warning") == [warning]
            assert (await lenient.client.request("GET", "/v2/app/manifests/latest")).body == manifest.content
        assert (await put(lenient, right)).headers("warning") == []
        document["layers"] = [describe(BlobContent(b"absent")) | {"size": 1}]
        assert (await put(lenient, raw_manifest(document))).codes == ["MANIFEST_BLOB_UNKNOWN"]
    finally:
        await lenient.close()
        await instance.open()


NULLS: dict[str, tuple[ManifestContent, dict[str, Any]]] = {
    "no layers": (image(), {"layers": ...}),
    "null layers": (image(), {"layers": None}),
    "null annotations": (image(b"layer"), {"annotations": None}),
    "null annotation": (image(b"layer"), {"annotations": {"a": None, "b": "c"}}),
    "null artifactType": (image(b"layer"), {"artifactType": None}),
    "null mediaType": (image(b"layer"), {"mediaType": None}),
    "null manifests": (image(b"layer"), {"manifests": None}),
    "null index": (index(), {"manifests": None}),
    "no manifests": (index(), {"manifests": ...}),
    "index of null annotation": (index(), {"annotations": {"a": None}}),
    "index of null layers": (index(), {"layers": None, "config": None}),
    "docker without layers": (image(docker=True), {"layers": ...}),
    "layer without type": (image(b"layer"), {"layers": [{"digest": digest_of(b"layer"), "size": 5}]}),
    "layer of null type": (image(b"layer"), {"layers": [describe(BlobContent(b"layer")) | {"mediaType": None}]}),
}
"""What registry:2 and registry:3 accept, measured: changes of a document, ``...`` where a key is left out."""


@pytest.mark.parametrize("kind", NULLS)
async def test_null_is_not_set(instance: Instance, kind: str) -> None:
    whole, changes = NULLS[kind]
    await push_blobs(instance, whole)
    subject = image(b"subject")
    document = whole.document | {"subject": describe(subject)} | changes
    manifest = raw_manifest({key: value for key, value in document.items() if value is not ...}, whole.media_type)
    assert (await put(instance, manifest)).status == 201
    answer = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert (answer.body, answer.header("content-type")) == (manifest.content, whole.media_type)
    listing = (await instance.client.request("GET", f"/v2/app/referrers/{subject.digest}")).json()
    (entry,) = listing["manifests"]
    annotations = changes.get("annotations") or {}
    wanted = {key: value for key, value in annotations.items() if value is not None}
    assert entry.get("annotations", {}) == wanted, "what lists a null refuses to be read by clients that want texts"


async def test_withdrawn_artifact_manifests_are_not_pushed_any_more(instance: Instance) -> None:
    """registry:2 and registry:3 refuse them too, whatever type is sent."""
    await instance.push_blob("app", b"file")
    artifact_type = "application/vnd.oci.artifact.manifest.v1+json"
    document = {"mediaType": artifact_type, "artifactType": "a/b", "blobs": [describe(BlobContent(b"file"))]}
    for sent in (artifact_type, ""):
        answer = await put(instance, raw_manifest(document), content_type=sent)
        assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
        assert "withdrawn" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("manifest", "content_type"),
    [
        (image(b"layer"), OCI_INDEX),
        (image(b"layer"), "text/plain"),
        (image(b"layer"), DOCKER_MANIFEST),
        (raw_manifest({"schemaVersion": 2, "layers": []}), OCI_MANIFEST),
        (ManifestContent(b"not json", OCI_MANIFEST), OCI_MANIFEST),
        (ManifestContent(b"", OCI_MANIFEST), OCI_MANIFEST),
        (ManifestContent(b"[]", OCI_MANIFEST), OCI_MANIFEST),
        (ManifestContent(b"\xff\xfe", OCI_MANIFEST), OCI_MANIFEST),
        (raw_manifest({"schemaVersion": 1, "fsLayers": []}), "application/vnd.docker.distribution.manifest.v1+json"),
        (raw_manifest(index().document | {"layers": []}), OCI_INDEX),
        (raw_manifest(image().document | {"manifests": []}), OCI_MANIFEST),
    ],
)
async def test_documents_that_are_refused(instance: Instance, manifest: ManifestContent, content_type: str) -> None:
    await instance.push_blob("app", b"{}")
    await instance.push_blob("app", b"layer")
    answer = await put(instance, manifest, content_type=content_type)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    assert (await instance.client.request("GET", "/v2/app/manifests/latest")).status == 404


@pytest.mark.parametrize("content_type", ["", f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST.upper()])
async def test_ways_to_state_the_type(instance: Instance, content_type: str) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    assert (await put(instance, manifest, content_type=content_type)).status == 201
    answer = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert answer.header("content-type") == OCI_MANIFEST


async def test_a_type_that_only_the_header_states(instance: Instance) -> None:
    document = {key: value for key, value in index().document.items() if key != "mediaType"}
    manifest = raw_manifest(document, OCI_INDEX)
    assert (await put(instance, manifest)).status == 201
    answer = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert (answer.header("content-type"), answer.body) == (OCI_INDEX, manifest.content)


def padded(size: int) -> ManifestContent:
    """An empty index of exactly ``size`` bytes."""
    bare = len(encode(index().document | {"annotations": {"padding": ""}}))
    return raw_manifest(index().document | {"annotations": {"padding": "x" * (size - bare)}}, OCI_INDEX)


async def test_four_mebibytes_and_no_more(instance: Instance) -> None:
    limit = LimitSettings().manifest_bytes
    assert (await put(instance, padded(limit))).status == 201
    assert (await instance.client.request("GET", "/v2/app/manifests/latest")).body == padded(limit).content
    answer = await put(instance, padded(limit + 1), "larger")
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])


async def test_a_larger_one_of_unknown_length(instance: Instance) -> None:
    too_large = padded(LimitSettings().manifest_bytes + 1)
    answer = await instance.client.request(
        "PUT",
        "/v2/app/manifests/latest",
        headers={"content-type": OCI_INDEX},
        body=[too_large.content[: 1 << 20], too_large.content[1 << 20 :]],
    )
    assert (answer.status, answer.codes) == (413, ["SIZE_INVALID"])


async def test_a_body_that_stops_half_way(instance: Instance) -> None:
    manifest = image(b"layer")
    await push_blobs(instance, manifest)
    await instance.client.request(
        "PUT", "/v2/app/manifests/latest", body=[manifest.content[:-1], b""], disconnects=True
    )
    assert (await instance.client.request("GET", "/v2/app/manifests/latest")).status == 404


async def test_deleting_a_tag(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "one", "two")
    assert (await instance.client.request("DELETE", "/v2/app/manifests/one")).status == 202
    answer = await instance.client.request("GET", "/v2/app/manifests/one")
    assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
    for reference in ("two", manifest.digest):
        assert (await instance.client.request("GET", f"/v2/app/manifests/{reference}")).status == 200
    assert (await instance.client.request("DELETE", "/v2/app/manifests/one")).codes == ["MANIFEST_UNKNOWN"]


async def test_deleting_a_manifest_deletes_its_tags(instance: Instance) -> None:
    manifest, other = image(b"layer"), image(b"other")
    await instance.push("app", manifest, "one", "two")
    await instance.push("app", other, "three")
    assert (await instance.client.request("DELETE", f"/v2/app/manifests/{manifest.digest}")).status == 202
    for reference in ("one", "two", manifest.digest):
        answer = await instance.client.request("GET", f"/v2/app/manifests/{reference}")
        assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])
    answer = await instance.client.request("DELETE", f"/v2/app/manifests/{manifest.digest}")
    assert answer.codes == ["MANIFEST_UNKNOWN"]
    assert (await instance.client.request("GET", "/v2/app/tags/list")).json()["tags"] == ["three"]
    await instance.push("app", manifest)
    assert (await instance.client.request("GET", f"/v2/app/manifests/{manifest.digest}")).body == manifest.content
    assert (await instance.client.request("GET", "/v2/app/manifests/one")).status == 404


@pytest.mark.parametrize("reference", ["latest", digest_of(b"nothing has this")])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_unknown_manifests(instance: Instance, reference: str, method: str) -> None:
    """Also where the repository is not there: clients tell by the code, and registry:2 has this one."""
    answer = await instance.client.request(method, f"/v2/app/manifests/{reference}")
    assert answer.status == 404
    if method != "HEAD":
        assert answer.codes == ["MANIFEST_UNKNOWN"]
    await instance.push("app", image(b"layer"), "other")
    answer = await instance.client.request(method, f"/v2/app/manifests/{reference}")
    assert answer.status == 404
    if method != "HEAD":
        assert answer.codes == ["MANIFEST_UNKNOWN"]


async def test_a_manifest_of_another_repository_does_not_exist_here(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("secret", manifest, "latest")
    await instance.push("app", image(b"other"), "other")
    for reference in ("latest", manifest.digest):
        for method in ("GET", "HEAD", "DELETE"):
            assert (await instance.client.request(method, f"/v2/app/manifests/{reference}")).status == 404
    assert (await instance.client.request("GET", "/v2/secret/manifests/latest")).status == 200


async def test_a_push_survives_a_restart(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "latest")
    await instance.restart()
    answer = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert answer.body == manifest.content
    for blob in manifest.blobs:
        assert (await instance.client.request("GET", f"/v2/app/blobs/{blob.digest}")).body == blob.content


async def test_a_subject_is_confirmed(instance: Instance) -> None:
    subject = image(b"not here")
    manifest = image(b"layer", subject=subject)
    await push_blobs(instance, manifest)
    answer = await put(instance, manifest)
    assert (answer.status, answer.header("oci-subject")) == (201, subject.digest)
    with_subject = index(subject=subject)
    assert (await put(instance, with_subject)).header("oci-subject") == subject.digest


@pytest.mark.parametrize("media_type", [DOCKER_LIST, DOCKER_MANIFEST])
async def test_docker_documents_must_state_their_type(instance: Instance, media_type: str) -> None:
    source = index(docker=True) if media_type == DOCKER_LIST else image(docker=True)
    await push_blobs(instance, source)
    document = {key: value for key, value in source.document.items() if key != "mediaType"}
    answer = await put(instance, raw_manifest(document, media_type))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])


@pytest.mark.parametrize("place", ["annotations", "artifactType"])
async def test_texts_that_are_no_unicode_poison_nothing(instance: Instance, place: str) -> None:
    """A lone surrogate can be written in JSON and in no encoding: a listing that repeats it could not be sent."""
    subject = image(b"layer")
    await instance.push("app", subject)
    value = '"\\ud800"' if place == "artifactType" else '{"key": "\\ud800"}'
    body = json.dumps(index(subject=subject).document)[:-1] + f', "{place}": {value}}}'
    answer = await put(instance, ManifestContent(body.encode(), OCI_INDEX))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])
    listing = await instance.client.request("GET", f"/v2/app/referrers/{subject.digest}")
    assert listing.status == 200


async def test_of_many_missing_blobs_some_are_named_and_all_counted(instance: Instance) -> None:
    layers = [{"mediaType": OCI_LAYER, "digest": f"sha256:{number:064x}", "size": 1} for number in range(MANY)]
    await instance.push_blob("app", b"{}")
    answer = await put(instance, raw_manifest(image().document | {"layers": layers[5:] + layers[5:10]}))
    assert answer.status == 400
    errors = answer.json()["errors"]
    assert {error["code"] for error in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    assert [error["detail"] for error in errors[:-1]] == [{"digest": layer["digest"]} for layer in layers[5:105]]
    assert errors[-1]["detail"] == {"missing": MANY - 5}
    assert len(answer.body) < 64 << 10


async def test_an_index_of_many_children_is_kept_whole(instance: Instance) -> None:
    children = [{"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1} for number in range(MANY)]
    answer = await put(instance, raw_manifest(index().document | {"manifests": children}, OCI_INDEX))
    assert answer.status == 201
    assert f"{MANY} of what" in answer.header("warning")
    got = await instance.client.request("GET", "/v2/app/manifests/latest")
    assert len(got.json()["manifests"]) == MANY


async def test_what_an_answer_quotes_of_a_manifest_is_short(instance: Instance) -> None:
    for document in (
        image().document | {"mediaType": "a/" + "b" * 1_000_000},
        image().document | {"artifactType": "a/" + "b" * 1_000_000},
        image().document | {"subject": {"mediaType": "a/b", "size": 1, "digest": "sha256:" + "c" * 1_000_000}},
        image().document | {"layers": [{"mediaType": "a/" + "b" * 1_000_000, "size": 1, "digest": "x"}]},
    ):
        answer = await put(instance, raw_manifest(document))
        assert answer.status == 400
        assert len(answer.body) < 4096


def test_lists_of_digests_are_looked_up_by_themselves() -> None:
    """Not by going through all that the repository has, which SQLite prefers where it may."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for table in metadata.sorted_tables:
            connection.execute(str(CreateTable(table).compile(dialect=dialect())))
        sql, values = store.FIND_LINKED_BLOBS.for_sqlite({"digests": "[]", "repository_id": 1})
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert plan[0].startswith("SEARCH blobs USING"), plan
        assert "(digest=?)" in plan[0], plan


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_another_process_changes_is_seen_at_once(instance: Instance, method: str) -> None:
    """What a tag pointed at a moment ago is remembered, but not beyond the next commit, whoever makes it."""
    old, new = [await instance.push("app", image(layer), f"t-{layer.decode()}") for layer in (b"old", b"new")]

    async def shown(reference: str) -> tuple[int, str]:
        answer = await instance.client.request(method, f"/v2/app/manifests/{reference}")
        return answer.status, answer.header("docker-content-digest")

    other = Instance(instance.folder, database_url=instance.database_url)
    await other.open()

    async def change(element: ClauseElement) -> None:
        statement = Statement(element)
        assert await other.registry.database.write(lambda transaction: transaction.execute(statement), locks=[KEPT])

    for _ in range(2):
        assert await shown("t-old") == (200, old)
    newest = select(func.max(tags.c.manifest_id)).scalar_subquery()
    await change(update(tags).values(manifest_id=newest))
    assert await shown("t-old") == (200, new)
    assert (await shown(old))[0] == 200
    await change(delete(tags))
    await change(delete(repository_manifests))
    await other.close()
    for reference in ("t-old", "t-new", old, new):
        assert (await shown(reference))[0] == 404
