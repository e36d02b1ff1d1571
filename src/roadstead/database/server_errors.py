"""Explains what an error of a PostgreSQL server means to whoever runs the registry, and what they can do about it.

Promises: no sentence has a password, whatever the address had.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from roadstead.config import name_of, shown_url, user_of
from roadstead.database.errors import DatabaseError, ServerUnavailableError

_PASSWORD = "correct its user, or the password in database.password or database.password_file"  # noqa: S105 - none


@contextmanager
def explained(url: str) -> Generator[None, None, None]:
    """Turns errors of opening the server at ``url`` into ones that say what to do.

    Raises:
        ServerUnavailableError: it cannot be used.
    """
    try:
        yield
    except DatabaseError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise explain(error, url) from error


def explain(error: Exception, url: str) -> ServerUnavailableError:
    """Returns what ``error`` means, which came from opening the server at ``url`` or changing its schema."""
    place, name, user = shown_url(url), name_of(url), user_of(url)
    remedy = "start it, see that it can be reached from here, or correct database.url"
    detail = f"{place} cannot be reached ({_reason(error)})"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            detail, remedy = f"{place} refuses the user {user} ({error})", _PASSWORD
        case asyncpg.InvalidCatalogNameError():
            detail = f"there is no database {name} on its server ({place})"
            remedy = f"make it, as a superuser, with `createdb --owner {user} {name}`, or correct database.url"
        case asyncpg.InsufficientPrivilegeError():
            detail = f"the user {user} may not do what is needed in {place} ({error})"
            remedy = (
                f'make it the owner, as a superuser, with `ALTER DATABASE "{name}" OWNER TO "{user}"`, or let it make'
                f' tables with `GRANT CREATE, USAGE ON SCHEMA public TO "{user}"`'
            )
        case asyncpg.TooManyConnectionsError():
            detail = f"{place} has no connection left ({error})"
            remedy = "raise its max_connections, lower database.connections, or put PgBouncer in front"
        case asyncpg.ReadOnlySQLTransactionError():
            detail, remedy = f"{place} takes no changes ({error})", "name the primary as database.url"
        case asyncpg.ClientConfigurationError():
            detail, remedy = f"{place}: {error}", "correct database.url"
        case _:
            pass
    return ServerUnavailableError(detail, remedy)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError) and not str(error):
        return "it did not answer in time"
    return str(error) or type(error).__name__
