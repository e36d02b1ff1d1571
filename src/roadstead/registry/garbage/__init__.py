"""Removal of whole repositories, collection of what nothing needs, and why something stays."""
