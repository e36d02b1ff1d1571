"""Configures uvicorn for this server."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import uvicorn

from roadstead.config import LimitSettings
from roadstead.web.connection.protocol import LimitedConnection
from roadstead.web.connection.reaper import Rules
from roadstead.web.connection.tls_peer import CertificateUserPart
from roadstead.web.context import Refusal


def connection_class(
    limits: LimitSettings,
    on_refusal: Callable[[Refusal], None] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    certificate_user: CertificateUserPart = "none",
) -> type[LimitedConnection]:
    """Returns the class of connections under ``limits``, for ``uvicorn.Config(http=…)``.

    ``on_refusal`` hears of each client that was refused, in the event loop; ``headers`` are on what it is told;
    ``certificate_user`` is what in a client's certificate names its user.
    """

    class Connection(LimitedConnection):
        rules: ClassVar[Rules] = Rules(limits, on_refusal, headers, certificate_user)

    return Connection


def server_config(
    application: Any,  # noqa: ANN401 - uvicorn's own type is private
    limits: LimitSettings,
    *,
    host: str,
    port: int,
    on_refusal: Callable[[Refusal], None] | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    certificate_user: CertificateUserPart = "none",
) -> uvicorn.Config:
    """Uvicorn's configuration as the server needs it: limited connections, no logging of its own, no version told."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=connection_class(limits, on_refusal, headers, certificate_user),
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(limits.drain_timeout_seconds)),
    )
