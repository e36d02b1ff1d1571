"""Listings: tags, repositories and referrers, whole and page by page.

Source: distribution specification, sections "Listing Tags" and "Listing Referrers"; registry:2's ``_catalog``.
"""

from itertools import chain
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import delete, func, select

from roadstead.config import LimitSettings
from roadstead.database import Statement, Transaction, parameter
from roadstead.events import KEPT
from roadstead.registry.content.referrers import PAGE_BYTES
from roadstead.registry.tables import manifest_annotations, manifest_blobs, manifests, repository_manifests
from roadstead.testing.asgi import Answer, AsgiClient
from roadstead.testing.images import (
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    ManifestContent,
    artifact,
    describe,
    digest_of,
    image,
    index,
    raw_manifest,
)
from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

TAGS = ["0", "9", "A", "Z", "_", "a", "a-b", "a.b", "aa", "b", "v1.10", "v1.2", "z" * 128]
"""In the order of their bytes, which is not the order of letters."""


async def walk(client: AsgiClient, target: str, key: str) -> list[list[str]]:
    """The pages that ``Link`` leads through."""
    pages: list[list[str]] = []
    while target:
        answer = await client.request("GET", target)
        assert answer.status == 200
        items = answer.json()[key]
        pages.append([item["digest"] if isinstance(item, dict) else item for item in items])
        target = answer.next_link
        assert len(pages) < 100
    return pages


def joined(pages: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(pages))


@pytest.fixture
async def tagged(instance: Instance) -> AsgiClient:
    await instance.push("app", image(b"layer"), *reversed(TAGS))
    return instance.client


async def test_all_tags(tagged: AsgiClient) -> None:
    answer = await tagged.request("GET", "/v2/app/tags/list")
    assert (answer.status, answer.json()) == (200, {"name": "app", "tags": TAGS})
    assert answer.header("link") == ""
    assert answer.header("content-type") == "application/json"
    head = await tagged.request("HEAD", "/v2/app/tags/list")
    assert (head.status, head.raw_headers) == (200, answer.raw_headers)


@pytest.mark.parametrize("size", [1, 2, 5, len(TAGS) - 1, len(TAGS), len(TAGS) + 1, 1000])
async def test_every_walk_gives_every_tag_once(tagged: AsgiClient, size: int) -> None:
    pages = await walk(tagged, f"/v2/app/tags/list?n={size}", "tags")
    assert joined(pages) == TAGS
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert pages[-1], "a last page that is empty costs a request for nothing"


async def test_walking_by_last_alone(tagged: AsgiClient) -> None:
    seen: list[str] = []
    while True:
        last = quote(seen[-1]) if seen else ""
        page = (await tagged.request("GET", f"/v2/app/tags/list?n=2&last={last}")).json()["tags"]
        if not page:
            break
        seen += page
    assert seen == TAGS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("last=a", TAGS[TAGS.index("a-b") :]),
        ("last=a.&n=1", ["a.b"]),
        ("last=zzz&n=5", ["z" * 128]),
        (f"last={'z' * 128}", []),
        ("last=%7e", []),
        ("last=%00", TAGS),
        ("n=0", []),
        ("n=0&last=a", []),
        ("n=007", TAGS[:7]),
        ("last=", TAGS),
        ("n=", TAGS),
        ("n=&last=", TAGS),
    ],
)
async def test_parts_of_the_list(tagged: AsgiClient, query: str, expected: list[str]) -> None:
    answer = await tagged.request("GET", f"/v2/app/tags/list?{query}")
    assert answer.json()["tags"] == expected
    if query.startswith("n=0"):
        assert (answer.header("link") == "") == (query != "n=007")


