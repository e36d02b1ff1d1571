"""Progress for work that a test does not watch."""


class Silence:
    """Progress that nobody watches."""

    def begin(self, stage: str, total: int, *, is_bytes: bool) -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""
