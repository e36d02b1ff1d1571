"""`roadstead gc`, interrupted at each of its calls to the disk: by SIGKILL, by EIO.

A collection is traced once to learn which calls it makes. Then, for each of them, the same data folder is collected
again with a tracer that lets the first, the second, … such call kill the process or fail. Whenever that happens, all
that was not deleted is there, byte for byte; a later run finishes the job; and no bytes are left that no record names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.registry import Registry, layout
from roadstead.registry.garbage.repository_removal import remove_repository
from tests.factories.access import ALL_VISIBLE, BY_TEST
from tests.factories.images import Image, Index, image, index, layer
from tests.factories.registries import (
    blob_file,
    make_folder,
    on_registry,
    push_blob,
    push_image,
    push_referrer,
)
from tests.system.faults.server import Tracer, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CALLS: Final = ("unlink", "rmdir", "fdatasync", "fsync", "rename", "pwrite64")
REMOVALS: Final = {"unlink", "rmdir"}
IS_LONG: Final = "ROADSTEAD_CRASH_CYCLES" in os.environ
KILL_STEPS: Final = {} if IS_LONG else {"pwrite64": 25, "rmdir": 3}
ERROR_STEPS: Final = {} if IS_LONG else {"unlink": 3, "rmdir": 5}
"""Every how many of which calls; of the others each is taken."""

KILLED: Final = -9
UNREACHABLE: Final = 3
SHARED: Final = layer({"etc/base": b"shared by what stays and what goes"})
KEPT: Final = image([SHARED, layer({"etc/kept": b"kept"})])
KEPT_INDEX: Final = index([image([SHARED], architecture=name) for name in ("amd64", "arm64")])
GONE: Final = image([SHARED, layer({"etc/gone": b"gone"})])
GONE_INDEX: Final = index([image([layer({"etc/gone": name.encode()})], architecture=name) for name in ("arm", "s390x")])
STAYS: Final[dict[str, tuple[Image | Index, str]]] = {
    "team/kept": (KEPT, "1.0"),
    "team/multi": (KEPT_INDEX, "latest"),
    "team/mixed": (KEPT, "latest"),
}

pytestmark = [pytest.mark.needs("strace"), pytest.mark.timeout(3600 if IS_LONG else 280)]


class Forks:
    """Runs commands by `forked.py`, which see."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.system.faults.forked"]
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment({}), cwd=root
        )

    def __enter__(self) -> Self:
        """Ready at once."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends with its input."""
        self._process.communicate(timeout=30)

    def run(self, data: Path, *words: str, tracing: Sequence[str] = ()) -> tuple[int, str]:
        """A command's exit code and what it printed; `tracing` are options of strace, which follows its threads."""
        self._say(json.dumps([*words, "--data", str(data)]))
        child = int(self._hear())
        if tracing:
            with Tracer("-f", *tracing, threads=[child], log=data / "strace"):
                self._say("go")
                answer = json.loads(self._hear())
        else:
            self._say("go")
            answer = json.loads(self._hear())
        return answer["code"], answer["said"]

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """One for all tests."""
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="module")
def full(scratch: Path) -> Iterator[Path]:
    """A registry of which much was deleted: what is shared, what is not, what nobody ever named, what rotted."""
    folder = make_folder(scratch / f"garbage-{secrets.token_hex(3)}")
    on_registry(folder, _fill)
    for digest in (GONE.digest, KEPT.digest):  # bodies as a registry:2 keeps them, beside the blobs
        path = blob_file(folder, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((GONE if digest == GONE.digest else KEPT).manifest)
    yield folder
    shutil.rmtree(folder)


async def _fill(registry: Registry) -> None:
    for repository, (content, tag) in STAYS.items():
        await push_image(registry, repository, content, tag)
    await push_image(registry, "team/gone", GONE, "1.0")
    await push_referrer(registry, "team/gone", GONE, note="gone")
    await push_image(registry, "team/mixed", GONE, "old")
    await push_image(registry, "team/mixed", GONE_INDEX, "multi")
    await push_blob(registry, "team/lonely", b"lonely")
    rotten = await push_blob(registry, "team/lonely", b"rotten")
    await registry.blobs.quarantine(rotten, "it was found rotten")
    await remove_repository(registry, RepositoryName("team/gone"), cause=BY_TEST)
    for digest in (GONE.digest, GONE_INDEX.digest, *(child.digest for child in GONE_INDEX.images)):
        await registry.manifests.delete(RepositoryName("team/mixed"), Digest(digest), cause=BY_TEST)


def require_live(data: Path) -> None:
    """All that was not deleted can be pulled, byte for byte."""

    async def pull(registry: Registry) -> None:
        for repository, (content, tag) in STAYS.items():
            name = RepositoryName(repository)
            assert (await registry.manifests.get(name, Tag(tag), visible=ALL_VISIBLE)).digest == content.digest
            for each in content.images if isinstance(content, Index) else (content,):
                stored = await registry.manifests.get(name, Digest(each.digest), visible=ALL_VISIBLE)
                assert await registry.manifests.get_body(stored.digest) == each.manifest
                for digest, expected in each.blobs().items():
                    reader = await registry.blobs.open(name, Digest(digest), visible=ALL_VISIBLE)
                    assert await reader.read(0, len(expected) + 1) == expected
                    reader.close()

    on_registry(data, pull)


def stored(data: Path) -> set[str]:
    """The digests whose bytes are among the blobs, and those in quarantine."""
    below = data / "registry"
    found = {f"sha256:{path.parent.name}" for path in (below / layout.BLOBS).glob("sha256/*/*/data")}
    return found | {f"sha256:{path.name}" for path in (below / "quarantine").glob("sha256/*")}


def live() -> set[str]:
    """The digests that must be left when all is done; the body of a live manifest is beside the blobs here."""
    contents = [content for content, _ in STAYS.values()]
    images = [each for content in contents for each in (content.images if isinstance(content, Index) else (content,))]
    return {digest for each in images for digest in each.blobs()} | {KEPT.digest}


def require_recorded(data: Path, moment: str) -> None:
    """No bytes are left that no record names, and no record without its bytes but one whose bytes are going."""
    with contextlib.closing(sqlite3.connect(f"file:{data}/roadstead.db?mode=ro", uri=True)) as catalogue:
        blobs = dict(catalogue.execute("SELECT digest, deleting_ms FROM blobs"))
        manifests = {digest for (digest,) in catalogue.execute("SELECT digest FROM manifests")}
    assert stored(data) <= blobs.keys() | manifests, moment
    assert {digest for digest, deleting_ms in blobs.items() if deleting_ms is None} <= stored(data), moment


def require_sound(forks: Forks, data: Path, moment: str) -> None:
    """Nothing is damaged, forgotten or without a record."""
    code, said = forks.run(data, "check", "--deep", "--json")
    *findings, _summary = said.splitlines()
    assert (code, findings) == (0, []), moment


def require_finished(forks: Forks, data: Path, moment: str) -> None:
    """A later run does what was left."""
    code, said = forks.run(data, "gc", "--grace", "0")
    assert code == 0, f"{moment}: {said}"
    require_sound(forks, data, moment)
    require_live(data)
    assert stored(data) == live(), moment


def copied(full: Path, name: str) -> Path:
    """The same registry again."""
    data = full.with_name(f"{full.name}-{name}")
    shutil.copytree(full, data)
    return data


def recorded(forks: Forks, full: Path) -> Counter[str]:
    """The most often that one thread makes each call, which is how a tracer counts them."""
    data = copied(full, "recorded")
    code, said = forks.run(data, "gc", "--grace", "0", tracing=["-e", f"trace={','.join(CALLS)}"])
    assert code == 0, said
    lines = (data / "strace").read_text().splitlines()
    require_finished(forks, data, "without a fault")
    shutil.rmtree(data)
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            counts[match[1], match[2]] += 1
    most: Counter[str] = Counter()
    for (_, call), count in counts.items():
        most[call] = max(most[call], count)
    assert {"unlink", "rmdir", "fdatasync"} <= most.keys(), most
    return most


def points(most: Counter[str], steps: dict[str, int]) -> list[tuple[str, int]]:
    """What to interrupt: calls and their numbers."""
    return [(call, number) for call, count in most.items() for number in range(1, count + 1, steps.get(call, 1))]


@pytest.mark.xdist_group("garbage_crash_kill")
def test_killed_at_each_call(forks: Forks, full: Path) -> None:
    hits: Counter[str] = Counter()
    most = recorded(forks, full)
    chosen = points(most, KILL_STEPS)
    for call, number in chosen:
        moment = f"killed at {call} {number}"
        data = copied(full, "killed")
        inject = f"inject={call}:signal=KILL:when={number}"
        code, said = forks.run(data, "gc", "--grace", "0", tracing=["-e", f"trace={call}", "-e", inject])
        assert code in {KILLED, 0}, f"{moment}: {said}"
        hits[call] += code == KILLED
        require_recorded(data, moment)
        require_live(data)
        require_finished(forks, data, moment)
        shutil.rmtree(data)
    wanted = Counter(call for call, _ in chosen)
    print({call: f"{hits[call]} of {count}" for call, count in wanted.items()})
    assert {call: hits[call] for call in REMOVALS} == {call: wanted[call] for call in REMOVALS}
    assert hits["fdatasync"] >= wanted["fdatasync"] / 2


@pytest.mark.xdist_group("garbage_crash_error")
def test_each_call_fails(forks: Forks, full: Path) -> None:
    """What cannot be removed is told and waits; the rest goes, and a later run finishes."""
    most = recorded(forks, full)
    chosen = [(call, str(number)) for call, number in points(most, ERROR_STEPS) if call != "pwrite64"]
    for call, when in [*chosen, ("unlink", "1+"), ("pwrite64", "1+"), ("fdatasync", "1+")]:
        moment = f"EIO at {call} {when}"
        data = copied(full, "failed")
        inject = f"inject={call}:error=EIO:when={when}"
        code, said = forks.run(data, "gc", "--grace", "0", tracing=["-e", f"trace={call}", "-e", inject])
        require_told(call, code, said, moment, was_hit="(INJECTED)" in (data / "strace").read_text())
        require_recorded(data, moment)
        require_live(data)
        if call == "unlink" and when == "1+":
            assert stored(data) == stored(full), moment
        require_finished(forks, data, moment)
        shutil.rmtree(data)


def require_told(call: str, code: int, said: str, moment: str, *, was_hit: bool) -> None:
    """An error of the disk ends with its exit code and a sentence, unless it does no harm."""
    assert was_hit, f"{moment}: not reached"
    allowed: dict[str, set[Any]] = {"unlink": {UNREACHABLE, 0}, "rmdir": {0}}  # SQLite unlinks its own files, too
    assert code in allowed.get(call, {UNREACHABLE, 0}), f"{moment}: {said}"
    assert "Traceback" not in said, moment
    if code == UNREACHABLE:
        assert "error: " in said, moment
