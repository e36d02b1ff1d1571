"""A registry in this process for the tests of its services."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.testing.instance import Instance


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path)
    await instance.open()
    yield instance
    await instance.close()
