"""
Several deliveries of one payment, interleaved step by step, with everything that can go wrong in between.

The flows are the library's; the store is :func:`wxnotify.idempotency.judge` and a variable; the faults are a
crash, a lease that runs out, a handler that fails, a store that does not answer, does what it was asked and
does not say so, or forgets a commit it acknowledged. First every order of events is played within a small
budget of faults, then random ones within a large budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxnotify import Expected
from wxnotify._flow import Complete, DoClaim, Expect, Find, Handle, Release, Settled, Sleep, settle
from wxnotify.errors import ClaimLost, StoreUnavailable
from wxnotify.idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    Row,
    State,
    judge,
)
from wxnotify.testing import payment

PAYMENT = payment()
LEASE = 30.0
Action = tuple[str, int]


class Delivery:
    """One flow, as far as it has come. ``steps`` is all it was told, and so determines it."""

    def __init__(self, owner: bytes) -> None:
        self.owner = owner
        self.flow = settle(
            PAYMENT, lambda payment: None, lambda payment, expected: None, now=lambda: 0.0, deadline=0.06
        )
        self.settled: Settled | None = None
        self.crashed = False
        self.working = ""
        self.steps: list[Any] = []
        assert isinstance(next(self.flow), Expect)
        self.command: Any = None
        self.told(Expected(100))

    def told(self, answer: object) -> None:
        self.steps.append(answer)
        self._go(lambda: self.flow.send(answer))

    def threw(self, error: Exception) -> None:
        self.steps.append(type(error))
        self._go(lambda: self.flow.throw(error))

    def _go(self, step: Any) -> None:
        try:
            self.command = step()
            while isinstance(self.command, Sleep):
                self.command = self.flow.send(None)
        except StopIteration as stop:
            self.settled = stop.value

    def crash(self) -> None:
        self.flow.close()
        self.crashed = True

    @property
    def alive(self) -> bool:
        return self.settled is None and not self.crashed

    @property
    def state(self) -> tuple[object, ...]:
        return (*self.steps, self.working, self.crashed)


class World:
    """The store, the order and the deliveries; checks itself after every step."""

    def __init__(self, *, deliveries: int, transaction: bool, faults: int, expiries: int) -> None:
        self.transaction = transaction
        self.faults = faults
        self.expiries = expiries
        self.now = 0.0
        self.row: Row | None = None
        self.effect = 0
        self.spent = 0
        self.deliveries = [Delivery(bytes([n]) * 16) for n in range(deliveries)]

    # --- the store: rules 1 to 5 of wxnotify.idempotency

    def claim(self, delivery: Delivery) -> Claim:
        claim = self.judge(delivery.owner)
        if claim.outcome is ClaimOutcome.ACQUIRED:
            self.row = Row(
                State.PENDING,
                PAYMENT.fingerprint,
                delivery.owner,
                claim.generation,
                claim.attempts,
                self.now + LEASE,
            )
        return claim

    def judge(self, owner: bytes) -> Claim:
        return judge(self.row, key=PAYMENT.key, fingerprint=PAYMENT.fingerprint, owner=owner, now=self.now)

    def holds(self, claim: Claim) -> bool:
        assert self.row is not None
        return (self.row.owner, self.row.generation) == (claim.owner, claim.generation)

    def complete(self, claim: Claim) -> CompleteOutcome:
        assert self.row is not None
        if not self.holds(claim) or self.row.state is State.RELEASED:
            return CompleteOutcome.LOST
        if self.row.state is State.DONE:
            return CompleteOutcome.ALREADY
        self.row = self.row._replace(state=State.DONE)
        return CompleteOutcome.DONE

    def release(self, claim: Claim) -> ReleaseOutcome:
        assert self.row is not None
        if not self.holds(claim) or self.row.state is State.DONE:
            return ReleaseOutcome.LOST
        if self.row.state is State.RELEASED:
            return ReleaseOutcome.ALREADY
        self.row = self.row._replace(state=State.RELEASED)
        return ReleaseOutcome.RELEASED

    def find(self) -> Record | None:
        if self.row is None:
            return None
        when = datetime(2026, 1, 1, tzinfo=timezone.utc)
        return Record(
            PAYMENT.key, self.row.state, self.row.generation, self.row.attempts, when, when, when, ""
        )

    # --- what can happen

    def actions(self) -> Iterator[Action]:
        if self.expiries and self.row and self.row.state is State.PENDING and self.row.lease_until > self.now:
            yield "expire", -1
        for n, delivery in enumerate(self.deliveries):
            if not delivery.alive:
                continue
            if n and len(self.deliveries[n - 1].steps) == 1 and self.deliveries[n - 1].alive:
                return  # nor has this one begun, and one is as good as another
            command = delivery.command
            yield "go", n
            if not self.faults:
                continue
            yield "crash", n
            if isinstance(command, Handle):
                if delivery.working:
                    yield "fail", n
                    if self.transaction:
                        yield "commit unacknowledged", n
                        yield "commit forgotten", n
            else:
                yield "down", n
                if not isinstance(command, Find):
                    yield "unacknowledged", n

    def do(self, action: Action) -> None:
        what, n = action
        before = self.row
        if what == "expire":
            assert self.row is not None
            self.expiries -= 1
            self.spent += 1
            self.now = self.row.lease_until
        else:
            if what != "go":
                self.faults -= 1
                self.spent += 1
            self._step(self.deliveries[n], what)
        self.check(before)

    def _step(self, delivery: Delivery, what: str) -> None:
        command = delivery.command
        if what == "crash":
            delivery.crash()
        elif what == "down":
            delivery.threw(StoreUnavailable())
        elif isinstance(command, Handle):
            self._handle(delivery, command.claim, what)
        else:
            answer: object
            if isinstance(command, DoClaim):
                answer = self.claim(delivery)
            elif isinstance(command, Complete):
                answer = self.complete(command.claim)
            elif isinstance(command, Release):
                answer = self.release(command.claim)
            else:
                assert isinstance(command, Find)
                answer = self.find()
            if what == "unacknowledged":
                delivery.threw(StoreUnavailable())
            else:
                delivery.told(answer)

    def _handle(self, delivery: Delivery, claim: Claim, what: str) -> None:
        if not delivery.working:
            delivery.working = "begun"
            return
        if self.transaction:
            delivery.working = ""
            if what == "fail":
                delivery.threw(ValueError("out of stock"))
            elif what == "commit forgotten":
                delivery.told(True)
            elif not self.committed(claim):
                delivery.threw(ClaimLost())
            elif what == "commit unacknowledged":
                delivery.threw(ConnectionError())
            else:
                delivery.told(True)
        elif what == "fail":
            delivery.working = ""
            delivery.threw(ValueError("out of stock"))
        elif delivery.working == "begun":
            self.effect += 1
            delivery.working = "done"  # and may yet crash or fail
        else:
            delivery.working = ""
            delivery.told(False)

    def committed(self, claim: Claim) -> bool:
        """Change the order and complete: both, or neither."""
        if self.complete(claim) is not CompleteOutcome.DONE:
            return False
        self.effect += 1
        return True

    # --- what must hold

    def check(self, before: Row | None) -> None:
        if before is not None:
            assert self.row is not None
            assert before.state is not State.DONE or self.row == before, "done is final"
            assert self.row.generation >= before.generation, "a generation never falls"
        most = 1 if self.transaction else 1 + self.spent
        assert self.effect <= most, "the order was changed too often"
        done = self.row is not None and self.row.state is State.DONE
        assert not done or self.effect, "done, and nothing was"
        for delivery in self.deliveries:
            if delivery.settled is not None and delivery.settled.outcome.success:
                assert done, "SUCCESS was said for what is not durably done"

    def check_it_heals(self) -> None:
        """Let the leases run out; the next delivery, undisturbed, must settle it."""
        for delivery in self.deliveries:
            if delivery.alive:
                delivery.crash()
                self.spent += 1
        self.now += 2 * LEASE
        last = Delivery(b"l" * 16)
        self.deliveries.append(last)
        for _ in range(20):
            if not last.alive:
                break
            self.do(("go", len(self.deliveries) - 1))
        assert last.settled is not None
        assert last.settled.outcome.success

    @property
    def state(self) -> tuple[object, ...]:
        return (
            self.row,
            self.now,
            self.effect,
            self.faults,
            self.expiries,
            *(delivery.state for delivery in self.deliveries),
        )


def explore(world: type[World] = World, **budget: Any) -> int:
    """Play every order of events; return how many states there are."""

    def replayed(path: tuple[Action, ...]) -> World:
        one = world(**budget)
        for action in path:
            one.do(action)
        return one

    seen: set[tuple[object, ...]] = set()
    paths: list[tuple[Action, ...]] = [()]
    while paths:
        path = paths.pop()
        here = replayed(path)
        if here.state in seen:
            continue
        seen.add(here.state)
        actions = list(here.actions())
        paths.extend((*path, action) for action in actions)
        here.check_it_heals()
    return len(seen)


BUDGETS = [
    {"deliveries": 1, "faults": 4, "expiries": 1},
    {"deliveries": 2, "faults": 2, "expiries": 1},
    {"deliveries": 2, "faults": 1, "expiries": 2},
    {"deliveries": 3, "faults": 1, "expiries": 1},
]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("transaction", [True, False], ids=["same-transaction", "lease"])
def test_in_every_order_of_events_success_means_done_and_done_is_final(
    budget: dict[str, int], transaction: bool
) -> None:
    assert explore(transaction=transaction, **budget) > 20


@pytest.mark.parametrize("transaction", [True, False], ids=["same-transaction", "lease"])
@given(data=st.data())
@settings(max_examples=150)
def test_in_random_orders_of_many_events_success_means_done(data: st.DataObject, transaction: bool) -> None:
    world = World(deliveries=5, transaction=transaction, faults=6, expiries=4)
    while actions := list(world.actions()):
        world.do(data.draw(st.sampled_from(actions)))
    world.check_it_heals()


# --- the exploration sees what it is for: stores with one rule left out ------------------


class UnfencedComplete(World):
    def complete(self, claim: Claim) -> CompleteOutcome:
        assert self.row is not None
        self.row = self.row._replace(state=State.DONE)
        return CompleteOutcome.DONE


class UnfencedRelease(World):
    def release(self, claim: Claim) -> ReleaseOutcome:
        assert self.row is not None
        self.row = self.row._replace(state=State.RELEASED)
        return ReleaseOutcome.RELEASED


class HeldMeansDone(World):
    def judge(self, owner: bytes) -> Claim:
        claim = super().judge(owner)
        if claim.outcome is ClaimOutcome.IN_PROGRESS:
            return claim._replace(outcome=ClaimOutcome.COMPLETED)
        return claim


class DoneMeansFree(World):
    def judge(self, owner: bytes) -> Claim:
        claim = super().judge(owner)
        if claim.outcome is ClaimOutcome.COMPLETED:
            return claim._replace(outcome=ClaimOutcome.ACQUIRED, generation=claim.generation + 1)
        return claim


class CompletedApart(World):
    """The completion is no part of the transaction."""

    def committed(self, claim: Claim) -> bool:
        self.effect += 1
        return super().complete(claim) is CompleteOutcome.DONE


class LeaseForEver(World):
    def judge(self, owner: bytes) -> Claim:
        return judge(self.row, key=PAYMENT.key, fingerprint=PAYMENT.fingerprint, owner=owner, now=0.0)


@pytest.mark.parametrize(
    "world",
    [UnfencedComplete, UnfencedRelease, HeldMeansDone, DoneMeansFree, CompletedApart, LeaseForEver],
    ids=lambda world: world.__name__,
)
def test_a_store_with_one_rule_left_out_is_found_out(world: type[World]) -> None:
    with pytest.raises(AssertionError):
        explore(world, transaction=True, deliveries=2, faults=1, expiries=1)
