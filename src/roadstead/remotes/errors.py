"""Errors of other registries. Messages never hold their credentials."""

from roadstead.errors import RoadsteadError


class UpstreamError(RoadsteadError):
    """Another registry did not give what it was asked for."""

    def __init__(self, url: str, reason: str) -> None:
        """Keeps URL and reason; ``url`` is without credentials."""
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class UpstreamUrlInvalidError(RoadsteadError):
    """A text is no URL of a registry."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the upstream's URL cannot be used: {reason}")
        self.reason = reason
