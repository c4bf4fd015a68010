"""
A completion as part of the caller's own transaction, given as a Session or a Connection.

It executes on the caller's connection, and neither begins, commits, rolls back
nor flushes. What would make the promise hollow is refused: at once where no
database need be asked, else before the transaction changes anything or commits.

A handler that commits or rolls back by itself is found out, because at the end it
is not the same transaction any more: SQLAlchemy has another object for it. On
MySQL and SQLite, a savepoint set at the beginning tells too, because in MySQL each
CREATE or ALTER commits, and so does the driver's own ``commit()``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import greenlet_spawn

from ..errors import ClaimLost, ConfigurationError, shown
from ..idempotency import Claim, CompleteOutcome
from . import _sqlalchemy_sqlite as sqlite
from ._sql import Ask, Steps, run
from ._sql_errors import Trouble, classify
from ._sqlalchemy_database import DURABLE_COMMIT, Database, name_of
from ._sqlalchemy_transaction import in_time

_Result = TypeVar("_Result")


class SQLAlchemyBound:
    """
    A completion inside a transaction of the caller's; made by ``bind``.

    Args:
        database: The store's.

        given: What the caller gave: a Session or Connection, in a transaction.
    """

    def __init__(self, database: Database, given: Any) -> None:
        name = type(given).__name__
        if isinstance(given, scoped_session):
            given = cast("Callable[[], Session]", given)()
        if isinstance(given, (AsyncSession, AsyncConnection, async_scoped_session)):
            raise ConfigurationError(f"bind: {name} belongs to an event loop; take AsyncSQLAlchemyStore")
        if not isinstance(given, (Session, Connection)):
            raise ConfigurationError(f"bind takes a Session or a Connection, not {name}")
        if not given.in_transaction():
            raise ConfigurationError("bind: not in a transaction; begin one first")
        self._database = database
        self._given = given
        self._transactions = _transactions(given)
        # The connection, and its transaction, once they have been looked at.
        self._began: tuple[Connection, Any] | None = None
        self._savepoint: str | None = None
        self._completed: Claim | None = None

    def start(self) -> None:
        """Look at the transaction, and mark it; done before its first statement, if not earlier."""
        if self._began is None:
            connection = self._connection()
            self._began = connection, connection.get_transaction()
            try:
                self._check(connection)
                if not self._database.is_postgresql:
                    self._savepoint = f"wxnotify_{secrets.token_hex(8)}"
                    self._mark(connection)
            except BaseException:
                self._began = None  # so that it is refused again at the end
                raise

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        connection = self._the_same()
        if claim == self._completed:
            return CompleteOutcome.ALREADY
        if not self._run(
            connection, self._database.verbs.complete_bound(claim, retain=retain, result=result)
        ):
            self._refuse(connection, claim)
        self._completed = claim
        return CompleteOutcome.DONE

    def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxBound.put`."""
        self._run(self._the_same(), self._database.verbs.put(key, notification, again_in=again_in))

    # --- is it still the same transaction?

    def _the_same(self) -> Connection:
        if _transactions(self._given) != self._transactions:
            raise self._over()
        connection = self._connection()
        self.start()
        if self._began != (connection, connection.get_transaction()):
            raise self._over()
        if self._savepoint:
            with in_time(connection, self._database.timeout, "completing in your transaction"):
                try:
                    connection.exec_driver_sql(f"RELEASE SAVEPOINT {self._savepoint}")
                except DBAPIError as error:
                    if classify(error) is Trouble.DOWN:
                        raise self._over() from error
                    raise
            self._mark(connection)
        return connection

    def _mark(self, connection: Connection) -> None:
        with in_time(connection, self._database.timeout, "bind"):
            connection.exec_driver_sql(f"SAVEPOINT {self._savepoint}")

    def _over(self) -> ConfigurationError:
        return ConfigurationError(
            "the transaction the store was bound to has ended: the handler must not commit or roll back, "
            "because then its work and the completion do not stand or fall together"
        )

    # --- is it one that can give the promise?

    def _connection(self) -> Connection:
        if isinstance(self._given, Connection):
            return self._given
        try:
            return self._given.connection()
        except UnboundExecutionError as error:
            raise ConfigurationError(
                "bind: the session has several databases, and which one holds the orders cannot be told; "
                "bind its connection: session.connection(bind_arguments={'mapper': Order})"
            ) from error

    def _check(self, connection: Connection) -> None:
        if connection.dialect.name not in self._database.kinds:
            raise ConfigurationError(
                f"bind: this transaction is in {name_of(connection.engine)}, "
                f"and the store in {self._database.name}"
            )
        if self._database.is_sqlite:
            with in_time(connection, self._database.timeout, "bind"):
                sqlite.check_transaction(connection)
        elif self._database.autocommits(connection):
            raise ConfigurationError(
                "bind: the connection is in AUTOCOMMIT, so each statement is a transaction of its own; "
                'give the engine or the connection another isolation_level, such as "READ COMMITTED"'
            )

    def _refuse(self, connection: Connection, claim: Claim) -> None:
        """Say why nothing was completed."""
        if self._run(connection, self._database.verbs.find(claim.key)) is None:
            raise ConfigurationError(
                f"key {shown(claim.key)} is not in {name_of(connection.engine)}, where this transaction is; "
                f"the store is in {self._database.name}. Bind a transaction in the same database, "
                "begun after the claim"
            )
        # Done by an earlier transaction is no better than lost: what this one did
        # to the order would be done a second time.
        raise ClaimLost(f"key {shown(claim.key)}: the claim is not held any more; roll back")

    # --- statements

    def _run(self, connection: Connection, steps: Steps[_Result]) -> _Result:
        def answer(asked: Ask) -> Any:
            statement, parameters = self._database.compile(asked)
            if self._database.is_postgresql and asked.answer == "count":
                # With synchronous_commit = off, a crash would forget the order's
                # change and the completion, after SUCCESS was said.
                statement = f"{statement} RETURNING {DURABLE_COMMIT.format(local='true')}"
            try:
                result = connection.exec_driver_sql(statement, parameters)
            except DBAPIError as error:
                if asked.answer == "inserted" and classify(error) is Trouble.TAKEN:
                    return 0
                raise
            found: Any = result.fetchall() if asked.answer == "rows" else result.rowcount
            result.close()
            return found

        with in_time(connection, self._database.timeout, "completing in your transaction"):
            return run(steps, answer)


