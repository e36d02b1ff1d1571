"""Master keys: their text, their ids, and the sealing of values under them.

A master key is 256 bits of chance, written as 64 hexadecimal digits. A keyring has one or several, the newest first;
all open what was sealed under them. Sealing is AES-256 in Galois/counter mode (NIST SP 800-38D) as the package
``cryptography`` has it, with a nonce of chance for each value. The kind, name and generation of a secret are sealed in
as associated data: a value that is moved to another row does not open. What is sealed under one key in its life is far
below the 2^32 values that nonces of chance allow.

The key of the cipher and the id of a master key are both derived from it (HKDF, RFC 5869), so the id, which stands in
the catalogue and in messages, gives nothing away.
"""

import re
from collections.abc import Sequence
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from roadstead.secrets.errors import MasterKeyInvalidError, SecretDamagedError
from roadstead.secrets.model import SecretRecord

KEY_BYTES: Final = 32
MOST_KEYS: Final = 100
"""Keys in one keyring: one for each rotation whose backups somebody may still want to open."""

LEAST_DIFFERENT: Final = 12
"""Different bytes in a key: 32 bytes of chance have about 30, a placeholder such as 0000… one."""

REMEDY: Final = (
    "a master key is 64 hexadecimal digits, one key a line, the newest first; `roadstead secrets new-key` makes one"
)

_VERSION: Final = b"\x01"
"""The form of sealed values: this byte, the nonce, what AES-GCM gives."""
_NONCE_BYTES: Final = 12
_LABEL: Final = b"roadstead secret"
_SEPARATORS: Final = re.compile(r"[\s,]+")
_COMMENT: Final = re.compile(r"#.*")
_DIGITS: Final = re.compile(r"[0-9a-fA-F]+")


class MasterKey:
    """A master key."""

    def __init__(self, key: bytes) -> None:
        """``key`` has ``KEY_BYTES`` bytes of chance."""
        self.id = _derive(key, b"roadstead master key: id", 8).hex()
        """Its name, 16 hexadecimal digits, for anybody to see."""
        self._cipher = AESGCM(_derive(key, b"roadstead master key: sealing", KEY_BYTES))

    def seal(self, value: bytes, record: SecretRecord) -> bytes:
        """Returns ``value`` sealed as that of ``record``."""
        nonce = token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, value, _associated(record))

    def open(self, sealed: bytes, record: SecretRecord) -> bytes:
        """Returns the value that was sealed as that of ``record``.

        Raises:
            SecretDamagedError: it was not, or is damaged.
        """
        head = len(_VERSION) + _NONCE_BYTES
        if sealed[: len(_VERSION)] != _VERSION:
            raise SecretDamagedError(record.name, record.generation)
        try:
            return self._cipher.decrypt(sealed[len(_VERSION) : head], sealed[head:], _associated(record))
        except (InvalidTag, ValueError):
            raise SecretDamagedError(record.name, record.generation) from None


class Keyring:
    """Master keys, the newest first; at least one."""

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        self.newest = keys[0]
        self._by_id = {key.id: key for key in keys}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, the newest key's first."""
        return tuple(self._by_id)

    def find(self, key_id: str) -> MasterKey | None:
        """The key of that id."""
        return self._by_id.get(key_id)

    @classmethod
    def parse(cls, text: str, source: str) -> "Keyring":
        """Reads keys from a file's or a setting's text; ``source`` names it for messages.

        Keys are separated by line ends (of whatever system), blanks or commas; ``#`` begins a comment.

        Raises:
            MasterKeyInvalidError: it has no key, or something that is none.
        """
        lines = text.removeprefix("\ufeff").splitlines()
        words = [word for line in lines for word in _SEPARATORS.split(_COMMENT.sub("", line)) if word]
        if not words:
            raise MasterKeyInvalidError("there is no master key in it", source, REMEDY)
        if len(words) > MOST_KEYS:
            remedy = "remove the last lines, of keys that no backup needs any more"
            raise MasterKeyInvalidError(f"there are more than {MOST_KEYS} master keys in it", source, remedy)
        return cls([MasterKey(_decoded(word, number, source)) for number, word in enumerate(words, 1)])


def new_key() -> str:
    """Returns a new master key as text."""
    return token_bytes(KEY_BYTES).hex()


def signing_key_id(value: bytes) -> str:
    """Returns the id of a signing key's value: 16 hexadecimal digits."""
    return _derive(value, b"roadstead signing key: id", 8).hex()


def _decoded(word: str, number: int, source: str) -> bytes:
    which = f"key {number} in it"
    if not _DIGITS.fullmatch(word):
        raise MasterKeyInvalidError(f"{which} is no master key", source, REMEDY)
    if len(word) != 2 * KEY_BYTES:
        problem = f"{which} has {len(word)} digits, not {2 * KEY_BYTES}"
        raise MasterKeyInvalidError(problem, source, REMEDY)
    key = bytes.fromhex(word)
    if len(set(key)) < LEAST_DIFFERENT:
        raise MasterKeyInvalidError(f"{which} is not made by chance", source, REMEDY)
    return key


def _derive(key: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(key)


def _associated(record: SecretRecord) -> bytes:
    """Names have no NUL, so no two records have the same bytes."""
    return b"\0".join([_LABEL, record.kind.encode(), record.name.encode(), b"%d" % record.generation])
