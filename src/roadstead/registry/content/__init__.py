"""What a registry holds: repositories, tags, manifests, blobs, and the uploads that blobs come from."""
