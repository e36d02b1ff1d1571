"""The values that the registry's services return."""

from dataclasses import dataclass

from roadstead.oci import Digest, RepositoryName


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that a repository may read."""

    digest: Digest
    size_bytes: int
    object_key: str | None = None
    """Where its bytes are; see ``content.places``."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest of a repository, as it was pushed."""

    digest: Digest
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """The result of a push of a manifest.

    ``missing`` counts what it names and the repository does not have, ``wrong_sizes`` the sizes that it states and
    blobs do not have.
    """

    digest: Digest
    tags: tuple[str, ...]
    subject: Digest | None
    missing: int
    wrong_sizes: int


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload as its record has it.

    ``owner`` is the actor who began it, empty for an anonymous client; None where a version recorded it that kept none.
    """

    id: str
    repository: RepositoryName
    algorithm: str
    offset: int
    digest_state: bytes | None
    owner: str | None

    def is_open_to(self, repository: str, actor: str) -> bool:
        """True if ``actor`` may go on with it in ``repository``."""
        return self.repository == repository and self.owner in {None, actor}


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing; ``last`` is what the next part begins after, empty when there is none."""

    items: tuple[str, ...]
    last: str


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that names another as its subject, with what its descriptor in a listing needs."""

    media_type: str
    digest: Digest
    size_bytes: int
    artifact_type: str
    annotations: str
    """A JSON object of texts, as it may stand in the descriptor; empty where there are none."""


@dataclass(frozen=True, slots=True)
class ReferrerPage:
    """A part of a list of referrers; ``last`` as in ``Page``."""

    items: tuple[Referrer, ...]
    last: str


@dataclass(frozen=True, slots=True)
class TagSummary:
    """A tag with what a person wants to see of it."""

    name: str
    digest: Digest
    media_type: str
    artifact_type: str
    updated_ms: int


@dataclass(frozen=True, slots=True)
class RepositorySummary:
    """A repository with what a person wants to see of it."""

    name: str
    tags: int
    manifests: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals of a registry; sizes in bytes."""

    repositories: int
    tags: int
    manifests: int
    manifest_bytes: int
    blobs: int
    blob_bytes: int
    quarantined: int
    uploads: int
    upload_bytes: int
