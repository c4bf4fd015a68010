"""
A completion as part of the caller's atomic block.

It executes on the caller's connection, and neither begins, commits nor rolls
back. What would make the promise hollow is refused when it is bound.
"""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any, Final, TypeVar

from django.db import Error

from ...errors import ClaimLost, ConfigurationError, StoreUnavailable, shown
from ...idempotency import Claim, CompleteOutcome
from .._sql import Ask, Steps, Verbs, run
from .._sql_errors import Trouble, classify, describe
from ._connections import Alias, answer, bounded

_Result = TypeVar("_Result")

#: What ``PRAGMA synchronous`` answers for FULL; EXTRA is one more.
_SYNCHRONOUS_FULL: Final = 2


class DjangoBound:
    """
    A completion inside an atomic block of the caller's.

    A savepoint set at the beginning tells at the end whether it is still the same
    transaction. Django lets nobody commit in an atomic block, but cannot keep
    MySQL from committing at every CREATE or ALTER.
    """

    def __init__(self, alias: Alias, verbs: Verbs, connection: Any) -> None:
        self._alias = alias
        self._verbs = verbs
        self._savepoint = f"wxnotify_{secrets.token_hex(8)}"
        self._completed: Claim | None = None
        self._connection = _usable(alias, connection)
        self._execute(f"SAVEPOINT {self._savepoint}")

    def complete(self, claim: Claim, *, retain: float) -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        self._check_still_the_same()
        if claim == self._completed:
            return CompleteOutcome.ALREADY
        if not self._run(self._verbs.complete_bound(claim, retain=retain)):
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
        if self._connection.needs_rollback:
            raise ConfigurationError(
                "nothing of this transaction can be committed: a database error was caught inside it, or "
                "set_rollback(True) was called; let the error pass, or catch it around an atomic() of its own"
            )
        try:
            self._execute(f"RELEASE SAVEPOINT {self._savepoint}")
        except StoreUnavailable as error:
            if error.__cause__ is None or classify(error.__cause__) is not Trouble.DOWN:
                raise
            raise ConfigurationError(
                f"the transaction the store was bound to has ended or failed ({describe(error.__cause__)}): "
                "the handler must not commit or roll back, nor alter tables where the database commits for "
                "that, because then its work and the completion do not stand or fall together"
            ) from error.__cause__
        self._execute(f"SAVEPOINT {self._savepoint}")

    def _execute(self, statement: str) -> None:
        self._run(_ask(statement))

    def _run(self, steps: Steps[_Result]) -> _Result:
        connection = self._connection
        try:
            with bounded(connection, time.monotonic() + self._alias.timeout), connection.cursor() as cursor:
                return run(steps, partial(answer, cursor))
        except (Error, TimeoutError) as error:
            raise StoreUnavailable(f"completing in your transaction: {describe(error)}") from error


def _ask(statement: str) -> Steps[None]:
    yield Ask(statement, {}, "count")


def _usable(alias: Alias, connection: Any) -> Any:
    """Give the alias's connection, if that is what *connection* is, and it can give the promise."""
    named = getattr(connection, "alias", None)
    if not isinstance(named, str):
        raise ConfigurationError(
            f"bind takes a connection of Django's, not {type(connection).__name__}; "
            'for a handler: on("payment", transaction=store.transaction)'
        )
    if named != alias.using:
        raise ConfigurationError(
            f"bind: the transaction is on {shown(named)} and the store on {shown(alias.using)}: the order "
            "and its completion must be in one database"
        )
    own = alias.connection()
    if connection != own:
        raise ConfigurationError("bind: the connection is another thread's, or a copy")
    if not own.in_atomic_block:
        raise ConfigurationError(f"bind: not in a transaction; open atomic(using={shown(named)}) first")
    if not own.commit_on_exit:
        raise ConfigurationError(
            f"bind: AUTOCOMMIT is off for {shown(named)}, so the end of the atomic block commits nothing"
        )
    if own.vendor == "sqlite" and (problem := why_sqlite_may_forget(own)):
        raise ConfigurationError(f"bind: {problem}")
    return own


def why_sqlite_may_forget(connection: Any) -> str:
    """Say why a connection to a SQLite file may lose what it committed; empty if it does not."""
    if connection.is_in_memory_db():
        return ""  # it is a test, and forgets everything
    with connection.cursor() as cursor:
        ((synchronous,),) = cursor.execute("PRAGMA main.synchronous").fetchall()
        ((journal,),) = cursor.execute("PRAGMA main.journal_mode").fetchall()
    if synchronous < _SYNCHRONOUS_FULL:
        return (
            "the connection may forget a commit when power is lost; put PRAGMA synchronous = FULL "
            "into init_command, in the OPTIONS of this database, or execute it when a connection is made"
        )
    if journal in ("memory", "off"):
        return (
            "without a journal on disk a crash leaves half a transaction; take PRAGMA journal_mode = TRUNCATE"
        )
    return ""
