"""Keeps what a manifest names with it, also what need not be there: the names that were left out so far are added.

Until now ``manifest_blobs`` had the blobs without which a manifest is refused. Foreign layers and the entries of an
index may be blobs of the repository too, and the collector took them. So every stored body is read again, one at a
time; one that cannot be read, or says nothing, keeps the rows that it has.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from typing import cast

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PAGE = 500


def upgrade() -> None:
    op.add_column("manifest_blobs", sa.Column("is_required", sa.Integer, nullable=False, server_default="1"))
    connection = op.get_bind()
    (_, _, path), *_ = connection.exec_driver_sql("PRAGMA database_list").fetchall()
    # An unreadable page is an error that a write transaction does not survive: bodies are read outside of it.
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        for manifest_id in _ids(connection):
            names = _names(_body(reader, manifest_id))
            if names:
                connection.connection.cursor().executemany(
                    "INSERT INTO manifest_blobs (manifest_id, blob_digest, is_required) VALUES (?, ?, 0)"
                    " ON CONFLICT DO NOTHING",  # what is there already must be there
                    [(manifest_id, name) for name in sorted(names)],
                )


def _ids(connection: sa.Connection) -> Iterator[int]:
    """The keys of all manifests; from the index on digests, which damage in the table's pages leaves readable."""
    listing = "SELECT id, digest FROM manifests WHERE digest > ? ORDER BY digest LIMIT ?"
    after = ""
    while rows := connection.exec_driver_sql(listing, (after, _PAGE)).fetchall():
        yield from (row[0] for row in rows)
        after = rows[-1][1]


def _body(reader: sqlite3.Connection, manifest_id: int) -> object:
    try:
        row = reader.execute("SELECT body FROM manifests WHERE id = ?", (manifest_id,)).fetchone()
    except sqlite3.DatabaseError:
        return None  # `roadstead check` names it
    return row[0] if row else None


def _names(body: object) -> set[str]:
    """The digests in config, layers and manifests of whatever ``body`` is."""
    try:
        document: object = json.loads(body) if isinstance(body, bytes) else None
    except (ValueError, RecursionError):
        return set()
    named = [_get(document, "config"), *_items(_get(document, "layers")), *_items(_get(document, "manifests"))]
    digests = [_get(entry, "digest") for entry in named]
    return {digest for digest in digests if isinstance(digest, str) and digest.isascii()}


def _get(document: object, key: str) -> object:
    return cast("dict[str, object]", document).get(key) if isinstance(document, dict) else None


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def downgrade() -> None:
    op.execute("DELETE FROM manifest_blobs WHERE is_required = 0")
    op.drop_column("manifest_blobs", "is_required")
