"""The content of a registry: repositories, tags, manifests, blobs, and the uploads that blobs come from."""
