"""
Four deliveries of one payment, in every order of events, with everything that can go wrong in between.

The model is in ``flow_model.py``: the library's own flow and judgement; a store, a handler and faults made
to be explored. That is done whole within small budgets of faults, and at random within a large one. Then
the exploration is shown to see what it is for: stores, and flows, with one rule left out, whose broken
promises it must find.

What is proven is proven of the model. That the stores do what the model's does is for ``stores/`` to show.

``pytest -rP tests/test_model_check.py`` prints how many worlds there are, and the shortest way into each
harm. With ``WXNOTIFY_EXAMPLES=10000`` in the environment it goes further: most of a million worlds more,
and so many random orders.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wxnotify._events import Outcome
from wxnotify._flow import Command, Complete, Find, Settled
from wxnotify.idempotency import Claim, ClaimOutcome, CompleteOutcome, ReleaseOutcome, State

from . import flow_model
from .flow_exploration import explore, healer, told, told_broken
from .flow_model import (
    CHANGED_AGAIN_FOR_A_REASON,
    CHANGED_ONCE,
    DONE_IS_FINAL,
    DONE_MEANS_CHANGED,
    FINGERPRINT_STAYS,
    GENERATIONS_RISE,
    HOLDER_UNDISTURBED,
    IT_HEALS,
    LEASE,
    ONE_OWNER,
    SUCCESS_MEANS_DONE,
    Flows,
    Setup,
    World,
)

EXAMPLES = int(os.environ.get("WXNOTIFY_EXAMPLES", "150"))
MODES = {
    "same-transaction": {"transaction": True},
    "lease": {"transaction": False},
    "inbox": {"transaction": True, "queue": True},
}

#: What is explored in each mode, and how many worlds there are at least.
EXPLORED = {
    Setup("a", faults=4, expiries=1): 75,
    Setup("aaaa", faults=0, expiries=4): 3_000,
    Setup("aaaa", faults=2, expiries=2): 65_000,
    # One of them tells another amount.
    Setup("aaab", faults=2, expiries=1): 15_000,
    # The machines' clocks are wrong by more than a lease, and it does not matter.
    Setup("aaa", faults=1, expiries=1, clocks=(-2 * LEASE, 0.0, 2 * LEASE)): 6_000,
}
if EXAMPLES >= 10_000:
    EXPLORED[Setup("aaaa", faults=3, expiries=2)] = 220_000


def named(value: object) -> str | None:
    if not isinstance(value, Setup):
        return None
    clocks = "-clocks" if value.clocks else ""
    return f"{value.deliveries}-faults{value.faults}-expiries{value.expiries}{clocks}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("setup", "at_least"), EXPLORED.items(), ids=named)
def test_no_order_of_events_breaks_a_promise(setup: Setup, at_least: int, mode: str) -> None:
    setup = setup._replace(**MODES[mode])
    explored = explore(World, setup)
    print(f"{explored.worlds} worlds, {explored.steps} steps")
    assert not explored.broken, told_broken(World, setup, explored.broken)
    assert explored.worlds >= at_least


def test_four_deliveries_are_more_than_a_hundred_thousand_worlds() -> None:
    counts = [at_least for setup, at_least in EXPLORED.items() if len(setup.deliveries) == 4]
    assert len(MODES) * sum(counts) >= 100_000


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_no_random_order_of_many_events_breaks_a_promise(data: st.DataObject, mode: str) -> None:
    setup = Setup("aaaaab", faults=6, expiries=4)._replace(**MODES[mode])
    heals = healer(World, setup)
    before = World(setup)
    while actions := list(before.actions()):
        action = data.draw(st.sampled_from(actions))
        after = World(setup, before.state)
        after.do(action)
        assert list(after.broken_by(action, before)) == []
        assert heals(after.row, after.changes)
        before = World(setup, after.state)


# --- the exploration sees what it is for: stores with one rule left out ------------------


class CompleteWithoutComparing(World):
    def complete(self, n: int, generation: int) -> CompleteOutcome:
        assert self.row is not None
        self.row = self.row._replace(state=State.DONE, lease_until=0.0)
        return CompleteOutcome.DONE


class ReleaseWithoutComparing(World):
    def release(self, n: int, generation: int) -> ReleaseOutcome:
        assert self.row is not None
        self.row = self.row._replace(state=State.RELEASED, lease_until=0.0)
        return ReleaseOutcome.RELEASED


class ExtendWithoutComparing(World):
    def extend(self, n: int, generation: int) -> bool:
        assert self.row is not None
        self.row = self.row._replace(lease_until=LEASE)
        self.set(n, leased=True)
        return True


class ClientsClock(World):
    """The lease is written, and judged, by the clock of the machine that asks."""

    def now(self, n: int) -> float:
        return self.deliveries[n].clock


class DeletedOnFailure(World):
    """A failed handler's row is deleted if it is still the claim's; what is known of the key is lost."""

    def release(self, n: int, generation: int) -> ReleaseOutcome:
        released = super().release(n, generation)
        if released is ReleaseOutcome.RELEASED:
            self.row = None
        return released


class DeletedOnFailureByKey(World):
    """A failed handler's row is deleted, whoever holds it by now."""

    def release(self, n: int, generation: int) -> ReleaseOutcome:
        self.row = None
        return ReleaseOutcome.RELEASED


class CompletedApart(World):
    """The completion is no part of the transaction; it comes after it."""

    def commit(self, n: int, generation: int) -> bool:
        self.changes += 1
        return self.complete(n, generation) is CompleteOutcome.DONE


