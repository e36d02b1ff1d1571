"""Clients of other registries."""

from roadstead.remotes.errors import UpstreamError, UpstreamUrlInvalidError
from roadstead.remotes.upstream import Upstream

__all__ = ["Upstream", "UpstreamError", "UpstreamUrlInvalidError"]
