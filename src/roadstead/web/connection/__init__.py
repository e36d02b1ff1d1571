"""Clients' connections, with limits on what a client may send and how slowly."""

from roadstead.web.connection.refusals import Reason
from roadstead.web.connection.server import connection_class, server_config
from roadstead.web.connection.tls_context import ListeningContext
from roadstead.web.connection.tls_server import ListeningServer

__all__ = ["ListeningContext", "ListeningServer", "Reason", "connection_class", "server_config"]
