"""Deletion, restoration and collection against a model: what is reachable stays, what is not goes, at every moment.

Pushes, mounts, deletions, restorations and the passing of days are interleaved with collections that end early, as a
killed process would, at any write to the catalogue or removal in the storage. The model knows only what the
documentation promises: it has no reviews, keys or marks.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from roadstead.database import NameLock, Transaction
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry.errors import NothingToRestoreError, RepositoryUnknownError
from roadstead.registry.garbage.collection import Collector
from roadstead.registry.garbage.repository_removal import remove_repository
from roadstead.registry.removal.rules import DAY_MS, HOUR_MS, GarbageRules
from roadstead.storage import FilesystemStore
from roadstead.testing.images import ManifestContent, artifact, build_cache, digest_of, foreign_image, image, index
from tests.databases import IN_BUCKETS_TOO, empty
from tests.factories.access import BY_TEST
from tests.factories.instances import instance_of
from tests.profiles import scaled

T = TypeVar("T")

RULES = GarbageRules()
REPOSITORIES = ["a", "a/b"]
TAGS = ["latest", "v1"]
PLAIN = image(b"one", b"two")
OTHER = image(b"two", b"three", docker=True)
LIST = index(PLAIN, OTHER)
SIGNATURE = artifact(b"signed", artifact_type="a/signature", subject=LIST)
CACHE = build_cache(b"one", b"cached")
WINDOWS = foreign_image(b"windows", b"three")
MANIFESTS = {manifest.digest: manifest for manifest in (PLAIN, OTHER, LIST, SIGNATURE, CACHE, WINDOWS)}
CONTENTS = {blob.digest: blob.content for manifest in MANIFESTS.values() for blob in manifest.blobs} | {
    digest_of(b"lonely"): b"lonely"
}

DATABASES = IN_BUCKETS_TOO
EXAMPLES = {"sqlite": 40, "sqlite-twice": 20, "postgresql": 6, "sqlite-bucket": 10}
"""In the normal run; on a server each takes several times as long."""

repositories = st.sampled_from([*REPOSITORIES, "a", "a"])  # most in one, so that things meet
blobs = st.sampled_from(sorted(CONTENTS))
manifests = st.sampled_from(sorted(MANIFESTS))
tags = st.sampled_from(TAGS)


class KilledError(Exception):
    """Where a process was killed."""


@dataclass(slots=True)
class Repository:
    """What a repository has; ``links`` may be None (named by a manifest) or the time until which a client may come."""

    live: set[str] = field(default_factory=set[str])
    trash: dict[str, int] = field(default_factory=dict[str, int])
    lost_tags: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    links: dict[str, int | None] = field(default_factory=dict[str, int | None])

    def named(self) -> set[str]:
        """The blobs that its manifests name, in use or in the trash."""
        return {blob.digest for digest in {*self.live, *self.trash} for blob in MANIFESTS[digest].blobs}


class Garbage(RuleBasedStateMachine):
    """A registry and the model of it, told the same."""

    def __init__(self, database_kind: str, database_url: str) -> None:
        super().__init__()
        self.model = {name: Repository() for name in REPOSITORIES}
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="roadstead-garbage-"))
        self.instance = instance_of(self.folder, database_kind, database_url)
        self.runner.run(self.instance.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something to its end, a moment after what was before: what was lost with what is told by the time."""
        self.instance.clock.advance(0.001)
        return self.runner.run(work)

    @property
    def now_ms(self) -> int:
        """The time."""
        return self.instance.clock.now_ms()

    def teardown(self) -> None:
        """Collects and compares a last time, and leaves nothing behind."""
        try:
            self.collect_all()
        finally:
            if self.instance.database_url:
                self.run(empty(self.instance.registry.database))
            self.run(self.instance.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    # --- what clients do

    @rule(name=repositories, digest=blobs)
    def push_blob(self, name: str, digest: str) -> None:
        """A blob without a manifest waits for one."""
        self.run(self.instance.push_blob(name, CONTENTS[digest]))
        self._link(name, digest)

    def _link(self, name: str, digest: str) -> None:
        repository = self.model[name]
        if digest not in repository.links or repository.links[digest] is not None:
            repository.links[digest] = self.now_ms + RULES.upload_ms

    @rule(name=repositories, source=repositories, digest=blobs)
    def mount(self, name: str, source: str, digest: str) -> None:
        """A mount counts as a push, where the source has the blob."""
        answer = self.run(
            self.instance.client.request("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")
        )
        if answer.status == 201:
            assert digest in self.model[source].links
            self._link(name, digest)
        else:
            repository = self.model[source]
            until_ms = repository.links.get(digest) or 0
            is_kept = digest in repository.named() or until_ms > self.now_ms
            assert not is_kept or not self._is_known(source)

    @rule(name=repositories, digest=manifests, names=st.lists(tags, max_size=2, unique=True))
    def push(self, name: str, digest: str, names: list[str]) -> None:
        """A whole push as clients do it: blobs that a HEAD does not find, children, the manifest."""
        self._push(name, MANIFESTS[digest], names)

    def _push(self, name: str, manifest: ManifestContent, names: list[str]) -> None:
        for blob in manifest.blobs:
            answer = self.run(self.instance.client.request("HEAD", f"/v2/{name}/blobs/{blob.digest}"))
            if answer.status == 404:
                self.push_blob(name, blob.digest)
        for child in manifest.children:
            self._push(name, child, [])
        self.run(self.instance.push_manifest(name, manifest, names))  # after a HEAD that found all, it must succeed
        self._settle(name, manifest.digest)
        self.model[name].tags |= dict.fromkeys(names, manifest.digest)

    def _settle(self, name: str, digest: str) -> None:
        repository = self.model[name]
        repository.live.add(digest)
        repository.trash.pop(digest, None)
        repository.links |= {blob.digest: None for blob in MANIFESTS[digest].blobs}

    @rule(name=repositories, tag=tags)
    def delete_tag(self, name: str, tag: str) -> None:
        """The manifest stays."""
        answer = self.run(self.instance.client.request("DELETE", f"/v2/{name}/manifests/{tag}"))
        assert (answer.status == 202) == (self.model[name].tags.pop(tag, None) is not None)

    @rule(name=repositories, digest=manifests)
    def delete_manifest(self, name: str, digest: str) -> None:
        """It goes to the trash, and its tags with it."""
        answer = self.run(self.instance.client.request("DELETE", f"/v2/{name}/manifests/{digest}"))
        assert (answer.status == 202) == (digest in self.model[name].live)
        if answer.status == 202:
            self._discard(name, digest)

    def _discard(self, name: str, digest: str) -> None:
        repository = self.model[name]
        repository.live.remove(digest)
        repository.trash[digest] = self.now_ms + RULES.undo_ms
        repository.lost_tags[digest] = {tag for tag, target in repository.tags.items() if target == digest}
        repository.tags = {tag: target for tag, target in repository.tags.items() if target != digest}

    @rule(name=repositories)
    def delete_repository(self, name: str) -> None:
        """Everything goes to the trash."""
        try:
            self.run(remove_repository(self.instance.registry, RepositoryName(name), cause=BY_TEST))
        except RepositoryUnknownError:
            assert not self.model[name].live
            return
        for digest in sorted(self.model[name].live):
            self._discard(name, digest)

    def _is_known(self, name: str) -> bool:
        answer = self.run(self.instance.client.request("GET", f"/v2/{name}/tags/list"))
        return answer.status == 200

    # --- going back

    @rule(name=repositories, digest=manifests)
    def restore_manifest(self, name: str, digest: str) -> None:
        """What is in the trash comes back whole; what is not, does not."""
        repository = self.model[name]
        try:
            restored = self.run(
                self.instance.registry.undo.restore_manifest(RepositoryName(name), Digest(digest), cause=BY_TEST)
            )
        except (NothingToRestoreError, RepositoryUnknownError):
            assert repository.trash.get(digest, 0) <= self.now_ms
            return
        self._bring_back(name, digest)
        assert {tag for tag, _ in restored.tags} <= repository.lost_tags[digest]
        repository.tags |= dict(restored.tags)

    def _bring_back(self, name: str, digest: str) -> None:
        self._settle(name, digest)
        for child in MANIFESTS[digest].children:
            if child.digest in self.model[name].trash:
                self._bring_back(name, child.digest)

    @rule(name=repositories, tag=tags, digest=manifests)
    def restore_tag(self, name: str, tag: str, digest: str) -> None:
        """To any manifest that the repository has or can have back."""
        repository = self.model[name]
        try:
            self.run(
                self.instance.registry.undo.restore_tag(
                    RepositoryName(name), Tag(tag), to=Digest(digest), cause=BY_TEST
                )
            )
        except (NothingToRestoreError, RepositoryUnknownError):
            assert digest not in repository.live
            assert repository.trash.get(digest, 0) <= self.now_ms
            return
        self._bring_back(name, digest)
        repository.tags[tag] = digest

    @rule(name=repositories)
    def restore_repository(self, name: str) -> None:
        """All that is in the trash."""
        repository = self.model[name]
        try:
            restored = self.run(self.instance.registry.undo.restore_repository(RepositoryName(name), cause=BY_TEST))
        except (NothingToRestoreError, RepositoryUnknownError):
            assert not [digest for digest, expires_ms in repository.trash.items() if expires_ms > self.now_ms]
            return
        for digest in restored.manifests:
            self._settle(name, digest)
        repository.tags |= dict(restored.tags)

    # --- time and collection

    @rule(amount_ms=st.sampled_from([HOUR_MS, DAY_MS, 4 * DAY_MS, 4 * DAY_MS]))
    def wait(self, amount_ms: int) -> None:
        """Time passes."""
        self.instance.clock.advance(amount_ms / 1000)

    @rule(steps=st.integers(1, 3))
    def collect_some(self, steps: int) -> None:
        """A few steps: what they have not come to is left for the next."""
        for _ in range(steps):
            self.run(Collector(self.instance.registry).step())
        self.compare()

    @rule(writes=st.integers(0, 6), removals=st.integers(0, 3))
    def collect_and_die(self, writes: int, removals: int) -> None:
        """The process is killed after so many transactions or removals, and started again."""
        database, storage = self.instance.registry.database, self.instance.registry.storage
        write = database.write
        left = {"write": writes, "delete": removals}

        async def dying_write(
            work: Callable[[Transaction], Awaitable[T]],
            *,
            locks: Iterable[NameLock] = (),
            durable: bool = True,
            is_long: bool = False,
        ) -> T:
            if left["write"] == 0:
                raise KilledError
            left["write"] -= 1
            return await write(work, locks=locks, durable=durable, is_long=is_long)

        def dying(delete: Callable[[Any], T]) -> Callable[[Any], T]:
            def call(what: Any) -> T:
                if left["delete"] == 0:
                    raise KilledError
                left["delete"] -= 1
                return delete(what)

            return call

        name = "_delete" if isinstance(storage, FilesystemStore) else "_delete_some"
        setattr(database, "write", dying_write)  # noqa: B010 - on this object only
        setattr(storage, name, dying(getattr(storage, name)))
        try:
            self.run(Collector(self.instance.registry).step())
        except (KilledError, RoadsteadError):
            pass
        finally:
            delattr(storage, name)
            self.run(self.instance.restart())
        self.compare()

    @rule()
    def collect_all(self) -> None:
        """Until nothing is due: then exactly what is reachable is left."""
        collector = Collector(self.instance.registry)
        while self.run(collector.step()).looked_at:
            pass
        for repository in self.model.values():
            for digest in [digest for digest, expires_ms in repository.trash.items() if expires_ms <= self.now_ms]:
                del repository.trash[digest]
        self.compare()
        self._compare_files()

    def _compare_files(self) -> None:
        """Nothing is stored that nobody can reach; a blob may linger for the hour after its last manifest."""
        stored = self.run(self.instance.stored_blobs())
        linked = {digest for repository in self.model.values() for digest in repository.links}
        reachable = {digest for repository in self.model.values() for digest in repository.named()}
        waiting = {
            digest
            for repository in self.model.values()
            for digest, until_ms in repository.links.items()
            if until_ms is not None and until_ms > self.now_ms
        }
        assert stored <= linked
        assert stored >= reachable | waiting

    @rule()
    def let_everything_end(self) -> None:
        """With nothing deleted lately and nothing waiting, what is stored is what is reachable, to the byte."""
        for _ in range(3):  # trash, then what it named, then what was restarted meanwhile
            self.instance.clock.advance((RULES.undo_ms + RULES.upload_ms) / 1000)
            self.collect_all()
        for repository in self.model.values():
            named = repository.named()
            repository.links = {digest: None for digest in repository.links if digest in named}
        reachable = {digest for repository in self.model.values() for digest in repository.named()}
        stored = self.run(self.instance.stored_blobs())
        assert stored == reachable

    @rule()
    def compare(self) -> None:
        """All that the model has in use is there, byte for byte; nothing else is."""
        for name, repository in self.model.items():
            for digest, manifest in MANIFESTS.items():
                answer = self.run(self.instance.client.request("GET", f"/v2/{name}/manifests/{digest}"))
                assert answer.status == (200 if digest in repository.live else 404), (name, digest)
                if digest in repository.live:
                    assert answer.body == manifest.content
                    self._compare_blobs(name, manifest)
            for tag in TAGS:
                answer = self.run(self.instance.client.request("HEAD", f"/v2/{name}/manifests/{tag}"))
                found = answer.header("docker-content-digest") if answer.status == 200 else None
                assert found == repository.tags.get(tag)

    def _compare_blobs(self, name: str, manifest: ManifestContent) -> None:
        for blob in manifest.blobs:
            answer = self.run(self.instance.client.request("GET", f"/v2/{name}/blobs/{blob.digest}"))
            assert (answer.status, answer.body) == (200, blob.content)


def test_what_is_reachable_stays_and_what_is_not_goes(database_kind: str, database_url: str) -> None:
    class OnGarbage(Garbage):
        def __init__(self) -> None:
            super().__init__(database_kind, database_url)

    run_state_machine_as_test(
        OnGarbage,
        settings=settings(max_examples=scaled(EXAMPLES[database_kind]), stateful_step_count=50, deadline=None),
    )
