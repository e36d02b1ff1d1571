"""Facts about a certificate, and the hosts it is made for."""

from dataclasses import dataclass
from typing import Final

DAY_MS: Final = 24 * 3600 * 1000

NEAR_MS: Final = 14 * DAY_MS
"""Time before a certificate's end from which it is reported: enough for somebody to come back from a holiday."""

NEAR_SHARE: Final = 5
"""Divisor of a short certificate's life: it is reported only in the last fifth."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The facts about one certificate; times in milliseconds since 1970."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """DNS names and addresses that the certificate is for; a client's may have e-mail addresses too."""
    not_before_ms: int
    not_after_ms: int
    serial: str
    """Serial number in hexadecimal."""
    fingerprint: str
    """SHA-256 fingerprint, as ``openssl x509 -fingerprint`` writes it."""
    key: str
    """Kind and size of the key, such as ``ECDSA P-256``."""
    is_authority: bool
    is_self_signed: bool

    def days_left(self, now_ms: int) -> float:
        """Returns the days until the certificate ends; negative once it has."""
        return (self.not_after_ms - now_ms) / DAY_MS

    def is_over(self, now_ms: int) -> bool:
        """Returns True if clients refuse the certificate, because it has ended or not yet begun."""
        return not self.not_before_ms <= now_ms <= self.not_after_ms

    def is_near_end(self, now_ms: int) -> bool:
        """Returns True if somebody should get a new certificate now."""
        lifetime_ms = self.not_after_ms - self.not_before_ms
        return self.not_after_ms - now_ms < min(NEAR_MS, lifetime_ms / NEAR_SHARE)


@dataclass(frozen=True, slots=True)
class Host:
    """A host that a certificate is for: a DNS name in its ASCII form, or an address."""

    name: str
    is_address: bool
