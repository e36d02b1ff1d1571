"""The seam between upload sessions and stores: how bytes are kept while they come in, and become a blob.

A folder appends to one file for each session (``file_intake``).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry.model import UploadSession
from roadstead.storage import Buffer


class BodyWriter(Protocol):
    """Takes the bytes of one request."""

    @property
    def offset(self) -> int:
        """The number of bytes of the session so far."""
        ...

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Adds ``buffers`` in order and shows each to ``observe``, in the same background job.

        Raises:
            StorageFullError: there is no space.
            StorageUnavailableError: the bytes could not be written.
        """
        ...


class Filling(Protocol):
    """A session that one request fills."""

    @property
    def session(self) -> UploadSession:
        """The session as it is recorded."""
        ...

    @property
    def writer(self) -> BodyWriter:
        """Takes the bytes that come."""
        ...


F = TypeVar("F", bound=Filling)


class Intake(Protocol[F]):
    """Keeps the bytes of sessions, in fillings of its own kind."""

    async def open(
        self, repository: RepositoryName, session_id: str, *, begin: int | None, length: int, actor: str
    ) -> F:
        """The session as it stands, for one request that adds ``length`` bytes (0: not known) at ``begin``.

        Raises:
            UploadUnknownError, UploadBusyError, UploadOffsetError, StorageError: as ``Uploads.append``.
        """
        ...

    def guard(self, filling: F) -> AbstractAsyncContextManager[None]:
        """In which it is filled: whatever ends it, nothing stays that nothing would name."""
        ...

    async def keep(self, filling: F, reached: UploadSession) -> UploadSession:
        """Records what has been written, so that the upload can go on from there; the session as it then stands."""
        ...

    async def run_short(self, filling: F) -> None:
        """There was no space for the bytes; the session goes on where it stood."""
        ...

    async def lose(self, filling: F) -> None:
        """A write has failed, so that nothing is known about its bytes."""
        ...

    def read(self, filling: F) -> AsyncIterator[bytes]:
        """All bytes of the session, those of this request among them."""
        ...

    async def commit(self, filling: F, reached: UploadSession, digest: Digest, cause: Cause) -> None:
        """Makes the bytes the blob ``digest``, which they have.

        Raises:
            UploadUnknownError: the session has ended.
            StorageError: the bytes could not be published.
        """
        ...

    async def forget(self, session: UploadSession) -> None:
        """Ends a session, unless it has ended, and removes its bytes."""
        ...

    async def forget_any(self, session_id: str) -> None:
        """The same of a session of which only the id is known."""
        ...
