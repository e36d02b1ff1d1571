"""Runs uvicorn's server, listening with TLS."""

import asyncio
import socket
from typing import Any, cast

import uvicorn

from roadstead.config import LimitSettings
from roadstead.web.connection.tls_context import ListeningContext


class ListeningServer(uvicorn.Server):
    """A server on sockets of ours, with TLS where it is given a context.

    uvicorn starts TLS too, but lets a client take a minute for its handshake, and none would be counted.
    """

    def __init__(self, config: uvicorn.Config, limits: LimitSettings, tls: ListeningContext | None = None) -> None:
        super().__init__(config)
        self._limits = limits
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen; ``sockets`` are bound."""
        if self._tls is None:
            await super().startup(sockets)
            return
        loop = asyncio.get_running_loop()
        config = self.config
        await self.lifespan.startup()

        def connection() -> asyncio.Protocol:
            kind = cast("Any", config.http_protocol_class)
            made: asyncio.Protocol = kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)
            return made

        self.servers = [
            await loop.create_server(
                connection,
                sock=listening,
                ssl=self._tls,
                backlog=config.backlog,
                ssl_handshake_timeout=self._limits.header_timeout_seconds,
                ssl_shutdown_timeout=self._limits.write_idle_timeout_seconds,
            )
            for listening in sockets or []
        ]
        self.started = True
