"""
The points of a delivery at which a process may die, and the store that leads past them.

A point is where the promise could break: between two things that must not come
apart. The supervisor arms one of them in one process; whichever delivery of
that process reaches it first kills the process, or stops it for longer than
its lease.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Any, Final

from ...idempotency import Claim, ClaimOutcome, CompleteOutcome, ReleaseOutcome
from .tally import Tally

#: Added to a point that is armed: stop there, and be continued later, instead of dying.
STOP: Final = 64


class Point(IntEnum):
    """Where in a delivery; 0 is any moment."""

    ANY = 0
    CLAIMED = 1
    BEGUN = 2
    WRITTEN = 3
    COMPLETED = 4
    COMMITTED = 5
    ANSWERING = 6


#: In words, for a delivery in a transaction.
NAMES: Final = {
    Point.ANY: "at any moment",
    Point.CLAIMED: "after the claim",
    Point.BEGUN: "in the handler, before its write",
    Point.WRITTEN: "in the handler, after its write",
    Point.COMPLETED: "after the completion, before the commit",
    Point.COMMITTED: "after the commit, before the look",
    Point.ANSWERING: "before the reply",
}
LEASE_NAMES: Final = {**NAMES, Point.COMPLETED: "after the completion"}
LEASE_POINTS: Final = (Point.CLAIMED, Point.BEGUN, Point.WRITTEN, Point.COMPLETED, Point.ANSWERING)
TRANSACTION_POINTS: Final = (*LEASE_POINTS, Point.COMMITTED)


class Trap:
    """
    What kills or stops this process at the point that is armed.

    Args:
        tally: Where it is armed.

        slot: This process's.
    """

    def __init__(self, tally: Tally, slot: int) -> None:
        self._armed = tally.armed
        self._died_at = tally.died_at
        self._slot = slot

    def reached(self, point: Point) -> None:
        """Go past *point*, if it is not armed."""
        armed = self._armed[self._slot]
        if not armed or armed & ~STOP != point:
            return
        self._armed[self._slot] = 0
        if armed & STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        self._died_at[self._slot] = point
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # another thread may be the one that takes the signal


class Delivery:
    """One delivery under way, and how it came out."""

    __slots__ = ("answered", "asked", "code", "generation", "payment")

    def __init__(self, payment: int) -> None:
        #: The payment's number in this run.
        self.payment = payment
        #: The event's code.
        self.code = ""
        #: Of its claim, and when that was asked for and answered, on the machine's monotonic clock.
        self.generation = 0
        self.asked = 0.0
        self.answered = 0.0


#: The delivery that the running thread or task is at.
current: Final[ContextVar[Delivery]] = ContextVar("current")
#: Called with a delivery and what became of its claim: "done", or "released" before it is.
Note = Callable[[Delivery, str], object]


class WatchedStore:
    """
    A blocking store whose deliveries can die after each step.

    Args:
        store: The real one; or one with a mistake in it.

        trap: This process's.

        note: Told what becomes of each claim.
    """

    def __init__(self, store: Any, trap: Trap, note: Note) -> None:
        self._store = store
        self._trap = trap
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def claim(self, key: str, **named: Any) -> Claim:
        """Claim."""
        delivery = current.get()
        asked = time.monotonic()
        claim: Claim = self._store.claim(key, **named)
        if claim.outcome is ClaimOutcome.ACQUIRED:
            _acquired(delivery, claim, asked)
            self._trap.reached(Point.CLAIMED)
        return claim

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """Complete."""
        outcome: CompleteOutcome = self._store.complete(claim, retain=retain, result=result)
        if outcome is not CompleteOutcome.LOST:
            self._note(current.get(), "done")
        self._trap.reached(Point.COMPLETED)
        return outcome

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """Release."""
        self._note(current.get(), "released")
        outcome: ReleaseOutcome = self._store.release(claim, error=error)
        return outcome

    @contextmanager
    def transaction(self) -> Generator[Any]:
        """Open the store's transaction."""
        with self._store.transaction() as connection:
            yield connection
            self._trap.reached(Point.COMPLETED)
        self._trap.reached(Point.COMMITTED)


class WatchedAsyncStore:
    """The same for a store on an event loop; takes the same arguments."""

    def __init__(self, store: Any, trap: Trap, note: Note) -> None:
        self._store = store
        self._trap = trap
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, key: str, **named: Any) -> Claim:
        """Claim."""
        delivery = current.get()
        asked = time.monotonic()
        claim: Claim = await self._store.claim(key, **named)
        if claim.outcome is ClaimOutcome.ACQUIRED:
            _acquired(delivery, claim, asked)
            self._trap.reached(Point.CLAIMED)
        return claim

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """Complete."""
        outcome: CompleteOutcome = await self._store.complete(claim, retain=retain, result=result)
        if outcome is not CompleteOutcome.LOST:
            self._note(current.get(), "done")
        self._trap.reached(Point.COMPLETED)
        return outcome

    async def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """Release."""
        self._note(current.get(), "released")
        outcome: ReleaseOutcome = await self._store.release(claim, error=error)
        return outcome

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        """Open the store's transaction."""
        async with self._store.transaction() as connection:
            yield connection
            self._trap.reached(Point.COMPLETED)
        self._trap.reached(Point.COMMITTED)


def _acquired(delivery: Delivery, claim: Claim, asked: float) -> None:
    delivery.generation, delivery.asked, delivery.answered = claim.generation, asked, time.monotonic()
