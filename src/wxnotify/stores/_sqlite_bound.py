"""
A completion as part of the caller's own SQLite transaction.

It executes on the caller's connection, and neither begins, commits nor rolls
back. What would make the promise hollow is refused when it is bound.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..errors import ClaimLost, ConfigurationError, StoreUnavailable, shown
from ..idempotency import Claim, CompleteOutcome
from ._sql import Ask, Steps, Verbs, run

_Result = TypeVar("_Result")

#: What ``PRAGMA synchronous`` answers for FULL; EXTRA is one more.
_SYNCHRONOUS_FULL: Final = 2


class SQLiteBound:
    """
    A completion inside a transaction of the caller's.

    A savepoint set at the beginning tells at the end whether it is still the same
    transaction: whoever commits or rolls back meanwhile takes the savepoint away.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: str, verbs: Verbs, clock: Callable[[], float]
    ) -> None:
        if not isinstance(connection, sqlite3.Connection):
            raise ConfigurationError(f"bind takes a sqlite3.Connection, not {type(connection).__name__}")
        self._connection = connection
        self._verbs = verbs
        self._clock = clock
        self._savepoint = f"wxnotify_{secrets.token_hex(8)}"
        self._completed: Claim | None = None
        try:
            self._check(path)
            self._execute(f"SAVEPOINT {self._savepoint}")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"bind: {error}") from error

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        self._check_still_the_same()
        if claim == self._completed:
            return CompleteOutcome.ALREADY
        if not self._run(self._verbs.complete_bound(claim, retain=retain, result=result)):
            # Done by an earlier transaction is no better than lost: what this
            # one did to the order would be done a second time.
            raise ClaimLost(f"key {shown(claim.key)}: the claim is not held any more; roll back")
        self._completed = claim
        return CompleteOutcome.DONE

    def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxBound.put`."""
        self._check_still_the_same()
        self._run(self._verbs.put(key, notification, again_in=again_in))

    def _check_still_the_same(self) -> None:
        try:
            self._execute(f"RELEASE {self._savepoint}")
        except sqlite3.Error as error:
            raise ConfigurationError(
                "the transaction the store was bound to has ended: the handler must not commit or roll back, "
                "because then its work and the completion do not stand or fall together"
            ) from error
        try:
            self._execute(f"SAVEPOINT {self._savepoint}")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"completing in your transaction: {error}") from error

    def _run(self, steps: Steps[_Result]) -> _Result:
        try:
            return run(steps, self._answer)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"completing in your transaction: {error}") from error

    def _answer(self, asked: Ask) -> Any:
        cursor = self._execute(asked.sql, now=self._clock(), **asked.parameters)
        return cursor.fetchall() if asked.answer == "rows" else cursor.rowcount

    def _check(self, path: str) -> None:
        if not self._connection.in_transaction:
            raise ConfigurationError('bind: not in a transaction; execute "BEGIN IMMEDIATE" first')
        # As blobs, which the caller's text_factory leaves alone.
        ((file,),) = self._ask("SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'")
        if not _same_file(os.fsdecode(file), path):
            raise ConfigurationError(f"bind: the connection's main database is not the store's file, {path}")
        if self._ask("SELECT 1 FROM pragma_database_list WHERE name NOT IN ('main', 'temp')"):
            raise ConfigurationError(
                "bind: another database is attached, and SQLite does not always commit two files as one; "
                "keep the orders in the store's file"
            )
        ((synchronous,),) = self._ask("PRAGMA main.synchronous")
        if synchronous < _SYNCHRONOUS_FULL:
            raise ConfigurationError(
                "bind: the connection may forget a commit when power is lost; execute "
                "PRAGMA synchronous = FULL on it before the transaction"
            )
        ((journal,),) = self._ask("SELECT CAST(journal_mode AS BLOB) FROM pragma_journal_mode")
        if journal in (b"memory", b"off"):
            raise ConfigurationError(
                "bind: without a journal on disk a crash leaves half a transaction; execute "
                "PRAGMA journal_mode = PERSIST on the connection before the transaction"
            )

    def _ask(self, statement: str) -> list[Any]:
        return self._execute(statement).fetchall()

    def _execute(self, statement: str, **parameters: object) -> sqlite3.Cursor:
        # Not connection.execute, whose rows go through the caller's row_factory.
        return sqlite3.Cursor(self._connection).execute(statement, parameters)


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # A database in memory has no file.
        return False
