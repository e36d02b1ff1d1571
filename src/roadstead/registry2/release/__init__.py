"""Gives a folder back to registry:2: writes its links beside the blobs, once or after every change."""
