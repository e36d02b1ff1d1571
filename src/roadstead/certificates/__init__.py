"""Makes, reads, orders, renews and trusts certificates. Light to import; only the modules need ``cryptography``."""

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
