"""
How the connections of a :class:`~wxnotify.stores.sqlite.SQLiteStore` open, wait, fail and fork.

The rules, each with what happens otherwise:

- ``synchronous`` is FULL. With NORMAL, a loss of power may forget a claim that
  was already answered SUCCESS.
- The store waits for locks itself (``_sqlite_waiting.py``). SQLite's own busy
  handler lets some wait for seconds.
- A connection that failed is closed, which rolls back, and never used again.
- No connection crosses a fork: SQLite keeps its locks by process, and a child
  that believes in inherited ones can corrupt the file
  (https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork).
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from ..errors import StoreUnavailable
from ._sqlite_waiting import pause

#: Idle connections kept in a process; more than these are closed after use.
_IDLE_KEPT: Final = 8


class Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._began = 0.0
        self._set_up = False
        # No busy handler, no implicit transactions; the pool keeps threads apart.
        self.sqlite = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    def start(self) -> None:
        """Let the statements from now on wait *timeout* seconds in all; set up what is new."""
        self._began = time.monotonic()
        if not self._set_up:
            self.ask("PRAGMA synchronous = FULL")
            if self.ask("PRAGMA journal_mode")[0] != [("wal",)]:
                # The cheapest rollback journal that is safe, at 1.27 times the rate of DELETE and of
                # TRUNCATE: the disk need not find room for it each time. It is not kept in the file.
                self.ask("PRAGMA journal_mode = PERSIST")
            self._set_up = True

    def ask(self, sql: str, **parameters: Any) -> tuple[list[Any], int]:
        """
        Execute one statement, waiting while the file is locked; return all rows, and how many it changed.

        A statement that found the file locked has changed nothing, so it can be
        repeated; a COMMIT too.

        Args:
            sql: The statement.

            parameters: By name.

        Raises:
            StoreUnavailable: If the file was still locked at the deadline.
        """
        while True:
            try:
                cursor = self.sqlite.execute(sql, parameters)
                return cursor.fetchall(), cursor.rowcount
            except sqlite3.OperationalError as error:
                # By its text, because Python 3.10 does not give the code.
                if "is locked" not in str(error):
                    raise
                waited = time.monotonic() - self._began
                if waited >= self._timeout:
                    raise StoreUnavailable(
                        f"{self._path} was locked by another connection for {self._timeout} s: "
                        "keep transactions on this file short"
                    ) from error
            time.sleep(pause(waited))

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

        timeout: Seconds that one use may wait for locks.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
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
        connection: Connection | None = None
        try:
            try:
                connection = idle.pop()
            except IndexError:
                connection = Connection(self._path, self._timeout)
            connection.start()
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable(f"{self._path}: {error}") from error
            raise
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
                connection = Connection(self._path, self._timeout)
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
