"""The way back to registry:2: its links written beside the blobs, once or behind every change."""
