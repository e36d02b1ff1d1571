"""Makes a certificate for a first try, which the server keeps in its data folder.

::

    secrets/tls/ca.crt, ca.key   the authority, for those clients that want to trust it
    secrets/tls/server.pem       key and certificate in one file, so that a renewal is one rename
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from roadstead.certificates.authority import Issued, issue_server, make_key
from roadstead.certificates.errors import CertificateError
from roadstead.certificates.files import SECRET, replace
from roadstead.certificates.folder import CertificateFolder
from roadstead.certificates.model import DAY_MS, Host
from roadstead.certificates.reading import facts_of, read_pair

DAYS: Final = 397
"""Life of the certificate; it is renewed by the server, so it need not live long."""

RENEWED_BEFORE_DAYS: Final = 60
"""Days before its end at which it is renewed, so that it is still good if nobody starts the server for a month or
two."""


class SelfSigned:
    """The certificate in ``folder`` that the server makes for ``hosts``."""

    def __init__(self, folder: Path, hosts: Sequence[Host]) -> None:
        self._folder = CertificateFolder(folder)
        self._hosts = hosts

    @property
    def pair_file(self) -> Path:
        """The file that holds both key and certificate."""
        return self._folder.path / "server.pem"

    @property
    def authority_file(self) -> Path:
        """The file of the authority that a client needs in order to trust the certificate."""
        return self._folder.authority_file

    def ensure(self, now_ms: int) -> bool:
        """Makes a certificate unless there is one for all hosts with some life left; returns True if it made one.

        Raises:
            CertificateError: it cannot be read or written.
        """
        authority, _ = self._folder.ensure_authority(self._hosts[0].name, now_ms)
        if self._is_good(authority, now_ms):
            return False
        issued = issue_server(authority, self._hosts, make_key("ecdsa"), now_ms, DAYS)
        replace(self.pair_file, issued.key_pem + issued.certificate_pem + authority.certificate_pem, SECRET)
        return True

    def _is_good(self, authority: Issued, now_ms: int) -> bool:
        try:
            facts = facts_of(certificate := read_pair(self.pair_file, self.pair_file))
        except CertificateError:
            return False  # absent, or spoilt by somebody: nothing is lost with it
        has_time = facts.not_after_ms - now_ms > RENEWED_BEFORE_DAYS * DAY_MS and facts.not_before_ms <= now_ms
        is_ours = certificate.issuer == authority.certificate.subject
        return has_time and is_ours and {host.name for host in self._hosts} <= set(facts.names)
