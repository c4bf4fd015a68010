"""The SQLAlchemy store for an event loop; imported from ``wxnotify.stores.sqlalchemy``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import greenlet_spawn

from ..errors import ConfigurationError
from ..idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome, State
from ._sqlalchemy_bound import AsyncSQLAlchemyBound
from ._sqlalchemy_connections import AsyncConnections
from ._sqlalchemy_database import Database, create_tables
from ._sqlalchemy_tables import Tables
from ._sqlalchemy_transaction import open_async_transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session


class AsyncSQLAlchemyStore:
    """
    Keep claims in two tables of a SQL database; every verb is awaited.

    See :class:`~wxnotify.stores.sqlalchemy.SQLAlchemyStore` for what it does. Its
    connections, at most 8, belong to the event loop they were made on: close the store
    before the loop ends.

    Args:
        engine: From ``create_async_engine``: PostgreSQL with asyncpg or psycopg, MySQL
            or MariaDB with asyncmy or aiomysql, or SQLite with aiosqlite.

        tables: As for the blocking store.

        timeout: Likewise.

        session_settings: Likewise.

    Raises:
        ConfigurationError: If the engine or another argument cannot be used.

    Example:
        >>> import asyncio, os, tempfile
        >>> from sqlalchemy.ext.asyncio import create_async_engine
        >>> async def main(path):
        ...     engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        ...     async with AsyncSQLAlchemyStore(engine) as store:
        ...         await store.create_all()
        ...         claim = await store.claim("payment:1", fingerprint=bytes(32), owner=bytes(16), lease=9)
        ...     await engine.dispose()
        ...     return claim.outcome
        >>> asyncio.run(main(os.path.join(tempfile.mkdtemp(), "shop.db")))
        <ClaimOutcome.ACQUIRED: 'acquired'>
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        tables: Tables | None = None,
        timeout: float = 1.5,
        session_settings: bool = True,
    ) -> None:
        if not isinstance(engine, AsyncEngine):
            raise ConfigurationError(
                f"AsyncSQLAlchemyStore takes an AsyncEngine, not {type(engine).__name__}: "
                "make it with create_async_engine"
            )
        self._engine = engine
        self._database = Database(
            engine.sync_engine, tables, timeout=timeout, session_settings=session_settings
        )
        self._verbs = self._database.verbs
        self._connections = AsyncConnections(self._database)
        self._run = self._connections.run_async

    async def create_all(self) -> None:
        """See :meth:`wxnotify.stores.sqlalchemy.SQLAlchemyStore.create_all`."""
        await greenlet_spawn(create_tables, self._database)

    async def claim(
        self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = ""
    ) -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        named = {"fingerprint": fingerprint, "owner": owner}
        return await self._run(
            partial(self._verbs.claim, key, **named, lease=lease, order_no=order_no),
            partial(self._verbs.held, key, **named),
        )

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        return await self._run(partial(self._verbs.complete, claim, retain=retain, result=result))

    async def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        return await self._run(partial(self._verbs.release, claim, error=error))

    async def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return await self._run(partial(self._verbs.extend, claim, lease))

    async def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        return await self._run(partial(self._verbs.purge, older_than, limit))

    async def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return await self._run(partial(self._verbs.find, key))

    async def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> AsyncIterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`."""
        until, place, more = await self._run(partial(self._verbs.until, older_than)), None, True
        read = partial(self._verbs.page, state=state, order_no=order_no, until=until)
        while more:
            page, place = await self._run(partial(read, place))
            for record in page:
                yield record
            more = place is not None

    async def fetch(self, key: str) -> bytes | None:
        """See :meth:`wxnotify.inbox.InboxStore.fetch`."""
        return await self._run(partial(self._verbs.fetch, key))

    async def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.handed`."""
        await self._run(partial(self._verbs.handed, key, again_in=again_in))

    async def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`wxnotify.inbox.InboxStore.due`."""
        return await self._run(partial(self._verbs.due, limit))

    async def remove(self, key: str) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.remove`."""
        await self._run(partial(self._verbs.remove, key))

    def bind(
        self, connection: AsyncConnection | AsyncSession | async_scoped_session[AsyncSession]
    ) -> AsyncSQLAlchemyBound:
        """
        Tie a completion to your open transaction in the same database.

        See :meth:`wxnotify.stores.sqlalchemy.SQLAlchemyStore.bind`. What needs the
        database is looked at before the transaction's next statement, or at the
        completion.

        Args:
            connection: Yours, in a transaction; an AsyncSession will do.

        Returns:
            What to await ``complete`` of, as the last statement before your commit.

        Raises:
            ConfigurationError: If it is not in a transaction.
        """
        return AsyncSQLAlchemyBound(self._database, connection)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """See :meth:`wxnotify.stores.sqlalchemy.SQLAlchemyStore.transaction`."""
        return open_async_transaction(self._database, self._engine)

    async def close(self) -> None:
        """Close this event loop's idle connections. The store can still be used; it opens new ones."""
        await self._connections.close_async()

    async def __aenter__(self) -> AsyncSQLAlchemyStore:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
