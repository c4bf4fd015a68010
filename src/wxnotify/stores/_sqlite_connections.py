"""
How the connections of a :class:`~wxnotify.stores.sqlite.SQLiteStore` open, wait, fail and fork.

The rules, each with what happens otherwise:

- ``synchronous`` is FULL. With NORMAL, a loss of power may forget a claim that
  was already answered SUCCESS.
- The store waits for locks itself, a random 0.2 to 3 ms at a time. SQLite's own
  busy handler starves waiters: with eight saturated processes the slowest claim
  took 4.2 s with it, and 0.2 s without.
- A connection that failed is closed, which rolls back, and never used again.
- No connection crosses a fork: SQLite keeps its locks by process, and a child
  that believes in inherited ones can corrupt the file
  (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork).
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
import weakref
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from ..errors import StoreUnavailable

#: Idle connections kept in a process; more than these are closed after use.
_IDLE_KEPT: Final = 8


class Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, path: str, table: str, timeout: float) -> None:
        self._path = path
        self._table = table
        self._timeout = timeout
        self._deadline = 0.0
        self._set_up = False
        # No busy handler, no implicit transactions; the pool keeps threads apart.
        self.sqlite = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    def start(self) -> None:
        """Let the statements from now on wait *timeout* seconds in all; set up what is new."""
        self._deadline = time.monotonic() + self._timeout
        if not self._set_up:
            self.ask("PRAGMA synchronous = FULL")
            if self.ask("PRAGMA journal_mode") != [("wal",)]:
                # The cheapest rollback journal that is safe; the choice is not kept in the file.
                self.ask("PRAGMA journal_mode = TRUNCATE")
            self._set_up = True

    def ask(self, sql: str, **parameters: Any) -> list[Any]:
        """
        Execute one statement, waiting while the file is locked, and return all rows.

        A statement that found the file locked has changed nothing, so it can be
        repeated; a COMMIT too.

        Args:
            sql: With ``{table}`` where the table's name goes.

            parameters: By name.

        Raises:
            StoreUnavailable: If the file was still locked at the deadline.
        """
        statement = sql.format(table=self._table)
        while True:
            try:
                return self.sqlite.execute(statement, parameters).fetchall()
            except sqlite3.OperationalError as error:
                # By its text, because Python 3.10 does not give the code.
                if "is locked" not in str(error):
                    raise
                if time.monotonic() >= self._deadline:
                    raise StoreUnavailable(
                        f"{self._path} was locked by another connection for {self._timeout} s: "
                        "keep transactions on this file short"
                    ) from error
            time.sleep(random.uniform(0.0002, 0.003))  # noqa: S311 - jitter, not a secret

    @contextmanager
    def transaction(self) -> Generator[None]:
        """
        Begin IMMEDIATE, and commit.

        A transaction that reads first and writes later fails at once, without
        any waiting, if another connection wrote in between.
        """
        self.ask("BEGIN IMMEDIATE")
        yield
        self.ask("COMMIT")

    def close(self) -> None:
        """Close, rolling back what is not committed."""
        self.sqlite.close()


class Connections:
    """
    A few idle connections to one file, and the ways to use one.

    Args:
        path: The file.

        table: What ``{table}`` stands for in statements.

        timeout: Seconds that one use may wait for locks.
    """

    def __init__(self, path: str, table: str, timeout: float) -> None:
        self._path = path
        self._table = table
        self._timeout = timeout
        # By process id: what a child should inherit stays under its parent's
        # number, where it is neither used nor closed. Lists and dictionaries
        # are changed in single steps, so there is no lock a fork could catch held.
        self._idle: dict[int, list[Connection]] = {}
        weakref.finalize(self, _close_idle, self._idle)
        _ALL.add(self)

    @contextmanager
    def use(self) -> Generator[Connection]:
        """
        Lend a connection; closed if anything is raised meanwhile, else kept for the next.

        Raises:
            StoreUnavailable: If SQLite failed, whatever the cause.
        """
        idle = self._idle.setdefault(os.getpid(), [])
        with self._errors(), ExitStack() as on_failure:
            try:
                connection = idle.pop()
            except IndexError:
                connection = Connection(self._path, self._table, self._timeout)
            on_failure.callback(connection.close)
            connection.start()
            yield connection
            on_failure.pop_all()
        if len(idle) < _IDLE_KEPT:
            idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def open_transaction(self) -> Generator[sqlite3.Connection]:
        """
        Give the caller a connection of its own, in a transaction; what the caller raises stays as it is.

        Raises:
            StoreUnavailable: If SQLite could not begin or commit.
        """
        with ExitStack() as at_end:
            with self._errors():
                connection = Connection(self._path, self._table, self._timeout)
                at_end.callback(connection.close)
                connection.start()
                connection.ask("BEGIN IMMEDIATE")
            yield connection.sqlite
            with self._errors():
                connection.start()
                connection.ask("COMMIT")

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Close this process's idle connections."""
        _close_idle(self._idle)


def _close_idle(idle: dict[int, list[Connection]]) -> None:
    mine = idle.get(os.getpid(), [])
    with suppress(IndexError):
        while True:
            mine.pop().close()


_ALL: Final[weakref.WeakSet[Connections]] = weakref.WeakSet()


def _before_fork() -> None:
    for connections in list(_ALL):
        connections.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=_before_fork)
