"""roadstead: the private container registry that is complete on its own."""

from typing import Final

__version__: Final = "0.3.0"
