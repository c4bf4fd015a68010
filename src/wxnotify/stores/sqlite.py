"""
A store in a SQLite file, shared by the threads and processes of one machine.

The file must be on a local disk; over NFS locks do not hold. Here is the
store; how its connections wait, fail and fork is in ``_sqlite_connections.py``,
the tables in ``_sqlite_tables.py``, the completion inside your own transaction
in ``_sqlite_bound.py``, and the statements, which it shares with every other SQL
store, in ``_sql.py``.

No file is put in WAL where the library could corrupt it: SQLite 3.7.0 to 3.51.2
may lose pages when two connections write and checkpoint at the same time
(https://sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import ConfigurationError, shown
from ..idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome, State
from . import _sqlite_tables as tables
from ._sql import Ask, Steps, Verbs, run
from ._sql_statements import SQLITE
from ._sqlite_bound import SQLiteBound
from ._sqlite_connections import Connection, Connections

__all__ = ["SQLiteStore"]

_Result = TypeVar("_Result")

#: The first SQLite with STRICT tables.
_STRICT_SINCE = (3, 37, 0)
#: The first SQLite without the WAL-reset bug.
_WAL_SAFE_SINCE = (3, 51, 3)


class SQLiteStore:
    """
    Keep claims in a table of a SQLite file.

    A lease store for any handler, and with :meth:`bind` a same-transaction store
    for orders that live in the same file. Safe with threads, with processes and
    across ``fork``. Your own write transactions on the file hold up every claim:
    keep them well under *timeout*.

    A new file is put in WAL if the SQLite library is 3.51.3 or newer, and keeps a
    rollback journal otherwise. The journal mode of a file that exists is left
    alone, with a ``RuntimeWarning`` if it is WAL and the library older than that.

    Args:
        path: The file, on a local disk. It is created if need be; its directory
            is not.

        timeout: Seconds an operation may wait for other writers, 0 to 60.

        clock: Gives seconds since the epoch, the same in all processes.

        table: The name of the claims' table, an ASCII identifier. It is created
            if need be.

        inbox_table: The name of the inbox's table, likewise.

    Raises:
        ConfigurationError: If SQLite is older than 3.37, or an argument cannot
            be used.

        StoreUnavailable: If the file cannot be opened, read or written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: float = 1.5,
        clock: Callable[[], float] = time.time,
        table: str = "wxnotify_claims",
        inbox_table: str = "wxnotify_inbox",
    ) -> None:
        if sqlite3.sqlite_version_info < _STRICT_SINCE:
            raise ConfigurationError(f"this is SQLite {sqlite3.sqlite_version}; SQLiteStore needs 3.37")
        if os.fspath(path) in ("", ":memory:"):
            raise ConfigurationError("SQLiteStore needs a file; to keep claims in memory take MemoryStore")
        if not 0 <= timeout <= 60:
            raise ConfigurationError("timeout is the seconds an operation may wait, 0 to 60")
        for name in (table, inbox_table):
            if not re.fullmatch("(?!sqlite_)[a-z_][a-z0-9_]*", name, re.ASCII | re.IGNORECASE):
                raise ConfigurationError(f"table {shown(name)}: must be an ASCII identifier")
        # Absolute, so that a later chdir does not make it another file.
        self._path = os.path.abspath(path)
        if not os.path.isdir(os.path.dirname(self._path)):
            raise ConfigurationError(f"the directory {os.path.dirname(self._path)} does not exist")
        self._clock = clock
        # All processes are on one machine, so its clock is the store's.
        self._verbs = Verbs(SQLITE._replace(now=":now"), f'main."{table}"', f'main."{inbox_table}"')
        self._connections = Connections(self._path, timeout)
        with self._connections.use() as connection:
            journal = _prepare(connection, table, inbox_table)
            # Raises if the table is somebody else's.
            run(self._verbs.find("-"), lambda asked: connection.ask(asked.sql, **asked.parameters)[0])
        if journal == "wal" and sqlite3.sqlite_version_info < _WAL_SAFE_SINCE:
            warnings.warn(
                f"{self._path} is in WAL mode, which SQLite {sqlite3.sqlite_version} may corrupt "
                "(https://sqlite.org/wal.html#walresetbug): run SQLite 3.51.3 or newer, or, with nothing "
                "else using the file, execute PRAGMA journal_mode = DELETE on it once",
                RuntimeWarning,
                stacklevel=2,
            )

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        return self._run(
            self._verbs.claim(key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no)
        )

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        return self._run(self._verbs.complete(claim, retain=retain, result=result))

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        return self._run(self._verbs.release(claim, error=error))

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return self._run(self._verbs.extend(claim, lease))

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        return self._run(self._verbs.purge(older_than, limit))

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return self._run(self._verbs.find(key))

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`."""
        until, place, more = self._run(self._verbs.until(older_than)), None, True
        while more:
            page, place = self._run(self._verbs.page(place, state=state, order_no=order_no, until=until))
            yield from page
            more = place is not None

    def fetch(self, key: str) -> bytes | None:
        """See :meth:`wxnotify.inbox.InboxStore.fetch`."""
        return self._run(self._verbs.fetch(key))

    def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.handed`."""
        self._run(self._verbs.handed(key, again_in=again_in))

    def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`wxnotify.inbox.InboxStore.due`."""
        return self._run(self._verbs.due(limit))

    def remove(self, key: str) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.remove`."""
        self._run(self._verbs.remove(key))

    def bind(self, connection: sqlite3.Connection) -> SQLiteBound:
        """
        Tie a completion to your open transaction on the same file.

        The completion then commits or rolls back with what you did to the order,
        so that the effect is exactly once whatever dies and whenever.

        Args:
            connection: Yours, after ``execute("BEGIN IMMEDIATE")``.

        Returns:
            What to call ``complete`` on, as the last statement before your commit.

        Raises:
            ConfigurationError: If the connection cannot give the promise: it is not
                in a transaction, on another file, or may lose a commit.

            StoreUnavailable: If SQLite failed.

        Example:
            >>> import os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "shop.db")
            >>> orders = sqlite3.connect(path, isolation_level=None)
            >>> with SQLiteStore(path) as store:
            ...     claim = store.claim("payment:1", fingerprint=bytes(32), owner=bytes(16), lease=30)
            ...     _ = orders.execute("BEGIN IMMEDIATE")
            ...     bound = store.bind(orders)
            ...     # ... change the order here, with the same connection ...
            ...     outcome = bound.complete(claim, retain=30 * 86_400)
            ...     orders.commit()
            >>> outcome
            <CompleteOutcome.DONE: 'done'>
            >>> orders.close()
        """
        return SQLiteBound(connection, self._path, self._verbs, self._clock)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """
        Open a transaction on the store's file; it commits at the end, and rolls back at an exception.

        For orders that live in the same file: give it to
        :meth:`wxnotify.Receiver.on` as *transaction*. It takes the write lock at
        the beginning, so keep it short: every other writer waits.

        Returns:
            A context manager that gives the connection.

        Raises:
            StoreUnavailable: If the file stays locked, or the commit fails.
        """
        with self._connections.open_transaction() as connection:
            yield connection

    def close(self) -> None:
        """Close the idle connections of this process. The store can still be used; it opens new ones."""
        self._connections.close()

    def __enter__(self) -> SQLiteStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, steps: Steps[_Result]) -> _Result:
        with self._connections.use() as connection:

            def answer(asked: Ask) -> Any:
                rows, count = connection.ask(asked.sql, now=self._clock(), **asked.parameters)
                return rows if asked.answer == "rows" else count

            return run(steps, answer)


def _prepare(connection: Connection, claims: str, inbox: str) -> str:
    """Make sure of the tables, and return the file's journal mode."""
    (((pages,),), _) = connection.ask("PRAGMA page_count")
    if pages == 0 and sqlite3.sqlite_version_info >= _WAL_SAFE_SINCE:
        connection.ask("PRAGMA journal_mode = WAL")
    there = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name IN (:claims, :inbox)"
    if len(connection.ask(there, claims=claims, inbox=inbox)[0]) < 2:
        # If another process is first, IF NOT EXISTS finds its tables.
        with connection.transaction():
            for create in tables.CREATE:
                connection.ask(create.format(claims=claims, inbox=inbox))
    (((journal,),), _) = connection.ask("PRAGMA journal_mode")
    return str(journal)
