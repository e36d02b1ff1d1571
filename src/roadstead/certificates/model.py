"""What is said about a certificate."""

from dataclasses import dataclass
from typing import Final

DAY_MS: Final = 24 * 3600 * 1000

NEAR_MS: Final = 14 * DAY_MS
"""Time before its end from which a certificate is spoken of: enough for somebody to come back from a holiday."""

NEAR_SHARE: Final = 5
"""Of a certificate that lives a few days, only the last fifth."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate; times in milliseconds since 1970."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """DNS names and addresses that it is for; of a client's, e-mail addresses too."""
    not_before_ms: int
    not_after_ms: int
    serial: str
    """Hexadecimal."""
    fingerprint: str
    """SHA-256, as ``openssl x509 -fingerprint`` writes it."""
    key: str
    """Kind and size, such as ``ECDSA P-256``."""
    is_authority: bool
    is_self_signed: bool

    def days_left(self, now_ms: int) -> float:
        """Days until it ends; negative once it has."""
        return (self.not_after_ms - now_ms) / DAY_MS

    def is_over(self, now_ms: int) -> bool:
        """Whether clients refuse it, because it has ended or not yet begun."""
        return not self.not_before_ms <= now_ms <= self.not_after_ms

    def is_near_end(self, now_ms: int) -> bool:
        """Whether somebody should look after a new one."""
        lifetime_ms = self.not_after_ms - self.not_before_ms
        return self.not_after_ms - now_ms < min(NEAR_MS, lifetime_ms / NEAR_SHARE)


@dataclass(frozen=True, slots=True)
class Host:
    """What a certificate is for: a DNS name in its ASCII form, or an address."""

    name: str
    is_address: bool
