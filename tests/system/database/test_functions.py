"""Scripts on a server whose user may make no functions, or whose functions were taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from roadstead.testing.images import digest_of
from roadstead.testing.instance import Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
DATABASES = ("postgresql",)
COUNT = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'roadstead\\_%'"

GONE = """DO $$ DECLARE f regprocedure; BEGIN
FOR f IN SELECT oid::regprocedure FROM pg_proc WHERE proname LIKE 'roadstead\\_%'
LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP; END $$"""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


async def ask(url: str, *statements: str) -> object:
    """The first value that the last of ``statements`` gives."""
    connection = await asyncpg.connect(url)
    for statement in statements[:-1]:
        await connection.execute(statement)
    found = await connection.fetchval(statements[-1])
    await connection.close()
    return found


async def push(instance: Instance, content: bytes) -> None:
    await instance.push_blob("team/app", content)
    answer = await instance.client.request("GET", f"/v2/team/app/blobs/{digest_of(content)}")
    assert answer.body == content


@pytest.fixture
async def url_of_a_guest(database_url: str) -> AsyncIterator[str]:
    """A catalogue whose user may make nothing there, as where an administrator migrates it."""
    await ask(database_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC, pg_database_owner", GONE, "SELECT 1")
    yield database_url
    await ask(database_url, "GRANT CREATE ON SCHEMA public TO pg_database_owner", "SELECT 1")


async def test_who_may_make_no_functions_takes_step_after_step(tmp_path: Path, url_of_a_guest: str) -> None:
    instance = Instance(tmp_path, database_url=url_of_a_guest)
    await instance.open()
    await push(instance, b"one")
    await push(instance, b"two")
    await instance.close()
    assert await ask(url_of_a_guest, COUNT) == 0


async def test_functions_that_have_gone_are_made_again(tmp_path: Path, database_url: str) -> None:
    instance = Instance(tmp_path, database_url=database_url)
    await instance.open()
    await push(instance, b"one")
    await ask(database_url, GONE, "SELECT 1")
    assert await ask(database_url, COUNT) == 0
    await push(instance, b"two")
    await instance.close()
    assert await ask(database_url, COUNT) != 0
