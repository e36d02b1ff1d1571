"""SQL statements of secrets."""

from typing import Any, Final, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from roadstead.database import Reader, Row, Statement, Transaction, parameter
from roadstead.secrets.model import SecretKind, SecretRecord
from roadstead.secrets.tables import secrets

MOST: Final = 10_000
"""Rows that may be there: of a registry's few signing keys, and a credential for each system that it works with."""

_facts = (
    secrets.c.name,
    secrets.c.generation,
    secrets.c.kind,
    secrets.c.key_id,
    secrets.c.created_ms,
    secrets.c.verifies_until_ms,
)
_columns = (*_facts, secrets.c.sealed)
_name = secrets.c.name == parameter("name")
_row = (_name, secrets.c.generation == parameter("generation"))

_LIST: Final = Statement(select(*_facts).order_by(secrets.c.name, secrets.c.generation.desc()).limit(MOST))
_LIST_KIND: Final = Statement(
    select(*_columns)
    .where(secrets.c.kind == parameter("kind"))
    .order_by(secrets.c.name, secrets.c.generation.desc())
    .limit(MOST)
)
_LIST_NAME: Final = Statement(select(*_columns).where(_name).order_by(secrets.c.generation.desc()).limit(MOST))
_LIST_SEALED_OTHERWISE: Final = Statement(
    select(*_columns)
    .where(secrets.c.key_id != parameter("key_id"))
    .order_by(secrets.c.name, secrets.c.generation)
    .limit(parameter("limit"))
)
_COUNT_BY_KEY: Final = Statement(
    select(secrets.c.key_id, func.count()).group_by(secrets.c.key_id).order_by(secrets.c.key_id).limit(MOST)
)
_ADD: Final = Statement(insert(secrets).values({column.name: parameter(column.name) for column in _columns}))
_RESEAL: Final = Statement(
    update(secrets).where(*_row).values(sealed=parameter("sealed"), key_id=parameter("new_key_id"))
)
_END: Final = Statement(
    update(secrets)
    .where(_name, secrets.c.verifies_until_ms.is_(None))
    .values(verifies_until_ms=parameter("verifies_until_ms"))
)
_DELETE_LAPSED: Final = Statement(delete(secrets).where(secrets.c.verifies_until_ms <= parameter("now_ms")))
_DELETE_NAME: Final = Statement(delete(secrets).where(_name))
_DELETE_KIND: Final = Statement(delete(secrets).where(secrets.c.kind == parameter("kind")))
_DELETE_ALL: Final = Statement(delete(secrets))


class SealedSecret(NamedTuple):
    """A row."""

    record: SecretRecord
    sealed: bytes


async def list_records(reader: Reader) -> list[SecretRecord]:
    """All of them without their values, in the order of names, the newest generation first."""
    return [_record(row) for row in await reader.fetch_all(_LIST)]


async def list_signing_keys(reader: Reader) -> list[SealedSecret]:
    """The rows of all signing keys, in the order of names, the newest generation first."""
    return [_of(row) for row in await reader.fetch_all(_LIST_KIND, kind=SecretKind.SIGNING_KEY.value)]


async def list_generations(reader: Reader, name: str) -> list[SealedSecret]:
    """The rows of one name, the newest generation first."""
    return [_of(row) for row in await reader.fetch_all(_LIST_NAME, name=name)]


async def list_sealed_otherwise(reader: Reader, key_id: str, limit: int) -> list[SealedSecret]:
    """Rows that are sealed under other keys."""
    return [_of(row) for row in await reader.fetch_all(_LIST_SEALED_OTHERWISE, key_id=key_id, limit=limit)]


async def count_by_key(reader: Reader) -> dict[str, int]:
    """The number of rows that are sealed under each key."""
    return {str(row[0]): int(row[1]) for row in await reader.fetch_all(_COUNT_BY_KEY)}


async def add(transaction: Transaction, record: SecretRecord, sealed: bytes) -> None:
    """Adds a row."""
    await transaction.execute(
        _ADD,
        name=record.name,
        generation=record.generation,
        kind=record.kind.value,
        key_id=record.key_id,
        created_ms=record.created_ms,
        verifies_until_ms=record.verifies_until_ms,
        sealed=sealed,
    )


async def reseal(transaction: Transaction, rows: list[SealedSecret], key_id: str) -> None:
    """Gives rows new sealed values."""
    changed: list[dict[str, Any]] = [
        {
            "name": record.name,
            "generation": record.generation,
            "sealed": sealed,
            "new_key_id": key_id,
        }
        for record, sealed in rows
    ]
    await transaction.execute_many(_RESEAL, changed)


async def end_signing(transaction: Transaction, name: str, verifies_until_ms: int) -> None:
    """Lets the generation that signs be an older one, which ends at that time."""
    await transaction.execute(_END, name=name, verifies_until_ms=verifies_until_ms)


async def delete_lapsed(transaction: Transaction, now_ms: int) -> None:
    """Removes generations whose time is over."""
    await transaction.execute(_DELETE_LAPSED, now_ms=now_ms)


async def delete_name(transaction: Transaction, name: str) -> int:
    """Removes every generation of a name, and returns how many there were."""
    return await transaction.execute(_DELETE_NAME, name=name)


async def delete_signing_keys(transaction: Transaction) -> int:
    """Removes every signing key, and returns the number of rows."""
    return await transaction.execute(_DELETE_KIND, kind=SecretKind.SIGNING_KEY.value)


async def delete_all(transaction: Transaction) -> int:
    """Removes every secret, and returns the number of rows."""
    return await transaction.execute(_DELETE_ALL)


def _of(row: Row) -> SealedSecret:
    return SealedSecret(_record(row[:-1]), bytes(row[-1]))


def _record(row: Row) -> SecretRecord:
    name, generation, kind, key_id, created_ms, verifies_until_ms = row
    return SecretRecord(name, generation, SecretKind(kind), key_id, created_ms, verifies_until_ms)
