"""Users, their passwords, and the memory of their logins."""

from roadstead.identity.errors import (
    AttemptsExceededError,
    CredentialsInvalidError,
    PasswordFileInvalidError,
    PasswordFileUnavailableError,
)
from roadstead.identity.hashes import HashKind, HashRefusedError
from roadstead.identity.htpasswd import HtpasswdFile
from roadstead.identity.passwords import Passwords

__all__ = [
    "AttemptsExceededError",
    "CredentialsInvalidError",
    "HashKind",
    "HashRefusedError",
    "HtpasswdFile",
    "PasswordFileInvalidError",
    "PasswordFileUnavailableError",
    "Passwords",
]
