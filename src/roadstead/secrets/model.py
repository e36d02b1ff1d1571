"""Secrets as values, apart from how they are kept."""

import enum
import re
from dataclasses import dataclass
from typing import Final

from roadstead.secrets.errors import SecretNameInvalidError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")


class SecretKind(enum.StrEnum):
    """The kinds of secrets."""

    SIGNING_KEY = "signing key"
    """Chance that the registry itself made: it can be renewed at any time, at the price of what was signed."""
    CREDENTIAL = "credential"
    """Given by another system, or to it: only people can renew it."""


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """A secret without its value.

    ``key_id`` is the master key that it is sealed under. ``verifies_until_ms`` (grace time) is when an older generation
    of a signing key ends; None for the one that signs, and for credentials.
    """

    name: str
    generation: int
    kind: SecretKind
    key_id: str
    created_ms: int
    verifies_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A generation of a signing key.

    ``id`` belongs to this value and no other, and gives nothing away: what is signed names it. ``value`` are 32 bytes
    of chance, for HMAC or as the seed of a key pair.
    """

    id: str
    generation: int
    value: bytes
    verifies_until_ms: int | None = None

    def __repr__(self) -> str:
        """Without the value."""
        return f"SigningKey(id={self.id!r}, generation={self.generation})"


def require_name(name: str) -> None:
    """Sees that ``name`` may be a secret's.

    Raises:
        SecretNameInvalidError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise SecretNameInvalidError(name)
