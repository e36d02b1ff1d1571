"""Inspects a certificate in a file or on a server as a client would."""

import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from roadstead.certificates.errors import CertificateError, CertificateNameInvalidError
from roadstead.certificates.model import CertificateFacts
from roadstead.certificates.reading import facts_of, read_certificates

CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate as it is shown; ``problem`` is the reason why a client refuses it, empty if it does not."""

    facts: CertificateFacts
    problem: str = ""
    verdict: str = "valid now"


def inspect_file(path: Path, now_ms: int) -> list[Shown]:
    """Returns the certificates in a file, and for each if it is valid now and signed by the next one.

    Raises:
        CertificateError: they cannot be read.
    """
    certificates = read_certificates(path)
    return [
        Shown(facts_of(certificate), _problem(certificate, certificates[number + 1 : number + 2], now_ms))
        for number, certificate in enumerate(certificates)
    ]


def inspect_server(address: str, authorities: Path | None, now_ms: int) -> list[Shown]:
    """Returns the certificate that a server shows, and if the system (or ``authorities``) trusts it for that host.

    Raises:
        CertificateError: the server cannot be reached or speaks no TLS.
    """
    name, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise CertificateNameInvalidError(address, "expected HOST:PORT or the path of a file")
    host = name.removeprefix("[").removesuffix("]")
    if authorities is not None:
        read_certificates(authorities)  # says in plain words what is wrong with it
    context = ssl.create_default_context(cafile=None if authorities is None else str(authorities))
    problem = ""
    try:
        der = _fetch(host, int(port), context)
    except ssl.SSLCertVerificationError as error:
        problem = error.verify_message
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        der = _fetch(host, int(port), context)
    certificate = x509.load_der_x509_certificate(der)
    return [Shown(facts_of(certificate), problem or _problem(certificate, [], now_ms), "trusted for this host")]


def _fetch(host: str, port: int, context: ssl.SSLContext) -> bytes:
    try:
        with (
            socket.create_connection((host, port), CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise CertificateError(f"{host}:{port} speaks no TLS that is understood ({error.reason})") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CertificateError(f"{host}:{port} cannot be reached: {reason}") from error


def _problem(certificate: x509.Certificate, issuers: list[x509.Certificate], now_ms: int) -> str:
    facts = facts_of(certificate)
    if facts.is_over(now_ms):
        return "it is not valid now"
    for issuer in issuers:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as error:
            return f"the next certificate in the file has not signed it ({type(error).__name__})"
    return ""
