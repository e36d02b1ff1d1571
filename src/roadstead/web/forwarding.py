"""Reads what trusted proxies say about a client: its address, and the scheme, host and path that it asked for.

Sources: RFC 7239 (``Forwarded``); ``X-Forwarded-For``, ``-Proto``, ``-Host``, ``-Port`` and ``-Prefix`` as nginx,
HAProxy, Caddy and Traefik write them. registry:2 believes these headers from anybody; here only a peer whose address
the settings name is believed, and nothing that this peer has not vouched for:

- Addresses are read from the right, where the nearest proxy wrote, through proxies that are trusted themselves, to the
  first that is not: that one is the client. What stands left of it the client may have written. Something that is no
  address (``unknown``, a pseudonym, an address with a zone) ends the search: the client is then whoever passed it on.
- Scheme, host, port and path are what the nearest proxy says.
- A proxy that writes the one kind of headers may let the other kind through as the client sent it. Where a request has
  both kinds, only what both say counts.
"""

import re
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from roadstead.config.networks import NetworkSet, parse_address
from roadstead.web.context import PROXIED_KEY
from roadstead.web.http import Application, Receive, Scope, Send

MAXIMUM_HOPS: Final = 16
"""Number of proxies in a row at most: a longer list that a client made up must not cost time."""

MAXIMUM_FORWARDED_BYTES: Final = 4096
"""Length of ``Forwarded`` at most; sixteen hops take less."""

_FORWARDED: Final = b"forwarded"
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_PORT: Final = b"x-forwarded-port"
_PREFIX: Final = b"x-forwarded-prefix"
_NAMES: Final = frozenset({_FORWARDED, _FOR, _PROTO, _HOST, _PORT, _PREFIX})
_OF_X: Final = frozenset({_FOR, _PROTO, _HOST, _PORT})

_HOST_NAME: Final = re.compile(rb"([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}){1,8}/?")
"""Pattern of a path with neither ``//``, which would lead to another host, nor ``..``."""