class CompletedElsewhere(World):
    """The completion goes through a connection of its own, and the transaction does not commit."""

    def commit(self, n: int, generation: int) -> bool:
        return self.complete(n, generation) is CompleteOutcome.DONE


class HeldMeansDone(World):
    def judge(self, n: int, fingerprint: bytes) -> Claim:
        claim = super().judge(n, fingerprint)
        if claim.outcome is ClaimOutcome.IN_PROGRESS:
            return claim._replace(outcome=ClaimOutcome.COMPLETED)
        return claim


class DoneMeansFree(World):
    def judge(self, n: int, fingerprint: bytes) -> Claim:
        claim = super().judge(n, fingerprint)
        if claim.outcome is ClaimOutcome.COMPLETED:
            return claim._replace(outcome=ClaimOutcome.ACQUIRED, generation=claim.generation + 1)
        return claim


class LeaseForEver(World):
    def now(self, n: int) -> float:
        return self.row.lease_until - LEASE if self.row else 0.0


class AnyContent(World):
    """The key alone decides."""

    def judge(self, n: int, fingerprint: bytes) -> Claim:
        return super().judge(n, self.row.fingerprint if self.row else fingerprint)


TWO, THREE, CLOCKS = Setup("aa"), Setup("aaa"), Setup("aa", clocks=(0.0, 2 * LEASE))
LEASED = {"transaction": False}
MUTANTS = [
    (CompleteWithoutComparing, TWO, {HOLDER_UNDISTURBED, CHANGED_ONCE}),
    (CompleteWithoutComparing, TWO._replace(**LEASED), {HOLDER_UNDISTURBED}),
    (ReleaseWithoutComparing, THREE, {HOLDER_UNDISTURBED, ONE_OWNER, DONE_IS_FINAL}),
    (ReleaseWithoutComparing, THREE._replace(**LEASED), {HOLDER_UNDISTURBED, ONE_OWNER}),
    (ExtendWithoutComparing, TWO, {HOLDER_UNDISTURBED, ONE_OWNER}),
    (ClientsClock, CLOCKS, {HOLDER_UNDISTURBED, ONE_OWNER, IT_HEALS}),
    (ClientsClock, CLOCKS._replace(**LEASED), {ONE_OWNER, CHANGED_AGAIN_FOR_A_REASON}),
    (DeletedOnFailure, TWO, {GENERATIONS_RISE}),
    (DeletedOnFailureByKey, THREE, {GENERATIONS_RISE, HOLDER_UNDISTURBED, ONE_OWNER, DONE_IS_FINAL}),
    (CompletedApart, TWO, {CHANGED_ONCE}),
    (CompletedElsewhere, TWO, {DONE_MEANS_CHANGED, CHANGED_ONCE}),
    (HeldMeansDone, TWO, {SUCCESS_MEANS_DONE}),
    (DoneMeansFree, TWO, {DONE_IS_FINAL, CHANGED_ONCE}),
    (LeaseForEver, TWO, {IT_HEALS}),
    (AnyContent, Setup("ab"), {FINGERPRINT_STAYS, SUCCESS_MEANS_DONE}),
]


def test_there_is_a_mutant_for_every_promise() -> None:
    every = {value for name, value in vars(flow_model).items() if name.isupper() and isinstance(value, str)}
    assert set().union(*(broken for _, _, broken in MUTANTS)) == every - {flow_model.KEY}


@pytest.mark.parametrize(("world", "setup", "broken"), MUTANTS)
def test_a_store_with_one_rule_left_out_is_found_out(
    world: type[World], setup: Setup, broken: set[str]
) -> None:
    explored = explore(world, setup)
    print(told_broken(world, setup, explored.broken))
    assert broken <= set(explored.broken)


class Hasty(Flows):
    """The library's flow, but it says SUCCESS where that would do *instead*."""

    def __init__(self, instead: object) -> None:
        super().__init__()
        self.instead = instead

    def play(self, content: str, queue: bool, *answers: Any) -> tuple[Command | Settled, object]:
        reached, place = super().play(content, queue, *answers)
        if self.instead in (type(reached), place):
            return Settled(Outcome.HANDLED, "handled"), Outcome.HANDLED
        return reached, place


@pytest.mark.parametrize(
    ("instead", "setup", "broken"),
    [
        pytest.param(Find, TWO, {SUCCESS_MEANS_DONE}, id="does not look at what was committed"),
        pytest.param(Complete, TWO._replace(**LEASED), {SUCCESS_MEANS_DONE}, id="does not complete"),
        pytest.param(Outcome.IN_PROGRESS, TWO, {SUCCESS_MEANS_DONE}, id="does not wait for the other's end"),
        pytest.param(Outcome.HANDLER_FAILED, TWO, {SUCCESS_MEANS_DONE}, id="does not tell of a failure"),
        pytest.param(Outcome.CONFLICT, Setup("ab"), {SUCCESS_MEANS_DONE, IT_HEALS}, id="takes any content"),
    ],
)
def test_a_flow_that_says_success_too_soon_is_found_out(
    instead: object, setup: Setup, broken: set[str]
) -> None:
    class World_(World):
        flows = Hasty(instead)

    explored = explore(World_, setup)
    print(told_broken(World_, setup, explored.broken))
    assert broken <= set(explored.broken)


def test_what_is_found_is_told_with_the_fewest_steps() -> None:
    explored = explore(ClientsClock, CLOCKS)
    assert told(ClientsClock, CLOCKS, explored.broken[ONE_OWNER]) == [
        "A: DoClaim goes on -> pending, generation 1, owner A; changes: 0",
        "B: DoClaim goes on -> pending, generation 2, owner B; changes: 0",
    ]
