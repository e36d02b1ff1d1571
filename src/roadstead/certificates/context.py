"""Builds the standard library's TLS context from the settings.

It allows TLS 1.2 and 1.3; of 1.2 only suites with forward secrecy and authenticated encryption; the client's
order of them, since all are good and a client knows what its processor does fast (as Mozilla's guide has it); session
tickets, whose keys every context makes anew; no compression, no renegotiation; HTTP/1.1 by ALPN.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from roadstead.certificates.errors import CertificateInvalidError, KeyMismatchError
from roadstead.certificates.reading import read_certificates

SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""The suites of Mozilla's "intermediate" list, without those that only older clients need."""

_VERIFY: Final = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRules:
    """The settings of a TLS context beside certificate and key."""

    minimum_version: Literal["1.2", "1.3"] = "1.2"
    cipher_suites: Sequence[str] = ()
    client_certificates: Literal["off", "optional", "required"] = "off"
    client_authorities: Sequence[Path] = ()


def build_context(certificate: Path, key: Path, rules: ContextRules) -> ssl.SSLContext:
    """Builds a server's TLS context.

    Raises:
        CertificateError: what the rules name cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if rules.minimum_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _set_suites(context, rules.cipher_suites)
    _load_pair(context, certificate, key)
    if rules.client_certificates != "off":
        for path in rules.client_authorities:
            read_certificates(path)  # says what is wrong with it in plain words
            context.load_verify_locations(cafile=path)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority below another one is enough, as for Go
        context.verify_mode = _VERIFY[rules.client_certificates]
    return context


def _set_suites(context: ssl.SSLContext, suites: Sequence[str]) -> None:
    for suite in suites:
        try:
            context.set_ciphers(suite)  # OpenSSL passes over names that it does not know, as long as one is left
        except ssl.SSLError as error:
            remedy = "`openssl ciphers -s -tls1_2` lists their names"
            raise CertificateInvalidError(Path("tls.cipher_suites"), f"there is no suite {suite}", remedy) from error
    context.set_ciphers(":".join(suites or SUITES))


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # never asks at the terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise KeyMismatchError(certificate, key) from error
        reason = f"OpenSSL does not accept it ({(error.reason or str(error)).lower().replace('_', ' ')})"
        raise CertificateInvalidError(
            certificate, reason, "use an ECDSA P-256 key, or RSA of 2048 bits or more"
        ) from error
