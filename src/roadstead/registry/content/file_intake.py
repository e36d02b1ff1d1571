"""Sessions whose bytes are appended to one file each, in a folder.

What is true after a crash at any point, beside what ``uploads`` says:

1. Bytes past the record's offset are dropped when writing goes on, and an object without a record is removed by
   ``recovery``. After a loss of power the bytes may be fewer (the session is then unknown) or others than the record
   says, so a digest that was saved before this boot is not trusted: the bytes are read again.
2. How the file becomes a blob, ``blob_commits`` says. Where the first bytes of a session cannot be recorded they are
   dropped, since nothing would name them.
3. When a session is cancelled the record says so, then the bytes go. A crash between leaves bytes without a session,
   which ``recovery`` removes.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from roadstead.clock import Clock
from roadstead.database import Database, DatabaseError
from roadstead.events import Cause
from roadstead.oci import Digest, RepositoryName
from roadstead.registry import layout
from roadstead.registry.content.blob_commits import BlobCommits, FilledSession
from roadstead.registry.content.exclusive import Exclusive
from roadstead.registry.content.traffic import Traffic
from roadstead.registry.content.upload_sessions import UploadSessions
from roadstead.registry.errors import UploadBusyError, UploadOffsetError, UploadUnknownError
from roadstead.registry.model import UploadSession
from roadstead.registry.removal.rules import GarbageRules
from roadstead.storage import FolderStore, ObjectBusyError, ObjectUnknownError, ObjectWriter, StorageError

READ_BYTES: Final = 1 << 20
"""Bytes read at once where a digest must be computed again."""

BUSY_TRIES: Final = 20
BUSY_WAIT_SECONDS: Final = 0.02
"""Together the time for which a request waits for another one that writes to its session."""


@dataclass(frozen=True, slots=True)
class FileFilling:
    """A ``Filling`` whose writer has the session's file."""

    session: UploadSession
    writer: ObjectWriter


class FileIntake:
    """An ``Intake`` of a folder."""

    def __init__(
        self,
        database: Database,
        storage: FolderStore,
        exclusive: Exclusive,
        clock: Clock,
        rules: GarbageRules,
        traffic: Traffic,
        sessions: UploadSessions,
    ) -> None:
        self._storage = storage
        self._sessions = sessions
        self._is_shared = exclusive.is_fenced
        self.commits = BlobCommits(database, storage, exclusive, clock, rules, traffic, sessions, forget=self.forget)

    async def open(
        self,
        repository: RepositoryName,
        session_id: str,
        *,
        begin: int | None,
        length: int,  # noqa: ARG002 - a file grows as it must
        actor: str,
    ) -> FileFilling:
        """The session as it stands once nobody else can write to it."""
        for _ in range(BUSY_TRIES):
            session = await self._sessions.recall(repository, session_id, actor)
            if begin is not None and begin > session.offset:
                session = await self._sessions.get(repository, session_id, actor)
                if begin > session.offset:
                    raise UploadOffsetError(session_id, session.offset)
            with contextlib.suppress(ObjectBusyError):
                return FileFilling(session, await self._open_writer(session, begin, actor))
            await asyncio.sleep(BUSY_WAIT_SECONDS)  # a request that broke off needs a moment to record what it had
        raise UploadBusyError(session_id)

    async def _open_writer(self, session: UploadSession, begin: int | None, actor: str) -> ObjectWriter:
        """The writer, once it is certain that the record has not changed before we had the lock.

        Nobody has added bytes to an object that is as long as we know it; that the session has not ended is seen when
        it is recorded.
        """
        try:
            writer = await self._storage.open_writer(layout.upload_key(session.id), session.offset)
        except ObjectUnknownError:
            await self.forget(session)  # its bytes are gone: the client must begin again
            raise UploadUnknownError(session.id) from None
        except ObjectBusyError:
            raise
        except StorageError:
            await self._drop_first_bytes(session)
            raise
        try:
            latest = session
            if writer.is_longer:
                latest = await self._sessions.get(session.repository, session.id, actor)
            _require_unchanged(session, latest, begin)
        except BaseException as error:
            if isinstance(error, UploadUnknownError):  # it has ended, and opening it has made its object again
                await self._storage.delete(layout.upload_key(session.id))
            writer.close()
            raise
        return writer

    @contextlib.asynccontextmanager
    async def guard(self, filling: FileFilling) -> AsyncGenerator[None, None]:
        """Closes the writer; bytes that nothing would name any more go before.

        Where replicas share the catalogue an object without a record is found by itself (``takeover``), and says which
        blob it may have been published as; and its record may have been written though nobody could say so.
        """
        session = filling.session
        try:
            yield
        except DatabaseError:
            if not self._is_shared:
                await self._drop_first_bytes(session)
            raise
        except UploadUnknownError:  # it had ended, and writing to it has made its object again
            self._sessions.forget(session.id)
            with contextlib.suppress(StorageError):
                await self._storage.delete(layout.upload_key(session.id))
            raise
        finally:
            filling.writer.close()

    async def keep(self, filling: FileFilling, reached: UploadSession) -> UploadSession:
        """Records the offset and the digest; a session without bytes needs no file."""
        if reached.offset == filling.session.offset:
            await self._drop_first_bytes(filling.session)
            return filling.session
        await self._sessions.save(reached)
        return reached

    async def run_short(self, filling: FileFilling) -> None:
        """Drops first bytes; later ones, past the record's offset, are dropped when the session goes on."""
        await self._drop_first_bytes(filling.session)

    async def lose(self, filling: FileFilling) -> None:
        """Ends the session: its bytes are all in one file."""
        await self.forget(filling.session)

    async def read(self, filling: FileFilling) -> AsyncIterator[bytes]:
        """Reads the file from its begin, a piece at a time."""
        reader = await self._storage.open_reader(layout.upload_key(filling.session.id))
        try:
            offset = 0
            while offset < filling.writer.offset:
                piece = bytes(await reader.read(offset, min(READ_BYTES, filling.writer.offset - offset)))
                yield piece
                offset += len(piece)
        finally:
            reader.close()

    async def commit(self, filling: FileFilling, reached: UploadSession, digest: Digest, cause: Cause) -> None:
        """Publishes the file as the blob; see ``blob_commits``."""
        await self.commits.commit(FilledSession(filling.session, reached, filling.writer, digest), cause)

    async def forget(self, session: UploadSession) -> None:
        """Ends a session, unless it has ended, and removes its file."""
        await self._sessions.end(session)
        await self._storage.delete(layout.upload_key(session.id))

    async def forget_any(self, session_id: str) -> None:
        """The same of a session of which only the id is known."""
        await self._sessions.end_any(session_id)
        await self._storage.delete(layout.upload_key(session_id))

    async def _drop_first_bytes(self, session: UploadSession) -> None:
        """Removes the object of a session without bytes: there may be no record that would name it."""
        if not session.offset:
            with contextlib.suppress(StorageError):  # what stays is found by ``recovery``
                await self._storage.delete(layout.upload_key(session.id))


def _require_unchanged(session: UploadSession, latest: UploadSession, begin: int | None) -> None:
    if begin is not None and begin != latest.offset:
        raise UploadOffsetError(session.id, latest.offset)
    if latest.offset != session.offset:
        raise ObjectBusyError(layout.upload_key(session.id))