@pytest.mark.parametrize("size", ["-1", "x", "1.5", "+1", "%20", "1e3", "9" * 21, "%D9%A3"])
async def test_sizes_that_are_none(tagged: AsgiClient, size: str) -> None:
    for path in ("/v2/app/tags/list", "/v2/_catalog", f"/v2/app/referrers/{digest_of(b'')}"):
        answer = await tagged.request("GET", f"{path}?n={size}")
        assert (answer.status, answer.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


@pytest.mark.parametrize("path", ["/v2/app/tags/list", "/v2/_catalog", "/v2/app/referrers/{digest}"])
async def test_a_huge_size_is_reduced_and_said_so(tmp_path: Path, database_url: str, path: str) -> None:
    limits = LimitSettings(page_maximum=3, catalog_page_maximum=3)
    instance = Instance(tmp_path, limits=limits, database_url=database_url)
    await instance.open()
    subject = image(b"layer")
    await instance.push("app", subject, *TAGS)
    for number in range(5):
        await instance.push(f"other-{number}", image())
        await instance.push("app", index(subject=subject, annotations={"number": str(number)}))
    target = path.format(digest=subject.digest)
    key = "manifests" if "referrers" in path else "repositories" if "catalog" in path else "tags"
    answer = await instance.client.request("GET", f"{target}?n=99999999999999999999")
    assert answer.header("warning") == '299 - "n was reduced to 3, the most this registry lists at once"'
    assert len(answer.json()[key]) == 3
    for size in ("", "?n=3"):
        assert (await instance.client.request("GET", f"{target}{size}")).headers("warning") == []
    for size in ("", "?n=2", "?n=3", "?n=1000"):
        seen = joined(await walk(instance.client, f"{target}{size}", key))
        assert len(seen) == len(set(seen)) == {"tags": len(TAGS), "repositories": 6, "manifests": 5}[key]
        assert seen == sorted(seen)
    await instance.close()


async def test_tags_of_unknown_repositories(client: AsgiClient) -> None:
    answer = await client.request("GET", "/v2/app/tags/list")
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


async def test_a_repository_without_tags(instance: Instance) -> None:
    await instance.push("app", image(b"layer"))
    answer = await instance.client.request("GET", "/v2/app/tags/list")
    assert (answer.status, answer.json()) == (200, {"name": "app", "tags": []})


async def test_tags_are_their_repository_s(instance: Instance) -> None:
    await instance.push("app", image(b"layer"), "one")
    await instance.push("app/nested", image(b"layer"), "two")
    await instance.push("app2", image(b"layer"), "three")
    answer = await instance.client.request("GET", "/v2/app/tags/list")
    assert answer.json()["tags"] == ["one"]


async def test_the_catalogue(instance: Instance) -> None:
    names = ["a", "a-b", "a.b", "a/b", "a0", "b", "z"]
    for name in reversed(names):
        await instance.push(name, image(b"layer"))
    await instance.push_blob("only-a-blob", b"blob")
    await instance.client.request("POST", "/v2/only-an-upload/blobs/uploads/")
    answer = await instance.client.request("GET", "/v2/_catalog")
    assert (answer.status, answer.json()) == (200, {"repositories": names})
    for size in (1, 2, 3, 7, 8):
        pages = await walk(instance.client, f"/v2/_catalog?n={size}", "repositories")
        assert joined(pages) == names
    empty = await instance.client.request("GET", "/v2/_catalog?n=0")
    assert (empty.json(), empty.header("link")) == ({"repositories": []}, "")


async def test_an_emptied_repository_leaves_the_catalogue(instance: Instance) -> None:
    manifest = image(b"layer")
    await instance.push("app", manifest, "latest")
    await instance.client.request("DELETE", f"/v2/app/manifests/{manifest.digest}")
    assert (await instance.client.request("GET", "/v2/_catalog")).json() == {"repositories": []}


SUBJECT = image(b"subject")
SIGNATURE = artifact(
    b"signature",
    artifact_type="application/vnd.example.signature",
    subject=SUBJECT,
    annotations={"org.example.key": "grüße \N{SNOWMAN}"},
)
SBOM = artifact(b"sbom", artifact_type="application/vnd.example.sbom+json", subject=SUBJECT)
BY_CONFIG = image(b"by config", subject=SUBJECT)
INDEX = index(subject=SUBJECT, annotations={"a": "b"})
TYPED_INDEX = index(subject=SUBJECT, artifact_type="application/vnd.example.signature")
REFERRERS = (SIGNATURE, SBOM, BY_CONFIG, INDEX, TYPED_INDEX)


async def referrers(instance: Instance, query: str = "", subject: ManifestContent = SUBJECT) -> Answer:
    return await instance.client.request("GET", f"/v2/app/referrers/{subject.digest}{query}")


def digests(answer: Answer) -> list[str]:
    return [entry["digest"] for entry in answer.json()["manifests"]]


@pytest.fixture
async def referred(instance: Instance) -> Instance:
    for manifest in REFERRERS:
        await instance.push("app", manifest)
    return instance


async def test_all_referrers(referred: Instance) -> None:
    answer = await referrers(referred)
    assert (answer.status, answer.header("content-type")) == (200, OCI_INDEX)
    assert answer.header("oci-filters-applied") == ""
    document = answer.json()
    assert (document["schemaVersion"], document["mediaType"]) == (2, OCI_INDEX)
    expected = [
        describe(
            SIGNATURE,
            artifactType="application/vnd.example.signature",
            annotations={"org.example.key": "grüße \N{SNOWMAN}"},
        ),
        describe(SBOM, artifactType="application/vnd.example.sbom+json"),
        describe(BY_CONFIG, artifactType=OCI_CONFIG),
        describe(INDEX, annotations={"a": "b"}),
        describe(TYPED_INDEX, artifactType="application/vnd.example.signature"),
    ]
    assert document["manifests"] == sorted(expected, key=lambda entry: str(entry["digest"]))
    head = await referred.client.request("HEAD", f"/v2/app/referrers/{SUBJECT.digest}")
    assert (head.status, head.raw_headers) == (200, answer.raw_headers)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("application/vnd.example.signature", [SIGNATURE, TYPED_INDEX]),
        ("application/vnd.example.sbom+json", [SBOM]),
        (OCI_CONFIG, [BY_CONFIG]),
        (OCI_EMPTY, []),
        ("application/vnd.example", []),
        (OCI_MANIFEST, []),
    ],
)
@pytest.mark.parametrize("safe", ["", "/+"], ids=["encoded", "bare"])
async def test_referrers_of_a_type(referred: Instance, wanted: str, expected: list[ManifestContent], safe: str) -> None:
    """A bare plus is what it looks like: only forms mean a space by it, and no media type has one."""
    answer = await referrers(referred, f"?artifactType={quote(wanted, safe=safe)}")
    assert digests(answer) == sorted(manifest.digest for manifest in expected)
    assert answer.header("oci-filters-applied") == "artifactType"


