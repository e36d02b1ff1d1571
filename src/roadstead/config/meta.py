"""Annotates a setting with its meaning, its flag and its bounds."""

from typing import Any, Final

from msgspec import Meta

MIB: Final = 1024 * 1024
HOUR: Final = 3600
DAY: Final = 24 * HOUR


def meta(  # noqa: D417 - bounds are Meta's own
    description: str,
    *,
    flag: str = "",
    secret: bool = False,
    example: object = None,
    **bounds: Any,  # noqa: ANN401 - Meta's own
) -> Meta:
    """Returns the annotation of a setting.

    Args:
        description: what it means, in a sentence or two.
        flag: the command line's flag for it.
        secret: whether it is also read from a file, and kept out of what is printed.
        example: a value as the file would have it, for lists and mappings, whose spelling is worth showing.
    """
    return Meta(description=description, extra={"flag": flag, "secret": secret, "example": example}, **bounds)
