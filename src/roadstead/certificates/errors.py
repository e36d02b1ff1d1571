"""Errors of certificates, for the person who runs the server: they name files and remedies."""

from pathlib import Path

from roadstead.errors import RoadsteadError


class CertificateError(RoadsteadError):
    """An error of a certificate: the base of all errors in this module."""


class CertificateUnreadableError(CertificateError):
    """A file with a certificate or key is not there or may not be read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; check the path, and that the server's user may read it")
        self.path = path


class CertificateInvalidError(CertificateError):
    """A file does not hold a certificate or key as it should."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path


class KeyEncryptedError(CertificateError):
    """A key is protected by a password, which nobody is there to enter."""

    def __init__(self, path: Path) -> None:
        remedy = f"write one without: `openssl pkey -in {path} -out NEW.key`, readable only by the server's user"
        super().__init__(f"{path}: the key is protected by a password; {remedy}")
        self.path = path


class KeyMismatchError(CertificateError):
    """A key belongs to another certificate."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(
            f"{key}: this is not the key of the certificate in {certificate};"
            " the certificate of the server must come first in its file, before its chain"
        )
        self.path = key


class CertificateExistsError(CertificateError):
    """A file would have been overwritten, or one of certificate and key is there without the other."""

    def __init__(self, path: Path, remedy: str) -> None:
        super().__init__(f"{path} exists; {remedy}")
        self.path = path


class CertificateNameInvalidError(CertificateError):
    """A name of a host or user is one for which no certificate can be made."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r}: {reason}")
        self.name = name


class CertificateOrderError(CertificateError):
    """An ACME server gave no certificate. ``retry_after_seconds``: how long it wants no further order."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class TrustFolderError(CertificateError):
    """A file of authorities that a client trusts cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}; this is usually done by root")
        self.path = path
