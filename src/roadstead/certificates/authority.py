"""Makes a private authority, and the certificates that it signs.

Source: RFC 5280 (profile), RFC 6125 and the CA/Browser Forum's baseline (names only as subjectAltName), Apple's demands
on private authorities (at most 825 days, serverAuth).
"""

import datetime as dt
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roadstead.certificates.errors import CertificateNameInvalidError
from roadstead.certificates.model import Host

KeyType = Literal["ecdsa", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

AUTHORITY_DAYS: Final = 3652
"""Life of an authority, ten years: people who distribute it do not want to do so every year."""

SERVER_DAYS: Final = 825
"""Life of a server's certificate, the longest that macOS and iOS accept of a private authority."""

RSA_BITS: Final = 3072
"""Size of an RSA key, for 128 bits of security, as P-256 has."""

BACKDATED: Final = dt.timedelta(hours=1)
"""Time by which a certificate's start is moved back, so that clients whose clocks are a little late accept it."""

LONGEST_COMMON_NAME: Final = 64
"""Number of characters in a common name at most (RFC 5280, appendix A.1)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, without a password."""
        return key_pem(self.key)


def make_key(key_type: KeyType) -> PrivateKey:
    """Makes a new key."""
    if key_type == "rsa":
        return rsa.generate_private_key(65537, RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    """Returns a key as PEM, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_authority(host: str, key: PrivateKey, now_ms: int) -> Issued:
    """Makes an authority that signs itself; its name tells it from others for the same host."""
    mark = secrets.token_hex(3)
    name = _name(f"{host[: LONGEST_COMMON_NAME - 12]} CA {mark}")
    begin = _time(now_ms) - BACKDATED
    builder = (
        _begin(name, key, begin, begin + dt.timedelta(days=AUTHORITY_DAYS))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def issue_server(authority: Issued, hosts: Sequence[Host], key: PrivateKey, now_ms: int, days: int) -> Issued:
    """Issues a server's certificate for ``hosts``, which ends with its authority at the latest."""
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(host.name)) if host.is_address else x509.DNSName(host.name)
        for host in hosts
    ]
    first = hosts[0].name
    name = _name(first) if len(first) <= LONGEST_COMMON_NAME else x509.Name([])
    builder = _leaf(authority, name, key, now_ms, days).add_extension(
        x509.SubjectAlternativeName(alternatives), critical=not list(name)
    )
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _signed(authority, builder.add_extension(usage, critical=False), key)


def issue_client(authority: Issued, user: str, key: PrivateKey, now_ms: int, days: int) -> Issued:
    """Issues a client's certificate whose common name is ``user``.

    Raises:
        CertificateNameInvalidError: no user may be called so.
    """
    if not user.isprintable() or user != user.strip() or ":" in user or not 0 < len(user) <= LONGEST_COMMON_NAME:
        reason = f"a user of a certificate has 1 to {LONGEST_COMMON_NAME} visible characters and no colon"
        raise CertificateNameInvalidError(user, reason)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _leaf(authority, _name(user), key, now_ms, days).add_extension(usage, critical=False)
    return _signed(authority, builder, key)


def _leaf(authority: Issued, name: x509.Name, key: PrivateKey, now_ms: int, days: int) -> x509.CertificateBuilder:
    begin = _time(now_ms) - BACKDATED
    end = min(begin + dt.timedelta(days=days), authority.certificate.not_valid_after_utc)
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _begin(name, key, begin, end)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False, is_rsa=isinstance(key, rsa.RSAPrivateKey)), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )


def _begin(name: x509.Name, key: PrivateKey, begin: dt.datetime, end: dt.datetime) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(authority: Issued, builder: x509.CertificateBuilder, key: PrivateKey) -> Issued:
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def _usage(*, signs_certificates: bool, is_rsa: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=is_rsa,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _time(now_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_ms // 1000, dt.UTC)
