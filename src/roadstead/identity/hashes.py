"""Checks passwords against the kinds of hashes that htpasswd files have.

==============  ===========================  ==========================================================================
kind            begins with                  written by
==============  ===========================  ==========================================================================
bcrypt          ``$2y$ $2a$ $2b$``           ``htpasswd -B``, ``roadstead htpasswd``; all that registry:2 takes
apr1            ``$apr1$``                   ``htpasswd`` unless asked otherwise; fast to guess
SHA-crypt       ``$5$ $6$``                  ``htpasswd -2`` and ``-5``, ``openssl passwd -5`` and ``-6``, mkpasswd
SHA-1           ``{SHA}``                    ``htpasswd -s``; no salt, very fast to guess
==============  ===========================  ==========================================================================

Everything else is refused with a word that says what it seems to be: passwords in plain text, crypt(3)'s DES (which
sees eight characters and takes minutes to guess), kinds that cost more than a login may, kinds that are unknown here.

The file is the administrator's, so the bounds on cost are no defence against its author; they keep a slip of the
keyboard, such as a zero too many in ``rounds=``, from taking the processor at every login.
"""

import base64
import enum
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any, Final

from roadstead.errors import RoadsteadError

BCRYPT_BYTES: Final = 72
"""Number of a password's bytes that bcrypt uses; Apache and registry:2 compare as many, so do we."""

BCRYPT_COST_MAXIMUM: Final = 16
"""Highest cost that is checked: four seconds a login; each step doubles it."""

SHA_CRYPT_ROUNDS_MAXIMUM: Final = 1_000_000
"""Highest number of rounds that are checked: about a second a login."""

SHA_CRYPT_ROUNDS_DEFAULT: Final = 5000
"""Number of rounds of hashes that do not state it (the specification of SHA-crypt)."""

SHA_CRYPT_ROUNDS_MINIMUM: Final = 1000
"""Number of rounds that a smaller number stands for (the same specification)."""

_BCRYPT: Final = re.compile(rb"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_APR1: Final = re.compile(rb"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}")
_SHA_CRYPT: Final = re.compile(
    rb"\$(?:5\$(?:rounds=(\d{1,9})\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{43}"
    rb"|6\$(?:rounds=(\d{1,9})\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86})"
)
_SHA1: Final = re.compile(rb"\{SHA\}[A-Za-z0-9+/]{27}=")
_DES: Final = re.compile(rb"[./A-Za-z0-9]{13}")

_FOREIGN: Final = {
    b"$1$": "MD5-crypt is not supported",
    b"$2x$": "this is a hash of a bcrypt that was broken",
    b"$y$": "yescrypt is not supported",
    b"$7$": "scrypt is not supported",
    b"$argon2": "Argon2 is not supported",
    b"{SSHA}": "salted SHA-1 is not supported",
    b"{PLAIN}": "the password stands there in plain text",
}
"""Beginnings of hashes that other programs write into such files, with the reason why they are refused."""

_PREFIXES: Final = (b"$2a$", b"$2b$", b"$2y$", b"$apr1$", b"$5$", b"$6$", b"{SHA}")
_REMEDY: Final = "set the password again with `roadstead htpasswd`"


class HashKind(enum.StrEnum):
    """The kinds of hashes that are checked."""

    BCRYPT = "bcrypt"
    APR1 = "apr1"
    SHA256_CRYPT = "sha256-crypt"
    SHA512_CRYPT = "sha512-crypt"
    SHA1 = "sha1"

    @property
    def is_weak(self) -> bool:
        """True if anybody who sees the file can guess ordinary passwords in hours."""
        return self in {HashKind.APR1, HashKind.SHA1}


class HashRefusedError(RoadsteadError):
    """A hash is refused without a check; ``str`` gives the reason, without the hash."""


@dataclass(frozen=True, slots=True)
class HashCost:
    """The cost of checking a password; two checks of the same cost take the same time."""

    kind: HashKind
    rounds: int


