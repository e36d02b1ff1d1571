"""Running digests: put down and taken up anywhere, they equal hashlib's; without OpenSSL's library hashlib is used."""

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.registry.content import running_digest
from roadstead.registry.content.running_digest import RunningDigest, can_resume

ALGORITHMS = st.sampled_from(["sha256", "sha512"])


@given(ALGORITHMS, st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8))
def test_saved_and_restored_between_any_two_pieces(algorithm: str, pieces: list[tuple[bytes, bool]]) -> None:
    running = RunningDigest(algorithm)
    expected = hashlib.new(algorithm)
    for piece, is_mutable in pieces:
        running.update(bytearray(piece) if is_mutable else piece)
        expected.update(piece)
        state = running.save()
        assert state is not None, "this machine has OpenSSL's library"
        assert can_resume(algorithm, state)
        running = RunningDigest(algorithm, state)
        assert running.digest() == f"{algorithm}:{expected.hexdigest()}"


@given(ALGORITHMS, st.binary(max_size=500), st.binary(max_size=500))
def test_asking_changes_nothing(algorithm: str, first: bytes, second: bytes) -> None:
    running = RunningDigest(algorithm)
    running.update(first)
    assert running.digest() == running.digest() == f"{algorithm}:{hashlib.new(algorithm, first).hexdigest()}"
    running.update(second)
    assert running.digest().encoded == hashlib.new(algorithm, first + second).hexdigest()


def test_a_saved_state_is_a_copy() -> None:
    running = RunningDigest("sha256")
    running.update(b"one")
    state = running.save()
    running.update(b"two")
    taken_up = RunningDigest("sha256", state)
    taken_up.update(b"three")
    assert taken_up.digest().encoded == hashlib.sha256(b"onethree").hexdigest()
    assert running.digest().encoded == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_states_that_are_not_ours(algorithm: str) -> None:
    state = RunningDigest(algorithm).save()
    assert state is not None
    other = RunningDigest("sha512" if algorithm == "sha256" else "sha256").save()
    for foreign in (None, b"", state[:-1], state + b"\x00", b"x" + state[1:], state.replace(b"-1:", b"-2:"), other):
        assert not can_resume(algorithm, foreign)


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    running_digest._library.cache_clear()
    monkeypatch.setattr(running_digest, "_LIBRARIES", ("libcrypto-that-is-not-there.so",))
    yield
    running_digest._library.cache_clear()


@pytest.mark.usefixtures("_no_library")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_without_the_library(algorithm: str) -> None:
    running = RunningDigest(algorithm)
    running.update(b"one")
    running.update(bytearray(b"two"))
    assert running.digest() == f"{algorithm}:{hashlib.new(algorithm, b'onetwo').hexdigest()}"
    assert running.save() is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_state_cannot_be_taken_up_without_the_library(algorithm: str, request: pytest.FixtureRequest) -> None:
    state = RunningDigest(algorithm).save()
    request.getfixturevalue("_no_library")
    assert not can_resume(algorithm, state)
