"""The progress of long work, as it tells it."""

from typing import Protocol


class Progress(Protocol):
    """Is told how far long work is."""

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """A stage begins, of so many records or bytes (about: the registry may change meanwhile); 0 is not known."""
        ...

    def advance(self, amount: int) -> None:
        """So much more of the stage is done."""
        ...


class Silence:
    """Progress that nobody watches."""

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""
