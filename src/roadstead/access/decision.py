"""The answer to one question about access."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and why: ``rule`` is the number of the rule that allows it, from 1; 0 for none."""

    is_allowed: bool
    reason: str
    rule: int = 0
