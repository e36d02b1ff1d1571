"""Projects, places of blobs' bytes, owners of upload sessions: what is added stands beside what code before it knows.

Code of the version before runs on this schema: every new column may be NULL, and means then what it meant before. A
repository that such code makes has no project until code of this version pushes to it.

On PostgreSQL servers work on meanwhile. Each step is a transaction of its own, may run again after it was interrupted,
and waits for its locks no longer than ``_PATIENCE``, since whoever comes after would wait behind it. On SQLite nobody
else is there, and all is one transaction.
"""

import time
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PATIENCE: Final = "400ms"
_TRIES: Final = 150
_PAUSE_SECONDS: Final = 2.0
"""Between two tries; a lock that nobody gives up within five minutes ends the migration, which can be started again."""

_BATCH: Final = 2_000
"""Repositories that get their projects in one transaction."""

_IN_THE_WAY: Final = frozenset({"55P03", "40P01"})
"""Codes of PostgreSQL: a lock was not to be had in time; two waited for each other."""

_ON_POSTGRESQL: Final = (
    """
    CREATE TABLE IF NOT EXISTS projects (
        id BIGSERIAL NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        created_ms BIGINT NOT NULL,
        CONSTRAINT pk_projects PRIMARY KEY (id),
        CONSTRAINT uq_projects_name UNIQUE (name)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS blob_parts (
        blob_id BIGINT NOT NULL,
        number BIGINT NOT NULL,
        object_key TEXT COLLATE "C" NOT NULL,
        size_bytes BIGINT NOT NULL,
        CONSTRAINT pk_blob_parts PRIMARY KEY (blob_id, number),
        CONSTRAINT fk_blob_parts_blob_id FOREIGN KEY (blob_id) REFERENCES blobs (id) ON DELETE CASCADE
    )
    """,
    """
    ALTER TABLE blobs
        ADD COLUMN IF NOT EXISTS store TEXT COLLATE "C", ADD COLUMN IF NOT EXISTS object_key TEXT COLLATE "C"
    """,
    """
    ALTER TABLE upload_sessions ADD COLUMN IF NOT EXISTS owner TEXT COLLATE "C"
    """,
    """
    ALTER TABLE repositories ADD COLUMN IF NOT EXISTS project_id BIGINT
    """,
    """
    CREATE INDEX IF NOT EXISTS ix_repositories_project_id ON repositories (project_id)
    """,
    """
    ALTER TABLE repositories DROP CONSTRAINT IF EXISTS fk_repositories_project_id,
        ADD CONSTRAINT fk_repositories_project_id FOREIGN KEY (project_id) REFERENCES projects (id) NOT VALID
    """,
    # Not before the rows above are committed, and without their lock: it reads all rows.
    """
    ALTER TABLE repositories VALIDATE CONSTRAINT fk_repositories_project_id
    """,
)

_PROJECT_ON_SQLITE: Final = "CASE WHEN name LIKE '%/%' THEN substr(name, 1, instr(name, '/') - 1) ELSE 'library' END"
_PROJECT_ON_POSTGRESQL: Final = "CASE WHEN name LIKE '%/%' THEN split_part(name, '/', 1) ELSE 'library' END"

_UP_TO: Final = "SELECT max(id) FROM (SELECT id FROM repositories WHERE id > :after ORDER BY id LIMIT :batch) AS page"
_ADD_PROJECTS: Final = """
    INSERT INTO projects (name, created_ms)
    SELECT {project} AS project, min(created_ms) FROM repositories
    WHERE id > :after AND id <= :up_to AND project_id IS NULL
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (name) DO NOTHING
"""
_SET_PROJECTS: Final = """
    UPDATE repositories SET project_id = (SELECT projects.id FROM projects WHERE projects.name = {project})
    WHERE id > :after AND id <= :up_to AND project_id IS NULL
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _add_on_sqlite()
        _fill(connection, _PROJECT_ON_SQLITE.replace("name", "repositories.name"))
        return
    connection.commit()
    for statement in _ON_POSTGRESQL:
        _change(connection, statement)
    _fill(connection, _PROJECT_ON_POSTGRESQL.replace("name", "repositories.name"))


def _add_on_sqlite() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blob_parts",
        sa.Column("blob_id", sa.Integer, sa.ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("ALTER TABLE blobs ADD COLUMN store TEXT")
    op.execute("ALTER TABLE blobs ADD COLUMN object_key TEXT")
    op.execute("ALTER TABLE upload_sessions ADD COLUMN owner TEXT")
    op.execute("ALTER TABLE repositories ADD COLUMN project_id INTEGER REFERENCES projects (id)")
    op.create_index("ix_repositories_project_id", "repositories", ["project_id"])


def _change(connection: sa.Connection, *statements: str, **parameters: object) -> None:
    """Runs statements in a transaction, again while others hold what they lock."""
    for number in range(_TRIES):
        try:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
            for statement in statements:
                connection.execute(sa.text(statement), parameters)
        except DBAPIError as error:
            connection.rollback()
            if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY or number == _TRIES - 1:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            if connection.dialect.name == "postgresql":
                connection.commit()
            return


def _fill(connection: sa.Connection, project: str) -> None:
    """Makes the projects of all repositories; a repository that has one keeps it."""
    statements = _ADD_PROJECTS.format(project=project), _SET_PROJECTS.format(project=project)
    after = 0
    while up_to := connection.execute(sa.text(_UP_TO), {"after": after, "batch": _BATCH}).scalar():
        _change(connection, *statements, after=after, up_to=up_to)
        after = up_to


def downgrade() -> None:
    op.drop_index("ix_repositories_project_id", "repositories")
    op.execute("ALTER TABLE repositories DROP COLUMN project_id")
    op.execute("ALTER TABLE upload_sessions DROP COLUMN owner")
    op.execute("ALTER TABLE blobs DROP COLUMN object_key")
    op.execute("ALTER TABLE blobs DROP COLUMN store")
    op.drop_table("blob_parts")
    op.drop_table("projects")
