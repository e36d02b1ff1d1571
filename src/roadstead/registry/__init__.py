"""The registry: repositories, tags, manifests, blobs, uploads, referrers. Knows no HTTP."""

from roadstead.registry.service import Registry

__all__ = ["Registry"]
