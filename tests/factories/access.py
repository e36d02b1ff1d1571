"""The right to see everything, and a cause for what tests change."""

from __future__ import annotations

from typing import Final

from roadstead.access import visible_to_operator
from roadstead.events import Cause

ALL_VISIBLE: Final = visible_to_operator()

BY_TEST: Final = Cause(actor="tester")
