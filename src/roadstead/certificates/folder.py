"""Keeps a folder with an authority, a server's certificate and those of clients, as ``roadstead certs create`` does.

::

    ca.crt, ca.key          the authority; never overwritten
    server.crt, server.key  the server's certificate followed by the authority's; renewed with the same key
    clients/USER/           client.cert, client.key and ca.crt, as docker and podman want them
"""

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from roadstead.certificates.authority import (
    Issued,
    KeyType,
    PrivateKey,
    issue_client,
    issue_server,
    key_pem,
    make_authority,
    make_key,
)
from roadstead.certificates.errors import CertificateExistsError, CertificateInvalidError
from roadstead.certificates.files import PUBLIC, SECRET, make_folder, replace, write_new
from roadstead.certificates.model import Host
from roadstead.certificates.reading import facts_of, read_certificates, read_key, read_pair


class CertificateFolder:
    """The certificates and keys in the folder ``path``."""

    def __init__(self, path: Path, key_type: KeyType = "ecdsa") -> None:
        """Keeps its arguments; ``key_type`` is the type of new keys, and existing keys stay."""
        self.path = path
        self._key_type: KeyType = key_type

    @property
    def authority_file(self) -> Path:
        """The file of the authority's certificate, which clients need."""
        return self.path / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        """The file of the server's certificate with its chain."""
        return self.path / "server.crt"

    @property
    def server_key(self) -> Path:
        """The file of the server's key."""
        return self.path / "server.key"

    def ensure_authority(self, host: str, now_ms: int) -> tuple[Issued, bool]:
        """Returns the folder's authority, made for ``host`` if there was none, and True if it was made just now.

        Raises:
            CertificateExistsError: half of one is there.
            CertificateError: it cannot be read, written, or has ended.
        """
        make_folder(self.path, 0o755)
        certificate, key = self.authority_file, self.path / "ca.key"
        if certificate.exists() or key.exists():
            return self._read_authority(certificate, key, now_ms), False
        made = make_authority(host, make_key(self._key_type), now_ms)
        write_new(key, made.key_pem, SECRET)
        write_new(certificate, made.certificate_pem, PUBLIC)
        return made, True

    def issue_server(self, authority: Issued, hosts: Sequence[Host], now_ms: int, days: int) -> Issued:
        """Issues the server's certificate, with the key that is there or a new one.

        Raises:
            CertificateError: a file cannot be read or written.
        """
        if self.server_key.exists():
            key = _usable(self.server_key)
        else:
            if self.server_certificate.exists():
                remedy = f"but its key {self.server_key} does not: move it away, or put the key back"
                raise CertificateExistsError(self.server_certificate, remedy)
            key = make_key(self._key_type)
            write_new(self.server_key, key_pem(key), SECRET)
        issued = issue_server(authority, hosts, key, now_ms, days)
        replace(self.server_certificate, issued.certificate_pem + authority.certificate_pem, PUBLIC)
        return issued

    def issue_client(self, authority: Issued, user: str, now_ms: int, days: int) -> Path:
        """Issues a client's certificate and returns its folder; a key that is there is kept.

        Raises:
            CertificateExistsError: the folder is that of another user, whose name differs only in what files cannot be
                called.
            CertificateError: something cannot be read or written, or the name is none.
        """
        folder = self.path / "clients" / (user.replace("/", "_").lstrip(".") or "_")
        _require_owner(folder / "client.cert", user)
        make_folder(folder, 0o700)
        key_file = folder / "client.key"
        key = _usable(key_file) if key_file.exists() else make_key(self._key_type)
        issued = issue_client(authority, user, key, now_ms, days)
        if not key_file.exists():
            write_new(key_file, issued.key_pem, SECRET)
        replace(folder / "client.cert", issued.certificate_pem, PUBLIC)
        replace(folder / "ca.crt", authority.certificate_pem, PUBLIC)
        return folder

    def _read_authority(self, certificate: Path, key: Path, now_ms: int) -> Issued:
        for there, absent in ((certificate, key), (key, certificate)):
            if not absent.exists():
                raise CertificateExistsError(
                    there, f"but {absent} does not: both are needed to sign; choose another --out"
                )
        found = Issued(read_pair(certificate, key), _usable(key))
        facts = facts_of(found.certificate)
        if not facts.is_authority:
            raise CertificateInvalidError(
                certificate, "it is not the certificate of an authority", "choose another --out"
            )
        if facts.is_over(now_ms):
            raise CertificateInvalidError(certificate, "the authority has ended", "choose another --out for a new one")
        return found


def _require_owner(certificate: Path, user: str) -> None:
    """Raises if the certificate in the folder is another user's: two users with one key could pass for each other."""
    if not certificate.exists():
        return
    subject = read_certificates(certificate)[0].subject
    if {each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)} != {user}:
        raise CertificateExistsError(certificate, f"but is not that of {user!r}: choose another --out, or another name")


def _usable(path: Path) -> PrivateKey:
    key = read_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertificateInvalidError(path, "its kind of key is not made here", "use ECDSA or RSA")
    return key
