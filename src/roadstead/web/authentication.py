"""Authenticates requests: from a request to a caller.

==================================  ==================================================================================
what a request brings               who that is
==================================  ==================================================================================
nothing                             nobody who has logged in
a user and password (RFC 7617)      that user; a wrong one is refused everywhere, even where nobody needs to log in
an empty user and password          nobody: what podman and skopeo send when they have no credentials
a verified client certificate       the user that it names (the connection has put it into the scope)
both                                both must be valid, and the user of the password counts: a certificate often
                                    belongs to a machine, a password to who works there
==================================  ==================================================================================

Where nobody can log in (``authentication.mode: none``) passwords are not looked at.

The answer to who has to log in is registry:2's: 401, ``WWW-Authenticate: Basic realm="…"``, code ``UNAUTHORIZED``. It
costs no hash.
"""

import binascii
from typing import Final

from roadstead.access import Caller, Policy
from roadstead.identity import CredentialsInvalidError, Passwords
from roadstead.web.context import CERTIFICATE_USER_KEY
from roadstead.web.http import Scope

_BASIC: Final = b"basic "
_EMPTY: Final = b":"


class Authentication:
    """The authentication of requests; used from the event loop only."""

    def __init__(self, policy: Policy, passwords: Passwords | None = None, *, realm: str = "roadstead") -> None:
        """Keeps its arguments; without ``passwords`` only a client certificate lets somebody log in."""
        self.policy = policy
        self.realm = realm
        self._passwords = passwords

    @property
    def can_log_in(self) -> bool:
        """True if a password would help."""
        return self._passwords is not None

    def recall(self, scope: Scope) -> Caller | None:
        """Returns the caller if it is known without a hash; None means that ``identify`` has to find out."""
        if self._passwords is not None:
            credential = _credential(scope)
            if credential is not None:
                name = self._passwords.recall(credential)
                return self.policy.caller(name) if name else None
        return self._without_password(scope)

    async def identify(self, scope: Scope) -> Caller:
        """Returns the caller of a request that ``recall`` does not know.

        Raises:
            CredentialsInvalidError: the credentials are malformed or wrong.
            AttemptsExceededError: this client has to wait before another password is looked at.
            PasswordFileUnavailableError: no password can be checked at the moment.
        """
        credential = _credential(scope)
        if self._passwords is None or not credential:
            raise CredentialsInvalidError
        if credential == _EMPTY:
            return self._without_password(scope)
        client = scope["client"]
        return self.policy.caller(await self._passwords.login(credential, client[0] if client else ""))

    def _without_password(self, scope: Scope) -> Caller:
        name: str | None = scope.get(CERTIFICATE_USER_KEY)
        return self.policy.caller(name) if name else self.policy.anonymous

    def find_problem(self) -> str:
        """Returns the reason why no password can be checked, or an empty text; the log has it and unusable lines."""
        return self._passwords.find_problem() if self._passwords is not None else ""

    def read_again(self) -> None:
        """Reads the password file anew before the next login."""
        if self._passwords is not None:
            self._passwords.read_again()

    def close(self) -> None:
        """Closes the passwords."""
        if self._passwords is not None:
            self._passwords.close()


def _credential(scope: Scope) -> bytes | None:
    """Returns user and password, joined by a colon; None if a request has none, empty if it has something else."""
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            found = value if found is None else b""  # with several it is not clear which one counts
    return None if found is None else _decoded(found)


def _decoded(value: bytes) -> bytes:
    if value[: len(_BASIC)].lower() != _BASIC:
        return b""
    try:
        return binascii.a2b_base64(value[len(_BASIC) :].strip(b" "), strict_mode=True)
    except binascii.Error:
        return b""
