"""All servers that can be compared, in the order in which they are measured and printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.model import BEFORE
from benchmarks.peers import Distribution3, DockerRegistry, Nginx, Roadstead, Sink
from benchmarks.variants import VARIANT_SERVERS, Before

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.peers import Peer

SERVERS: Final[Mapping[str, Peer]] = {
    peer.key: peer for peer in (Roadstead(), *VARIANT_SERVERS, DockerRegistry(), Distribution3(), Nginx(), Sink())
}


def server_of(key: str, *, before: str = "") -> Peer:
    """Return a server; that of an earlier version is of the commit `before`."""
    return Before(before) if key == BEFORE else SERVERS[key]