async def test_no_filter_is_applied_when_none_is_given(referred: Instance) -> None:
    answer = await referrers(referred, "?artifactType=")
    assert (len(digests(answer)), answer.header("oci-filters-applied")) == (5, "")


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
async def test_walks_through_referrers(referred: Instance, size: int) -> None:
    target = f"/v2/app/referrers/{SUBJECT.digest}?n={size}"
    pages = await walk(referred.client, target, "manifests")
    assert joined(pages) == sorted(manifest.digest for manifest in REFERRERS)
    signatures = await walk(referred.client, f"{target}&artifactType=application/vnd.example.signature", "manifests")
    assert joined(signatures) == sorted([SIGNATURE.digest, TYPED_INDEX.digest]), "the filter holds on every page"


def large(number: int, annotations_bytes: int, body_bytes: int = 3_900_000) -> ManifestContent:
    """A referrer of ``body_bytes``, with annotations of ``annotations_bytes`` among them."""
    annotations = {"org.example.text": f"{number}" + "x" * annotations_bytes}
    signed = artifact(b"", artifact_type="a/b", subject=SUBJECT, annotations=annotations)
    padding = "x" * max(0, body_bytes - len(signed.content))
    return raw_manifest(signed.document | {"padding": padding})


async def forget_annotations(instance: Instance) -> None:
    """As if a version before 0004 had recorded all there is."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(Statement(delete(manifest_annotations)))

    await instance.registry.database.write(work)


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_a_page_of_referrers_ends_at_its_size(instance: Instance, *, is_recorded: bool) -> None:
    await instance.push("app", artifact(b"", artifact_type="a/b"))
    sizes = {large(number, size).digest: size for number, size in enumerate((1_200_000, 1_200_000, 1_200_000, 10, 0))}
    for number, size in enumerate((1_200_000, 1_200_000, 1_200_000, 10, 0)):
        await instance.push_manifest("app", large(number, size))
    if not is_recorded:
        await forget_annotations(instance)
    target = f"/v2/app/referrers/{SUBJECT.digest}"
    assert joined(await walk(instance.client, target, "manifests")) == sorted(sizes)
    pages = 0
    while target:
        answer = await instance.client.request("GET", target)
        target = answer.next_link
        pages += 1
        entries = answer.json()["manifests"]
        assert len(answer.body) <= PAGE_BYTES + 1000
        for entry in entries:
            assert len(entry["annotations"]["org.example.text"].encode()) == sizes[entry["digest"]] + 1
    assert pages == (2 if is_recorded else 5), "of what is not recorded, each takes as much as its manifest"


async def test_a_referrer_that_fills_a_page_alone_is_listed(instance: Instance) -> None:
    await instance.push("app", artifact(b"", artifact_type="a/b"))
    alone = large(1, 3_800_000)
    await instance.push_manifest("app", alone)
    answer = await referrers(instance)
    assert digests(answer) == [alone.digest]


async def test_annotations_of_a_collected_referrer_are_gone(referred: Instance) -> None:
    """Also by a version that does not know of them: the rows follow the manifest's."""

    async def work(transaction: Transaction) -> int:
        for each in REFERRERS:
            statement = Statement(delete(manifests).where(manifests.c.digest == parameter("digest")))
            for table in (manifest_blobs, repository_manifests):
                await transaction.execute(Statement(delete(table)))
            await transaction.execute(statement, digest=each.digest)
        row = await transaction.fetch_one(Statement(select(func.count()).select_from(manifest_annotations)))
        return int(row[0]) if row else -1

    assert await referred.registry.database.write(work, locks=[KEPT]) == 0


