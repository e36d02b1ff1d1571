"""Folders of registry:2: taken over, read, written and given back, since a way in needs a way out."""
