"""Errors for requests that are refused, and for content that is not there.

Fields only; status codes stand in ``roadstead.web.errors``.
"""

from collections.abc import Sequence

from roadstead.errors import RoadsteadError
from roadstead.oci import Digest


class RepositoryUnknownError(RoadsteadError):
    """There is no repository of this name."""

    def __init__(self, repository: str) -> None:
        super().__init__("repository name not known to registry")
        self.repository = repository


class ManifestUnknownError(RoadsteadError):
    """The repository has no such tag or manifest."""

    def __init__(self, repository: str, reference: str) -> None:
        super().__init__("manifest unknown")
        self.repository = repository
        self.reference = reference


class ManifestBlobUnknownError(RoadsteadError):
    """A manifest names blobs that its repository does not have."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        super().__init__("manifest references a blob that this repository does not have")
        self.digests = tuple(digests)


class ManifestDigestMismatchError(RoadsteadError):
    """A manifest was pushed under a digest that is not its own."""

    def __init__(self, expected: Digest, actual: Digest) -> None:
        super().__init__("the manifest does not have the digest it was pushed under")
        self.expected = expected
        self.actual = actual


class BlobUnknownError(RoadsteadError):
    """The repository has no such blob."""

    def __init__(self, digest: Digest) -> None:
        super().__init__("blob unknown to registry")
        self.digest = digest


class BlobQuarantinedError(BlobUnknownError):
    """The blob's bytes were found damaged and put aside; pushing it again heals it."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(digest)
        self.args = ("the stored bytes of this blob were damaged and have been put aside; push it again to restore it",)


class BlobReferencedError(RoadsteadError):
    """A blob cannot be deleted, since a manifest of the repository names it."""

    def __init__(self, digest: Digest, manifest: Digest) -> None:
        super().__init__("the blob is part of a manifest in this repository; delete the manifest first")
        self.digest = digest
        self.manifest = manifest


class UploadUnknownError(RoadsteadError):
    """The repository has no such upload session: never begun, finished, cancelled or expired."""

    def __init__(self, session_id: str) -> None:
        super().__init__("blob upload unknown to registry")
        self.session_id = session_id


class UploadOffsetError(RoadsteadError):
    """A chunk does not begin where the upload stands."""

    def __init__(self, session_id: str, offset: int) -> None:
        super().__init__(f"the chunk must begin at offset {offset}")
        self.session_id = session_id
        self.offset = offset


class UploadBusyError(RoadsteadError):
    """Another request is writing to the upload session."""

    def __init__(self, session_id: str) -> None:
        super().__init__("another request is writing to this upload")
        self.session_id = session_id


class UploadDigestMismatchError(RoadsteadError):
    """The uploaded bytes do not have the digest that the client stated."""

    def __init__(self, expected: Digest, actual: Digest) -> None:
        super().__init__("provided digest did not match uploaded content")
        self.expected = expected
        self.actual = actual


class UploadSizeMismatchError(RoadsteadError):
    """A chunk's length is not the one that the client stated."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__("provided length did not match content length")
        self.expected = expected
        self.actual = actual


class BlobTooLargeError(RoadsteadError):
    """An upload has more bytes than a blob may have; it is gone."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the blob is larger than the limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class RegistryReadOnlyError(RoadsteadError):
    """Nothing may be changed now; ``str`` is what the administrator wants clients to be told."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the registry is read-only now: {message}")


class RegistryClosedError(RoadsteadError):
    """Nothing is answered now; ``str`` is what the administrator wants clients to be told."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the registry is closed now: {message}")


class NothingToRestoreError(RoadsteadError):
    """There is nothing to go back to; ``reason`` says why."""

    def __init__(self, reference: str, reason: str) -> None:
        super().__init__(f"{reference} cannot be restored: {reason}")
        self.reference = reference
        self.reason = reason
