"""Ids of upload sessions that prove by themselves who gave them out, for what, and when.

An id is a UUID of version 8 (RFC 9562, section 5.8): when it was given out, chance, and a code over these, the
repository, the algorithm, the owner and this run of the machine, made with the registry's own secret. So a session that
has no bytes yet needs no record: any process of the registry, also one started a moment later, recognises its id. An id
of another repository or owner, one that somebody made up, and one from before the machine was started anew are not
recognised.

Where replicas share the catalogue they recognise each other's ids, which then say grace time, and name no run: what
ended a session stays known when a replica loses its power, since the catalogue is a server's.
"""

import hashlib
import secrets
from typing import Final

from roadstead.clock import Clock
from roadstead.oci import RepositoryName

YOUNG_SECONDS: Final = 60.0
"""For so long an id may stand for a session without a record; by then every session that lives has one.

By so much, too, the clock of one replica may be ahead of another's.
"""

KEY_BYTES: Final = 32
ALGORITHMS: Final = ("sha256", "sha512")

_STAMP_BITS: Final = 36
"""Milliseconds of the machine's monotonic clock, or of grace time: two years, after which they begin anew."""
_CHANCE_BITS: Final = 34
"""Ids that one repository is given in one millisecond must differ."""
_CODE_BITS: Final = 52
"""Whoever guesses one, at a request each, has begun an upload where he may push anyway."""


class SessionIds:
    """Gives ids out and recognises them."""

    def __init__(self, key: bytes, boot_id: bytes, clock: Clock, *, is_shared: bool = False) -> None:
        """``key`` is the registry's secret, ``boot_id`` tells one run of the machine from another.

        ``is_shared``: other machines are to recognise what this one gives out.
        """
        self._key = key
        self._boot_id = b"" if is_shared else boot_id
        self._clock = clock
        self._is_shared = is_shared

    def issue(self, repository: RepositoryName, algorithm: str, owner: str) -> str:
        """An id that nobody has."""
        head = self._stamp() << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)
        return _uuid(head << _CODE_BITS | self._code(head, repository, algorithm, owner))

    def find_algorithm(self, repository: RepositoryName, session_id: str, owner: str) -> str | None:
        """The algorithm of a session that ``issue`` gave out for both of these less than ``YOUNG_SECONDS`` ago."""
        number = _number(session_id)
        if number is None or not self._is_young(number):
            return None
        head, code = number >> _CODE_BITS, number & (1 << _CODE_BITS) - 1
        return next((each for each in ALGORITHMS if self._code(head, repository, each, owner) == code), None)

    def is_young(self, session_id: str) -> bool:
        """True if a session with this id, should there be one, may still be without a record."""
        number = _number(session_id)
        return number is not None and self._is_young(number)

    def _is_young(self, number: int) -> bool:
        ahead_ms = int(YOUNG_SECONDS * 1000) if self._is_shared else 0
        age = self._stamp() + ahead_ms - (number >> _CHANCE_BITS + _CODE_BITS) & (1 << _STAMP_BITS) - 1
        return age <= YOUNG_SECONDS * 1000 + ahead_ms

    def _stamp(self) -> int:
        now_ms = self._clock.grace_ms() if self._is_shared else int(self._clock.monotonic_seconds() * 1000)
        return now_ms & (1 << _STAMP_BITS) - 1

    def _code(self, head: int, repository: RepositoryName, algorithm: str, owner: str) -> int:
        # The owner stands last, since it is the only one that may have spaces in it.
        said = b"%d %b %b %b %b" % (head, algorithm.encode(), repository.encode(), self._boot_id, _encoded(owner))
        found = hashlib.blake2b(said, key=self._key, digest_size=8).digest()
        return int.from_bytes(found, "big") >> 64 - _CODE_BITS


def _encoded(owner: str) -> bytes:
    return owner.encode("utf-8", "surrogatepass")


def new_key() -> str:
    """A secret for ``SessionIds``, as hexadecimal digits."""
    return secrets.token_hex(KEY_BYTES)


def _uuid(number: int) -> str:
    """122 bits as a UUID: 48 bits, the version, 12 bits, the variant, 62 bits."""
    text = f"{number >> 74:012x}8{number >> 62 & 0xFFF:03x}{0b10 << 62 | number & (1 << 62) - 1:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _number(text: str) -> int | None:
    """The 122 bits of a UUID as ``_uuid`` writes it, None for any other text."""
    try:
        whole = int(text.replace("-", ""), 16)
    except ValueError:
        return None
    number = whole >> 80 << 74 | (whole >> 64 & 0xFFF) << 62 | whole & (1 << 62) - 1
    return number if _uuid(number) == text else None
