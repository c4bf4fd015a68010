"""A merchant with an inbox, over any store that has one; its engine is a list that is handed refs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from wxnotify import Event, Expected, Merchant, Payment, Receiver, Reply
from wxnotify._drivers import is_async
from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import State
from wxnotify.inbox import Inbox
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment
from wxnotify.testing.store_conformance import Subject, event_loop

from .receiving import AwaitedStore, assert_told
from .stores.subjects import SUBJECTS, Entry

PAYMENT = payment()
REF = PAYMENT.key
WORK = f"work/{REF}"
OTHER_KEY = "another-test-key-0123456789abcde"


class Faulty:
    """
    A store whose transaction fails where it is told to, once each: at ``put``, ``complete`` or ``commit``.

    ``acknowledgement`` is a commit that is made and not heard of.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.faults: set[str] = set()
        self.transaction = self._transaction_async if is_async(store.claim) else self._transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def fail(self, step: str) -> None:
        if step in self.faults:
            self.faults.discard(step)
            raise StoreUnavailable(step)

    def bind(self, connection: Any) -> Any:
        bound = self._store.bind(connection)
        return _FaultyAsyncBound(bound, self) if is_async(self._store.claim) else _FaultyBound(bound, self)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._store.transaction() as connection:
            yield connection
            self.fail("commit")
        self.fail("acknowledgement")

    @asynccontextmanager
    async def _transaction_async(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as connection:
            yield connection
            self.fail("commit")
        self.fail("acknowledgement")


class _FaultyBound:
    def __init__(self, bound: Any, faulty: Faulty) -> None:
        self._bound, self._faulty = bound, faulty

    def put(self, *arguments: Any, **named: Any) -> None:
        self._faulty.fail("put")
        self._bound.put(*arguments, **named)

    def complete(self, *arguments: Any, **named: Any) -> Any:
        self._faulty.fail("complete")
        return self._bound.complete(*arguments, **named)


class _FaultyAsyncBound(_FaultyBound):
    async def put(self, *arguments: Any, **named: Any) -> None:
        self._faulty.fail("put")
        await self._bound.put(*arguments, **named)

    async def complete(self, *arguments: Any, **named: Any) -> Any:
        self._faulty.fail("complete")
        return await self._bound.complete(*arguments, **named)


class Desk:
    """
    A merchant with an inbox, whose engine is the list ``handed``.

    Its verbs block whatever the store. ``failing`` is what the handler raises, one call after the other;
    ``during`` is called while it runs.
    """

    def __init__(self, subject: Subject, on_a_loop: bool = False) -> None:
        self.subject = subject
        self.store = Faulty(subject.store)
        self.on_a_loop = on_a_loop
        self.handed: list[str] = []
        self.handled: list[Payment] = []
        self.events: list[Event] = []
        self.dispatching: Callable[[str], object] = lambda ref: None
        self.failing: list[BaseException] = []
        self.during: Callable[[], object] = lambda: None
        self.inbox = Inbox(self.dispatch)
        self.receiver = Receiver(
            Merchant(MCH_ID, APPID, [OTHER_KEY, KEY]),
            self.store,  # type: ignore[arg-type]
            expect=lambda payment: Expected(100),
            on_event=self.events.append,
            wait=0,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        raise AssertionError("neither a delivery nor an engine waits for anybody here")

    @property
    def awaited(self) -> bool:
        return is_async(self.store.claim)

    def open(self, *, in_transaction: bool = False, inbox: Inbox | None = None) -> Desk:
        """Register the handler."""
        transaction = self.store.transaction if in_transaction else None
        on = self.receiver.on("payment", transaction=transaction, inbox=inbox or self.inbox)
        if self.awaited and in_transaction:
            on(self.handle_inside_async)
        else:
            on(self.handle_inside if in_transaction else self.handle)
        return self

    def dispatch(self, ref: str) -> str:
        self.dispatching(ref)
        self.handed.append(ref)
        return "task 1"

    def handle(self, payment: Payment) -> None:
        self.handled.append(payment)
        self.during()
        if self.failing:
            raise self.failing.pop(0)

    def handle_inside(self, payment: Payment, connection: Any) -> None:
        self.raw_effect(connection, payment.key)
        self.handle(payment)

    async def handle_inside_async(self, payment: Payment, connection: Any) -> None:
        written = self.raw_effect(connection, payment.key)
        if inspect.isawaitable(written):
            await written
        self.handle(payment)

    @property
    def raw_effect(self) -> Callable[[Any, str], Any]:
        effect = self.subject._effect
        assert effect
        return effect

    # --- the receiver's verbs

    def do(self, verb: str, *arguments: Any) -> Any:
        if self.awaited:
            return self.subject._call(getattr(self.receiver, f"{verb}_async"), *arguments)
        if self.on_a_loop:
            return asyncio.run(getattr(self.receiver, f"{verb}_async")(*arguments))
        return getattr(self.receiver, verb)(*arguments)

    def deliver(self, **changes: str) -> str:
        """Give one notification to the receiver; return its event's code, which the reply must agree with."""
        before = len(self.events)
        reply: Reply = self.do("receive", notification(**changes))
        (event,) = self.events[before:]
        assert_told(reply, event)
        return event.code

    def work(self, ref: str = REF) -> Event:
        event: Event = self.do("work", ref)
        assert self.events[-1] == event
        return event

    def sweep(self, *limit: int) -> list[str]:
        """Sweep, and return the refs that were handed over."""
        before = len(self.handed)
        swept = self.do("sweep", *limit)
        assert swept == len(self.handed) - before
        return self.handed[before:]

    # --- what is stored

    def state(self, key: str = REF) -> State | None:
        record = self.subject.find(key)
        return record and record.state

    @property
    def waiting(self) -> bool:
        """Whether the notification is in the inbox."""
        return self.subject.fetch(REF) is not None


class AwaitedInbox(AwaitedStore):
    """A store with an inbox, its verbs as coroutines."""

    def bind(self, connection: Any) -> AwaitedInboxBound:
        return AwaitedInboxBound(self._store.bind(connection))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        with self._store.transaction() as connection:
            yield connection

    async def fetch(self, key: str) -> bytes | None:
        return self._store.fetch(key)

    async def due(self, limit: int) -> list[tuple[str, int]]:
        return self._store.due(limit)

    async def handed(self, key: str, *, again_in: float) -> None:
        self._store.handed(key, again_in=again_in)

    async def remove(self, key: str) -> None:
        self._store.remove(key)


class AwaitedInboxBound:
    def __init__(self, bound: Any) -> None:
        self._bound = bound

    async def put(self, key: str, stored: bytes, *, again_in: float) -> None:
        self._bound.put(key, stored, again_in=again_in)

    async def complete(self, claim: Any, *, retain: float, result: str = "") -> Any:
        return self._bound.complete(claim, retain=retain, result=result)


TRANSACTIONAL = [entry for entry in SUBJECTS if entry.promise == "same-transaction"]
(SQLITE,) = [entry for entry in TRANSACTIONAL if entry.name == "sqlite"]
DESKS = [*((entry, "") for entry in TRANSACTIONAL), (SQLITE, "on a loop"), (SQLITE, "awaited")]


@contextmanager
def open_desk(entry: Entry, directory: Path, how: str = "") -> Iterator[Desk]:
    with entry.open(directory) as trial, ExitStack() as stack:
        if how != "awaited":
            yield Desk(trial, how == "on a loop")
            return
        awaited = AwaitedInbox(trial.store)
        yield Desk(
            Subject(
                awaited,
                trial.advance,
                run=stack.enter_context(event_loop()),
                transaction=awaited.transaction,
                effect=trial.effect,
                effects=trial.effects,
            )
        )
