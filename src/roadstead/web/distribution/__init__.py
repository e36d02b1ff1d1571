"""The content plane: ``/v2/``, as the distribution specification has it."""

from roadstead.web.distribution.application import Distribution
from roadstead.web.distribution.requirements import is_change

__all__ = ["Distribution", "is_change"]
