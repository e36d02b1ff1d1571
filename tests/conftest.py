"""Order of the run: what answers fast runs first; within a tier the order is random, for no test may lean on it."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("roadstead.testing.object_store_contract")

pytest_plugins = ["tests.profiles", "tests.skips", "tests.databases", "tests.buckets"]

TIERS = ("unit", "contract", "api", "architecture", "migration", "conformance", "system")


def _tier(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return TIERS.index(folder)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by tier and keeps what pytest-randomly has made of each."""
    items.sort(key=_tier)
