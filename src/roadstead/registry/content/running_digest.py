"""Digests whose computation can be put down in one request and taken up in another, also by another process.

Python's hashlib has no way to save its state, so the C library under it is used through ctypes: the structures
``SHA256_CTX`` and ``SHA512_CTX`` of OpenSSL's <openssl/sha.h> are plain memory of a fixed size and have been since
0.9.8. Where that library cannot be found, or fails the self-test, hashlib is used and there is no state to save;
whoever needs the digest later reads the bytes again.
"""

import ctypes
import functools
import hashlib
from typing import Final

from roadstead.oci import Digest

_LIBRARIES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")

_STATE_BYTES: Final = {"sha256": 112, "sha512": 216}
"""sizeof(SHA256_CTX), sizeof(SHA512_CTX)."""

_DIGEST_BYTES: Final = {"sha256": 32, "sha512": 64}

_STATE_VERSION: Final = b"openssl-ctx-1:"
"""Goes before a saved state, so that another representation can never be mistaken for it."""


class RunningDigest:
    """The digest of the bytes seen so far."""

    def __init__(self, algorithm: str, state: bytes | None = None) -> None:
        """A new one, or the continuation of ``state``, which must come from ``save`` (see ``can_resume``)."""
        self.algorithm = algorithm
        library = _library()
        self._hashlib = None if library else hashlib.new(algorithm)
        if library:
            self._context = ctypes.create_string_buffer(_STATE_BYTES[algorithm])
            name = algorithm.upper()  # getattr, other than an index, looks a function up once a process
            self._update = getattr(library, f"{name}_Update")
            self._final = getattr(library, f"{name}_Final")
            getattr(library, f"{name}_Init")(self._context)
        if state is not None:
            self._context.raw = state.removeprefix(_STATE_VERSION)

    def update(self, content: bytes | bytearray | memoryview) -> None:
        """Adds ``content``; other threads run meanwhile."""
        if self._hashlib is not None:
            self._hashlib.update(content)
        elif isinstance(content, bytes):
            self._update(self._context, content, ctypes.c_size_t(len(content)))
        elif content:
            view = memoryview(content)
            if view.readonly:
                self.update(bytes(view))
                return
            first = ctypes.c_char.from_buffer(view)
            self._update(self._context, ctypes.byref(first), ctypes.c_size_t(len(view)))

    def digest(self) -> Digest:
        """The digest of all that was added so far; more may be added afterwards."""
        if self._hashlib is not None:
            return Digest(f"{self.algorithm}:{self._hashlib.hexdigest()}")
        copy = ctypes.create_string_buffer(self._context.raw, len(self._context))
        result = ctypes.create_string_buffer(64)
        self._final(result, copy)
        return Digest(f"{self.algorithm}:{result.raw[: _DIGEST_BYTES[self.algorithm]].hex()}")

    def save(self) -> bytes | None:
        """The state from which ``__init__`` goes on; None where it cannot be saved."""
        return None if self._hashlib is not None else _STATE_VERSION + self._context.raw


def can_resume(algorithm: str, state: bytes | None) -> bool:
    """True if ``state`` can be taken up in this process."""
    return (
        state is not None
        and state.startswith(_STATE_VERSION)
        and len(state) == len(_STATE_VERSION) + _STATE_BYTES[algorithm]
        and _library() is not None
    )


class DigestStates:
    """The states of running digests as records of sessions keep them: with the run of the machine that saved them.

    After a loss of power an object may hold other bytes than those that its record's state was computed from, so a
    state is taken up by the same run of the same machine alone.
    """

    def __init__(self, boot_id: bytes) -> None:
        """``boot_id`` ends in a line feed, and has no other."""
        self._boot_id = boot_id

    def save(self, running: RunningDigest | None) -> bytes | None:
        """The state for a record to keep; None where nothing can be saved."""
        state = running.save() if running else None
        return None if state is None else self._boot_id + state

    def resume(self, algorithm: str, saved: bytes | None) -> RunningDigest | None:
        """The digest as it was saved; None where it has to be computed from the bytes."""
        if saved is None or not saved.startswith(self._boot_id):
            return None
        state = saved.removeprefix(self._boot_id)
        return RunningDigest(algorithm, state) if can_resume(algorithm, state) else None


def find_digest(algorithm: str, saved: bytes) -> Digest | None:
    """The digest of the bytes after which a record was given this state, by any run; None where none can tell.

    Whether the session's object still holds those bytes is another question, after a loss of power.
    """
    _, _, state = saved.partition(b"\n")
    return RunningDigest(algorithm, state).digest() if can_resume(algorithm, state) else None


@functools.cache
def _library() -> ctypes.CDLL | None:
    """OpenSSL's library, if it is there and its digests, also resumed ones, equal hashlib's."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            if all(_passes_self_test(library, algorithm) for algorithm in _STATE_BYTES):
                return library
        except (OSError, AttributeError):
            continue
    return None


def _passes_self_test(library: ctypes.CDLL, algorithm: str) -> bool:
    name, content = algorithm.upper(), b"roadstead" * 50
    first = ctypes.create_string_buffer(_STATE_BYTES[algorithm] + 64)
    library[f"{name}_Init"](first)
    library[f"{name}_Update"](first, content, ctypes.c_size_t(len(content)))
    if any(first.raw[_STATE_BYTES[algorithm] :]):
        return False  # the structure is larger than it has ever been
    second = ctypes.create_string_buffer(first.raw[: _STATE_BYTES[algorithm]], _STATE_BYTES[algorithm])
    library[f"{name}_Update"](second, content, ctypes.c_size_t(len(content)))
    result = ctypes.create_string_buffer(64)
    library[f"{name}_Final"](result, second)
    expected = hashlib.new(algorithm, content * 2).digest()
    return result.raw[: len(expected)] == expected
