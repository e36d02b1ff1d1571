"""How long Hypothesis looks: ``default`` in every run, ``nightly`` (``--hypothesis-profile nightly``) for hours.

Neither keeps examples on disk: a failure prints the ``@reproduce_failure`` line that brings it back. A test that needs
another bound says so itself in terms of ``scaled``.
"""

import os

from hypothesis import HealthCheck, settings

NIGHTLY_FACTOR = 50
"""How many times more examples a nightly run tries."""

settings.register_profile(
    "default",
    max_examples=100,
    deadline=None,  # a busy machine is no failure
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=100 * NIGHTLY_FACTOR)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def scaled(examples: int) -> int:
    """``examples`` in the default profile, more in the nightly one."""
    return examples * settings().max_examples // 100
