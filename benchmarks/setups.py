"""How a registry is set up beyond its defaults: with users, with TLS, behind nginx.

Both sides get the same files: one htpasswd file with a bcrypt hash of the cost that `htpasswd -B` writes (5, the least
that anybody meets, which favours a server that hashes at each request), one ECDSA P-256 certificate, one nginx
configuration.
"""

from __future__ import annotations

import base64
import ctypes
import datetime as dt
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

USER = "bench"
PASSWORD = "correct horse battery staple"
BCRYPT_COST = 5
"""What `htpasswd -B` takes unless it is told otherwise."""

REALM = "bench"

CIPHER = "TLS_AES_128_GCM_SHA256"
"""What clients written in Go (docker, podman, skopeo, containerd) get from any server; OpenSSL's prefer 256 bits."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is switched on. Files are None where it is off."""

    htpasswd: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    has_proxy: bool = False
    is_accelerated: bool = False
    """Whether nginx sends blobs itself, where the registry can tell it so."""
    workers: int = 1
    """How many server processes roadstead has; the others have threads, or a worker a core."""
    settings: str = ""
    """More of roadstead's settings, as YAML."""

    @property
    def scheme(self) -> str:
        """The URL scheme: http or https."""
        return "https" if self.certificate else "http"

    @property
    def headers(self) -> Mapping[str, str]:
        """What each request needs."""
        if self.htpasswd is None:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}

    def client_context(self) -> ssl.SSLContext | None:
        """A client's context that trusts the certificate and offers TLS 1.3 with CIPHER alone; None without TLS."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _offer_cipher(context)
        return context


def _offer_cipher(context: ssl.SSLContext) -> None:
    """Python has no call for the suites of TLS 1.3 (before 3.15), so OpenSSL's own is called; see Modules/_ssl.c.

    A client checks afterwards what was agreed on.
    """
    import _ssl  # noqa: PLC0415 - only a client with TLS needs OpenSSL's own names

    set_suites = ctypes.CDLL(_ssl.__file__).SSL_CTX_set_ciphersuites
    set_suites.argtypes, set_suites.restype = (ctypes.c_void_p, ctypes.c_char_p), ctypes.c_int
    header_bytes = object.__basicsize__
    set_suites(ctypes.c_void_p.from_address(id(context) + header_bytes), CIPHER.encode("ascii"))


PLAIN = Setup()


def with_users(folder: Path, *, has_proxy: bool = False, is_accelerated: bool = False) -> Setup:
    """A set-up with one user; its password file is made in `folder` once."""
    import bcrypt  # noqa: PLC0415 - of roadstead's dependencies, which a run without roadstead may lack

    path = folder / "htpasswd"
    if not path.exists():
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(BCRYPT_COST)).replace(b"$2b$", b"$2y$", 1)
        path.write_bytes(f"{USER}:".encode() + hashed + b"\n")
    return Setup(htpasswd=path, has_proxy=has_proxy, is_accelerated=is_accelerated)


def with_tls(folder: Path, *, workers: int = 1) -> Setup:
    """A set-up with TLS; certificate and key are made in `folder` once."""
    certificate, key = folder / "server.crt", folder / "server.key"
    if not certificate.exists():
        _make_certificate(certificate, key)
    return Setup(certificate=certificate, key=key, workers=workers)


def _make_certificate(certificate: Path, key: Path) -> None:
    from cryptography import x509  # noqa: PLC0415 - as bcrypt
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    key.chmod(0o600)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
