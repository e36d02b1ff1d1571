"""Repository names, tags, and references (a tag or a digest in a URL).

Source: distribution specification, section "Pulling manifests".
"""

import re
from typing import Final, Self

from roadstead.oci.digest import Digest
from roadstead.oci.errors import NameInvalidError, TagInvalidError

MAXIMUM_NAME_LENGTH: Final = 255
"""Clients limit ``host/name`` to 255 characters, so a longer name could not be pulled by them."""

_NAME_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_NAME_COMPONENT}(?:/{_NAME_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class RepositoryName(str):
    """A valid repository name; its full text is the repository's identity."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a repository's name.

        Raises:
            NameInvalidError: it does not follow the grammar or is longer than 255 characters.
        """
        if len(text) > MAXIMUM_NAME_LENGTH:
            raise NameInvalidError(text[:MAXIMUM_NAME_LENGTH], f"longer than {MAXIMUM_NAME_LENGTH} characters")
        if not _NAME.fullmatch(text):
            raise NameInvalidError(
                text,
                "components are lower-case letters and digits, joined by one . or _, by __, or by any number of -,"
                " and separated by /",
            )
        return cls(text)


class Tag(str):
    """A valid tag."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a tag.

        Raises:
            TagInvalidError: it does not follow the grammar.
        """
        if not _TAG.fullmatch(text):
            raise TagInvalidError(text[:256])
        return cls(text)


def parse_reference(text: str) -> Tag | Digest:
    """Returns a digest if ``text`` has a colon, which no tag has; otherwise a tag.

    Raises:
        DigestInvalidError: it has a colon and is no supported digest.
        TagInvalidError: it has none and is no tag.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def referrers_tag(subject: Digest) -> Tag:
    """Returns the tag under which clients of registries without the referrers API keep the list of referrers.

    Source: distribution specification, section "Referrers Tag Schema".
    """
    return Tag(f"{subject.algorithm[:32]}-{subject.encoded[:64]}")
