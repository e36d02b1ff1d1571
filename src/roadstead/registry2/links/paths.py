"""The paths of registry:2 and registry:3 below the storage root; taken from their source and measured.

::

    docker/registry/v2/
        blobs/<algorithm>/<first 2 hex>/<hex>/data              bytes of blobs and of manifests
        repositories/<name>/
            _layers/<algorithm>/<hex>/link                      the repository may read this blob
            _manifests/revisions/<algorithm>/<hex>/link         the repository has this manifest
            _manifests/tags/<tag>/current/link                  what the tag points at
            _manifests/tags/<tag>/index/<algorithm>/<hex>/link  what it ever pointed at
            _uploads/<uuid>/{startedat,data,hashstates/…}       an upload that was not finished
    scheduler-state.json                                        only of a pull-through cache

A ``link`` is the text of a digest, without an end of line. The content is what counts, the path only says under which
name it was asked for. In a path the characters ``+ . ;`` of an algorithm are separators of folders.
"""

from typing import Final

from roadstead.oci import Digest, RepositoryName, Tag
from roadstead.oci.errors import DigestInvalidError
from roadstead.registry.layout import BLOBS

ROOT: Final = "docker/registry/v2"
REPOSITORIES: Final = f"{ROOT}/repositories"
SCHEDULER_STATE: Final = "scheduler-state.json"

LAYERS: Final = "_layers"
MANIFESTS: Final = "_manifests"
UPLOADS: Final = "_uploads"
REVISIONS: Final = "_manifests/revisions"
TAGS: Final = "_manifests/tags"
LINK: Final = "link"
SIGNATURES: Final = "signatures"

LINK_BYTES: Final = 256
"""Length of a link at most; the longest that can mean something, that of a sha512 digest, has 135."""

TOP_FOLDERS: Final = frozenset({"docker", "docker/registry", ROOT, BLOBS, REPOSITORIES})
"""Folders that only an administrator makes, maybe as symbolic links to another disk."""


def repository_folder(name: str) -> str:
    """Returns a repository's folder."""
    return f"{REPOSITORIES}/{name}"


def layer_link(repository: RepositoryName | str, digest: Digest) -> str:
    """Returns the key of the link by which a repository may read a blob."""
    return f"{repository_folder(repository)}/{LAYERS}/{digest.algorithm}/{digest.encoded}/{LINK}"


def revision_link(repository: RepositoryName | str, digest: Digest) -> str:
    """Returns the key of the link by which a repository has a manifest."""
    return f"{repository_folder(repository)}/{REVISIONS}/{digest.algorithm}/{digest.encoded}/{LINK}"


def tag_folder(repository: RepositoryName | str, tag: Tag | str) -> str:
    """Returns a tag's folder."""
    return f"{repository_folder(repository)}/{TAGS}/{tag}"


def current_link(repository: RepositoryName | str, tag: Tag | str) -> str:
    """Returns the key of the link to the manifest that a tag points at."""
    return f"{tag_folder(repository, tag)}/current/{LINK}"


def index_link(repository: RepositoryName | str, tag: Tag | str, digest: Digest) -> str:
    """Returns the key of the link that says that a tag once pointed at a manifest."""
    return f"{tag_folder(repository, tag)}/index/{digest.algorithm}/{digest.encoded}/{LINK}"


def find_digest(algorithm: str, encoded: str) -> Digest | None:
    """Returns the supported digest that the last two parts of a path spell, or None."""
    return parse_digest(f"{algorithm}:{encoded}")


def parse_digest(text: str) -> Digest | None:
    """Returns the supported digest that ``text`` is, or None."""
    try:
        return Digest.parse(text)
    except DigestInvalidError:
        return None
