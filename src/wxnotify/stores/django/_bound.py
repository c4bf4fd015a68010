"""
A completion as part of the caller's atomic block.

It executes on the caller's connection, and neither begins, commits nor rolls
back. What would make the promise hollow is refused when it is bound.
"""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any, Final, Literal, TypeVar

from django.db import Error

from ...errors import ClaimLost, ConfigurationError, StoreUnavailable, shown
from ...idempotency import Claim, CompleteOutcome
from .._sql import Ask, Steps, Verbs, run
from .._sql_errors import Trouble, classify, describe
from ._connections import Alias, answer, bounded

_Result = TypeVar("_Result")

#: What ``PRAGMA synchronous`` answers for FULL; EXTRA is one more.
_SYNCHRONOUS_FULL: Final = 2

#: In PostgreSQL, when this transaction began; no two on one connection began at the same time.
_NOW: Final = "CAST(now() AS text)"
_BEGAN: Final = f"SELECT {_NOW}"


class DjangoBound:
    """
    A completion inside an atomic block of the caller's.

    Whether it is still the same transaction at the end, a mark tells. Django lets
    nobody commit in an atomic block, but cannot keep a statement from it, nor MySQL,
    which commits at every CREATE or ALTER. In PostgreSQL the mark is the time the
    transaction began at, which the completion itself compares; elsewhere it is a
    savepoint, which whoever commits or rolls back takes away.
    """

    def __init__(self, alias: Alias, verbs: Verbs, connection: Any) -> None:
        self._alias = alias
        self._verbs = verbs
        self._completed: Claim | None = None
        self._connection = _usable(alias, connection)
        self._block = self._connection.atomic_blocks[-1]
        self._began = ""
        self._savepoint = f"wxnotify_{secrets.token_hex(8)}"
        if self._connection.vendor == "postgresql":
            self._began = self._run(_ask(_BEGAN))[0][0]
        else:
            self._run(_ask(f"SAVEPOINT {self._savepoint}", "count"))

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        self._check_block()
        if claim == self._completed:
            return CompleteOutcome.ALREADY
        self._release_savepoint()
        if not self._run(self._verbs.complete_bound(claim, retain=retain, result=result)):
            if self._began and self._run(_ask(_BEGAN)) != [(self._began,)]:
                raise _ended("another one has begun since")
            # Done by an earlier transaction is no better than lost: what this
            # one did to the order would be done a second time.
            raise ClaimLost(f"key {shown(claim.key)}: the claim is not held any more; roll back")
        self._completed = claim
        return CompleteOutcome.DONE

    def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxBound.put`."""
        self._check_block()
        self._run(self._verbs.put(key, notification, again_in=again_in))

    def _check_block(self) -> None:
        if self._block not in self._connection.atomic_blocks:
            raise _ended("its atomic block has")
        if self._connection.needs_rollback:
            raise ConfigurationError(
                "nothing of this transaction can be committed: a database error was caught inside it, or "
                "set_rollback(True) was called; let the error pass, or catch it around an atomic() of its own"
            )

    def _release_savepoint(self) -> None:
        savepoint, self._savepoint = self._savepoint, ""
        if not savepoint or self._began:
            return
        try:
            self._run(_ask(f"RELEASE SAVEPOINT {savepoint}", "count"))
        except StoreUnavailable as error:
            cause = error.__cause__
            if cause is None or classify(cause) is not Trouble.DOWN:
                raise
            raise _ended(describe(cause)) from cause

    def _run(self, steps: Steps[_Result]) -> _Result:
        connection = self._connection
        try:
            with bounded(connection, time.monotonic() + self._alias.timeout), connection.cursor() as cursor:
                return run(steps, partial(self._answer, cursor))
        except (Error, TimeoutError) as error:
            raise StoreUnavailable(f"completing in your transaction: {describe(error)}") from error

    def _answer(self, cursor: Any, asked: Ask) -> Any:
        if self._began and asked.answer == "count":
            parameters = {**asked.parameters, "began": self._began}
            asked = Ask(f"{asked.sql} AND {_NOW} = :began", parameters, "count")
        return answer(cursor, asked)


def _ask(statement: str, answered: Literal["rows", "count"] = "rows") -> Steps[Any]:
    return (yield Ask(statement, {}, answered))


def _ended(how: str) -> ConfigurationError:
    return ConfigurationError(
        f"the transaction the store was bound to has ended ({how}): the handler must not commit or roll "
        "back, nor alter tables where the database commits for that, because then its work and the "
        "completion do not stand or fall together"
    )


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
            "without a journal on disk a crash leaves half a transaction; take PRAGMA journal_mode = PERSIST"
        )
    return ""
