"""Reads certificates and keys from PEM files, and checks that they fit together."""

import datetime as dt
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from roadstead.certificates.errors import (
    CertificateInvalidError,
    CertificateUnreadableError,
    KeyEncryptedError,
    KeyMismatchError,
)
from roadstead.certificates.model import CertificateFacts

LARGEST_FILE: Final = 4 << 20
"""Size of a file in bytes at most; all public authorities together take a quarter of a megabyte."""

_PEM: Final = "-----BEGIN CERTIFICATE-----"


def read_file(path: Path) -> bytes:
    """Reads the content of a small file.

    Raises:
        CertificateUnreadableError: it cannot be read, or is no file that could hold certificates.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise CertificateUnreadableError(path, _reason(error)) from error
    if len(content) > LARGEST_FILE:
        raise CertificateUnreadableError(path, "too large for certificates")
    return content


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Reads all certificates of a PEM file, in its order.

    Raises:
        CertificateUnreadableError: the file cannot be read.
        CertificateInvalidError: there is none in it, or one is damaged.
    """
    content = read_file(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        remedy = f"it must be PEM, with lines {_PEM}"
        if content.startswith(b"\x30"):
            remedy = f"it is DER; convert it: `openssl x509 -inform der -in {path} -out NEW.crt`"
        reason = (
            "there is no certificate in it" if _PEM.encode() not in content else f"a certificate is damaged ({error})"
        )
        raise CertificateInvalidError(path, reason, remedy) from error


def read_key(path: Path) -> PrivateKeyTypes:
    """Reads the key of a PEM file.

    Raises:
        CertificateUnreadableError: the file cannot be read.
        KeyEncryptedError: it has a password.
        CertificateInvalidError: there is none in it.
    """
    content = read_file(path)
    try:
        return serialization.load_pem_private_key(content, None)
    except TypeError as error:  # how cryptography says that a password is missing
        raise KeyEncryptedError(path) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in content:
            raise KeyEncryptedError(path) from error
        remedy = "it must be PEM, with a line -----BEGIN PRIVATE KEY-----, EC PRIVATE KEY or RSA PRIVATE KEY"
        raise CertificateInvalidError(path, "there is no key in it that can be used", remedy) from error


def read_pair(certificate: Path, key: Path) -> x509.Certificate:
    """Reads the first certificate of a file and checks that the other file holds its key.

    Raises:
        CertificateUnreadableError, CertificateInvalidError, KeyEncryptedError: see above.
        KeyMismatchError: the key is another's.
    """
    first = read_certificates(certificate)[0]
    if _spki(read_key(key).public_key()) != _spki(first.public_key()):
        raise KeyMismatchError(certificate, key)
    return first


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """Returns the facts about a certificate."""
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=names_of(certificate),
        not_before_ms=_ms(certificate.not_valid_before_utc),
        not_after_ms=_ms(certificate.not_valid_after_utc),
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        key=describe_key(certificate.public_key()),
        is_authority=_is_authority(certificate),
        is_self_signed=certificate.issuer == certificate.subject,
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Returns the DNS names, addresses and e-mail addresses among the subject's alternative names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        *names.get_values_for_type(x509.RFC822Name),
    )


def describe_key(key: PublicKeyTypes) -> str:
    """Returns the kind and size of a key, such as ``ECDSA P-256``."""
    match key:
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name.replace('secp256r1', 'P-256').replace('secp384r1', 'P-384')}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _:
            return type(key).__name__


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ms(time: dt.datetime) -> int:
    return int(time.timestamp() * 1000)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
