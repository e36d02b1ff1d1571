"""Tables of each endpoint's cursor, and of the events that could not be delivered to it."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, text

from roadstead.database import KEY, TEXT, metadata

notification_cursors: Final = Table(
    "notification_cursors",
    metadata,
    Column("endpoint", TEXT, primary_key=True),
    Column("event_id", KEY, nullable=False),  # the last event that it was told, or that was parked
    Column("attempts", Integer, nullable=False),  # failed ones at the next event
    Column("next_ms", BigInteger, nullable=False),  # not before
    Column("error", TEXT, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("suspect_id", KEY, nullable=False),  # parked last, and nothing was delivered since; 0: none
    sqlite_with_rowid=False,
)

parked_events: Final = Table(
    "parked_events",
    metadata,
    Column("endpoint", TEXT, primary_key=True),
    Column("event_id", KEY, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("error", TEXT, nullable=False),
    Column("parked_ms", BigInteger, nullable=False),
    Column("is_due", Integer, nullable=False),  # 1: to be told again, before what is new; 0: only on request
    Index(
        "ix_parked_events_due",
        "endpoint",
        "event_id",
        sqlite_where=text("is_due = 1"),
        postgresql_where=text("is_due = 1"),
    ),
    sqlite_with_rowid=False,
)
