"""Errors of background work."""

from roadstead.errors import RoadsteadError


class LeaseLostError(RoadsteadError):
    """Another process has taken over what this one held, which it must have taken for dead; nothing was changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"another process has taken over: {name}")
        self.name = name
