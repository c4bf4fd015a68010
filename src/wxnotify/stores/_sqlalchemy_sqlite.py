"""
What SQLAlchemy leaves to its users on SQLite: how a transaction begins, and what a commit is worth.

SQLAlchemy's drivers begin no transaction before a SELECT, as Python's sqlite3 does
not, and then a deferred one. One that reads first and writes later fails at once
if another connection wrote in between, so a transaction for a payment takes the
write lock at its beginning (https://sqlite.org/lang_transaction.html).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import URL, Connection, Dialect

from ..errors import ConfigurationError
from ._sql_errors import Trouble, classify, file_locked
from ._sqlite_waiting import pause

#: The first SQLite without the WAL-reset bug, https://sqlite.org/wal.html#walresetbug
_WAL_SAFE_SINCE: Final = (3, 51, 3)
#: What ``PRAGMA synchronous`` answers for FULL; EXTRA is one more.
_SYNCHRONOUS_FULL: Final = 2


def check_url(url: URL) -> None:
    """Raise ``ConfigurationError`` if *url* is of a database in memory."""
    name = url.database or ""
    if not name or ":memory:" in name or url.query.get("mode") == "memory":
        raise ConfigurationError(
            "a SQLite database in memory forgets, and each connection has another one; "
            "take MemoryStore, or name a file in the engine's URL"
        )


def set_up(dbapi: Any, execute: Callable[[str], list[Any]], dialect: Dialect) -> None:
    """Prepare a connection of the store's own."""
    if dialect.get_driver_connection(dbapi).in_transaction:
        execute("COMMIT")  # with autocommit=False, Python 3.12 begins one at once
    execute("PRAGMA busy_timeout = 0")
    execute("PRAGMA synchronous = FULL")
    version = tuple(int(part) for part in execute("SELECT sqlite_version()")[0][0].split("."))
    if version < _WAL_SAFE_SINCE and execute("PRAGMA journal_mode")[0][0] == "wal":
        warnings.warn(
            f"the file is in WAL mode, which this SQLite, {'.'.join(map(str, version))}, may corrupt "
            "(https://sqlite.org/wal.html#walresetbug): run SQLite 3.51.3 or newer, or, with nothing "
            "else using the file, execute PRAGMA journal_mode = DELETE on it once",
            RuntimeWarning,
            stacklevel=2,
        )


def begin_immediate(
    connection: Connection, *, claims: str, timeout: float, sleep: Callable[[float], object]
) -> None:
    """
    Begin a transaction, and take the write lock.

    Args:
        connection: Not in a transaction yet.

        claims: The claims' table, quoted.

        timeout: Seconds to wait for other writers.

        sleep: Waits.

    Raises:
        StoreUnavailable: If the file stayed locked.
    """
    began = time.monotonic()
    # On the driver's connection, because SQLAlchemy's would begin.
    ((busy_timeout,),) = _pragma(connection, "busy_timeout")
    _pragma(connection, "busy_timeout = 0")
    try:
        while True:
            try:
                return _begin_once(connection, claims)
            except Exception as error:  # also one of the caller's listener, as it is
                if classify(error) is not Trouble.BUSY:
                    raise
                waited = time.monotonic() - began
                if waited >= timeout:
                    raise file_locked(timeout) from error
            sleep(pause(waited))
    finally:
        _pragma(connection, f"busy_timeout = {int(busy_timeout)}")


def _begin_once(connection: Connection, claims: str) -> None:
    if not connection.in_transaction():
        connection.begin()
    # Where the driver or a listener has begun already, perhaps deferred, any write
    # takes the lock, also one that changes no row.
    begun = in_transaction(connection)
    connection.exec_driver_sql(f"DELETE FROM {claims} WHERE 0" if begun else "BEGIN IMMEDIATE")  # noqa: S608


def _pragma(connection: Connection, pragma: str) -> list[Any]:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {pragma}")
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def check_transaction(connection: Connection) -> None:
    """Raise ``ConfigurationError`` if what *connection* commits may be lost, or nothing has begun."""
    if not in_transaction(connection):
        raise ConfigurationError(
            "bind: SQLite's driver has not begun a transaction, and would not before the first change; "
            "give transaction=store.transaction, or let your engine begin: "
            '@event.listens_for(engine, "begin") calling connection.exec_driver_sql("BEGIN IMMEDIATE")'
        )
    if _ask(connection, "SELECT 1 FROM pragma_database_list WHERE name NOT IN ('main', 'temp')"):
        raise ConfigurationError(
            "bind: another database is attached, and SQLite does not always commit two files as one; "
            "keep the orders in the store's file"
        )
    if _ask(connection, "PRAGMA main.synchronous")[0][0] < _SYNCHRONOUS_FULL:
        raise ConfigurationError(
            "bind: the connection may forget a commit when power is lost; execute "
            "PRAGMA synchronous = FULL on it before the transaction"
        )
    if _ask(connection, "PRAGMA main.journal_mode")[0][0] in ("memory", "off"):
        raise ConfigurationError(
            "bind: without a journal on disk a crash leaves half a transaction; execute "
            "PRAGMA journal_mode = PERSIST on the connection before the transaction"
        )


def in_transaction(connection: Connection) -> bool:
    """Tell whether SQLite itself is in a transaction, whatever SQLAlchemy thinks."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _ask(connection: Connection, statement: str) -> list[Any]:
    return list(connection.exec_driver_sql(statement).fetchall())