async def test_no_referrers_asked_for(referred: Instance) -> None:
    answer = await referrers(referred, "?n=0")
    assert (answer.status, digests(answer), answer.header("link")) == (200, [], "")


@pytest.mark.parametrize("repository", ["app", "nobody"])
async def test_nothing_refers_to_it(instance: Instance, repository: str) -> None:
    await instance.push("app", SUBJECT)
    answer = await instance.client.request("GET", f"/v2/{repository}/referrers/{SUBJECT.digest}")
    assert (answer.status, answer.json()["manifests"]) == (200, [])


async def test_referrers_of_a_subject_that_is_not_here(referred: Instance) -> None:
    assert (await referred.client.request("GET", f"/v2/app/manifests/{SUBJECT.digest}")).status == 404
    assert len(digests(await referrers(referred))) == 5


async def test_referrers_are_their_repository_s(referred: Instance) -> None:
    await referred.push("other", SUBJECT)
    answer = await referred.client.request("GET", f"/v2/other/referrers/{SUBJECT.digest}")
    assert answer.json()["manifests"] == []


async def test_a_deleted_referrer_is_not_listed(referred: Instance) -> None:
    await referred.client.request("DELETE", f"/v2/app/manifests/{SBOM.digest}")
    assert SBOM.digest not in digests(await referrers(referred))
    await referred.push("app", SBOM)
    assert SBOM.digest in digests(await referrers(referred))


async def test_a_sha512_subject(instance: Instance) -> None:
    subject = image(b"subject", algorithm="sha512")
    signature = artifact(b"signature", artifact_type="a/b", subject=subject)
    await instance.push("app", signature)
    assert digests(await referrers(instance, subject=subject)) == [signature.digest]


async def test_the_fallback_tag_is_an_ordinary_tag(instance: Instance) -> None:
    """What a client for older registries keeps under it is given back, and makes no referrer appear or disappear."""
    await instance.push("app", SUBJECT, "latest")
    await instance.push("app", SBOM)
    gone, unrelated = artifact(b"gone", artifact_type="a/b", subject=SUBJECT), image(b"unrelated")
    await instance.push("app", unrelated)
    fallback = index(SIGNATURE, gone, unrelated)
    tag = SUBJECT.digest.replace(":", "-")
    answer = await instance.client.request(
        "PUT", f"/v2/app/manifests/{tag}", headers={"content-type": OCI_INDEX}, body=fallback.content
    )
    assert answer.status == 201
    assert (await instance.client.request("GET", f"/v2/app/manifests/{tag}")).body == fallback.content
    assert digests(await referrers(instance)) == [SBOM.digest]
    await instance.push("app", SIGNATURE)
    assert digests(await referrers(instance)) == sorted([SBOM.digest, SIGNATURE.digest])


async def test_a_page_of_referrers_stays_readable(instance: Instance) -> None:
    """Clients read at most 4 MiB of an index: annotations count."""
    subject = image(b"layer")
    for number in range(6):
        annotations = {"number": str(number), "long": "x" * (1 << 20)}
        await instance.push("app", index(subject=subject, annotations=annotations))
    pages = await walk(instance.client, f"/v2/app/referrers/{subject.digest}", "manifests")
    assert len(set(joined(pages))) == 6
    assert len(pages) > 1
    answer = await referrers(instance, subject=subject)
    assert len(answer.body) <= 4 << 20
