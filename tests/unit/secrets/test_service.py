"""What one server makes or renews the others know within a second; nobody without the master key is let in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from roadstead.jobs import save_state
from roadstead.secrets import (
    MasterKeyMissingError,
    MasterKeyUnknownError,
    SecretDamagedError,
    SecretKind,
    SecretKindError,
    SecretNameInvalidError,
    SecretsExceededError,
    SecretStateInvalidError,
    SecretUnknownError,
    secrets,
    service,
    store,
)
from roadstead.secrets.keyring import new_key
from roadstead.secrets.service import FRESH_SECONDS, OVERLAP_MS
from roadstead.secrets.state import STATE, find_secret_state
from tests.databases import REPEATING_TOO, change

if TYPE_CHECKING:
    from tests.unit.secrets.conftest import Servers

pytestmark = pytest.mark.anyio
DATABASES = REPEATING_TOO


async def test_a_signing_key_is_made_at_the_first_need_and_is_one(servers: Servers) -> None:
    found = await asyncio.gather(*(each.signing_key("tokens") for each in [servers.one, servers.two] * 10))
    assert len({key.id for key in found}) == 1
    assert len(found[0].value) == 32
    assert found[0].value.hex() not in repr(found[0])
    again = await servers.restarted(0).signing_key("tokens")
    assert again.value == found[0].value
    assert (await servers.one.signing_key("sessions")).value != again.value
    assert [each.name for each in await servers.one.list_records()] == ["sessions", "tokens"]


async def test_the_other_server_knows_a_renewed_key_within_a_second(servers: Servers) -> None:
    before = await servers.two.signing_key("tokens")
    await servers.one.renew("tokens")
    assert (await servers.two.signing_key("tokens")).id == before.id, "it looks no more often than it has to"
    servers.clock.advance(FRESH_SECONDS)
    after = await servers.two.signing_key("tokens")
    assert (after.generation, after.id == before.id) == (2, False)
    assert FRESH_SECONDS < 1


async def test_what_another_server_has_just_signed_is_verified_at_once(servers: Servers) -> None:
    await servers.two.signing_key("tokens")
    await servers.one.renew("tokens")
    signed = await servers.restarted(0).signing_key("tokens")
    found = await servers.two.find_verifying_key("tokens", signed.id)
    assert found is not None
    assert found.value == signed.value
    assert await servers.two.find_verifying_key("tokens", "0" * 16) is None
    assert await servers.two.find_verifying_key("nothing", signed.id) is None


async def test_an_older_generation_verifies_until_its_time_is_over(servers: Servers) -> None:
    first = await servers.one.signing_key("tokens")
    await servers.one.renew("tokens")
    servers.clock.advance(OVERLAP_MS / 1000 - 1)
    assert (await servers.two.signing_key("tokens")).generation == 2
    assert await servers.two.find_verifying_key("tokens", first.id) is not None
    servers.clock.advance(1)
    assert await servers.two.find_verifying_key("tokens", first.id) is None
    await servers.one.renew("tokens")
    assert [each.generation for each in await servers.one.list_records()] == [3, 2]


async def test_a_calendar_that_jumps_ends_nothing(servers: Servers) -> None:
    first = await servers.one.signing_key("tokens")
    await servers.one.renew("tokens")
    servers.clock.set_ms(servers.clock.now_ms() + 100 * OVERLAP_MS)
    servers.clock.advance(FRESH_SECONDS)
    assert await servers.two.find_verifying_key("tokens", first.id) is not None


async def test_revoked_generations_are_worth_nothing(servers: Servers) -> None:
    first = await servers.one.signing_key("tokens")
    await servers.one.renew("tokens")
    await servers.one.renew("tokens", revokes=True)
    servers.clock.advance(FRESH_SECONDS)
    assert await servers.two.find_verifying_key("tokens", first.id) is None
    assert [each.generation for each in await servers.two.list_records()] == [3]


async def test_renewals_at_once_are_one_after_the_other(servers: Servers) -> None:
    await servers.one.signing_key("tokens")
    made = await asyncio.gather(*(each.renew("tokens") for each in [servers.one, servers.two] * 4))
    assert sorted(each.generation for each in made) == list(range(2, 10))
    signing = [each for each in await servers.one.list_records() if each.verifies_until_ms is None]
    assert [each.generation for each in signing] == [9]


async def test_renewals_have_a_limit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_GENERATIONS", 3)
    await servers.one.signing_key("tokens")
    for _ in range(2):
        await servers.one.renew("tokens")
    with pytest.raises(SecretsExceededError, match="--revoke"):
        await servers.one.renew("tokens")
    assert (await servers.one.renew("tokens", revokes=True)).generation == 4


async def test_secrets_have_a_limit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST", 2)
    for name in ("a", "b"):
        await servers.one.signing_key(name)
    with pytest.raises(SecretsExceededError):
        await servers.one.put_credential("c", b"")


async def test_credentials(servers: Servers) -> None:
    await servers.one.put_credential("endpoint/other", b"password")
    assert await servers.two.find_credential("endpoint/other") == b"password"
    record = await servers.two.put_credential("endpoint/other", b"")
    assert (record.generation, record.kind) == (2, SecretKind.CREDENTIAL)
    assert await servers.one.find_credential("endpoint/other") == b""
    assert await servers.one.delete_credential("endpoint/other")
    assert not await servers.two.delete_credential("endpoint/other")
    assert await servers.one.find_credential("endpoint/other") is None
    with pytest.raises(ValueError, match="65536"):
        await servers.one.put_credential("endpoint/other", bytes(65537))


async def test_kinds_are_not_mixed_up(servers: Servers) -> None:
    await servers.one.signing_key("key")
    await servers.one.put_credential("password", b"value")
    with pytest.raises(SecretKindError):
        await servers.one.put_credential("key", b"value")
    with pytest.raises(SecretKindError):
        await servers.two.signing_key("password")
    with pytest.raises(SecretUnknownError, match="only its owner"):
        await servers.one.renew("password")
    with pytest.raises(SecretUnknownError, match="no secret"):
        await servers.one.renew("nothing")
    assert await servers.one.find_credential("key") is None
    assert not await servers.one.delete_credential("key")


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a\0", "ä", "a" * 129])
async def test_names(servers: Servers, name: str) -> None:
    with pytest.raises(SecretNameInvalidError):
        await servers.one.signing_key(name)
    with pytest.raises(SecretNameInvalidError):
        await servers.one.put_credential(name, b"")


async def test_nothing_sealed_is_in_the_clear(servers: Servers) -> None:
    await servers.one.put_credential("endpoint/other", b"a password of somebody")
    key = await servers.one.signing_key("tokens")
    sealed = [each.sealed for each in await store.list_sealed_otherwise(servers.databases[0], "", 10)]
    assert len(sealed) == 2
    assert not any(b"password" in each or key.value in each for each in sealed)


# ── Master keys ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_with_another_key_is_refused_at_its_start(servers: Servers) -> None:
    needed = servers.give(new_key())
    await servers.one.require_key()
    servers.give(new_key(), to=(1,))
    with pytest.raises(MasterKeyUnknownError) as caught:
        await servers.two.require_key()
    assert caught.value.needed == needed
    assert caught.value.source == str(servers.files[1])
    with pytest.raises(MasterKeyUnknownError):
        await servers.two.signing_key("tokens")
    with pytest.raises(MasterKeyUnknownError):
        await servers.two.put_credential("endpoint", b"value")
    assert await servers.one.list_records() == []
    servers.give(*servers.keys(0), to=(1,))
    await servers.two.require_key()


async def test_two_servers_that_start_at_once_with_different_keys(servers: Servers) -> None:
    servers.give(new_key(), to=(1,))
    outcome = await asyncio.gather(servers.one.require_key(), servers.two.require_key(), return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcome) == ["MasterKeyUnknownError", "NoneType"]


async def test_a_key_file_that_is_gone_is_no_new_beginning(servers: Servers) -> None:
    await servers.one.signing_key("tokens")
    servers.files[1].unlink()
    with pytest.raises(MasterKeyMissingError):
        await servers.two.require_key()
    with pytest.raises(MasterKeyMissingError):
        await servers.two.signing_key("tokens")
    servers.files[0].unlink()
    servers.clock.advance(FRESH_SECONDS)
    assert (await servers.one.signing_key("tokens")).generation == 1, "it has read the file, and goes on"


async def test_a_key_that_comes_later_needs_no_restart(servers: Servers) -> None:
    key = await servers.one.signing_key("tokens")
    right = servers.keys(0)
    servers.give(new_key(), to=(1,))
    with pytest.raises(MasterKeyUnknownError):
        await servers.two.signing_key("tokens")
    servers.give(*right, to=(1,))
    servers.clock.advance(FRESH_SECONDS)
    assert (await servers.two.signing_key("tokens")).value == key.value


async def test_a_lost_key_is_a_new_beginning_only_on_demand(servers: Servers) -> None:
    before = await servers.one.signing_key("tokens")
    await servers.one.put_credential("endpoint", b"value")
    servers.give(new_key())
    lost = servers.restarted(0)
    with pytest.raises(MasterKeyUnknownError):
        await lost.require_key()
    assert await lost.reset() == 2
    await lost.require_key()
    after = await lost.signing_key("tokens")
    assert after.id != before.id
    servers.clock.advance(FRESH_SECONDS)
    assert (await servers.two.signing_key("tokens")).id == after.id, "the same generation, another key"
    assert await servers.two.find_verifying_key("tokens", before.id) is None


async def test_a_damaged_row_is_named_and_harms_no_other(servers: Servers) -> None:
    await servers.one.signing_key("tokens")
    other = await servers.one.signing_key("other")
    await change(servers.databases[0], update(secrets).where(secrets.c.name == "tokens").values(sealed=b"\x01" * 60))
    fresh = servers.restarted(1)
    with pytest.raises(SecretDamagedError, match="tokens, generation 1"):
        await fresh.signing_key("tokens")
    assert (await fresh.signing_key("other")).id == other.id
    await servers.one.renew("tokens", revokes=True)
    servers.clock.advance(FRESH_SECONDS)
    assert (await fresh.signing_key("tokens")).generation == 2


async def test_a_row_of_a_later_version_is_left_alone(servers: Servers) -> None:
    database = servers.databases[0]
    await database.write(lambda transaction: save_state(transaction, STATE, '{"keys": []}'))
    for asked in (servers.one.require_key(), servers.one.signing_key("tokens"), servers.one.put_credential("a", b"")):
        with pytest.raises(SecretStateInvalidError):
            await asked
    assert await servers.one.reset() == 0
    assert await find_secret_state(database) is None
