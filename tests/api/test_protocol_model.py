"""The protocol against a model of what the specification says, pushes, mounts, deletions and listings interleaved.

A few tiny contents, repositories and tags, so that everything meets everything; the server is closed and opened again
on the same folder in between, and blobs lose their bytes. The normal run takes some seconds;
``--hypothesis-profile nightly`` looks for hours.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, precondition, rule, run_state_machine_as_test

from roadstead.testing.asgi import Answer
from roadstead.testing.images import OCI_CONFIG, ManifestContent, artifact, digest_of, image, index
from roadstead.testing.protocol_model import RegistryModel, SessionModel, digest_as_pushed, page_of, part_of
from tests.databases import IN_BUCKETS_TOO, empty
from tests.factories.instances import instance_of
from tests.profiles import scaled

T = TypeVar("T")

DATABASES = IN_BUCKETS_TOO
EXAMPLES = {"sqlite": 40, "sqlite-twice": 10, "postgresql": 6, "sqlite-bucket": 10}
"""In the normal run; on a server each takes several times as long."""

CONTENTS = [b"", b"a", b"ab", b"{}", b"file", b"some more bytes"]
ALGORITHMS = ["sha256", "sha512"]
REPOSITORIES = ["a", "a/b", "a-b", "library/c"]
TAGS = ["latest", "A", "_", "v1.0"]

PLAIN = image(b"a", b"ab")
OTHER = image(b"ab", docker=True)
STRONG = image(b"a", config=b"", algorithm="sha512")
SIGNATURE = artifact(b"file", artifact_type="a/signature", subject=PLAIN, annotations={"key": "\N{SNOWMAN}"})
UNTYPED = image(b"", subject=PLAIN)
SECOND_LEVEL = artifact(b"a", artifact_type="a/signature", subject=SIGNATURE)
OF_STRONG = index(PLAIN, subject=STRONG, artifact_type="a/sbom")
MANIFESTS = [
    PLAIN,
    OTHER,
    STRONG,
    SIGNATURE,
    UNTYPED,
    SECOND_LEVEL,
    OF_STRONG,
    index(PLAIN, OTHER),
    index(),
    index(subject=PLAIN),
]
REFERENCES = sorted({digest_as_pushed(manifest, by_tag=by_tag) for manifest in MANIFESTS for by_tag in (True, False)})
BLOBS = [digest_of(content, algorithm) for content in CONTENTS for algorithm in ALGORITHMS]

repositories = st.sampled_from(REPOSITORIES)
contents = st.sampled_from(CONTENTS)
algorithms = st.sampled_from(ALGORITHMS)
blobs = st.sampled_from(BLOBS)
manifests = st.sampled_from(MANIFESTS)
tags = st.sampled_from(TAGS)
sizes = st.one_of(st.none(), st.integers(0, 5))


class Protocol(RuleBasedStateMachine):
    """A registry and the model of it, told the same."""

    sessions = Bundle("sessions")

    def __init__(self, database_kind: str, database_url: str) -> None:
        super().__init__()
        self.model = RegistryModel()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="roadstead-model-"))
        self.instance = instance_of(self.folder, database_kind, database_url)
        self.run(self.instance.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something to its end."""
        return self.runner.run(work)

    def request(self, method: str, target: str, **more: Any) -> Answer:
        """Sends a request."""
        return self.run(self.instance.client.request(method, target, **more))

    def teardown(self) -> None:
        """Compares everything a last time, and leaves nothing behind."""
        try:
            self.compare()
            self.restart()
        finally:
            if self.instance.database_url:
                self.run(empty(self.instance.registry.database))
            self.run(self.instance.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    # --- blobs

    @rule(repository=repositories, content=contents, algorithm=algorithms, is_streamed=st.booleans())
    def push_blob(self, repository: str, content: bytes, algorithm: str, *, is_streamed: bool) -> None:
        """A single POST; an empty streamed body is a body all the same."""
        digest = digest_of(content, algorithm)
        body = [content[:1], content[1:]] if is_streamed else content
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", body=body)
        assert answer.status == 201
        assert answer.header("location") == f"/v2/{repository}/blobs/{digest}"
        self.model.push_blob(repository, content, digest)

    @rule(repository=repositories, content=contents, digest=blobs)
    def push_blob_under_another_digest(self, repository: str, content: bytes, digest: str) -> None:
        """A single POST whose digest is of other bytes is refused."""
        if digest != digest_of(content + b"!", digest.partition(":")[0]):
            answer = self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", body=content + b"!")
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    @rule(target=sessions, repository=repositories, algorithm=algorithms)
    def begin(self, repository: str, algorithm: str) -> str:
        """POST."""
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}")
        assert answer.status == 202
        return self._begun(repository, answer)

    def _begun(self, repository: str, answer: Answer) -> str:

        location = answer.header("location")
        assert location not in self.model.sessions
        self.model.sessions[location] = SessionModel(repository)
        return location

    @rule(session=sessions, piece=contents, states_range=st.booleans(), breaks_off=st.booleans())
    def chunk(self, session: str, piece: bytes, *, states_range: bool, breaks_off: bool) -> None:
        """PATCH, with or without Content-Range, to its end or not."""
        known = self.model.sessions.get(session)
        offset = len(known.content) if known else 0
        headers = {"content-range": f"{offset}-{offset + len(piece) - 1}"} if states_range and piece else {}
        answer = self.request("PATCH", session, headers=headers, body=piece, disconnects=breaks_off)
        if known is None:
            assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
            return
        known.content += piece
        if breaks_off:
            assert answer.status == 400
        else:
            assert (answer.status, answer.header("range")) == (202, _progress(known.content))

    @rule(session=sessions, piece=contents, skipped=st.integers(1, 5), method=st.sampled_from(["PATCH", "PUT"]))
    def chunk_out_of_order(self, session: str, piece: bytes, skipped: int, method: str) -> None:
        """A chunk that begins elsewhere is refused and changes nothing."""
        known = self.model.sessions.get(session)
        begin = (len(known.content) if known else 0) + skipped
        answer = self.request(
            method,
            f"{session}?digest={digest_of(piece + b'x')}",
            headers={"content-range": f"{begin}-{begin + len(piece)}"},
            body=piece + b"x",
        )
        if known is None:
            assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
        else:
            assert (answer.status, answer.header("range")) == (416, _progress(known.content))

    @rule(session=sessions)
    def look_at_upload(self, session: str) -> None:
        """GET of a session."""
        answer = self.request("GET", session)
        known = self.model.sessions.get(session)
        if known is None:
            assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
        else:
            assert (answer.status, answer.header("range")) == (204, _progress(known.content))
            assert answer.header("location") == session

    @rule(session=consumes(sessions), piece=contents, algorithm=algorithms, is_right=st.booleans())
    def close(self, session: str, piece: bytes, algorithm: str, *, is_right: bool) -> None:
        """PUT with a last chunk, right or wrong; either ends the session."""
        known = self.model.sessions.pop(session, None)
        content = (known.content if known else b"") + piece
        digest = digest_of(content if is_right else content + b"!", algorithm)
        answer = self.request("PUT", f"{session}?digest={digest}", body=piece)
        if known is None:
            assert answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
        elif is_right:
            assert answer.status == 201
            self.model.push_blob(known.repository, content, digest)
        else:
            assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    @rule(session=sessions)
    def cancel(self, session: str) -> None:
        """DELETE of a session."""
        answer = self.request("DELETE", session)
        known = self.model.sessions.pop(session, None)
        assert answer.status == (204 if known else 404)

    @rule(repository=repositories, digest=blobs, source=st.one_of(st.none(), repositories))
    def mount(self, repository: str, digest: str, source: str | None) -> None:
        """POST with mount; where it cannot be, a session has begun."""
        query = f"mount={digest}" + ("" if source is None else f"&from={quote(source)}")
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/?{query}")
        if self.model.can_mount(digest, source):
            assert answer.status == 201
            assert answer.header("location") == f"/v2/{repository}/blobs/{digest}"
            self.model.link(repository, digest)
        else:
            assert answer.status == 202
            self._begun(repository, answer)

    @rule(repository=repositories, digest=blobs)
    def delete_blob(self, repository: str, digest: str) -> None:
        """DELETE of a blob: not while a manifest names it."""
        answer = self.request("DELETE", f"/v2/{repository}/blobs/{digest}")
        known = self.model.repository(repository)
        if digest not in known.blobs:
            assert answer.status == 404
        elif known.holders(digest):
            assert answer.status == 405
        else:
            assert answer.status == 202
            known.blobs.remove(digest)

    @rule(repository=repositories, digest=blobs, first=st.integers(0, 4), last=st.one_of(st.none(), st.integers(0, 20)))
    def pull_part(self, repository: str, digest: str, first: int, last: int | None) -> None:
        """GET of a range."""
        wanted = f"bytes={first}-{'' if last is None else last}"
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}", headers={"range": wanted})
        if not self.model.can_read(repository, digest):
            assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])
            return
        expected = None if last is not None and last < first else part_of(self.model.contents[digest], first, last)
        if expected is None:
            assert answer.status == 416
        else:
            assert (answer.status, answer.body) == (206, expected)

    @precondition(lambda self: any(self.model.can_mount(digest, None) for digest in BLOBS))
    @rule(data=st.data())
    def lose_bytes(self, data: st.DataObject) -> None:
        """A blob's file vanishes, and the next who wants it is told so."""
        digest = data.draw(st.sampled_from([digest for digest in BLOBS if self.model.can_mount(digest, None)]))
        holder = next(name for name in REPOSITORIES if self.model.can_read(name, digest))
        self.run(self.instance.lose_bytes(digest))
        assert self.request("GET", f"/v2/{holder}/blobs/{digest}").codes == ["BLOB_UNKNOWN"]
        self.model.damaged.add(digest)

    # --- manifests

    @rule(repository=repositories, manifest=manifests, names=st.lists(tags, max_size=3))
    def push_manifest_by_digest(self, repository: str, manifest: ManifestContent, names: list[str]) -> None:
        """PUT under a digest, with tags beside it."""
        query = "&".join(f"tag={tag}" for tag in names)
        answer = self._push_manifest(repository, manifest, f"{manifest.digest}?{query}", names, by_tag=False)
        if answer.status == 201:
            assert answer.headers("oci-tag") == list(dict.fromkeys(names))

    @rule(repository=repositories, manifest=manifests, tag=tags)
    def push_manifest_by_tag(self, repository: str, manifest: ManifestContent, tag: str) -> None:
        """PUT under a tag."""
        self._push_manifest(repository, manifest, tag, [tag], by_tag=True)

    @rule(repository=repositories, manifest=manifests, tag=tags)
    def push_everything(self, repository: str, manifest: ManifestContent, tag: str) -> None:
        """A whole push as clients do it: blobs that are not there yet, then the manifest."""
        for blob in manifest.blobs:
            head = self.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}")
            assert head.status == (200 if self.model.can_read(repository, blob.digest) else 404)
            if head.status != 200:
                self.push_blob(repository, blob.content, blob.algorithm, is_streamed=False)
        answer = self._push_manifest(repository, manifest, tag, [tag], by_tag=True)
        assert answer.status == 201

    def _push_manifest(
        self, repository: str, manifest: ManifestContent, reference: str, names: list[str], *, by_tag: bool
    ) -> Answer:
        answer = self.request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            headers={"content-type": manifest.media_type},
            body=manifest.content,
        )
        missing = self.model.missing_blobs(repository, manifest)
        if missing:
            assert (answer.status, set(answer.codes)) == (400, {"MANIFEST_BLOB_UNKNOWN"})
            assert [entry["detail"]["digest"] for entry in answer.json()["errors"]] == missing
        else:
            assert answer.status == 201
            digest = digest_as_pushed(manifest, by_tag=by_tag)
            assert answer.header("docker-content-digest") == digest
            self.model.push_manifest(repository, manifest, digest, names)
        return answer

    @rule(repository=repositories, tag=tags)
    def delete_tag(self, repository: str, tag: str) -> None:
        """DELETE of a tag."""
        answer = self.request("DELETE", f"/v2/{repository}/manifests/{tag}")
        known = self.model.repository(repository).tags.pop(tag, None)
        assert answer.status == (202 if known else 404)

    @rule(repository=repositories, digest=st.sampled_from(REFERENCES))
    def delete_manifest(self, repository: str, digest: str) -> None:
        """DELETE of a manifest, with its tags."""
        answer = self.request("DELETE", f"/v2/{repository}/manifests/{digest}")
        if digest in self.model.repository(repository).manifests:
            assert answer.status == 202
            self.model.delete_manifest(repository, digest)
        else:
            assert answer.status == 404

    # --- listings

    @rule(repository=repositories, size=sizes, last=st.sampled_from(["", *TAGS, "zz"]))
    def list_tags(self, repository: str, size: int | None, last: str) -> None:
        """A part of the tags."""
        answer = self.request("GET", f"/v2/{repository}/tags/list?{_page(size, last)}")
        known = self.model.repository(repository)
        if not known.is_known:
            assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])
            return
        expected = page_of(known.tags, size, last)
        assert answer.json() == {"name": repository, "tags": expected}
        assert bool(answer.next_link) == (size != 0 and expected != page_of(known.tags, None, last))

    @rule(size=sizes, last=st.sampled_from(["", *REPOSITORIES]))
    def list_repositories(self, size: int | None, last: str) -> None:
        """A part of the catalogue."""
        answer = self.request("GET", f"/v2/_catalog?{_page(size, last)}")
        assert answer.json() == {"repositories": page_of(self.model.catalogue(), size, last)}

    @rule(
        repository=repositories,
        subject=st.sampled_from([*REFERENCES, digest_of(b"nobody")]),
        artifact_type=st.sampled_from(["", "a/signature", "a/sbom", OCI_CONFIG]),
        size=st.integers(1, 3),
    )
    def walk_referrers(self, repository: str, subject: str, artifact_type: str, size: int) -> None:
        """All referrers of a type, page by page."""
        expected = self.model.repository(repository).referrers(subject, artifact_type)
        found: list[object] = []
        target = f"/v2/{repository}/referrers/{subject}?n={size}&artifactType={quote(artifact_type, safe='')}"
        while target:
            answer = self.request("GET", target)
            assert answer.status == 200
            found += answer.json()["manifests"]
            target = answer.next_link
        assert found == expected

    # --- everything

    @rule()
    def restart(self) -> None:
        """The server stops and starts again; everything is as it was."""
        recovered = self.run(self.instance.restart())
        assert (recovered.orphaned_blobs, recovered.orphaned_uploads, recovered.ended_sessions) == (0, 0, 0)
        self.compare()

    @rule()
    def compare(self) -> None:
        """All that the model has, and nothing else."""
        for name in REPOSITORIES:
            known = self.model.repository(name)
            self._compare_manifests(name)
            for digest in BLOBS:
                answer = self.request("GET", f"/v2/{name}/blobs/{digest}")
                if self.model.can_read(name, digest):
                    assert (answer.status, answer.body) == (200, self.model.contents[digest])
                else:
                    assert answer.status == 404
            if known.is_known:
                assert self.request("GET", f"/v2/{name}/tags/list").json()["tags"] == sorted(known.tags)
        assert self.request("GET", "/v2/_catalog").json() == {"repositories": self.model.catalogue()}

    def _compare_manifests(self, name: str) -> None:
        known = self.model.repository(name)
        expected = {digest: digest for digest in known.manifests} | known.tags
        for reference in [*REFERENCES, *TAGS]:
            answer = self.request("GET", f"/v2/{name}/manifests/{reference}")
            digest = expected.get(reference)
            if digest is None:
                assert answer.status == 404
            else:
                assert (answer.status, answer.header("docker-content-digest")) == (200, digest)
                assert answer.body == known.manifests[digest].content
                assert answer.header("content-type") == known.manifests[digest].media_type


def _progress(content: bytes) -> str:
    return f"0-{max(0, len(content) - 1)}"


def _page(size: int | None, last: str) -> str:
    return ("" if size is None else f"n={size}&") + f"last={quote(last)}"


def test_the_registry_does_what_the_model_says(database_kind: str, database_url: str) -> None:
    class OnProtocol(Protocol):
        def __init__(self) -> None:
            super().__init__(database_kind, database_url)

    run_state_machine_as_test(
        OnProtocol,
        settings=settings(max_examples=scaled(EXAMPLES[database_kind]), stateful_step_count=40, deadline=None),
    )
