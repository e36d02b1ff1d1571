"""All servers that can be compared, in the order in which they are measured and printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.peers import Distribution3, DockerRegistry, Nginx, Roadstead, Sink
from benchmarks.variants import VARIANT_SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.peers import Peer

SERVERS: Final[Mapping[str, Peer]] = {
    peer.key: peer for peer in (Roadstead(), *VARIANT_SERVERS, DockerRegistry(), Distribution3(), Nginx(), Sink())
}
