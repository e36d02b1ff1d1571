"""Back ends are asynchronous, so their suites are."""

import pytest

pytest.register_assert_rewrite("roadstead.testing.object_store_contract")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
