"""Adopts, reads, writes and releases folders of registry:2, since a way in needs a way out."""