class AsyncSQLAlchemyBound:
    """As :class:`SQLAlchemyBound`, for an AsyncSession or an AsyncConnection."""

    def __init__(self, database: Database, given: Any) -> None:
        name = type(given).__name__
        if isinstance(given, async_scoped_session):
            given = cast("Callable[[], AsyncSession]", given)()
        if isinstance(given, (Session, Connection, scoped_session)):
            raise ConfigurationError(f"bind: {name} blocks; take SQLAlchemyStore for it")
        if isinstance(given, AsyncSession):
            given = given.sync_session
        elif isinstance(given, AsyncConnection):
            given = given.sync_connection
        self._bound = SQLAlchemyBound(database, given)
        if not database.is_postgresql:
            self._start_in_time(given)

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        return await greenlet_spawn(self._bound.complete, claim, retain=retain, result=result)

    async def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxBound.put`."""
        await greenlet_spawn(self._bound.put, key, notification, again_in=again_in)

    def _start_in_time(self, given: Session | Connection) -> None:
        """Have the savepoint set before the handler's first statement; here nothing can be awaited."""

        def began(session: Session, transaction: Any, connection: Connection) -> None:
            self._start_in_time(connection)

        def executes(*anything: Any) -> None:
            self._bound.start()

        if isinstance(given, Session):
            event.listen(given, "after_begin", began, once=True)
        else:
            event.listen(given, "before_cursor_execute", executes, once=True)


def _transactions(given: Session | Connection) -> tuple[Any, Any]:
    return given.get_transaction(), given.get_nested_transaction()
