"""Chooses the certificate that is served, from any of the sources that the settings name."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from roadstead.certificates.acme_keeping import AcmeKeeper
from roadstead.certificates.context import ContextRules
from roadstead.certificates.errors import CertificateError
from roadstead.certificates.hosts import parse_hosts, this_machine
from roadstead.certificates.model import Host
from roadstead.certificates.self_signed import SelfSigned
from roadstead.certificates.served import PairFiles, ServedCertificate
from roadstead.clock import Clock
from roadstead.config import SettingInvalidError, Settings

if TYPE_CHECKING:  # see acme_keeping
    from roadstead.certificates.acme_order import AcmeOrders

RENEWAL_LOOK_SECONDS: Final = 3600
"""Time between two looks at the server's own certificate, which is renewed long before it must be."""

_log = structlog.get_logger("roadstead.certificates")


def self_signed(settings: Settings) -> SelfSigned:
    """Returns the certificate that the server makes for a first try."""
    hosts = tuple(dict.fromkeys((*parse_hosts(settings.tls.hosts), *this_machine())))
    return SelfSigned(settings.secrets_folder / "tls", hosts)


def served_certificate(settings: Settings, clock: Clock) -> ServedCertificate:
    """Returns the certificate of the main listener, which has TLS; not loaded yet."""
    return ServedCertificate(_files(settings), clock)


def prepare_certificate(settings: Settings, clock: Clock) -> None:
    """Makes the server's own certificate, while this process alone uses the data folder; checks that it can be served.

    Raises:
        CertificateError: it cannot be made, or used.
    """
    if settings.tls.mode == "self-signed":
        self_signed(settings).ensure(clock.now_ms())
    if settings.tls.mode == "acme":
        _acme_hosts(settings)
    served_certificate(settings, clock).check()


async def keep_self_signed(settings: Settings, clock: Clock) -> None:
    """Renews the server's own certificate long before its end, until cancelled; two processes doing so do no harm."""
    while True:
        await asyncio.sleep(RENEWAL_LOOK_SECONDS)
        try:
            if await asyncio.to_thread(self_signed(settings).ensure, clock.now_ms()):
                _log.info("certificate renewed")
        except CertificateError as error:
            _log.error("certificate not renewed", reason=str(error))


def acme_keeper(settings: Settings, clock: Clock, is_ours: Callable[[], Awaitable[bool]]) -> AcmeKeeper:
    """Returns the keeper that orders and renews an ACME server's certificate while ``is_ours`` is True."""
    folder = settings.secrets_folder / "acme"

    def orders() -> "AcmeOrders":
        from roadstead.certificates.acme_order import AcmeOrders  # noqa: PLC0415 - requests and pyOpenSSL

        return AcmeOrders(folder, settings.tls, clock)

    return AcmeKeeper(folder, _acme_hosts(settings), clock, orders, is_ours)


def _acme_hosts(settings: Settings) -> tuple[Host, ...]:
    hosts = parse_hosts(settings.tls.hosts)
    if not hosts:
        raise SettingInvalidError("tls.hosts", "an ACME server must be told for which hosts", "list them in tls.hosts")
    if any(host.name.startswith("*.") for host in hosts):
        remedy = "list each host, or get the certificate with another client and name its files"
        raise SettingInvalidError("tls.hosts", "a star cannot be proved over HTTP", remedy)
    return hosts


def _files(settings: Settings) -> PairFiles:
    tls = settings.tls
    rules = ContextRules(
        minimum_version=tls.minimum_version,
        cipher_suites=tls.cipher_suites,
        client_certificates=tls.client_certificates,
        client_authorities=tls.client_authorities,
    )
    if tls.mode == "self-signed":
        pair = self_signed(settings).pair_file
        return PairFiles(certificate=pair, key=pair, rules=rules)
    if tls.mode == "acme":
        pair = settings.secrets_folder / "acme" / "server.pem"
        return PairFiles(certificate=pair, key=pair, rules=rules, is_awaited=True)
    if tls.certificate is None or tls.key is None:
        remedy = "give both --tls-cert and --tls-key"
        raise SettingInvalidError("tls.mode", "files needs a certificate and a key", remedy)
    return PairFiles(certificate=tls.certificate, key=tls.key, rules=rules)
