"""The flow itself, played by hand: no store, no thread, no clock but the one that is moved here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from wxnotify import Expected, Outcome, Payment
from wxnotify._flow import (
    Command,
    Complete,
    DoClaim,
    Expect,
    Find,
    Handle,
    Handled,
    Release,
    Settled,
    Sleep,
    settle,
)
from wxnotify.errors import AmountMismatch, ClaimLost, MerchantMismatch, StoreUnavailable, UnknownOrder
from wxnotify.idempotency import Claim, ClaimOutcome, CompleteOutcome, Record, ReleaseOutcome, State
from wxnotify.testing import payment

from .receiving import Clock

PAYMENT = payment()
EXPECTED = Expected(100)
OWNER = b"o" * 16


def claimed(outcome: ClaimOutcome = ClaimOutcome.ACQUIRED, generation: int = 3, attempts: int = 5) -> Claim:
    return Claim(PAYMENT.key, OWNER, outcome, generation, attempts)


CLAIM = claimed()


def found(state: State, generation: int = CLAIM.generation) -> Record:
    now = datetime.now(timezone.utc)
    return Record(PAYMENT.key, "", state, generation, 5, now, now, now, "", PAYMENT.fingerprint, "")


class Played:
    """One delivery: ``command`` is what it waits for, ``settled`` what came of it."""

    def __init__(
        self,
        *,
        check_owner: Callable[[Payment], None] = lambda payment: None,
        check_order: Callable[[Payment, Expected | None], None] = lambda payment, expected: None,
        wait: float = 3.5,
    ) -> None:
        self.clock = Clock()
        self.commands: list[Command] = []
        self.settled: Settled | None = None
        self.flow = settle(PAYMENT, check_owner, check_order, now=self.clock, deadline=self.clock.now + wait)
        self._go(lambda: next(self.flow))

    @property
    def command(self) -> Command:
        assert self.settled is None
        return self.commands[-1]

    def answer(self, value: object = None) -> None:
        self._go(lambda: self.flow.send(value))

    def throw(self, error: BaseException) -> None:
        self._go(lambda: self.flow.throw(error))

    def _go(self, step: Callable[[], Command]) -> None:
        assert self.settled is None
        try:
            self.commands.append(step())
        except StopIteration as stop:
            self.settled = stop.value

    @property
    def kinds(self) -> list[type]:
        return [type(command) for command in self.commands]


def at_claim(**options: Any) -> Played:
    played = Played(**options)
    played.answer(EXPECTED)
    return played


def at_handler() -> Played:
    played = at_claim()
    played.answer(CLAIM)
    return played


def at_complete() -> Played:
    played = at_handler()
    played.answer(Handled(inside=False))
    return played


def at_complete_pause() -> Played:
    played = at_complete()
    played.throw(StoreUnavailable())
    return played


def at_release() -> Played:
    played = at_handler()
    played.throw(ValueError("out of stock"))
    return played


def at_find() -> Played:
    played = at_handler()
    played.answer(Handled(inside=True))
    return played


def at_claim_pause() -> Played:
    played = at_claim()
    played.answer(claimed(ClaimOutcome.IN_PROGRESS))
    return played


# --- the road ------------------------------------------------------------------


def test_a_payment_is_expected_then_claimed_then_handled_then_completed() -> None:
    played = Played()
    assert played.command == Expect(PAYMENT)
    played.answer(EXPECTED)
    assert played.command == DoClaim(PAYMENT.key, PAYMENT.fingerprint, "A-1001")
    played.answer(CLAIM)
    assert played.command == Handle(PAYMENT, CLAIM)
    played.clock.now += 1.25
    played.answer(Handled(inside=False))
    assert played.command == Complete(CLAIM, "")
    played.clock.now += 1
    played.answer(CompleteOutcome.DONE)
    assert played.settled == Settled(Outcome.HANDLED, "handled", attempts=5, handler_seconds=1.25)


def test_what_the_expectation_says_is_what_the_order_is_checked_with() -> None:
    seen: list[object] = []
    played = Played(check_order=lambda payment, expected: seen.append((payment, expected)))
    played.answer(EXPECTED)
    assert seen == [(PAYMENT, EXPECTED)]


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        (ClaimOutcome.COMPLETED, Settled(Outcome.DUPLICATE, "duplicate", 5)),
        (ClaimOutcome.MISMATCH, Settled(Outcome.CONFLICT, "conflict", 5)),
    ],
)
def test_a_claim_that_was_not_acquired_ends_it_without_the_handler(
    outcome: ClaimOutcome, settled: Settled
) -> None:
    played = at_claim()
    played.answer(claimed(outcome))
    assert played.settled == settled
    assert played.kinds == [Expect, DoClaim]


def test_an_owner_that_does_not_fit_is_refused_before_the_order_is_looked_up() -> None:
    error = MerchantMismatch("A-1001", "appid", "wx1", ("wx2",))

    def refuse(payment: Payment) -> None:
        raise error

    played = Played(check_owner=refuse)
    assert played.settled == Settled(Outcome.REJECTED, "merchant_mismatch", error=error)
    assert played.commands == []


def test_an_order_that_does_not_fit_is_refused_before_the_claim() -> None:
    error = AmountMismatch("A-1001", 1, "CNY", 100, "CNY")

    def refuse(payment: Payment, expected: Expected | None) -> None:
        raise error

    played = Played(check_order=refuse)
    played.answer(EXPECTED)
    assert played.settled == Settled(Outcome.REJECTED, "amount_mismatch", error=error)
    assert played.kinds == [Expect]


# --- waiting for another delivery ------------------------------------------------


def test_a_claim_somebody_else_holds_is_asked_for_until_the_deadline_and_not_beyond() -> None:
    played = at_claim(wait=3.5)
    deadline = played.clock.now + 3.5
    while played.settled is None:
        assert played.command == DoClaim(PAYMENT.key, PAYMENT.fingerprint, "A-1001")
        assert played.clock.now <= deadline
        last_look = played.clock.now
        played.answer(claimed(ClaimOutcome.IN_PROGRESS))
        if played.settled is None:
            assert isinstance(played.command, Sleep)
            played.clock.sleep(played.command.seconds)
            played.answer()
    assert played.settled == Settled(Outcome.IN_PROGRESS, "in_progress", 5)
    assert played.clock.slept[:4] == [0.05, 0.1, 0.2, 0.4]
    assert set(played.clock.slept[4:]) == {0.4}
    assert deadline - last_look < 0.4  # another pause would have ended after it


def test_without_time_to_wait_a_held_claim_is_asked_for_once() -> None:
    played = at_claim(wait=0)
    played.answer(claimed(ClaimOutcome.IN_PROGRESS))
    assert played.settled is not None
    assert played.settled.outcome is Outcome.IN_PROGRESS
    assert played.kinds == [Expect, DoClaim]


@pytest.mark.parametrize(
    ("then", "next_step"),
    [
        (ClaimOutcome.COMPLETED, "duplicate"),
        (ClaimOutcome.MISMATCH, "conflict"),
        (ClaimOutcome.ACQUIRED, Handle),
    ],
)
def test_who_waits_gets_what_becomes_of_it(then: ClaimOutcome, next_step: str | type) -> None:
    played = at_claim_pause()
    played.answer()
    played.answer(claimed(then))
    if isinstance(next_step, str):
        assert played.settled is not None
        assert played.settled.code == next_step
    else:
        assert type(played.command) is next_step


# --- completing ------------------------------------------------------------------


def test_a_completion_that_was_not_acknowledged_is_tried_again_and_may_find_itself_done() -> None:
    played = at_complete()
    played.throw(StoreUnavailable())
    assert played.command == Sleep(0.1)
    played.answer()
    assert played.command == Complete(CLAIM, "")
    played.answer(CompleteOutcome.ALREADY)
    assert played.settled is not None
    assert played.settled.outcome is Outcome.HANDLED


def test_a_completion_the_store_never_acknowledges_is_no_success() -> None:
    played = at_complete()
    errors = [StoreUnavailable("1"), OSError("2"), StopIteration("3")]
    for error in errors[:2]:
        played.throw(error)
        assert isinstance(played.command, Sleep)
        played.answer()
        assert played.command == Complete(CLAIM, "")
    played.throw(errors[2])
    assert played.settled is not None
    assert played.settled.outcome is Outcome.STORE_DOWN
    assert played.settled.error is errors[2]
    assert [command.seconds for command in played.commands if isinstance(command, Sleep)] == [0.1, 0.4]


def test_a_frozen_store_is_not_asked_so_often_that_the_reply_comes_too_late() -> None:
    played = at_complete()
    began = played.clock.now
    for last in (False, True):
        played.clock.now += 1.5  # as long as a store waits
        played.throw(StoreUnavailable())
        if not last:
            played.clock.now += 0.1
            played.answer()
    assert played.settled is not None
    assert (played.settled.outcome, played.clock.now - began < 4) == (Outcome.STORE_DOWN, True)


@pytest.mark.parametrize("answer", [None, True, "done", ReleaseOutcome.RELEASED, CompleteOutcome.LOST])
def test_a_completion_that_does_not_say_done_is_looked_up(answer: object) -> None:
    played = at_complete()
    played.answer(answer)
    assert played.command == Find(PAYMENT.key)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (found(State.DONE, CLAIM.generation + 1), Outcome.DUPLICATE),
        (found(State.DONE), Outcome.HANDLED),
        (found(State.PENDING, CLAIM.generation + 1), Outcome.LOST),
        (found(State.RELEASED, CLAIM.generation + 1), Outcome.LOST),
        (None, Outcome.LOST),
    ],
)
def test_a_lost_completion_is_success_only_if_somebody_completed(
    record: Record | None, outcome: Outcome
) -> None:
    played = at_complete()
    played.answer(CompleteOutcome.LOST)
    played.answer(record)
    assert played.settled is not None
    assert (played.settled.outcome, played.settled.code) == (outcome, outcome.value)
    assert played.settled.attempts == 5


# --- the handler fails -------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Falsy(Exception):
    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("out of stock"), "ValueError: out of stock"),
        (StopIteration(7), "StopIteration: 7"),
        (StoreUnavailable("no disk"), "StoreUnavailable: no disk"),
        (RecursionError(), "RecursionError: "),
        (Unprintable(), "Unprintable"),
        (Falsy(), "Falsy: "),
    ],
)
def test_whatever_the_handler_raises_the_claim_is_released(error: Exception, text: str) -> None:
    played = at_handler()
    played.clock.now += 2
    played.throw(error)
    assert played.command == Release(CLAIM, text)
    played.answer(ReleaseOutcome.RELEASED)
    assert played.settled == Settled(Outcome.HANDLER_FAILED, "handler_failed", 5, 2.0, error)


@pytest.mark.parametrize("outcome", [ReleaseOutcome.RELEASED, ReleaseOutcome.ALREADY])
def test_a_release_needs_no_second_look(outcome: ReleaseOutcome) -> None:
    played = at_release()
    played.answer(outcome)
    assert played.settled is not None
    assert played.settled.outcome is Outcome.HANDLER_FAILED


def test_a_release_the_store_does_not_acknowledge_leaves_it_to_the_lease() -> None:
    played = at_release()
    played.throw(StoreUnavailable())
    assert played.settled is not None
    assert played.settled.outcome is Outcome.HANDLER_FAILED
    assert isinstance(played.settled.error, ValueError)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        # The commit raised although it happened: the acknowledgement was lost.
        (found(State.DONE), Outcome.HANDLED),
        (found(State.DONE, CLAIM.generation + 1), Outcome.DUPLICATE),
        (found(State.PENDING, CLAIM.generation + 1), Outcome.LOST),
        (None, Outcome.LOST),
    ],
)
def test_a_failure_whose_claim_is_gone_is_what_the_store_says(
    record: Record | None, outcome: Outcome
) -> None:
    played = at_release()
    played.answer(ReleaseOutcome.LOST)
    assert played.command == Find(PAYMENT.key)
    played.answer(record)
    assert played.settled is not None
    assert played.settled.outcome is outcome


@pytest.mark.parametrize("answer", list(ReleaseOutcome))
def test_a_claim_lost_inside_the_transaction_is_looked_up(answer: ReleaseOutcome) -> None:
    played = at_handler()
    played.throw(ClaimLost())
    assert isinstance(played.command, Release)
    played.answer(answer)
    assert played.command == Find(PAYMENT.key)
    played.answer(found(State.DONE, CLAIM.generation + 1))
    assert played.settled is not None
    assert played.settled.outcome is Outcome.DUPLICATE


# --- after a transaction -------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (found(State.DONE), Outcome.HANDLED),
        (found(State.DONE, CLAIM.generation + 1), Outcome.DUPLICATE),
    ],
)
def test_after_a_transaction_the_store_is_asked_and_not_told(record: Record, outcome: Outcome) -> None:
    played = at_find()
    assert played.command == Find(PAYMENT.key)
    played.answer(record)
    assert played.settled is not None
    assert played.settled.outcome is outcome
    assert Complete not in played.kinds


def test_a_transaction_that_never_committed_is_a_failure_and_released() -> None:
    played = at_find()
    played.answer(found(State.PENDING))
    assert played.command == Release(CLAIM, "the transaction did not commit")
    played.answer(ReleaseOutcome.RELEASED)
    assert played.settled is not None
    assert (played.settled.outcome, played.settled.code) == (Outcome.HANDLER_FAILED, "not_committed")
    assert played.settled.error is None


def test_a_transaction_that_never_committed_and_was_taken_over_is_lost() -> None:
    played = at_find()
    played.answer(found(State.PENDING, CLAIM.generation + 1))
    played.answer(ReleaseOutcome.LOST)
    played.answer(found(State.PENDING, CLAIM.generation + 1))
    assert played.settled is not None
    assert played.settled.outcome is Outcome.LOST


# --- every exception at every command --------------------------------------------------

RAISED = {
    "Exception": KeyError("x"),
    "StopIteration": StopIteration("x"),
    "ClaimLost": ClaimLost("x"),
    "KeyboardInterrupt": KeyboardInterrupt("x"),
    "SystemExit": SystemExit("x"),
    "CancelledError": asyncio.CancelledError("x"),
}
PLACES: dict[str, tuple[Callable[[], Played], dict[str, Any]]] = {
    "expect": (Played, {"Exception": "expectation_failed", "ClaimLost": "store_down"}),
    "claim": (at_claim, {"Exception": "store_down"}),
    "claim_pause": (at_claim_pause, {"Exception": "store_down"}),
    "handler": (at_handler, {"Exception": Release, "BaseException": Release}),
    "complete": (at_complete, {"Exception": Sleep}),
    "release": (at_release, {"Exception": "handler_failed"}),
    "find": (at_find, {"Exception": "store_down"}),
    # A clock that raises is nobody's store; nothing was said, so nothing is lost.
    "complete_pause": (at_complete_pause, {"Exception": None}),
}


@pytest.mark.parametrize("name", RAISED)
@pytest.mark.parametrize("place", PLACES)
def test_every_exception_at_every_command_is_answered_or_passed_on(place: str, name: str) -> None:
    bring, expected = PLACES[place]
    played = bring()
    error = RAISED[name]
    kind = "Exception" if isinstance(error, Exception) else "BaseException"
    then = expected.get(name, expected.get(kind))
    if then is None:
        with pytest.raises((type(error), RuntimeError)):
            played.throw(error)
        return
    played.throw(error)
    if isinstance(then, str):
        assert played.settled is not None
        assert played.settled.code == then
        assert not played.settled.outcome.success
        assert Handle not in played.kinds or place in ("find", "release")
    else:
        assert type(played.command) is then


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "SystemExit", "CancelledError"])
@pytest.mark.parametrize("released", [*ReleaseOutcome, StoreUnavailable()])
def test_an_interrupted_handler_releases_its_claim_and_the_interrupt_goes_on(
    name: str, released: ReleaseOutcome | Exception
) -> None:
    played = at_handler()
    error = RAISED[name]
    played.throw(error)
    assert isinstance(played.command, Release)
    with pytest.raises(type(error)) as passed:  # noqa: PT012
        if isinstance(released, Exception):
            played.throw(released)
        else:
            played.answer(released)
        played.answer(found(State.DONE))  # where LOST made it look
    assert passed.value is error


@pytest.mark.parametrize("place", PLACES)
def test_a_flow_that_is_closed_says_nothing_more(place: str) -> None:
    bring, _ = PLACES[place]
    played = bring()
    before = list(played.commands)
    played.flow.close()
    assert played.commands == before
    with pytest.raises(StopIteration):
        next(played.flow)


def test_an_order_the_expectation_itself_refuses_is_refused_by_its_own_code() -> None:
    played = Played()
    error = UnknownOrder("A-1001 is a draft")
    played.throw(error)
    assert played.settled == Settled(Outcome.REJECTED, "unknown_order", error=error)


def test_an_expectation_that_raised_is_reported_with_its_cause() -> None:
    played = Played()
    error = LookupError("x")
    played.throw(error)
    assert played.settled is not None
    assert played.settled.error is not None
    assert played.settled.error.__cause__ is error


def test_a_store_that_answers_nonsense_is_down() -> None:
    played = at_claim()
    played.answer(None)
    assert played.settled is not None
    assert played.settled.outcome is Outcome.STORE_DOWN
