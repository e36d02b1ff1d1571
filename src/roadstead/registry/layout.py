"""Where bytes are, below the storage root. Blobs stand where registry:2 puts them; nothing of ours stands in its tree.

::

    docker/registry/v2/
        blobs/<algorithm>/<first 2 hex>/<hex>/data      a blob: only the bytes
    uploads/<session id>                                the bytes of an upload session so far
    locks/<number>                                      held while a blob is committed or put into quarantine
    locks/probe                                         a few bytes that the health check writes
    quarantine/<algorithm>/<hex>                        a blob whose bytes were found damaged, kept as evidence
    aside/<token>-<hash>/data                           a blob on its way out (see ``roadstead.storage.set_aside``)
    objects/<hex>                                       in a bucket: a blob, or a part of one
    clocks/<hex>                                        in a bucket: made to see the store's time, for a moment
    stamp/catalogue                                     a number that a catalogue on a server is never behind
"""

import secrets
from typing import Final

from roadstead.oci import Digest
from roadstead.oci.errors import DigestInvalidError
from roadstead.storage.protocol import INCOMING

BLOBS: Final = "docker/registry/v2/blobs"
UPLOADS: Final = INCOMING
OBJECTS: Final = "objects"
CLOCKS: Final = "clocks"
QUARANTINE: Final = "quarantine"
STAMP: Final = "stamp/catalogue"
"""See ``roadstead.registry.operation.confirmation``."""


def blob_key(digest: Digest) -> str:
    """The key of a blob."""
    encoded = digest.encoded
    return f"{BLOBS}/{digest.algorithm}/{encoded[:2]}/{encoded}/data"


def blob_digest(key: str) -> Digest | None:
    """The digest whose key this is, None if it is no blob's."""
    parts = key.removeprefix(f"{BLOBS}/").split("/")
    if len(parts) != 4 or parts[3] != "data" or not key.startswith(f"{BLOBS}/"):  # noqa: PLR2004 - see the layout
        return None
    digest = f"{parts[0]}:{parts[2]}"
    try:
        parsed = Digest.parse(digest)
    except DigestInvalidError:
        return None
    return parsed if blob_key(parsed) == key else None


def new_object_key() -> str:
    """A key that was never used before. Lower-case hex, in which no store's client sees anything."""
    return f"{OBJECTS}/{secrets.token_hex(16)}"


def upload_key(session_id: str) -> str:
    """The key of an upload session's bytes."""
    return f"{UPLOADS}/{session_id}"


def quarantine_key(digest: Digest) -> str:
    """The key to which a damaged blob is moved."""
    return f"{QUARANTINE}/{digest.algorithm}/{digest.encoded}"
