"""Platforms: the operating system and architecture that a manifest in an index runs on.

Source: image specification, image-index.md, property ``platform``.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system and an architecture, in Go's names."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        """Returns the platform as clients' ``--platform`` options spell it: ``linux/arm64/v8``."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def as_json(self) -> dict[str, str]:
        """Returns the platform as it stands in an index."""
        document = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            document["variant"] = self.variant
        if self.os_version:
            document["os.version"] = self.os_version
        return document
