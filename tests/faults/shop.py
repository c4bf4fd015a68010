"""A shop whose receiver keeps its claims in a store on trial, and whose effects are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, NamedTuple

from wxnotify import Event, Expected, Merchant, Payment, Receiver
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment

from ..stores.subjects import SUBJECTS, Entry, Trial

Mode = Literal["lease", "same-transaction"]

LEASE = 30.0
#: The key that :func:`wxnotify.testing.notification` is claimed under.
PAID = payment().key


#: In the order they are reached, by promise. In lease mode the effect is a line of a file, written before the
#: completion; in a transaction it is a row, and the completion comes before the commit.
STEPS = {
    "lease": ["claimed", "begun", "effect", "completed", "settled"],
    "same-transaction": ["claimed", "begun", "effect", "completed", "committed", "settled"],
}


class Case(NamedTuple):
    """One store, and one of the promises it gives."""

    entry: Entry
    mode: Mode

    def __str__(self) -> str:
        return f"{self.entry.name}-{self.mode}"


CASES = [
    Case(entry, mode)
    for entry in SUBJECTS
    for mode in ("lease", "same-transaction")
    if mode == "lease" or entry.promise == "same-transaction"
]


class Faults:
    """
    A store as it was made, but for what is done to some of its answers.

    ``before["claim"]`` is called before the verb, ``after["claim"]`` once it has been done; the receiver sees
    what they raise.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        for verb in ("claim", "complete", "release", "find"):
            setattr(self, verb, self._hooked(verb, getattr(store, verb)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _hooked(self, verb: str, function: Callable[..., Any]) -> Callable[..., Any]:
        from inspect import iscoroutinefunction

        def call(*arguments: Any, **named: Any) -> Any:
            self.before.get(verb, _nothing)()
            answer = function(*arguments, **named)
            self.after.get(verb, _nothing)()
            return answer

        async def call_soon(*arguments: Any, **named: Any) -> Any:
            # In a thread, where it may deliver a notification to this same loop.
            await asyncio.to_thread(self.before.get(verb, _nothing))
            answer = await function(*arguments, **named)
            await asyncio.to_thread(self.after.get(verb, _nothing))
            return answer

        return call_soon if iscoroutinefunction(function) else call


def _nothing() -> None:
    pass


class Shop:
    """
    A merchant on a store on trial.

    The moments of a delivery that something can be done at: ``before`` and ``after`` a verb of the store
    (``shop.faults``), ``shop.begin`` before the transaction, ``shop.during`` in the handler once it has had
    its effect, ``shop.commit`` after the commit. In lease mode an effect is an entry of a list, in a
    transaction a row.
    """

    def __init__(self, trial: Trial, mode: Mode, **options: Any) -> None:
        self.trial = trial
        self.mode = mode
        self.faults = Faults(trial.store)
        self.begin: Callable[[], object] = _nothing
        self.during: Callable[[], object] = _nothing
        self.commit: Callable[[], object] = _nothing
        self.calls = 0
        self.events: list[Event] = []
        self._log: list[str] = []
        options.setdefault("wait", 0.0)
        self.receiver = Receiver(
            Merchant(MCH_ID, APPID, KEY),
            self.faults,
            expect=lambda payment: Expected(payment.total_fee or 1),
            on_event=self.events.append,
            lease=LEASE,
            **options,
        )
        if mode == "lease":
            self.receiver.on("payment")(self._handle_soon if self.awaited else self._handle)
        elif self.awaited:
            self.receiver.on("payment", transaction=self._transaction_soon)(self._handle_within_soon)
        else:
            self.receiver.on("payment", transaction=self._transaction)(self._handle_within)

    @property
    def awaited(self) -> bool:
        """Whether the store is asynchronous."""
        return self.trial.run is not None

    def deliver(self, **changes: str) -> str:
        """Give the receiver one notification; its event's code."""
        body = notification(**changes)
        before = len(self.events)
        if self.awaited:
            assert self.trial.run is not None
            reply = self.trial.run(self.receiver.receive_async(body))
        else:
            reply = self.receiver.receive(body)
        event = self.events[-1] if len(self.events) > before else None
        assert event is not None
        assert (b"[SUCCESS]" in reply.body) is event.outcome.success
        return event.code

    def effects(self, key: str = PAID) -> int:
        """How often a payment had its effect."""
        if self.mode == "lease":
            return self._log.count(key)
        return self.trial.effects(key)

    # --- the merchant's own code

    def _handle(self, payment: Payment) -> None:
        self.calls += 1
        self._log.append(payment.key)
        self.during()

    async def _handle_soon(self, payment: Payment) -> None:
        self.calls += 1
        self._log.append(payment.key)
        await asyncio.to_thread(self.during)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        self.begin()
        with self.trial._transaction() as connection:
            yield connection
        self.commit()

    @asynccontextmanager
    async def _transaction_soon(self) -> AsyncIterator[Any]:
        await asyncio.to_thread(self.begin)
        async with self.trial._transaction() as connection:
            yield connection
        await asyncio.to_thread(self.commit)

    def _handle_within(self, payment: Payment, connection: Any) -> None:
        self.calls += 1
        self.trial._effect(connection, payment.key)
        self.during()

    async def _handle_within_soon(self, payment: Payment, connection: Any) -> None:
        self.calls += 1
        await self.trial._effect(connection, payment.key)  # type: ignore[misc]
        await asyncio.to_thread(self.during)
