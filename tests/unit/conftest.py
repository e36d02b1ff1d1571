"""What the tests of parts share: back ends are asynchronous, so their suites are; a registry in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.testing.instance import Instance
from tests.factories.instances import instance_of


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def instance(tmp_path: Path, database_kind: str, database_url: str) -> AsyncIterator[Instance]:
    instance = instance_of(tmp_path, database_kind, database_url)
    await instance.open()
    yield instance
    await instance.close()
