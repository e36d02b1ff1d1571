"""Certificates: made, read, ordered, renewed and trusted. Light to import; ``cryptography`` comes with the modules."""

from roadstead.certificates.errors import (
    CertificateError,
    CertificateExistsError,
    CertificateInvalidError,
    CertificateNameInvalidError,
    CertificateOrderError,
    CertificateUnreadableError,
    KeyEncryptedError,
    KeyMismatchError,
    TrustFolderError,
)

__all__ = [
    "CertificateError",
    "CertificateExistsError",
    "CertificateInvalidError",
    "CertificateNameInvalidError",
    "CertificateOrderError",
    "CertificateUnreadableError",
    "KeyEncryptedError",
    "KeyMismatchError",
    "TrustFolderError",
]
