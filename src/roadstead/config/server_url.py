"""The address of a catalogue on a PostgreSQL server, as a URL: ``postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=…``.

Promises: what is shown of it, and written anywhere, has no password. ``postgres://`` means the same; several hosts
stand with commas between, and a folder of a socket as ``?host=/FOLDER``, as libpq has it.
"""

from typing import Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

SCHEMES: Final = ("postgresql://", "postgres://")

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_SHOWN: Final = ("host", "port", "sslmode")
"""Parameters that say where a server is, and hold no secret."""

_HIGHEST_PORT: Final = 65_535


def is_server_url(url: str) -> bool:
    """Returns True for a URL of a PostgreSQL server."""
    return url.startswith(SCHEMES)


def find_fault(url: str) -> tuple[str, str] | None:
    """Returns what is wrong with a server's URL, and what to do; None if nothing is. Neither has a part of the URL."""
    try:
        parts = urlsplit(url)
        parameters = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return "it is no URL", _SPELLING
    if parts.fragment or not url.isprintable() or " " in url:
        return "it has a character that a URL spells otherwise", _SPELLING
    if not all(map(_is_host, _hosts(parts.netloc))):
        return "its host or port is none", _SPELLING
    if len(parts.path.strip("/")) == 0 or "/" in parts.path[1:]:
        return "it names no database", "end it with /NAME, the name of a database that is there"
    if parameters.get("sslmode", ["prefer"])[-1] not in SSL_MODES:
        return "its sslmode is unknown", f"write one of {', '.join(SSL_MODES)}"
    return None


_SPELLING: Final = (
    "write postgresql://USER:PASSWORD@HOST:PORT/NAME, with characters such as @ / # in a password as %40 %2F %23,"
    " or the password as database.password"
)


def has_password(url: str) -> bool:
    """Returns True if the URL has a password."""
    parts = urlsplit(url)
    return ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query)


def with_password(url: str, password: str) -> str:
    """Returns the URL with a password, which it did not have."""
    parts = urlsplit(url)
    if not parts.netloc:
        query = "&".join(filter(None, (parts.query, urlencode({"password": password}))))
        return parts._replace(query=query, netloc="").geturl().replace(":/", ":///", 1)
    user, _, hosts = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{hosts}").geturl()


def shown_url(url: str) -> str:
    """Returns the URL as anybody may see it: without password, and without parameters that may hold one."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    parameters = {name: values[-1] for name, values in parse_qs(parts.query).items() if name in _SHOWN}
    query = f"?{urlencode(parameters, safe='/')}" if parameters else ""
    return f"postgresql://{user.partition(':')[0]}{at}{hosts}{parts.path}{query}"


def user_of(url: str) -> str:
    """Returns the user whom the URL names, for a message; words that say so if it names none."""
    return urlsplit(url).netloc.rpartition("@")[0].partition(":")[0] or "of this process"


def name_of(url: str) -> str:
    """Returns the name of the database."""
    return urlsplit(url).path.strip("/")


def _hosts(netloc: str) -> list[str]:
    hosts = netloc.rpartition("@")[2]
    return hosts.split(",") if hosts else []


def _is_host(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "1"
    return bool(host) and port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT and "@" not in host
