"""Reads ``n`` and ``last`` of the content plane, and links to the next page.

Source: distribution specification, sections "Listing Tags" and "Listing Referrers"; RFC 8288 for ``Link``.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from roadstead.errors import RoadsteadError
from roadstead.web.http import Request

DIGITS = 20
"""Number of digits at most; a longer number is no number of items that anybody wants."""


class PageSizeInvalidError(RoadsteadError):
    """``n`` is not a number of items."""

    def __init__(self) -> None:
        super().__init__("n must be a whole number, 0 or greater")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The part of a listing that a client asks for; ``size`` is within the server's limit already."""

    size: int
    after: str
    is_reduced: bool


def read_page_request(request: Request, maximum: int) -> PageRequest:
    """Reads the page that a client asks for, of at most ``maximum`` items.

    Raises:
        PageSizeInvalidError: ``n`` is malformed; an empty one is as if absent, as registry:2 has it.
    """
    text = request.query("n")
    after = request.query("last") or ""
    if not text:
        return PageRequest(maximum, after, is_reduced=False)
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS):
        raise PageSizeInvalidError
    size = int(text)
    return PageRequest(min(size, maximum), after, is_reduced=size > maximum)


def next_link(path: str, size: int, last: str, **more: str) -> tuple[bytes, bytes]:
    """Returns the ``Link`` header that leads to the next page."""
    query = urlencode({**more, "n": str(size), "last": last}, quote_via=quote, safe="")
    return b"link", f'<{path}?{query}>; rel="next"'.encode("ascii")
