"""A text that may hold a password."""


class SecretText(str):
    """A string that hides itself from ``repr``, so that a printed settings object gives nothing away."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretText('…')"
