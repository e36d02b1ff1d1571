"""Builds what people run: an OCI image, a wheel, a Debian package. Called by `make image` and `make packages`.

Promises: no container engine, no registry and no root is needed; what is taken from outside is signed (Debian's
packages) or locked by its hash (wheels); the same commit and the same packages give the same bytes, wherever they are
built.
"""
