"""What is known about a request besides its bytes: made by the middleware, filled in on the way, read by the logs."""

import random
from dataclasses import dataclass
from typing import Final

from roadstead.access import Caller, VisibleRepositories

SCOPE_KEY: Final = "roadstead"
"""Where the ASGI scope holds the context."""

PROXIED_KEY: Final = "roadstead.proxied"
"""Where the scope says that a trusted proxy passed the request on."""

REFUSED_KEY: Final = "roadstead.refused"
"""Where the scope holds the status with which the connection itself answered, in the application's place."""

GIVE_WAY_KEY: Final = "roadstead.give_way"
"""Where the scope holds what ends the request to make room for others; absent where nothing can."""

CERTIFICATE_USER_KEY: Final = "roadstead.certificate_user"
"""Where the scope holds the user whom a verified client certificate names; absent where there is none."""


_chance: Final = random.Random().getrandbits  # noqa: S311 - an id names a request; it gives nobody any right
"""Seeded by the system once a process: asking it for each request costs a system call."""


@dataclass(slots=True, eq=False)
class RequestContext:
    """Who asks for what; fields begin with what is true of a request that nobody has routed yet."""

    request_id: str
    handler: str = "base"
    """The endpoint family, one of a few names: a label of metrics."""
    repository: str = ""
    actor: str = ""
    """Who was recognised; empty for nobody, which logs write as ``-``."""
    caller: Caller | None = None
    """The same with what that one may do; None until it is known."""
    visible: VisibleRepositories | None = None
    """The repositories in which that one may do what the request is about; None until it is known."""
    origin: str = ""
    """Scheme and host in front of ``Location``; empty, the default, where it is only a path."""
    root: str = ""
    """The path below which clients see the registry, without a slash at its end."""

    def location(self, path: str) -> tuple[bytes, bytes]:
        """The ``Location`` header that leads to ``path``, which begins with ``/v2/``."""
        return b"location", f"{self.origin}{self.root}{path}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request or connection that a limit ended before an application could answer."""

    reason: str
    """One of a few fixed words, such as ``header_timeout``: a label of metrics."""
    status: int
    """What the client was told; 0 when it could not be told anything."""
    client: str
    request_id: str


def new_request_id() -> str:
    """An id that nobody has used: 32 hexadecimal digits."""
    return f"{_chance(128):032x}"
