"""Errors of values of the vocabulary: raised by their constructors, so that every instance is valid."""

from roadstead.errors import RoadsteadError


class NameInvalidError(RoadsteadError):
    """A repository name does not follow the grammar."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"invalid repository name: {reason}")
        self.name = name
        self.reason = reason


class TagInvalidError(RoadsteadError):
    """A tag does not follow the grammar."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            "invalid tag: a tag has 1 to 128 characters of A-Z a-z 0-9 . _ - and begins with a letter, digit or _"
        )
        self.tag = tag


class DigestInvalidError(RoadsteadError):
    """A digest is malformed or names an algorithm that is not supported."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"invalid digest: {reason}")
        self.digest = digest
        self.reason = reason


class ManifestInvalidError(RoadsteadError):
    """A manifest cannot be accepted; ``pointer`` says where in the document."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(f"invalid manifest: {reason}" + (f" (at {pointer})" if pointer else ""))
        self.reason = reason
        self.pointer = pointer
