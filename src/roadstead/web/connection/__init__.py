"""Clients' connections, with limits on what a client may send and how slowly."""

from roadstead.web.connection.server import connection_class, server_config

__all__ = ["connection_class", "server_config"]
