"""
A store in a database of a Django project, through Django's own connections.

Here is the store; how it uses a connection is in ``_connections.py``, the handler's
transaction in ``_transaction.py``, the completion inside it in ``_bound.py``, and the
statements, which it shares with every other SQL store, in ``_sql.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from django.db import close_old_connections

from ...errors import ConfigurationError
from ...idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome, State
from .._sql import Verbs
from .._sql_statements import MYSQL, POSTGRESQL, SQLITE
from ._bound import DjangoBound
from ._connections import Alias
from ._transaction import open_transaction

_Result = TypeVar("_Result")

#: By vendor, as Django calls it.
DIALECTS: Final = {"postgresql": POSTGRESQL, "mysql": MYSQL, "sqlite": SQLITE}


class DjangoStore:
    """
    Keep claims in the tables of the app ``wxnotify.stores.django``.

    A lease store for any handler, and with :meth:`transaction` a same-transaction
    store for orders in the same database. Every verb commits by itself, so none
    can be called inside ``atomic``.

    Args:
        using: The alias of the database, in DATABASES: the one that the handler's
            models are written to.

        timeout: Seconds an operation may take, more than 0 and at most 60.

    Raises:
        ConfigurationError: If the timeout cannot be used. Nothing else is looked
            at before the first verb; ``manage.py check`` looks at it all.

    Example:
        store = DjangoStore()
        receiver = Receiver(merchant, store, expect=expect)

        @receiver.on("payment", transaction=store.transaction)
        def settle(payment, connection):
            Order.objects.filter(number=payment.out_trade_no, paid=None).update(paid=payment.time_end)
    """

    def __init__(self, using: str = "default", *, timeout: float = 1.5) -> None:
        if not 0 < timeout <= 60:
            raise ConfigurationError("timeout is the seconds an operation may take, over 0 and up to 60")
        #: The database's alias.
        self.using = using
        self._alias = Alias(using, timeout)
        self._prepared: tuple[Verbs, str] | None = None

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        verbs = self._verbs
        return self._alias.run(
            lambda: verbs.claim(key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no),
            if_held=lambda: verbs.held(key, fingerprint=fingerprint, owner=owner),
        )

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        return self._alias.run(partial(self._verbs.complete, claim, retain=retain, result=result))

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        return self._alias.run(partial(self._verbs.release, claim, error=error))

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return self._alias.run(partial(self._verbs.extend, claim, lease))

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`; the command ``wxnotify_purge`` calls it."""
        return self._alias.run(partial(self._verbs.purge, older_than, limit))

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return self._alias.run(partial(self._verbs.find, key))

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`."""
        until, place, more = self._alias.run(partial(self._verbs.until, older_than)), None, True
        while more:
            turn = partial(self._verbs.page, place, state=state, order_no=order_no, until=until)
            page, place = self._alias.run(turn)
            yield from page
            more = place is not None

    def fetch(self, key: str) -> bytes | None:
        """See :meth:`wxnotify.inbox.InboxStore.fetch`."""
        return self._alias.run(partial(self._verbs.fetch, key))

    def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.handed`."""
        self._alias.run(partial(self._verbs.handed, key, again_in=again_in))

    def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`wxnotify.inbox.InboxStore.due`."""
        return self._alias.run(partial(self._verbs.due, limit))

    def remove(self, key: str) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.remove`."""
        self._alias.run(partial(self._verbs.remove, key))

    def bind(self, connection: Any) -> DjangoBound:
        """
        Tie a completion to your open atomic block on the store's alias.

        Args:
            connection: Django's own, ``django.db.connections[using]``.

        Returns:
            What to call ``complete`` on, as the last statement of the block.

        Raises:
            ConfigurationError: If the connection cannot give the promise: it is of
                another alias, not in an atomic block, or may lose a commit.

            StoreUnavailable: If the database failed.
        """
        return DjangoBound(self._alias, self._verbs, connection)

    def transaction(self) -> AbstractContextManager[Any]:
        """
        Open a transaction on the store's alias; it commits at the end, and rolls back at an exception.

        Give it to :meth:`wxnotify.Receiver.on` as *transaction*. It is
        ``atomic(durable=True)``; on SQLite it takes the write lock at the beginning.

        Returns:
            A context manager that gives Django's connection.

        Raises:
            ConfigurationError: If the connection is in a transaction already, or
                not in autocommit.

            StoreUnavailable: If the transaction could not begin, or its commit failed.
        """
        _, lock = self._prepare()
        return open_transaction(self._alias, lock)

    def in_thread(self, job: Callable[[], _Result]) -> _Result:
        """
        Run *job* as Django runs a request: with usable connections, and none left that is too old.

        The receiver calls it in its worker threads, which no request of Django's
        begins or ends in.
        """
        close_old_connections()
        try:
            return job()
        finally:
            close_old_connections()

    @property
    def _verbs(self) -> Verbs:
        return self._prepare()[0]

    def _prepare(self) -> tuple[Verbs, str]:
        if self._prepared is None:
            connection = self._alias.connection()
            dialect = DIALECTS.get(connection.vendor)
            if dialect is None:
                raise ConfigurationError(
                    f"DjangoStore keeps no claims in {connection.vendor}; take PostgreSQL, MySQL, MariaDB or "
                    "SQLite"
                )
            claims, inbox = map(connection.ops.quote_name, ("wxnotify_claims", "wxnotify_inbox"))
            lock = f"UPDATE {claims} SET attempts = attempts WHERE 0"  # noqa: S608 - a name of our own
            self._prepared = Verbs(dialect, claims, inbox), lock
        return self._prepared
