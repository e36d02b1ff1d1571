"""The sections about how the server is reached: HTTP, TLS, health."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from roadstead.config.meta import meta


class HttpSettings(Struct, frozen=True, kw_only=True):
    """Appearance of the registry to its clients: URLs and headers."""

    external_url: Annotated[
        str | None,
        meta("URL under which clients reach the registry, in Location headers and notifications; none: as asked."),
    ] = None
    prefix: Annotated[str, meta("Path below which everything is served, such as /registry/; / for none.")] = "/"
    relative_urls: Annotated[
        bool,
        meta("Whether Location headers are paths only; false: whole URLs, as registry:2 writes."),
    ] = True
    headers: Annotated[
        dict[str, tuple[str, ...]],
        meta(
            "Headers that every answer has, each with its values.",
            example={"X-Content-Type-Options": ["nosniff"], "Strict-Transport-Security": ["max-age=31536000"]},
        ),
    ] = {}
    trusted_proxies: Annotated[
        tuple[str, ...],
        meta(
            "Addresses, networks, loopback or private: proxies whose X-Forwarded-* and Forwarded headers are believed.",
            example=["loopback", "10.1.2.3"],
        ),
    ] = ()
    accel_location: Annotated[
        str,
        meta("Internal location from which nginx sends blobs itself (X-Accel-Redirect), such as /blobs/; empty: off."),
    ] = ""


class TlsSettings(Struct, frozen=True, kw_only=True):
    """Encryption, and certificates of clients."""

    mode: Annotated[
        Literal["off", "files", "self-signed", "acme"],
        meta("Where the certificate comes from; files needs certificate and key.", flag="--tls"),
    ] = "off"
    certificate: Annotated[
        Path | None,
        meta("Certificate of the server with its chain, PEM; read again when it changes.", flag="--tls-cert"),
    ] = None
    key: Annotated[Path | None, meta("Key of that certificate, PEM without a password.", flag="--tls-key")] = None
    hosts: Annotated[
        tuple[str, ...],
        meta(
            "Names and addresses that a self-signed or ACME certificate is made for.",
            example=["registry.example.com", "192.0.2.10"],
        ),
    ] = ()
    minimum_version: Annotated[Literal["1.2", "1.3"], meta("Least version of TLS.")] = "1.2"
    cipher_suites: Annotated[
        tuple[str, ...],
        meta(
            "Cipher suites of TLS 1.2 by their names; none: safe ones.",
            example=["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
        ),
    ] = ()
    client_authorities: Annotated[
        tuple[Path, ...],
        meta(
            "Certificates of the authorities that clients' certificates are checked against, PEM.",
            example=["/etc/roadstead/clients.pem"],
        ),
    ] = ()
    client_certificates: Annotated[
        Literal["off", "optional", "required"], meta("Whether clients show a certificate of one of these authorities.")
    ] = "off"
    client_user: Annotated[
        Literal["none", "common-name", "email", "dns"],
        meta("Part of a client's certificate that is its user's name; none: a certificate names nobody."),
    ] = "common-name"
    acme_directory: Annotated[str, meta("Directory URL of the ACME server; needs tls.mode: acme.")] = (
        "https://acme-v02.api.letsencrypt.org/directory"
    )
    acme_email: Annotated[str, meta("Address that the ACME server may write to; empty for none.")] = ""
    acme_authority: Annotated[
        Path | None, meta("Certificate of the authority of a private ACME server's own HTTPS, PEM.")
    ] = None
    acme_challenge_listen: Annotated[
        str, meta("HOST:PORT on which HTTP challenges are answered; the ACME server asks port 80.")
    ] = "0.0.0.0:80"


class HealthSettings(Struct, frozen=True, kw_only=True):
    """Further conditions for the registry to be ready."""

    storage_interval_seconds: Annotated[float, meta("Time between two looks at the storage; 0: none.", ge=0)] = 10.0
    storage_threshold: Annotated[int, meta("Failures in a row after which requests are answered with 503.", ge=1)] = 3
    files: Annotated[
        tuple[Path, ...],
        meta(
            "Files whose presence takes the registry out of service at once, such as one made by hand.",
            example=["/run/roadstead/out-of-service"],
        ),
    ] = ()
    urls: Annotated[
        tuple[str, ...],
        meta("URLs that must answer with a status below 400.", example=["http://127.0.0.1:8080/healthy"]),
    ] = ()
    addresses: Annotated[
        tuple[str, ...], meta("HOST:PORT addresses that must accept a TCP connection.", example=["127.0.0.1:389"])
    ] = ()
    interval_seconds: Annotated[float, meta("Time between two looks at files, URLs and addresses.", ge=0.1)] = 10.0
    timeout_seconds: Annotated[float, meta("Time that one such look may take.", gt=0)] = 5.0
    threshold: Annotated[int, meta("Failures in a row of a URL or address after which it counts.", ge=1)] = 3
