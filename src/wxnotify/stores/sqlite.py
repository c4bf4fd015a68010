"""
A store in a SQLite file, shared by the threads and processes of one machine.

The file must be on a local disk; over NFS locks do not hold. Here is the
store; how its connections wait, fail and fork is in ``_sqlite_connections.py``,
the SQL in ``_sqlite_statements.py``, the completion inside your own transaction
in ``_sqlite_bound.py``.

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
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timezone

from ..errors import ConfigurationError, shown
from ..idempotency import (
    Bound,
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    Row,
    State,
    check_key,
    check_lease,
    check_purge,
    check_retain,
    cut_error,
    judge,
)
from . import _sqlite_statements as sql
from ._sqlite_bound import SQLiteBound
from ._sqlite_connections import Connection, Connections

__all__ = ["SQLiteStore"]

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

        table: The table's name, an ASCII identifier. It is created if need be.

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
    ) -> None:
        if sqlite3.sqlite_version_info < _STRICT_SINCE:
            raise ConfigurationError(f"this is SQLite {sqlite3.sqlite_version}; SQLiteStore needs 3.37")
        if os.fspath(path) in ("", ":memory:"):
            raise ConfigurationError("SQLiteStore needs a file; to keep claims in memory take MemoryStore")
        if not 0 <= timeout <= 60:
            raise ConfigurationError("timeout is the seconds an operation may wait, 0 to 60")
        if not re.fullmatch("(?!sqlite_)[a-z_][a-z0-9_]*", table, re.ASCII | re.IGNORECASE):
            raise ConfigurationError(f"table {shown(table)}: must be an ASCII identifier")
        # Absolute, so that a later chdir does not make it another file.
        self._path = os.path.abspath(path)
        if not os.path.isdir(os.path.dirname(self._path)):
            raise ConfigurationError(f"the directory {os.path.dirname(self._path)} does not exist")
        self._clock = clock
        self._table = table
        self._connections = Connections(self._path, table, timeout)
        with self._connections.use() as connection:
            journal = _prepare(connection)
        if journal == "wal" and sqlite3.sqlite_version_info < _WAL_SAFE_SINCE:
            warnings.warn(
                f"{self._path} is in WAL mode, which SQLite {sqlite3.sqlite_version} may corrupt "
                "(https://sqlite.org/wal.html#walresetbug): run SQLite 3.51.3 or newer, or, with nothing "
                "else using the file, execute PRAGMA journal_mode = DELETE on it once",
                RuntimeWarning,
                stacklevel=2,
            )

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float) -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        check_key(key)
        check_lease(lease)

        def look(now: float) -> Claim:
            return judge(_row(connection, key), key=key, fingerprint=fingerprint, owner=owner, now=now)

        with self._connections.use() as connection:
            # A duplicate has its answer from one look, without the write lock.
            claim = look(self._clock())
            if claim.outcome is not ClaimOutcome.ACQUIRED:
                return claim
            with connection.transaction():
                now = self._clock()
                claim = look(now)
                if claim.outcome is ClaimOutcome.ACQUIRED:
                    new = sql.named(claim)
                    connection.ask(sql.TAKE, **new, fingerprint=fingerprint, now=now, lease=lease)
            return claim

    def complete(self, claim: Claim, *, retain: float) -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        left_as = self._change(sql.COMPLETE, claim, retain=check_retain(retain))
        if left_as is State.PENDING:
            return CompleteOutcome.DONE
        return CompleteOutcome.ALREADY if left_as is State.DONE else CompleteOutcome.LOST

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        left_as = self._change(sql.RELEASE, claim, error=cut_error(error))
        if left_as is State.PENDING:
            return ReleaseOutcome.RELEASED
        return ReleaseOutcome.ALREADY if left_as is State.RELEASED else ReleaseOutcome.LOST

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return self._change(sql.EXTEND, claim, lease=check_lease(lease)) is State.PENDING

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        check_purge(older_than, limit)
        with self._connections.use() as connection, connection.transaction():
            now = self._clock()
            return len(connection.ask(sql.PURGE, now=now, older_than=float(older_than), limit=limit))

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        check_key(key)
        with self._connections.use() as connection:
            found = connection.ask(sql.READ, key=key)
        if not found:
            return None
        state, _, _, generation, attempts, lease_until, first_seen, updated, last_error = found[0]
        return Record(
            key=key,
            state=State(state),
            generation=generation,
            attempts=attempts,
            first_seen=datetime.fromtimestamp(first_seen, timezone.utc),
            updated=datetime.fromtimestamp(updated, timezone.utc),
            lease_until=datetime.fromtimestamp(lease_until, timezone.utc),
            last_error=last_error,
        )

    def bind(self, connection: sqlite3.Connection) -> Bound:
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
        return SQLiteBound(connection, self._path, self._table, self._clock)

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

    def _change(self, statement: str, claim: Claim, **values: object) -> State | None:
        """Run a compare-and-set; return the state it found the claim in, None if it has a successor."""
        with self._connections.use() as connection, connection.transaction():
            named = sql.named(claim)
            if connection.ask(statement, **named, now=self._clock(), **values):
                return State.PENDING
            left_as = connection.ask(sql.LEFT_AS, **named)
        return State(left_as[0][0]) if left_as else None


def _prepare(connection: Connection) -> str:
    """Make sure of the table, and return the file's journal mode."""
    ((pages,),) = connection.ask("PRAGMA page_count")
    if pages == 0 and sqlite3.sqlite_version_info >= _WAL_SAFE_SINCE:
        connection.ask("PRAGMA journal_mode = WAL")
    if not connection.ask(sql.COLUMNS):
        # If another process is first, IF NOT EXISTS finds its table.
        with connection.transaction():
            connection.ask(sql.CREATE)
            connection.ask(sql.INDEX)
    connection.ask(sql.READ, key="")  # Raises if the table is somebody else's.
    ((journal,),) = connection.ask("PRAGMA journal_mode")
    return str(journal)


def _row(connection: Connection, key: str) -> Row | None:
    found = connection.ask(sql.READ, key=key)
    if not found:
        return None
    state, fingerprint, owner, generation, attempts, lease_until = found[0][:6]
    return Row(State(state), fingerprint, owner, generation, attempts, lease_until)
