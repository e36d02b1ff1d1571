"""Checks that clients accept the certificate of the main listener."""

from typing import TYPE_CHECKING

from roadstead.clock import Clock
from roadstead.web.operations.health import Check, CheckResult, CheckState

if TYPE_CHECKING:  # it brings cryptography, which a server without TLS does not need
    from roadstead.certificates.served import ServedCertificate


def certificate_check(certificate: "ServedCertificate", clock: Clock) -> Check:
    """Returns a check that fails without a certificate; degraded if it (nearly) ended or a newer one is unusable.

    An ended one is no failure: taken out of service, the server would be no better reachable, and some clients do not
    look.
    """

    async def check() -> CheckResult:
        facts, now_ms = certificate.facts, clock.now_ms()
        if facts is None:
            return CheckResult(CheckState.FAILED, "there is no certificate yet")
        days = facts.days_left(now_ms)
        if facts.is_over(now_ms):
            return CheckResult(CheckState.DEGRADED, "the certificate is not valid now: clients refuse it")
        if facts.is_near_end(now_ms):
            return CheckResult(CheckState.DEGRADED, f"the certificate ends in {days:.1f} days")
        if certificate.is_failing:
            return CheckResult(CheckState.DEGRADED, "a changed certificate could not be loaded; the log says why")
        return CheckResult(CheckState.OK)

    return check
