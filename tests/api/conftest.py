"""A registry in this process, with the real catalogue and file system, for each test of the content plane."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roadstead.testing.asgi import AsgiClient
from roadstead.testing.instance import Instance


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty catalogue on a server; empty for a file. A test that asks for it runs on both."""
    return str(request.getfixturevalue("catalogue_url")) if request.param == "postgresql" else ""


@pytest.fixture
async def instance(tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    yield instance
    await instance.close()


@pytest.fixture
def client(instance: Instance) -> AsgiClient:
    return instance.client
