"""A rotation needs no pause: servers with the old file go on, and one that is killed is taken up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from roadstead.secrets import MasterKeyUnknownError, RotationSupersededError, rotation, store
from roadstead.secrets.key_file import OwnKeyFile
from roadstead.secrets.keyring import new_key
from roadstead.secrets.rotation import rotate
from roadstead.secrets.service import FRESH_SECONDS
from roadstead.secrets.state import find_secret_state
from tests.databases import REPEATING_TOO

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.secrets.conftest import Servers

pytestmark = pytest.mark.anyio
DATABASES = REPEATING_TOO


async def filled(servers: Servers, credentials: int = 7) -> list[bytes]:
    values = [b"%d" % number for number in range(credentials)]
    for number, value in enumerate(values):
        await servers.one.put_credential(f"endpoint/{number}", value)
    await servers.one.signing_key("tokens")
    return values


async def opened(servers: Servers, number: int) -> list[bytes | None]:
    server = servers.restarted(number)
    await server.require_key()
    return [await server.find_credential(f"endpoint/{each}") for each in range(7)]


async def test_everything_is_sealed_under_the_new_key(servers: Servers) -> None:
    values = await filled(servers)
    key = await servers.one.signing_key("tokens")
    old = servers.keys()
    _, new_id = servers.keys(), servers.give(new_key(), *old)[0]
    done = await rotate(servers.databases[0], servers.clock, servers.source())
    assert (done.key_id, done.resealed) == (new_id, 8)
    assert set(await store.count_by_key(servers.databases[1])) == {new_id}
    servers.give(servers.keys()[0])  # the old one is needed no more
    assert await opened(servers, 0) == await opened(servers, 1) == values
    assert (await servers.restarted(1).signing_key("tokens")).id == key.id
    again = await rotate(servers.databases[0], servers.clock, servers.source())
    assert (again.before, again.key_id, again.resealed) == (new_id, new_id, 0)


async def test_new_secrets_are_sealed_under_the_key_in_use_until_it_is_rotated(servers: Servers) -> None:
    await filled(servers, 1)
    old_id = (await servers.one.list_records())[0].key_id
    servers.give(new_key(), *servers.keys(), to=(0,))
    ahead = servers.restarted(0)
    await ahead.put_credential("endpoint/new", b"value")
    assert await servers.two.find_credential("endpoint/new") == b"value", "which has only the old key"
    assert {each.key_id for each in await ahead.list_records()} == {old_id}


async def test_a_server_without_the_new_file_goes_on_and_is_refused_at_a_start(servers: Servers) -> None:
    await filled(servers)
    key = await servers.two.signing_key("tokens")
    both = [new_key(), *servers.keys()]
    servers.give(*both, to=(0,))
    await rotate(servers.databases[0], servers.clock, servers.source())
    servers.clock.advance(FRESH_SECONDS)
    assert (await servers.two.signing_key("tokens")).value == key.value, "what it knows it goes on with"
    assert await servers.two.find_verifying_key("tokens", key.id) is not None
    for asked in (servers.two.put_credential("a", b""), servers.two.find_credential("endpoint/1")):
        with pytest.raises(MasterKeyUnknownError):
            await asked
    with pytest.raises(MasterKeyUnknownError):
        await servers.restarted(1).require_key()
    await servers.one.renew("tokens")
    servers.clock.advance(FRESH_SECONDS)
    with pytest.raises(MasterKeyUnknownError):  # it does not sign with what it knows to be replaced
        await servers.two.signing_key("tokens")
    assert await servers.two.find_verifying_key("tokens", key.id) is not None
    with pytest.raises(MasterKeyUnknownError):  # nor call a signature wrong that it cannot look at
        await servers.two.find_verifying_key("tokens", "0" * 16)
    servers.give(*both, to=(1,))
    servers.clock.advance(FRESH_SECONDS)
    assert (await servers.two.signing_key("tokens")).generation == 2
    await servers.two.put_credential("a", b"")


class KilledError(Exception):
    """As SIGKILL: nothing more is done."""


@pytest.mark.parametrize("killed_at", range(5))
async def test_one_that_is_killed_is_taken_up(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(rotation, "PAGE", 3)
    values = await filled(servers)
    key = await servers.one.signing_key("tokens")
    servers.give(new_key(), *servers.keys())
    database, write, calls = servers.databases[0], servers.databases[0].write, 0

    async def killed(work: Any, **options: Any) -> Any:
        nonlocal calls
        if calls == killed_at:
            raise KilledError
        calls += 1
        return await write(work, **options)

    monkeypatch.setattr(database, "write", killed)
    with pytest.raises(KilledError):
        await rotate(database, servers.clock, servers.source())
    monkeypatch.undo()
    assert await opened(servers, 1) == values
    assert (await servers.restarted(1).signing_key("tokens")).id == key.id
    assert (await rotate(servers.databases[1], servers.clock, servers.source(1))).resealed == 8 - min(
        8, 3 * max(0, killed_at - 1)
    )
    servers.give(servers.keys()[0])
    assert await opened(servers, 0) == values


async def test_nothing_begins_without_every_key_that_is_needed(servers: Servers) -> None:
    await filled(servers)
    before = await find_secret_state(servers.databases[0])
    servers.give(new_key())
    with pytest.raises(MasterKeyUnknownError):
        await rotate(servers.databases[0], servers.clock, servers.source())
    assert await find_secret_state(servers.databases[0]) == before


async def test_two_rotations_to_different_keys(servers: Servers) -> None:
    values = await filled(servers)
    old, left, right = servers.keys()[0], new_key(), new_key()
    servers.give(left, right, old, to=(0,))
    servers.give(right, left, old, to=(1,))
    outcome = await asyncio.gather(
        *(rotate(servers.databases[each], servers.clock, servers.source(each)) for each in range(2)),
        return_exceptions=True,
    )
    assert all(isinstance(each, rotation.Rotated | RotationSupersededError) for each in outcome)
    await rotate(servers.databases[0], servers.clock, servers.source(0))
    servers.give(left)
    assert await opened(servers, 0) == values


async def test_secrets_made_during_a_rotation(servers: Servers) -> None:
    await filled(servers)
    servers.give(new_key(), *servers.keys())

    async def busy(number: int) -> None:
        for each in range(20):
            await servers.stores[number].put_credential(f"busy/{number}/{each}", b"%d" % each)
            await servers.stores[number].renew("tokens")

    await asyncio.gather(busy(0), busy(1), rotate(servers.databases[0], servers.clock, servers.source()))
    servers.give(servers.keys()[0])
    fresh = servers.restarted(1)
    await fresh.require_key()
    assert [await fresh.find_credential(f"busy/{number}/19") for number in range(2)] == [b"19", b"19"]
    assert (await fresh.signing_key("tokens")).generation == 41


async def test_an_installation_s_own_file_gets_its_new_key_by_itself(servers: Servers, tmp_path: Path) -> None:
    own = OwnKeyFile(tmp_path / "secrets" / "master.key")
    first = await rotate(servers.databases[0], servers.clock, own)
    second = await rotate(servers.databases[0], servers.clock, own)
    assert (first.before, second.before) == ("", first.key_id)
    assert own.read().ids == (second.key_id, first.key_id)
    own.add_key()  # as if it had been killed before it said which key is in use
    third = await rotate(servers.databases[0], servers.clock, own)
    assert len(own.read().ids) == 3
    assert own.read().newest.id == third.key_id
