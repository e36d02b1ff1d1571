"""The content plane: ``/v2/``, as the distribution specification has it."""

from roadstead.web.distribution.application import Distribution

__all__ = ["Distribution"]
