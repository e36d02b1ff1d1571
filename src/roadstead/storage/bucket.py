"""Objects in a bucket: S3 and all that speaks it, Azure Blob, Google Cloud Storage, through ``obstore``.

An object is written once under its key and never changed. It becomes visible whole, when ``finish`` has returned, or
not at all: one request where it is short, else a multipart upload, of which nobody sees anything before its end.

What is known of ``obstore``, each with a test:

- A future of its ``put`` that is cancelled leaves its multipart upload behind; a generator of pieces that raises ends
  it cleanly. So nothing here cancels one.
- It takes buffers without copying them, and keeps them until their part is sent. So it gets ``bytes``, which nobody
  fills again.
- A key in which an error's name stands (``SlowDown``) makes its answers look like that error. Keys are the caller's:
  random, in lower-case hex.
- It answers with ``FileNotFoundError`` for an object that is missing and for a bucket that is; a look for the mark
  tells one from the other (``presence_key``).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import MemoryStore

from roadstead.storage.errors import (
    ObjectUnknownError,
    StorageAbsentError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from roadstead.storage.protocol import Buffer, StoredObject

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Bucket = S3Store | AzureStore | GCSStore | MemoryStore

PART_BYTES: Final = 5 << 20
"""Bytes of a part, and of the longest object that is sent in one request: the least that S3 takes as a part."""

PARTS_AT_ONCE: Final = 2
"""Parts on their way at a time: with the one that is gathered, 15 MiB for an upload."""

MOST_PARTS: Final = 9_000
"""Of the 10,000 that S3 takes; an object whose length is known has parts long enough to stay below."""

QUEUED_BYTES: Final = 4 << 20
"""Bytes that wait to be taken into a part; more make the writer wait."""

STREAM_BYTES: Final = 1 << 20
"""Bytes of a piece of a stream at least, but for the last."""

LISTED: Final = 1_000
"""Objects of a page of a listing: as many as S3 gives."""

RECENT_SECONDS: Final = 1.0
"""Age in seconds that a look for the mark may have when an object is missing."""

READ_TRIES: Final = 5
"""Times that a stream which broke off is taken up again without a byte having come in between."""

_FULL: Final = ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "507 ", "EntityTooLarge")
_ABSENT: Final = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")


class BucketStore:
    """Objects below a prefix of a bucket."""

    def __init__(self, bucket: "Bucket", *, presence_key: str = "") -> None:
        """``presence_key`` is an object that is there as long as the bucket is; empty: misses are taken as such."""
        self._bucket = bucket
        self._presence_key = presence_key
        self._seen_at = float("-inf")
        self._absence = ""

    def open_sink(self, key: str, *, size_bytes: int | None = None) -> "BucketSink":
        """Starts an object of ``size_bytes``, if that is known; nothing is sent yet."""
        return BucketSink(self._bucket, key, size_bytes)

    async def put(self, key: str, content: bytes) -> None:
        """Makes an object in one request, in place of any that has the key.

        Raises:
            StorageFullError, StorageUnavailableError: nothing is known about the object.
        """
        with _translated(key):
            await obstore.put_async(self._bucket, key, content, use_multipart=False)

    async def open_reader(self, key: str) -> "BucketReader":
        """Opens an object and begins to read it, in one request.

        Raises:
            ObjectUnknownError: there is none.
            StorageAbsentError: the bucket, or its mark, is not there.
        """
        try:
            reader = await BucketReader.open(self._bucket, key)
        except ObjectUnknownError:
            await self._require_present(key)
            raise
        self._absence = ""
        return reader

    async def find(self, key: str) -> StoredObject | None:
        """An object's size and time as a listing would say; None if there is none.

        Raises:
            StorageAbsentError: the bucket, or its mark, is not there.
        """
        try:
            with _translated(key):
                meta = await obstore.head_async(self._bucket, key)
        except ObjectUnknownError:
            await self._require_present(key)
            return None
        self._absence = ""
        return StoredObject(key, meta["size"], _milliseconds(meta["last_modified"]))

    async def delete(self, key: str) -> bool:
        """Removes an object if there is one; what there was is not said by every store, so it is always True."""
        (outcome,) = await self.delete_all([key])
        if isinstance(outcome, StorageError):
            raise outcome
        return True

    async def delete_all(self, keys: Sequence[str]) -> Sequence[bool | StorageError]:
        """Removes many objects at once; for each True, or its error."""
        outcomes: list[bool | StorageError] = []
        for start in range(0, len(keys), LISTED):
            outcomes += await self._delete_some(keys[start : start + LISTED])
        return outcomes

    async def _delete_some(self, keys: Sequence[str]) -> list[bool | StorageError]:
        with contextlib.suppress(StorageError):  # it says of one at most why, so each is tried for itself
            with _translated(""):
                await obstore.delete_async(self._bucket, keys)
            return [True] * len(keys)
        return [await self._delete_one(key) for key in keys]

    async def _delete_one(self, key: str) -> bool | StorageError:
        try:
            with _translated(key):
                await obstore.delete_async(self._bucket, key)
        except ObjectUnknownError:
            return True
        except StorageError as error:
            return error
        return True

    async def iter_objects(self, prefix: str, *, after: str = "") -> AsyncIterator[StoredObject]:
        """Yields the objects whose key lies below the folder ``prefix`` and after ``after``, in the order of keys."""
        with _translated(prefix):
            listing = obstore.list(  # pyright: ignore[reportUnknownMemberType] - its variant for Arrow is not typed
                self._bucket, prefix or None, offset=after or None, chunk_size=LISTED
            )
            async for batch in listing:
                for meta in batch:
                    if meta["path"] > after:  # Azure does not know where to begin
                        yield StoredObject(meta["path"], meta["size"], _milliseconds(meta["last_modified"]))

    async def presign(self, key: str, *, seconds: int) -> str:
        """An address at which whoever has it may read the object for so long.

        Raises:
            StorageUnavailableError: the credentials cannot sign.
        """
        if isinstance(self._bucket, MemoryStore):
            raise StorageUnavailableError(key, "a bucket in memory has no address")
        with _translated(key):
            return await obstore.sign_async(self._bucket, "GET", key, timedelta(seconds=seconds))

    def find_absence(self, *, is_recent_enough: bool = True) -> str:  # noqa: ARG002 - a look would have to be awaited
        """The reason why the bucket was not there when it was last looked for; empty if it was."""
        return self._absence

    async def free_bytes(self) -> int | None:
        """Returns None: a bucket does not say how much it takes."""
        return None

    async def close(self) -> None:
        """Does nothing: connections close by themselves."""

    async def _require_present(self, key: str) -> None:
        """Tells an object that is missing from a bucket that is.

        Raises:
            StorageAbsentError: its mark cannot be found.
        """
        if not self._presence_key or key == self._presence_key or monotonic() - self._seen_at < RECENT_SECONDS:
            return
        try:
            with _translated(key):
                await obstore.head_async(self._bucket, self._presence_key)
        except ObjectUnknownError:
            self._absence = "the storage is not there: its bucket is empty, is another one, or is gone"
            raise StorageAbsentError(self._absence, key) from None
        self._absence, self._seen_at = "", monotonic()


class BucketSink:
    """See ``ObjectSink``; used by one task at a time."""

    def __init__(self, bucket: "Bucket", key: str, size_bytes: int | None) -> None:
        self._bucket = bucket
        self._key = key
        self._part_bytes = max(PART_BYTES, -(-(size_bytes or 0) // MOST_PARTS))
        self._offset = 0
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._is_complete = self._is_over = False
        self._upload: asyncio.Task[None] | None = None

    @property
    def offset(self) -> int:
        """The number of bytes so far."""
        return self._offset

    async def append(self, buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> None:
        """Copies and observes ``buffers`` in a background job; waits while too much waits to be sent.

        Raises:
            StorageFullError, StorageUnavailableError: the object cannot be made any more.
        """
        pieces = await asyncio.to_thread(_copied, buffers, observe)
        self._pieces.extend(pieces)
        added = sum(map(len, pieces))
        self._offset += added
        self._waiting_bytes += added
        if self._upload is None and self._waiting_bytes > self._part_bytes:
            self._upload = asyncio.create_task(self._send())
        self._changed.set()
        while self._upload is not None and self._waiting_bytes > QUEUED_BYTES:
            self._changed.clear()
            waiting = asyncio.create_task(self._changed.wait())
            await asyncio.wait([waiting, self._upload], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._upload.done():
                self._upload.result()

    async def finish(self) -> None:
        """Sends the rest, and returns when the store has the whole object.

        Raises:
            StorageFullError, StorageUnavailableError: see ``ObjectSink``.
        """
        self._is_complete = True
        self._changed.set()
        if self._upload is None:
            self._upload = asyncio.create_task(self._send_whole())
        await asyncio.shield(self._upload)
        self._is_over = True

    async def abort(self) -> None:
        """Has the generator of pieces raise, which ends the multipart upload; waits for that."""
        if self._is_over:
            return
        self._is_over = True
        self._changed.set()
        if self._upload is not None:
            await asyncio.wait({self._upload})
            self._upload.exception()  # which is what was wanted, or has been told already

    async def _send_whole(self) -> None:
        content = b"".join(self._pieces)
        self._pieces.clear()
        with _translated(self._key):
            await obstore.put_async(self._bucket, self._key, content, use_multipart=False)

    async def _send(self) -> None:
        with _translated(self._key):
            await obstore.put_async(
                self._bucket,
                self._key,
                self._taken(),
                chunk_size=self._part_bytes,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def _taken(self) -> AsyncGenerator[bytes, None]:
        """The pieces in order, each as soon as it is there.

        Raises:
            _GivenUpError: the object is not wanted any more.
        """
        while True:
            if self._is_over:
                raise _GivenUpError
            if self._pieces:
                piece = self._pieces.popleft()
                self._waiting_bytes -= len(piece)
                self._changed.set()
                yield piece
            elif self._is_complete:
                return
            else:
                self._changed.clear()
                await self._changed.wait()


class BucketReader:
    """An open object, read from its begin to its end in one request as a rule; any other order takes further ones."""

    def __init__(self, bucket: "Bucket", key: str, size_bytes: int, stream: AsyncIterator[bytes]) -> None:
        self._bucket = bucket
        self._key = key
        self._size_bytes = size_bytes
        self._stream: AsyncIterator[bytes] | None = stream
        self._at = 0
        self._rest = memoryview(b"")

    @classmethod
    async def open(cls, bucket: "Bucket", key: str) -> "BucketReader":
        """Asks for the whole object; its bytes come as they are read.

        Raises:
            ObjectUnknownError: there is none.
        """
        with _translated(key):
            found = await obstore.get_async(bucket, key)
        return cls(bucket, key, found.meta["size"], found.stream(STREAM_BYTES))

    @property
    def size_bytes(self) -> int:
        """The object's length."""
        return self._size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        """Reads up to ``length`` bytes from ``offset``; fewer only at the end of the object.

        Raises:
            ObjectUnknownError: the object was removed meanwhile.
            StorageUnavailableError: the bucket does not answer.
        """
        end = min(offset + length, self._size_bytes)
        if offset >= end:
            return b""
        if offset != self._at:
            self._drop()
            self._at = offset
        pieces: list[memoryview] = []
        missing = end - offset
        while missing:
            if not self._rest:
                self._rest = memoryview(await self._next())
            piece, self._rest = self._rest[:missing], self._rest[missing:]
            pieces.append(piece)
            missing -= len(piece)
            self._at += len(piece)
        return b"".join(pieces)

    read_once = read

    def close(self) -> None:
        """Gives up the request. May be called twice."""
        self._drop()

    def _drop(self) -> None:
        self._stream = None
        self._rest = memoryview(b"")

    async def _next(self) -> bytes:
        """The next piece of the stream, which is taken up where it broke off."""
        failure: StorageError | None = None
        for _ in range(READ_TRIES):
            try:
                with _translated(self._key):
                    if self._stream is None:
                        found = await obstore.get_async(
                            self._bucket, self._key, options={"range": (self._at, self._size_bytes)}
                        )
                        self._stream = found.stream(STREAM_BYTES)
                    return bytes(await anext(self._stream))
            except ObjectUnknownError:
                raise
            except StopAsyncIteration:
                failure = StorageUnavailableError(self._key, "the object ended early")
            except StorageError as error:
                failure = error
            self._stream = None
        raise failure or StorageUnavailableError(self._key, "the object cannot be read")


class _GivenUpError(Exception):
    """Raised in a generator of pieces, so that the multipart upload ends."""


def _copied(buffers: Sequence[Buffer], observe: Callable[[Buffer], None]) -> list[bytes]:
    """Copies and observes buffers; from a thread."""
    copies: list[bytes] = []
    for buffer in buffers:
        observe(buffer)
        if len(buffer):
            copies.append(bytes(buffer))
    return copies


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


@contextlib.contextmanager
def _translated(key: str) -> Generator[None, None, None]:
    """Raises errors of ours in place of the library's."""
    try:
        yield
    except FileNotFoundError as error:
        if any(word in str(error) for word in _ABSENT):
            raise StorageAbsentError("the storage is not there: there is no such bucket", key) from error
        raise ObjectUnknownError(key) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageUnavailableError(key, f"the bucket refuses: {_said(error)}") from error
    except (BaseError, OSError, ValueError) as error:
        if any(word in str(error) for word in _FULL):
            raise StorageFullError(key) from error
        raise StorageUnavailableError(key, _said(error)) from error


def _said(error: Exception) -> str:
    """The first line of an error, without what the library prints of its insides."""
    text = str(error).partition("\n\n")[0].partition("\nDebug source")[0]
    return " ".join(text.split())[:300]
