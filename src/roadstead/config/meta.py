"""How a setting is annotated: what it means, its flag, its bounds."""

from typing import Any, Final

from msgspec import Meta

MIB: Final = 1024 * 1024
HOUR: Final = 3600
DAY: Final = 24 * HOUR


def meta(description: str, *, flag: str = "", secret: bool = False, **bounds: Any) -> Meta:  # noqa: ANN401 - Meta's own
    """The annotation of a setting; ``secret`` lets it be read from a file too and keeps it out of what is printed."""
    return Meta(description=description, extra={"flag": flag, "secret": secret}, **bounds)
