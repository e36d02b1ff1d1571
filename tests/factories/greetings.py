"""Images that nobody has pushed before: each call makes new content, so that a push really uploads something."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from tests.factories.images import Image, Index, Layer, image, index, layer


@dataclass(frozen=True, slots=True)
class Greeting:
    """An image that, when it runs, prints a text that no other image prints."""

    image: Image
    text: str


def make_greeting(base: Layer) -> Greeting:
    """An image of two layers: the base, which has a busybox, and one with a text of its own."""
    text = f"roadstead says {secrets.token_hex(8)}"
    own = layer({"etc/greeting": f"{text}\n".encode()})
    return Greeting(image([base, own], command=["/bin/busybox", "cat", "/etc/greeting"]), text)


def make_platforms(*, docker: bool = False) -> Index:
    """An index of an amd64 and an arm64 image, neither of which is meant to be run."""
    content = secrets.token_hex(8)
    images = [
        image([layer({"etc/platform": f"{name} {content}".encode()})], architecture=name, docker=docker)
        for name in ("amd64", "arm64")
    ]
    return index(images, docker=docker)
