"""
Stores in a database that SQLAlchemy 2 talks to: PostgreSQL, MySQL, MariaDB or SQLite.

Claims live in a table beside your orders. A lease store for any handler; and with
:meth:`SQLAlchemyStore.bind`, or ``transaction=`` of :meth:`wxnotify.Receiver.on`, the
completion commits or rolls back with your own change.

Here is the blocking store; the one for an event loop is in ``_sqlalchemy_async.py``
and is imported from here. The tables are in ``_sqlalchemy_tables.py``, the store's own
connections in ``_sqlalchemy_database.py`` and ``_sqlalchemy_connections.py``, the
completion inside your transaction in ``_sqlalchemy_bound.py``, and the statements, shared
with every other SQL store, in ``_sql.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

try:
    from sqlalchemy import Connection, Engine

    from ._sqlalchemy_async import AsyncSQLAlchemyStore  # for an event loop SQLAlchemy needs greenlet
except ImportError as error:
    raise ImportError(
        'this store needs SQLAlchemy and greenlet: pip install "wxpay-notify[sqlalchemy]"'
    ) from error

from ..errors import ConfigurationError
from ..idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome, State
from ._sqlalchemy_bound import SQLAlchemyBound
from ._sqlalchemy_connections import Connections
from ._sqlalchemy_database import Database, create_tables
from ._sqlalchemy_tables import Tables, claim_tables
from ._sqlalchemy_transaction import open_transaction

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session

__all__ = ["AsyncSQLAlchemyStore", "SQLAlchemyStore", "Tables", "claim_tables"]


class SQLAlchemyStore:
    """
    Keep claims in two tables of a SQL database.

    It keeps a few connections of its own, at most 8 in a process, made as *engine*
    makes them; the engine's pool, isolation level and timeouts do not matter to it.
    Nothing is asked of the database before the first verb. Safe with threads, and
    across ``fork``.

    Args:
        engine: From ``create_engine``: PostgreSQL with psycopg or psycopg2, MySQL or
            MariaDB with PyMySQL, or SQLite.

        tables: From :func:`claim_tables`; without, tables of the usual names on a
            ``MetaData`` of the store's own.

        timeout: Seconds a verb may take before it raises, more than 0, at most 60.

        session_settings: Whether to set timeouts and the isolation level on the
            store's own sessions. Say False behind PgBouncer in transaction mode, and
            ProxySQL, where a setting stays on a connection that others use.

    Raises:
        ConfigurationError: If the engine or another argument cannot be used.

    Example:
        >>> import os, tempfile
        >>> from sqlalchemy import create_engine
        >>> engine = create_engine(f"sqlite:///{os.path.join(tempfile.mkdtemp(), 'shop.db')}")
        >>> with SQLAlchemyStore(engine) as store:
        ...     store.create_all()
        ...     store.claim("payment:1", fingerprint=bytes(32), owner=bytes(16), lease=30).outcome
        <ClaimOutcome.ACQUIRED: 'acquired'>
        >>> engine.dispose()
    """

    def __init__(
        self,
        engine: Engine,
        *,
        tables: Tables | None = None,
        timeout: float = 1.5,
        session_settings: bool = True,
    ) -> None:
        if not isinstance(engine, Engine):
            raise ConfigurationError(
                f"SQLAlchemyStore takes an Engine, not {type(engine).__name__}; "
                "an AsyncEngine is for AsyncSQLAlchemyStore"
            )
        if engine.dialect.is_async:
            raise ConfigurationError(
                f"{engine.dialect.driver} is for an event loop: make the engine with create_async_engine, "
                "and take AsyncSQLAlchemyStore"
            )
        self._database = Database(engine, tables, timeout=timeout, session_settings=session_settings)
        self._verbs = self._database.verbs
        self._connections = Connections(self._database)
        self._run = self._connections.run

    def create_all(self) -> None:
        """
        Make the tables that are not there, for those without migrations.

        Raises:
            StoreUnavailable: If the database cannot be reached, or does not let you.
        """
        create_tables(self._database)

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        named = {"fingerprint": fingerprint, "owner": owner}
        return self._run(
            partial(self._verbs.claim, key, **named, lease=lease, order_no=order_no),
            partial(self._verbs.held, key, **named),
        )

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        return self._run(partial(self._verbs.complete, claim, retain=retain, result=result))

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        return self._run(partial(self._verbs.release, claim, error=error))

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return self._run(partial(self._verbs.extend, claim, lease))

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        return self._run(partial(self._verbs.purge, older_than, limit))

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return self._run(partial(self._verbs.find, key))

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`."""
        until, place, more = self._run(partial(self._verbs.until, older_than)), None, True
        read = partial(self._verbs.page, state=state, order_no=order_no, until=until)
        while more:
            page, place = self._run(partial(read, place))
            yield from page
            more = place is not None

    def fetch(self, key: str) -> bytes | None:
        """See :meth:`wxnotify.inbox.InboxStore.fetch`."""
        return self._run(partial(self._verbs.fetch, key))

    def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.handed`."""
        self._run(partial(self._verbs.handed, key, again_in=again_in))

    def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`wxnotify.inbox.InboxStore.due`."""
        return self._run(partial(self._verbs.due, limit))

    def remove(self, key: str) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.remove`."""
        self._run(partial(self._verbs.remove, key))

    def bind(self, connection: Connection | Session | scoped_session[Session]) -> SQLAlchemyBound:
        """
        Tie a completion to your open transaction in the same database.

        The completion then commits or rolls back with what you did to the order,
        so that the effect is exactly once whatever dies and whenever. Nothing is
        begun, committed, rolled back or flushed.

        Args:
            connection: Yours, in a transaction; a Session will do.

        Returns:
            What to call ``complete`` on, as the last statement before your commit.

        Raises:
            ConfigurationError: If the connection cannot give the promise: it is not
                in a transaction, in AUTOCOMMIT, or in another kind of database.

            StoreUnavailable: If the database failed.

        Example:
            >>> import os, tempfile
            >>> from sqlalchemy import create_engine
            >>> engine = create_engine(f"sqlite:///{os.path.join(tempfile.mkdtemp(), 'shop.db')}")
            >>> with SQLAlchemyStore(engine) as store:
            ...     store.create_all()
            ...     claim = store.claim("payment:1", fingerprint=bytes(32), owner=bytes(16), lease=30)
            ...     with store.transaction() as connection:
            ...         bound = store.bind(connection)
            ...         # ... change the order here, with the same connection ...
            ...         bound.complete(claim, retain=30 * 86_400)
            <CompleteOutcome.DONE: 'done'>
            >>> engine.dispose()
        """
        bound = SQLAlchemyBound(self._database, connection)
        bound.start()
        return bound

    def transaction(self) -> AbstractContextManager[Connection]:
        """
        Open a transaction on your engine; it commits at the end, and rolls back at an exception.

        Give it to :meth:`wxnotify.Receiver.on` as *transaction*. On SQLite it takes
        the write lock at the beginning, so keep it short: every other writer waits.

        Returns:
            A context manager that gives the connection.

        Raises:
            StoreUnavailable: If the database cannot be reached, or the commit fails.
        """
        return open_transaction(self._database)

    def close(self) -> None:
        """Close the idle connections of this process. The store can still be used; it opens new ones."""
        self._connections.close()

    def __enter__(self) -> SQLAlchemyStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
