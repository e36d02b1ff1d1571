"""Adopts a folder of registry:2, and makes a lost catalogue anew."""
