"""A shop to deliver notifications to, and stores that fail when told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wxnotify import Event, Expected, Merchant, Payment, Receiver, Reply, build_reply
from wxnotify.idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification

MERCHANT = Merchant(MCH_ID, APPID, KEY)
#: What :func:`notification` tells of.
ORDER = "A-1001"
SUCCESS = build_reply()


class Clock:
    """A clock that moves when it is told to, and when somebody sleeps by it."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Shop:
    """
    A merchant whose receiver runs on a hand-moved clock.

    ``failing`` is what the handler raises, one delivery after the other;
    ``during`` is called while it runs.
    """

    def __init__(
        self,
        store: Any = None,
        *,
        orders: dict[str, Expected] | None = None,
        failing: list[BaseException] | None = None,
        during: Callable[[], object] = lambda: None,
        merchants: Any = MERCHANT,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock) if store is None else store
        self.orders = {ORDER: Expected(100)} if orders is None else orders
        self.failing = failing or []
        self.during = during
        self.asked: list[str] = []
        self.handled: list[Payment] = []
        self.events: list[Event] = []
        options.setdefault("expect", self.expect)
        options.setdefault("on_event", self.events.append)
        options.setdefault("clock", self.clock)
        options.setdefault("sleep", self.clock.sleep)
        self.receiver = Receiver(merchants, self.store, **options)
        self.register()

    def register(self) -> None:
        self.receiver.on("payment")(self.handle)

    def expect(self, payment: Payment) -> Expected | None:
        self.asked.append(payment.out_trade_no)
        return self.orders.get(payment.out_trade_no)

    def handle(self, payment: Payment) -> None:
        self.handled.append(payment)
        self.during()
        if self.failing:
            raise self.failing.pop(0)

    def deliver(self, body: bytes | None = None, **changes: str | None) -> str:
        """Give one notification to the receiver; return its event's code, which the reply must agree with."""
        before = len(self.events)
        reply = self.receiver.receive(notification(**changes) if body is None else body)
        (event,) = self.events[before:]
        assert_told(reply, event)
        return event.code


def assert_told(reply: Reply, event: Event) -> None:
    """Check that a reply says what its event says."""
    assert reply.status == event.status
    if event.outcome.success:
        assert reply == SUCCESS
    else:
        dialect = "APIv3" if event.dialect == "APIv3" else "APIv2"
        assert reply == build_reply("FAIL", event.code, status=event.status, dialect=dialect)


class FaultyStore(MemoryStore):
    """
    A store that raises what it is told to, once each: ``faults["complete"] = [OSError()]``.

    With ``late`` it does what it was asked first: the acknowledgement is what gets lost.
    """

    def __init__(self, *, late: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.late = late
        self.faults: dict[str, list[BaseException]] = {}
        self.called: list[str] = []

    def _call(self, verb: str, *arguments: Any, **named: Any) -> Any:
        self.called.append(verb)
        faults = self.faults.get(verb)
        if not faults:
            return getattr(super(), verb)(*arguments, **named)
        if self.late:
            getattr(super(), verb)(*arguments, **named)
        raise faults.pop(0)

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        return self._call("claim", key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no)

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        return self._call("complete", claim, retain=retain, result=result)

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        return self._call("release", claim, error=error)

    def find(self, key: str) -> Record | None:
        return self._call("find", key)


class AwaitedStore:
    """Any store's verbs as coroutines."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def claim(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.claim, *arguments, **named)

    async def complete(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.complete, *arguments, **named)

    async def release(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.release, *arguments, **named)

    async def extend(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.extend, *arguments, **named)

    async def purge(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.purge, *arguments, **named)

    async def find(self, *arguments: Any, **named: Any) -> Any:
        return await _soon(self._store.find, *arguments, **named)

    async def records(self, *arguments: Any, **named: Any) -> Any:
        for record in await _soon(self._store.records, *arguments, **named):
            yield record


async def _soon(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    import asyncio

    await asyncio.sleep(0)
    return function(*arguments, **named)


class Orders:
    """Orders in a SQLite file, and the transaction that changes one."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        with self.transaction() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS orders (out_trade_no TEXT PRIMARY KEY, shipped INTEGER NOT NULL)"
            )
            connection.execute("INSERT OR IGNORE INTO orders VALUES (?, 0)", (ORDER,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end, roll back at an exception."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # which rolls back what is not committed

    def ship(self, payment: Payment, connection: sqlite3.Connection) -> None:
        """Handle a payment."""
        connection.execute(
            "UPDATE orders SET shipped = shipped + 1 WHERE out_trade_no = ?", (payment.out_trade_no,)
        )

    @property
    def shipped(self) -> int:
        """How often order A-1001 was shipped."""
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            return connection.execute("SELECT shipped FROM orders").fetchone()[0]
        finally:
            connection.close()
