"""Checks the values of ``http`` beyond their types: they become parts of URLs and of answers' headers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from roadstead.config.networks import NetworkSet
from roadstead.config.serving_sections import HttpSettings

_SEGMENT: Final = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_FOLDER: Final = re.compile(rf"/(?:{_SEGMENT}/)*")
_URL_PATH: Final = re.compile(rf"(?:/{_SEGMENT})*/?")
_NETWORK_LOCATION: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")

OURS: Final = frozenset(
    {"connection", "content-length", "date", "keep-alive", "location", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that a setting may not add: without them an answer cannot be read, or clients would be led elsewhere."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in the value of a key, and the remedy."""

    key: str
    problem: str
    remedy: str


def http_faults(http: HttpSettings) -> Iterator[Fault]:
    """Yields all faults of the section's values."""
    if _FOLDER.fullmatch(http.prefix) is None:
        yield Fault("http.prefix", f"{http.prefix!r} is no path", "begin and end it with /, such as /registry/")
    if http.external_url is not None and not _is_url(http.external_url):
        yield Fault(
            "http.external_url",
            "this is no URL of a registry",  # which may have a password in it, so it is not printed
            "write scheme, host and port as clients do, such as https://registry.example.com:8443",
        )
    yield from _header_faults(http.headers)
    try:
        NetworkSet.parse(http.trusted_proxies)
    except ValueError as error:
        yield Fault("http.trusted_proxies", str(error), "see the reference of settings")
    yield from _accel_faults(http)


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    is_plain = not url.query and not url.fragment and "?" not in text and "#" not in text
    is_reachable = url.scheme in {"http", "https"} and _NETWORK_LOCATION.fullmatch(url.netloc) is not None
    return is_plain and is_reachable and _URL_PATH.fullmatch(url.path) is not None


def _header_faults(headers: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    for name, values in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            yield Fault("http.headers", f"{name!r} is no name of a header", "use letters, digits and -")
        elif name.lower() in OURS:
            yield Fault("http.headers", f"{name} is the server's own to say", "leave it out")
        elif not all(_HEADER_VALUE.fullmatch(value) for value in values):
            yield Fault(
                "http.headers", f"a value of {name} has characters that a header cannot have", "remove line ends"
            )


def _accel_faults(http: HttpSettings) -> Iterator[Fault]:
    location = http.accel_location
    if not location:
        return
    if _FOLDER.fullmatch(location) is None or location == "/":
        yield Fault("http.accel_location", f"{location!r} is no location", "begin and end it with /, such as /blobs/")
    if not http.trusted_proxies:
        yield Fault(
            "http.accel_location",
            "nobody but a trusted proxy may be told where bytes are, and no proxy is trusted",
            "name nginx's address in http.trusted_proxies, such as [loopback]",
        )
