"""
What a SQLAlchemy store takes from the caller's engine: how to connect, and how to speak to that database.

The store's own statements do not run on the engine's pool. They would depend on
its size, its isolation level and its timeouts, and each would cost a BEGIN, a
COMMIT and a reset besides. So the store keeps a few connections of its own, made
as the engine makes them (its URL, ``connect_args``, ``creator``, and listeners to
``do_connect`` and ``connect``: tokens, roles, a search path), and then:

- in AUTOCOMMIT, so that a verb's statement is one round trip;
- on PostgreSQL, with READ COMMITTED, ``lock_timeout``, ``statement_timeout``, and
  a ``synchronous_commit`` that is not off, or a crash of the server would forget
  what was answered SUCCESS;
- on MySQL, with the shortest wait for a lock, one second, in place of fifty;
- on SQLite, without its busy handler, which starves waiters (``_sqlite_connections.py``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, Engine, MetaData, event, text
from sqlalchemy.pool import Pool

from ..errors import ConfigurationError, StoreUnavailable
from . import _sql_statements as sql
from . import _sqlalchemy_sqlite as sqlite
from ._deadline import Breaker
from ._sql import Ask, Verbs
from ._sql_errors import LOCK_WAIT, describe
from ._sqlalchemy_tables import Tables, claim_tables

_DIALECTS: Final = {
    "postgresql": sql.POSTGRESQL,
    "mysql": sql.MYSQL,
    "mariadb": sql.MYSQL,
    "sqlite": sql.SQLITE,
}
#: Those whose waits can be ended, as the tests show.
_DRIVERS: Final = {
    False: ("psycopg", "psycopg2", "pymysql", "pysqlite"),
    True: ("psycopg", "asyncpg", "asyncmy", "aiomysql", "aiosqlite"),
}
_MYSQL: Final = ("mysql", "mariadb")
# MySQL's drivers write parameters between quotes, in the charset of the caller's
# connection. That breaks bytes where the session has NO_BACKSLASH_ESCAPES (and all
# bytes, with aiomysql 0.3.2 and PyMySQL 1.2), and texts with characters the charset
# does not have. Hexadecimal digits are the same everywhere.
_FROM_HEX: Final[dict[type, str]] = {
    bytes: "UNHEX(:{0})",
    str: "CONVERT(UNHEX(:{0}) USING utf8mb4) COLLATE utf8mb4_bin",
}
_BREAKER: Final = "wxnotify_breaker"


class Database:
    """
    The database behind an engine.

    Args:
        engine: The caller's; the blocking face of it, if it is asynchronous.

        tables: The store's, or None for the usual ones.

        timeout: Seconds a verb may take.

        session_settings: Whether to set anything on the store's own sessions.
    """

    def __init__(
        self, engine: Engine, tables: Tables | None, *, timeout: float, session_settings: bool
    ) -> None:
        dialect = engine.dialect
        if dialect.name not in _DIALECTS:
            raise ConfigurationError(
                f"this store is for PostgreSQL, MySQL, MariaDB and SQLite, not {dialect.name}"
            )
        if dialect.driver not in _DRIVERS[dialect.is_async]:
            known = ", ".join(_DRIVERS[dialect.is_async])
            raise ConfigurationError(
                f"the store could not end what {dialect.driver} waits for, nor keep a deadline; take {known}"
            )
        self.engine = engine
        self.dialect: Any = dialect
        self.name = name_of(engine)
        self.kinds = _MYSQL if dialect.name in _MYSQL else (dialect.name,)
        self.is_sqlite = dialect.name == "sqlite"
        self.is_postgresql = dialect.name == "postgresql"
        self.timeout = timeout
        self.tables = tables or claim_tables(MetaData())
        quote = dialect.identifier_preparer.format_table
        #: Its name as the database wants it.
        self.claims = quote(self.tables.claims)
        self.verbs = Verbs(_DIALECTS[dialect.name], self.claims, quote(self.tables.inbox))
        if self.is_sqlite:
            sqlite.check_url(engine.url)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 60:
            raise ConfigurationError("timeout is the seconds a verb may take: more than 0, at most 60")
        self._session_settings = session_settings
        self._in_hex = dialect.name in _MYSQL
        self._compiled: dict[str, tuple[str, list[str] | None]] = {}

    def compile(self, asked: Ask) -> tuple[str, Any]:
        """Give the statement and its parameters as the driver takes them."""
        values = asked.parameters
        if asked.sql not in self._compiled:
            written = asked.sql
            for name, value in values.items():
                if self._in_hex and type(value) in _FROM_HEX:
                    written = re.sub(rf":{name}\b", _FROM_HEX[type(value)].format(name), written)
            compiled = text(written).compile(dialect=self.dialect)
            self._compiled[asked.sql] = str(compiled), compiled.positiontup if compiled.positional else None
        if self._in_hex:
            values = {name: _hex(value) for name, value in values.items()}
        statement, names = self._compiled[asked.sql]
        return statement, values if names is None else tuple([values[name] for name in names])

    def autocommits(self, connection: Connection) -> bool:
        """Tell whether *connection* commits each statement, as its driver has it."""
        return bool(self.dialect.detect_autocommit_setting(connection.connection.dbapi_connection))

    def pool(self) -> Pool:
        """
        Make a pool that connects as the engine does; nothing is kept in it.

        One that is the store's own, because an engine's may be small, and
        waits long when it is empty.
        """
        pool = self.engine.pool.recreate()
        # First of all: also the questions SQLAlchemy asks a server at its first
        # connection must end.
        event.listen(pool, "connect", self._watch, insert=True)
        return pool

    def _watch(self, dbapi: Any, record: Any) -> None:
        breaker = record.info[_BREAKER] = Breaker(self.dialect.get_driver_connection(dbapi))
        breaker.arm(time.monotonic() + self.timeout)

    def connect(self, pool: Pool) -> tuple[Any, Breaker]:
        """
        Connect anew, and set the connection up.

        Args:
            pool: Made by :meth:`pool`.

        Returns:
            The DB-API connection, and what ends its waits.
        """
        lent = pool.connect()
        dbapi, breaker = lent.dbapi_connection, lent.info[_BREAKER]
        lent.detach()
        try:
            self._set_up(dbapi)
        except BaseException:
            self.close(dbapi, breaker)
            raise
        finally:
            breaker.disarm()
        return dbapi, breaker

    def close(self, dbapi: Any, breaker: Breaker) -> None:
        """Close a connection, whatever its state."""
        with suppress(Exception):  # it may be broken already
            self.dialect.do_terminate(dbapi)
        breaker.close()

    def _set_up(self, dbapi: Any) -> None:
        # A listener of the caller's may have left a transaction open. What it set
        # there would be lost by a rollback.
        self.dialect.do_commit(dbapi)
        self.dialect.set_isolation_level(dbapi, "AUTOCOMMIT")
        execute = _executor(dbapi)
        if self.is_sqlite:
            sqlite.set_up(dbapi, execute, self.dialect)
        elif self._session_settings:
            execute(self._settings())

    def _settings(self) -> str:
        if self.is_postgresql:
            lock, statement = (int(1000 * self.timeout * part) for part in (LOCK_WAIT, 1))
            return (
                f"SELECT set_config('lock_timeout', '{lock}', false), "
                f"set_config('statement_timeout', '{statement}', false), "
                "set_config('default_transaction_isolation', 'read committed', false), "
                f"{DURABLE_COMMIT.format(local='false')}"
            )
        setting = "SET SESSION innodb_lock_wait_timeout = 1"
        # So that a statement whose connection was given up does not go on for long.
        return f"{setting}, max_statement_time = {self.timeout}" if self.dialect.is_mariadb else setting


#: In PostgreSQL, makes a commit wait for the disk if it would not.
DURABLE_COMMIT: Final = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
    "ELSE current_setting('synchronous_commit') END, {local})"
)


def _hex(value: Any) -> Any:
    if isinstance(value, str):
        value = value.encode()
    return value.hex() if isinstance(value, bytes) else value


def create_tables(database: Database) -> None:
    """
    Make the tables that are not there, on the caller's engine.

    Raises:
        StoreUnavailable: If the database cannot be reached, or does not allow it.
    """
    metadata = database.tables.claims.metadata
    tries = 3
    while True:
        try:
            return metadata.create_all(database.engine, tables=list(database.tables))
        except Exception as error:
            # Another process may have been faster than the look, with either
            # table; then the next look finds it.
            tries -= 1
            if not tries:
                raise StoreUnavailable(f"the tables cannot be made: {describe(error)}") from error


def name_of(engine: Engine) -> str:
    """Name the database of *engine*, for a person; without its password."""
    url = engine.url
    place = ":".join(str(part) for part in (url.host, url.port) if part)
    return f"{url.get_backend_name()} {place}{'/' if place else ''}{url.database or ''}"


def _executor(dbapi: Any) -> Callable[[str], list[Any]]:
    def execute(statement: str) -> list[Any]:
        cursor = dbapi.cursor()
        cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        cursor.close()
        return rows

    return execute
