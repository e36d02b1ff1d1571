"""The context of a request beside its bytes: made by the middleware, filled in on the way, read by the logs."""

import random
from dataclasses import dataclass
from typing import Final

from roadstead.access import Caller, VisibleRepositories

SCOPE_KEY: Final = "roadstead"
"""Key of the ASGI scope for the context."""

PROXIED_KEY: Final = "roadstead.proxied"
"""Key of the scope that says that a trusted proxy passed the request on."""

REFUSED_KEY: Final = "roadstead.refused"
"""Key of the scope for the status with which the connection itself answered, in the application's place."""

GIVE_WAY_KEY: Final = "roadstead.give_way"
"""Key of the scope for a function that ends the request to make room for others; absent if nothing can."""

CERTIFICATE_USER_KEY: Final = "roadstead.certificate_user"
"""Key of the scope for the user whom a verified client certificate names; absent if there is none."""


_chance: Final = random.Random().getrandbits  # noqa: S311 - an id names a request; it gives nobody any right
"""Random bits, seeded by the system once a process: asking it for each request costs a system call."""


@dataclass(slots=True, eq=False)
class RequestContext:
    """The context of a request; its fields begin with the values for a request that has not been routed yet."""

    request_id: str
    handler: str = "base"
    """The endpoint family, one of a few names: a label of metrics."""
    repository: str = ""
    actor: str = ""
    """Name of the user; empty for nobody, which logs write as ``-``."""
    caller: Caller | None = None
    """The user with all that it may do; None until it is known."""
    visible: VisibleRepositories | None = None
    """The repositories in which the user may do what the request is about; None until it is known."""
    origin: str = ""
    """Scheme and host in front of ``Location``; empty, the default, where it is only a path."""
    root: str = ""
    """Path below which clients see the registry, without a slash at its end."""

    def location(self, path: str) -> tuple[bytes, bytes]:
        """Returns the ``Location`` header that leads to ``path``, which begins with ``/v2/``."""
        return b"location", f"{self.origin}{self.root}{path}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request or connection that a limit ended before an application could answer."""

    reason: str
    """A reason among a few fixed words, such as ``header_timeout``: a label of metrics."""
    status: int
    """Status of the answer to the client; 0 if there could be none."""
    client: str
    request_id: str


def new_request_id() -> str:
    """Returns an id that nobody has used: 32 hexadecimal digits."""
    return f"{_chance(128):032x}"
