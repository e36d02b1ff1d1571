"""Errors that the command line itself raises."""

from roadstead.errors import RoadsteadError


class CommandRefusedError(RoadsteadError):
    """A command was refused: the person said no, or what was asked for is not there; the message says which."""


class EndpointSilentError(RoadsteadError):
    """An endpoint did not answer a test event."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} does not answer: {reason}")


class PipeClosedError(Exception):
    """The reader of the output has closed it: nothing can be reported, and nobody would read it."""
