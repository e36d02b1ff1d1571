"""Prepares, loads and renews a server's certificate. Light to import: ``cryptography`` is needed only for TLS."""

import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

from roadstead.clock import Clock, SystemClock
from roadstead.config import Settings
from roadstead.telemetry import Metrics

if TYPE_CHECKING:  # see above
    from roadstead.certificates.served import ServedCertificate


def prepare_certificate(settings: Settings) -> None:
    """Makes the certificate that the server makes itself, and checks that the one to be served can be used.

    Raises:
        CertificateError: it cannot be made, or used.
    """
    if settings.tls.mode != "off":
        from roadstead.certificates.sources import prepare_certificate as prepare  # noqa: PLC0415 - see above

        prepare(settings, SystemClock())


def build_certificate(settings: Settings, metrics: Metrics) -> "ServedCertificate | None":
    """Loads and returns the main listener's certificate; None without TLS.

    Raises:
        CertificateError: it cannot be used.
    """
    if settings.tls.mode == "off":
        return None
    from roadstead.certificates.sources import served_certificate  # noqa: PLC0415 - see above

    clock = SystemClock()
    certificate = served_certificate(settings, clock)
    certificate.load()

    def days_left() -> float:
        return certificate.facts.days_left(clock.now_ms()) if certificate.facts else math.nan

    metrics.certificate_days_left.set_function(days_left)
    return certificate


def keep_certificate(
    certificate: "ServedCertificate | None", settings: Settings, clock: Clock, is_ours: Callable[[], Awaitable[bool]]
) -> list[Coroutine[None, None, None]]:
    """Returns what renews the certificate and loads a new one, each until cancelled; nothing without TLS.

    ``is_ours`` takes or renews the right to order from an ACME server; False while another process has it.
    """
    if certificate is None:
        return []
    from roadstead.certificates.sources import acme_keeper, keep_self_signed  # noqa: PLC0415 - see above

    work: list[Coroutine[None, None, None]] = [certificate.watch()]
    if settings.tls.mode == "self-signed":
        work.append(keep_self_signed(settings, clock))
    if settings.tls.mode == "acme":
        work.append(acme_keeper(settings, clock, is_ours).run())
    return work
