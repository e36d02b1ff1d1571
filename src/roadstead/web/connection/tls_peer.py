"""Reads the user's name from a client's certificate."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

CertificateUserPart = Literal["none", "common-name", "email", "dns"]

LONGEST_USER: Final = 256
"""Number of characters at most; longer names are nobody's, since each stands in every line of the log."""

NOBODY: Final = "-"
"""The text that logs write where there is no user, so that it is nobody's name."""


def certificate_user(certificate: Mapping[str, Any] | None, part: CertificateUserPart) -> str | None:
    """Returns the user whom a verified client certificate names, as ``ssl.SSLObject.getpeercert`` gives it.

    None without a certificate; and where the part does not stand in it exactly once, or is no plain text, since a guess
    would be somebody's rights.
    """
    if not certificate or part == "none":
        return None
    found = set(_values(certificate, part))
    if len(found) != 1:
        return None
    (user,) = found
    is_plain = user.isprintable() and user == user.strip() and 0 < len(user) <= LONGEST_USER and ":" not in user
    return user if is_plain and user != NOBODY else None


def _values(certificate: Mapping[str, Any], part: CertificateUserPart) -> Iterator[str]:
    if part == "common-name":
        for names in certificate.get("subject", ()):
            yield from (str(value) for key, value in names if key == "commonName")
        return
    wanted = {"email": "email", "dns": "DNS"}[part]
    yield from (str(value) for key, value in certificate.get("subjectAltName", ()) if key == wanted)
