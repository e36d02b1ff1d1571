"""Content digests: ``algorithm:encoded``.

Source: image specification, descriptor.md, section "Digests".
"""

import hashlib
import re
from typing import Final, Self

from roadstead.oci.errors import DigestInvalidError

ENCODED_LENGTHS: Final = {"sha256": 64, "sha512": 128}
"""Supported algorithms and the number of hexadecimal digits of each."""

MAXIMUM_LENGTH: Final = 1024
"""Longer texts are refused before a regular expression sees them; the longest supported digest has 135 characters."""

_GRAMMAR: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_SUPPORTED: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class Digest(str):
    """A valid digest of a supported algorithm; compares and hashes as its text."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a digest.

        Raises:
            DigestInvalidError: it is malformed, of an unsupported algorithm, or of the wrong length.
        """
        if _SUPPORTED.fullmatch(text):
            return cls(text)
        raise DigestInvalidError(text[:MAXIMUM_LENGTH], _reason(text))

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Returns the digest of ``content``; ``algorithm`` is one of ``ENCODED_LENGTHS``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self[:6]

    @property
    def encoded(self) -> str:
        """The hexadecimal part."""
        return self[7:]


def _reason(text: str) -> str:
    if len(text) > MAXIMUM_LENGTH:
        return f"longer than {MAXIMUM_LENGTH} characters"
    if not _GRAMMAR.fullmatch(text):
        return "expected algorithm:hexadecimal, such as sha256:… with 64 digits"
    algorithm = text.partition(":")[0]
    length = ENCODED_LENGTHS.get(algorithm)
    if length is None:
        return f"unsupported algorithm {algorithm}; supported are {', '.join(ENCODED_LENGTHS)}"
    return f"{algorithm} needs {length} lower-case hexadecimal digits"


def parse_algorithm(text: str) -> str:
    """Returns ``text`` if it names a supported algorithm.

    Raises:
        DigestInvalidError: it does not.
    """
    if text in ENCODED_LENGTHS:
        return text
    raise DigestInvalidError(
        text[:MAXIMUM_LENGTH], f"unsupported algorithm; supported are {', '.join(ENCODED_LENGTHS)}"
    )
