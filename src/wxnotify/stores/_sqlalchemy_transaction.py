"""The transaction that a SQLAlchemy store opens for the caller, on the caller's engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only

from ..errors import ConfigurationError, NotifyError, StoreUnavailable
from . import _sqlalchemy_sqlite as sqlite
from ._deadline import Breaker
from ._sql_errors import Trouble, classify, describe
from ._sqlalchemy_database import Database, name_of

_BREAKER: Final = "wxnotify_breaker"


@contextmanager
def in_time(connection: Connection, timeout: float, doing: str) -> Generator[None]:
    """
    End what is asked on a connection of the caller's after *timeout* seconds, and name its errors.

    Raises:
        StoreUnavailable: If the database failed, or did not answer in time.

        ConfigurationError: If the store's tables are not there.
    """
    breaker: Breaker | None = connection.info.get(_BREAKER)
    if breaker is None:
        # Kept as long as the driver's connection; SQLAlchemy forgets both together.
        breaker = connection.info[_BREAKER] = Breaker(connection.connection.driver_connection)
    breaker.arm(time.monotonic() + timeout)
    try:
        yield
    except NotifyError:
        raise
    except Exception as error:
        if breaker.disarm():
            if not connection.closed:
                connection.invalidate()
            raise StoreUnavailable(f"{doing}: no answer within {timeout:g} s") from error
        if not isinstance(error, DBAPIError):
            raise
        if classify(error) is Trouble.MISSING:
            raise ConfigurationError(
                f"{doing}: {describe(error)}, in {name_of(connection.engine)}; is this the store's database?"
            ) from error
        raise StoreUnavailable(f"{doing}: {describe(error)}") from error
    finally:
        breaker.disarm()


@contextmanager
def open_transaction(database: Database) -> Generator[Connection]:
    """Begin, give the connection, and commit; roll back at an exception, which stays as it is."""
    with _naming_errors():
        connection = database.engine.connect()
    try:
        _begin(connection, database, time.sleep)
        yield connection
        _commit(connection, database)
    finally:
        _end(connection, database)


@asynccontextmanager
async def open_async_transaction(database: Database, engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """As :func:`open_transaction`, for an event loop."""
    with _naming_errors():
        connection = await engine.connect()
    try:
        await connection.run_sync(_begin, database, lambda seconds: await_only(asyncio.sleep(seconds)))
        yield connection
        await connection.run_sync(_commit, database)
    finally:
        # To its end even if this task is cancelled, or the connection would stay out.
        await asyncio.shield(asyncio.ensure_future(connection.run_sync(_end, database)))


def _begin(connection: Connection, database: Database, sleep: Callable[[float], object]) -> None:
    with in_time(connection, database.timeout, "beginning a transaction"):
        if database.is_sqlite:
            sqlite.begin_immediate(connection, claims=database.claims, timeout=database.timeout, sleep=sleep)
        else:
            connection.begin()


def _commit(connection: Connection, database: Database) -> None:
    with in_time(connection, database.timeout, "committing"):
        connection.commit()


def _end(connection: Connection, database: Database) -> None:
    if connection.invalidated:
        connection.close()
        return
    # What is not committed is rolled back: by the server itself where it cannot
    # be told. Then the exception that led here says more.
    with suppress(NotifyError), in_time(connection, database.timeout, "rolling back"):
        try:
            # Where a listener of the caller's raised at the commit, SQLAlchemy takes
            # the transaction for done, and close() alone would give the connection
            # back in it.
            connection.rollback()
        finally:
            connection.close()


@contextmanager
def _naming_errors() -> Generator[None]:
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(f"a transaction cannot begin: {describe(error)}") from error
