"""Other registries, as a client of theirs."""

from roadstead.remotes.errors import UpstreamError, UpstreamUrlInvalidError
from roadstead.remotes.upstream import Upstream

__all__ = ["Upstream", "UpstreamError", "UpstreamUrlInvalidError"]
