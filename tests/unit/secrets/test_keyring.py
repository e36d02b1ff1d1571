"""Master keys are read as people write them, what is none is refused; what is sealed opens only where it belongs."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.secrets import MasterKeyInvalidError, SecretDamagedError, SecretKind, SecretRecord
from roadstead.secrets.keyring import MOST_KEYS, Keyring, signing_key_id

RECORD = SecretRecord("tokens", 1, SecretKind.SIGNING_KEY, "", 0)
ONE = bytes(range(32, 64)).hex()
TWO = bytes(range(64, 96)).hex()
ID = Keyring.parse(ONE, "").newest.id


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        f"{ONE}\n",
        f"{ONE}\r\n",
        f"\ufeff{ONE}\r\n",
        f"# made in spring\r\n\r\n  {ONE.upper()}  # of all\r\n",
        f"{ONE}\n\n{TWO}\n",
        f"{ONE}, {TWO}",
        f"{ONE}\r{TWO}",
    ],
)
def test_a_key_as_people_write_it(text: str) -> None:
    ring = Keyring.parse(text, "file")
    assert ring.newest.id == ID
    assert ring.ids == ((ID,) if TWO not in text else (ID, Keyring.parse(TWO, "").newest.id))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no master key in it"),
        ("# only a comment\n", "no master key in it"),
        (ONE[:-1], "key 1 in it has 63 digits, not 64"),
        (ONE[:32], "key 1 in it has 32 digits, not 64"),
        (f"{ONE}\n{TWO}ab", "key 2 in it has 66 digits"),
        ("correct horse battery staple", "key 1 in it is no master key"),
        ("0" * 64, "key 1 in it is not made by chance"),
        ("deadbeef" * 8, "key 1 in it is not made by chance"),
        ("-----BEGIN PRIVATE KEY-----\n", "key 1 in it is no master key"),
        ("\n".join([ONE] * (MOST_KEYS + 1)), f"more than {MOST_KEYS} master keys"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(text: str, problem: str) -> None:
    with pytest.raises(MasterKeyInvalidError, match=problem) as caught:
        Keyring.parse(text, "/etc/roadstead/master.key")
    assert caught.value.source == "/etc/roadstead/master.key"
    told = f"{caught.value} {caught.value.remedy}"
    assert not any(word in told for word in text.split() if len(word) > 8)


@given(value=st.binary(max_size=200))
def test_what_is_sealed_opens(value: bytes) -> None:
    key = Keyring.parse(ONE, "").newest
    sealed = key.seal(value, RECORD)
    assert key.open(sealed, RECORD) == value
    assert sealed != key.seal(value, RECORD)


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"generation": 2}, {"kind": SecretKind.CREDENTIAL}],
    ids=lambda change: next(iter(change)),
)
def test_a_value_in_another_row_does_not_open(change: dict[str, object]) -> None:
    key = Keyring.parse(ONE, "").newest
    sealed = key.seal(b"value", RECORD)
    with pytest.raises(SecretDamagedError):
        key.open(sealed, dataclasses.replace(RECORD, **change))  # type: ignore[arg-type]


@given(st.data())
def test_a_changed_value_does_not_open(data: st.DataObject) -> None:
    key = Keyring.parse(ONE, "").newest
    sealed = bytearray(key.seal(b"value", RECORD))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SecretDamagedError):
        key.open(bytes(sealed), RECORD)
    with pytest.raises(SecretDamagedError):
        key.open(bytes(sealed[:place]), RECORD)


def test_another_key_does_not_open() -> None:
    sealed = Keyring.parse(ONE, "").newest.seal(b"value", RECORD)
    with pytest.raises(SecretDamagedError):
        Keyring.parse(TWO, "").newest.open(sealed, RECORD)


def test_ids_stay_what_they_are() -> None:
    """They stand in catalogues: another derivation would lock every installation out."""
    key = bytes(range(32))
    assert Keyring.parse(key.hex(), "").newest.id == "f14ac89f00382f92"
    assert signing_key_id(key) == "8b9cdd5c89f15fc7"


def test_what_was_sealed_by_this_version_opens_for_ever() -> None:
    sealed = bytes.fromhex("01566e29459c1f6f386fdb29d4fbc502bfbf921f1dcf3a02b16518d9db2fa26254e0")
    assert Keyring.parse(bytes(range(32)).hex(), "").newest.open(sealed, RECORD) == b"value"
