"""Secrets that the servers of an installation share, sealed under a master key that is not in the catalogue.

What brings ``cryptography`` (``service``, ``rotation``, ``key_file``, ``keyring``) is imported where it is needed: most
commands, and servers without secrets, are spared the time and the memory.
"""

from roadstead.secrets.errors import (
    MasterKeyError,
    MasterKeyInvalidError,
    MasterKeyMissingError,
    MasterKeyUnknownError,
    MasterKeyUnreadableError,
    RotationSupersededError,
    SecretDamagedError,
    SecretError,
    SecretKindError,
    SecretNameInvalidError,
    SecretsExceededError,
    SecretStateInvalidError,
    SecretUnknownError,
)
from roadstead.secrets.model import SecretKind, SecretRecord, SigningKey
from roadstead.secrets.tables import secrets

__all__ = [
    "MasterKeyError",
    "MasterKeyInvalidError",
    "MasterKeyMissingError",
    "MasterKeyUnknownError",
    "MasterKeyUnreadableError",
    "RotationSupersededError",
    "SecretDamagedError",
    "SecretError",
    "SecretKind",
    "SecretKindError",
    "SecretNameInvalidError",
    "SecretRecord",
    "SecretStateInvalidError",
    "SecretUnknownError",
    "SecretsExceededError",
    "SigningKey",
    "secrets",
]