def cost_of(hashed: bytes) -> HashCost:
    """Returns the kind and cost of a hash.

    Raises:
        HashRefusedError: it is of no kind that is checked here, or damaged, or costs too much.
    """
    if match := _BCRYPT.fullmatch(hashed):
        return _bcrypt_cost(int(match[1]))
    if _APR1.fullmatch(hashed):
        return HashCost(HashKind.APR1, 1000)
    if match := _SHA_CRYPT.fullmatch(hashed):
        kind = HashKind.SHA256_CRYPT if hashed.startswith(b"$5$") else HashKind.SHA512_CRYPT
        return _sha_crypt_cost(kind, int(match[1] or match[2] or SHA_CRYPT_ROUNDS_DEFAULT))
    if _SHA1.fullmatch(hashed):
        return HashCost(HashKind.SHA1, 1)
    raise HashRefusedError(f"{_what_else(hashed)}; {_REMEDY}")


def _bcrypt_cost(cost: int) -> HashCost:
    if not 4 <= cost <= 31:  # noqa: PLR2004 - bcrypt's own bounds
        raise HashRefusedError(f"the hash is damaged or cut off; {_REMEDY}")
    if cost > BCRYPT_COST_MAXIMUM:
        raise HashRefusedError(f"bcrypt with a cost of {cost} takes too long, at most {BCRYPT_COST_MAXIMUM}; {_REMEDY}")
    return HashCost(HashKind.BCRYPT, cost)


def _sha_crypt_cost(kind: HashKind, rounds: int) -> HashCost:
    if rounds > SHA_CRYPT_ROUNDS_MAXIMUM:
        limit = f"{kind} with {rounds} rounds takes too long, at most {SHA_CRYPT_ROUNDS_MAXIMUM}"
        raise HashRefusedError(f"{limit}; {_REMEDY}")
    if rounds < SHA_CRYPT_ROUNDS_MINIMUM:
        raise HashRefusedError(f"{kind} has at least {SHA_CRYPT_ROUNDS_MINIMUM} rounds; {_REMEDY}")
    return HashCost(kind, rounds)


def _what_else(hashed: bytes) -> str:
    if not hashed:
        return "there is no hash"
    for prefix, word in _FOREIGN.items():
        if hashed.startswith(prefix):
            return word
    if hashed.startswith(_PREFIXES):
        return "the hash is damaged or cut off"
    if _DES.fullmatch(hashed):
        return "crypt(3) with DES is not supported: it sees eight characters of a password"
    if hashed.startswith((b"$", b"{")):
        return "the kind of hash is unknown"
    return "there is no hash but, it seems, a password in plain text"


def verify(password: bytes, hashed: bytes) -> bool:
    """Returns True if a hash is of this password, in constant time; from any thread, and slow on purpose.

    A password with a zero byte is nobody's: what libraries make of one differs.
    """
    if b"\0" in password:
        return False
    if hashed.startswith(b"{SHA}"):
        return hmac.compare_digest(sha1(password), hashed)
    if hashed.startswith(b"$2"):
        import bcrypt  # noqa: PLC0415 - only where there are passwords

        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed)
    from passlib.handlers.md5_crypt import apr_md5_crypt  # type: ignore[import-untyped]  # noqa: PLC0415 - 70 ms
    from passlib.handlers.sha2_crypt import sha256_crypt, sha512_crypt  # type: ignore[import-untyped]  # noqa: PLC0415

    kinds: dict[bytes, Any] = {b"$a": apr_md5_crypt, b"$5": sha256_crypt, b"$6": sha512_crypt}
    return bool(kinds[hashed[:2]].verify(password, hashed.decode("ascii")))


def sha1(password: bytes) -> bytes:
    """Returns a hash as ``htpasswd -s`` writes it."""
    return b"{SHA}" + base64.b64encode(hashlib.sha1(password).digest())  # noqa: S324 - the file's kind, not our choice


def bcrypt_hash(password: bytes, cost: int) -> bytes:
    """Returns a new hash, as ``htpasswd -B`` writes it."""
    import bcrypt  # noqa: PLC0415 - only where there are passwords

    hashed: bytes = bcrypt.hashpw(password, bcrypt.gensalt(cost))
    return b"$2y$" + hashed[4:]  # the same algorithm under the name that Apache and registry:2 know