_NODE: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,32}))?")
"""Pattern of an address with or without a port (RFC 7239, section 6)."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
_PAIR: Final = re.compile(rb'[ \t]*(%b)=(?:"((?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)"|([^",;\s]*))[ \t]*' % _TOKEN)
"""Pattern of a parameter of ``Forwarded``; values without quotes are read more freely than section 4 has it, since
proxies write ``for=192.0.2.1:4711``."""

_DEFAULT_PORTS: Final = {"http": b"80", "https": b"443"}


@dataclass(frozen=True, slots=True)
class _Told:
    """The content of one kind of headers; fields are empty without a value that can be believed."""

    client: str = ""
    scheme: str = ""
    host: bytes = b""


class Forwarding:
    """An ASGI application around another one, whose requests seem to come from where trusted proxies say."""

    def __init__(self, application: Application, trusted: NetworkSet) -> None:
        self._application = application
        self._trusted = trusted

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Replaces ``client``, ``scheme``, the header ``Host`` and ``root_path`` of a request; never answers itself.

        It changes the scope in place, as the connection keeps its own notes there.
        """
        client = scope.get("client")
        if client is not None and scope["type"] == "http" and self._trusted.has(client[0]):
            scope[PROXIED_KEY] = True
            self._believe(scope)
        return self._application(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in _NAMES:
                given.setdefault(name, []).append(value)
        if not given:
            return
        told = self._told(given)
        if told.client:
            scope["client"] = (told.client, 0)
        if told.scheme:
            scope["scheme"] = told.scheme
        _believe_host(scope, told.host, _last(given.get(_PORT, ())))
        prefix = _last(given.get(_PREFIX, ()))
        if _PATH.fullmatch(prefix):
            scope["root_path"] = prefix.decode("ascii").rstrip("/")

    def _told(self, given: dict[bytes, list[bytes]]) -> _Told:
        if _FORWARDED not in given:
            return self._told_by_x(given)
        if not _OF_X.isdisjoint(given):
            one, other = self._told_by_x(given), self._told_by_forwarded(given[_FORWARDED])
            return _Told(
                one.client if one.client == other.client else "",
                one.scheme if one.scheme == other.scheme else "",
                one.host if one.host == other.host else b"",
            )
        return self._told_by_forwarded(given[_FORWARDED])

    def _told_by_x(self, given: dict[bytes, list[bytes]]) -> _Told:
        client = ""
        for hop in _from_the_right(given.get(_FOR, ())):
            address = _address(hop)
            if not address:
                break
            client = address
            if not self._trusted.has(address):
                break
        return _Told(client, _scheme(_last(given.get(_PROTO, ()))), _host(_last(given.get(_HOST, ()))))

    def _told_by_forwarded(self, values: Sequence[bytes]) -> _Told:
        client, told = "", _Told()
        for hop in reversed(parse_forwarded(b",".join(values))[-MAXIMUM_HOPS:]):
            address = _address(hop.get(b"for", b""))
            client = address or client
            told = _Told(client, _scheme(hop.get(b"proto", b"")), _host(hop.get(b"host", b"")))
            if not address or not self._trusted.has(address):
                break
        return told


def parse_forwarded(value: bytes) -> list[dict[bytes, bytes]]:
    """Returns the elements of ``Forwarded``, the client's first, each as parameters in lower case with their values.

    Nothing if any part of it is malformed: who can say which part a proxy wrote.
    """
    if len(value) > MAXIMUM_FORWARDED_BYTES:
        return []
    elements: list[dict[bytes, bytes]] = [{}]
    position = 0
    while match := _PAIR.match(value, position):
        name = match[1].lower()
        if name in elements[-1]:
            return []
        quoted: bytes | None = match[2]
        elements[-1][name] = match[3] if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
        position = match.end()
        separator = value[position : position + 1]
        position += 1
        if not separator:
            return elements
        if separator == b",":
            elements.append({})
        elif separator != b";":
            return []
    return []


def is_host(value: bytes) -> bool:
    """Returns True if ``value`` is a host with or without a port, and nothing else."""
    return _HOST_NAME.fullmatch(value) is not None


def _believe_host(scope: Scope, host: bytes, port: bytes) -> None:
    """Replaces the host that the proxy asked for by the one that the client asked for.

    Some proxies tell the port apart: it belongs to a host that has none.
    """
    asked = host or next((value for name, value in scope["headers"] if name == b"host"), b"")
    found = _HOST_NAME.fullmatch(asked)
    if found is None:
        return
    is_telling = port.isdigit() and len(port) <= len(b"65535") and port != _DEFAULT_PORTS.get(scope["scheme"])
    if is_telling and found[2] is None:
        asked += b":" + port
    elif not host:
        return
    scope["headers"] = [*((name, value) for name, value in scope["headers"] if name != b"host"), (b"host", asked)]


def _from_the_right(values: Sequence[bytes]) -> Iterable[bytes]:
    """Yields the entries of a header that is a list, the last one first, as many as matter."""
    entries = b",".join(values).rsplit(b",", MAXIMUM_HOPS)
    return entries[: -MAXIMUM_HOPS - 1 : -1]


def _last(values: Sequence[bytes]) -> bytes:
    return values[-1].rpartition(b",")[2].strip() if values else b""


def _address(node: bytes) -> str:
    """Returns the address in a node, without its port; empty if there is none."""
    node = node.strip()
    match = _NODE.fullmatch(node)
    text = (match[1] or match[2]) if match else node
    address = parse_address(text.decode("latin-1"))
    return str(address) if address is not None else ""


def _scheme(value: bytes) -> str:
    value = value.lower()
    return value.decode("ascii") if value in {b"http", b"https"} else ""


def _host(value: bytes) -> bytes:
    return value if is_host(value) else b""
