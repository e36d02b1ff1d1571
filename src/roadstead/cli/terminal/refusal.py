"""What the command line itself refuses."""

from roadstead.errors import RoadsteadError


class CommandRefusedError(RoadsteadError):
    """The person at the terminal said no, or what was asked for is not there; the message says which."""


class EndpointSilentError(RoadsteadError):
    """A test event was not answered."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} does not answer: {reason}")


class PipeClosedError(Exception):
    """Whoever read the output went away: nothing to tell, and nobody to tell it to."""
