"""
A shop whose work procrastinate does, as in docs/inbox.md: ``procrastinate -a procrastinate_shop.app worker``.

The :class:`Place` is in the environment, as JSON in WXNOTIFY_SHOP. Orders, claims, inbox and procrastinate's
queue are in one PostgreSQL database.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from procrastinate import App, PsycopgConnector, RetryStrategy
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from wxnotify import Event, Expected, Merchant, Payment, Receiver
from wxnotify.errors import NotSettled, StoreError
from wxnotify.inbox import Inbox
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from wxnotify.testing import APPID, KEY, MCH_ID

SHIP = text("UPDATE orders SET shipped = shipped + 1 WHERE out_trade_no = :out_trade_no")


class Place(NamedTuple):
    """Where a shop is."""

    directory: str
    #: ``postgresql://``
    database: str
    #: Whether the store is awaited.
    awaited: bool

    @property
    def url(self) -> str:
        """The database's address for SQLAlchemy."""
        return self.database.replace("postgresql://", "postgresql+psycopg://")

    @property
    def events(self) -> Path:
        """The file with one line for each event."""
        return Path(self.directory) / "events"

    @property
    def halt(self) -> Path:
        """If it is there, the handler takes it away and waits for its end, in its open transaction."""
        return Path(self.directory) / "halt"

    @property
    def halted(self) -> Path:
        """The file with the id of the process that waits."""
        return Path(self.directory) / "halted"

    def reached(self) -> bool:
        """Tell whether to wait."""
        if not self.halt.exists():
            return False
        self.halt.unlink()
        self.halted.write_text(str(os.getpid()))
        return True

    def report(self, event: Event) -> None:
        """Write an event down."""
        with self.events.open("a") as file:
            file.write(f"{event.code}\n")


class Shop:
    """The application of procrastinate, its task, the store and the receiver."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.app = App(connector=PsycopgConnector(conninfo=place.database, min_size=1, max_size=4))
        self.retry = RetryStrategy(
            max_attempts=8, exponential_wait=2, retry_exceptions={NotSettled, StoreError}
        )
        self.store: Any = self.awaited() if place.awaited else self.blocking()

    def _receiver(self, store: Any) -> Receiver:
        return Receiver(
            Merchant(MCH_ID, APPID, KEY),
            store,
            expect=lambda payment: Expected(100),
            on_event=self.place.report,
            lease=1,
            wait=0,
        )

    def blocking(self) -> SQLAlchemyStore:
        """Put it together of blocking parts."""
        self.engine = create_engine(self.place.url)
        store = SQLAlchemyStore(self.engine)
        receiver = self.receiver = self._receiver(store)

        @self.app.task(name="work", retry=self.retry)
        def work(ref: str) -> None:
            receiver.work(ref)

        @self.app.task(name="sweep")
        def sweep() -> None:
            receiver.sweep()

        def within(ref: str, connection: Any) -> None:
            work.configure(connection=connection.connection.driver_connection).defer(ref=ref)

        inbox = Inbox(lambda ref: work.defer(ref=ref), within=within, again_after=1)

        @receiver.on("payment", transaction=store.transaction, inbox=inbox)
        def ship(payment: Payment, connection: Any) -> None:
            connection.execute(SHIP, {"out_trade_no": payment.out_trade_no})
            if self.place.reached():
                time.sleep(60)

        return store

    def awaited(self) -> AsyncSQLAlchemyStore:
        """Put it together of parts that are awaited."""
        self.async_engine = create_async_engine(self.place.url)
        store = AsyncSQLAlchemyStore(self.async_engine)
        receiver = self.receiver = self._receiver(store)

        @self.app.task(name="work", retry=self.retry)
        async def work(ref: str) -> None:
            await receiver.work_async(ref)

        @self.app.task(name="sweep")
        async def sweep() -> None:
            await receiver.sweep_async()

        async def within(ref: str, connection: Any) -> None:
            raw = await connection.get_raw_connection()
            await work.configure(connection=raw.driver_connection).defer_async(ref=ref)

        async def dispatch(ref: str) -> None:
            await work.defer_async(ref=ref)

        inbox = Inbox(dispatch, within=within, again_after=1)

        @receiver.on("payment", transaction=store.transaction, inbox=inbox)
        async def ship(payment: Payment, connection: Any) -> None:
            await connection.execute(SHIP, {"out_trade_no": payment.out_trade_no})
            if self.place.reached():
                await asyncio.sleep(60)

        return store


if "WXNOTIFY_SHOP" in os.environ:
    app = Shop(Place(*json.loads(os.environ["WXNOTIFY_SHOP"]))).app
