"""
How a notification is settled: expect, claim, call, complete or release, wait.

Written once, as a generator without I/O. It yields commands, each a small
tuple; a driver (``_drivers.py``: one blocking, one for an event loop) does what
a command says and sends back the answer or throws what was raised. Time is a
function the driver gives it. So every order of events, crashes included, can be
played to it in a test.

The rules it keeps:

1. No claim before every check has passed: a refused message uses up no key.
2. HANDLED is said only after the store has recorded the completion, and
   DUPLICATE only when it has recorded one before. IN_PROGRESS is never success.
3. Whatever the handler raises, the claim is released, so that the next delivery
   need not wait for the lease.
4. After a transaction, what the store says counts and not what was raised or
   returned: a commit whose acknowledgement was lost has still happened, and one
   that was forgotten has not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from ._checks import Expected
from ._events import Outcome
from ._notifications import Notification
from ._payments import Payment
from .errors import ClaimLost, ExpectationFailed, NotifyError, StoreError
from .idempotency import Claim, ClaimOutcome, CompleteOutcome, Record, ReleaseOutcome, State

# Seconds between two looks at a claim somebody else holds.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.4
# Before a completion is tried again that the store did not acknowledge; the
# work is done, and giving up means that it will be done twice.
_COMPLETE_PAUSES: Final = (0.1, 0.4)
# But not so long after the first try: of a frozen store each takes 1.5 s, and the reply has 5.
_COMPLETE_SECONDS: Final = 2.0


class Expect(NamedTuple):
    """Ask the merchant what the order expects; the answer is an Expected or None."""

    payment: Payment


class DoClaim(NamedTuple):
    """Call the store's ``claim``."""

    key: str
    fingerprint: bytes
    order_no: str


class Handle(NamedTuple):
    """Call the handler; the answer is a :class:`Handled`."""

    notification: Notification
    claim: Claim


class Handled(NamedTuple):
    """What the handler has done."""

    #: Whether it completed inside its own transaction.
    inside: bool
    #: What the store is to keep with the completion: a scan's answer, else empty.
    result: str = ""


class Complete(NamedTuple):
    """Call the store's ``complete``."""

    claim: Claim
    result: str


class Release(NamedTuple):
    """Call the store's ``release``."""

    claim: Claim
    error: str


class Find(NamedTuple):
    """Call the store's ``find``."""

    key: str


class HandOver(NamedTuple):
    """Tell the merchant's engine that there is work in the inbox."""

    notification: Notification


class Sleep(NamedTuple):
    """Wait, in seconds."""

    seconds: float


Command = Expect | DoClaim | Handle | Complete | Release | Find | HandOver | Sleep


class Settled(NamedTuple):
    """What came of it."""

    outcome: Outcome
    code: str
    attempts: int = 0
    handler_seconds: float | None = None
    #: What refused it, or what the handler or the store raised.
    error: BaseException | None = None
    #: What the store keeps with the completion, whoever completed.
    result: str = ""


Flow = Generator[Command, Any, Settled]


def settle(
    notification: Notification,
    check_owner: Callable[[Notification], None],
    check_order: Callable[[Payment, Expected | None], None],
    *,
    now: Callable[[], float],
    deadline: float,
    queue: bool = False,
) -> Flow:
    """
    Settle one authentic notification.

    Args:
        notification: What WeChat Pay told. A payment alone has an order that
            expects something.

        check_owner: Raises a ``NotifyError`` if it is not the merchant's.

        check_order: Raises a ``NotifyError`` if a payment is not what the order expects.

        now: A clock, in seconds.

        deadline: On that clock, when to stop waiting for another delivery.

        queue: Whether to handle means to put it into the inbox.

    Returns:
        The outcome, and what it needs to be reported.
    """
    try:
        check_owner(notification)
        if isinstance(notification, Payment):
            check_order(notification, (yield from _expect(notification)))
    except StoreError as error:
        # The expectation may look into the same database.
        return Settled(Outcome.STORE_DOWN, Outcome.STORE_DOWN.value, error=error)
    except NotifyError as error:
        return Settled(Outcome.REJECTED, error.code, error=error)
    settled = yield from carry_out(notification, notification.key, now=now, deadline=deadline)
    if queue and settled.outcome is Outcome.HANDLED:
        settled = yield from _hand_over(notification, settled)
    return settled


def carry_out(notification: Notification, key: str, *, now: Callable[[], float], deadline: float) -> Flow:
    """
    Claim *key*, and handle *notification* if it is ours to handle.

    Args:
        notification: What was checked, now or before it was queued.

        key: The payment's own, or the one its work is claimed under.

        now: A clock, in seconds.

        deadline: On that clock, when to stop waiting for another holder.

    Returns:
        The outcome.
    """
    try:
        claim = yield from _claim(notification, key, now, deadline)
    except Exception as error:
        return Settled(Outcome.STORE_DOWN, Outcome.STORE_DOWN.value, error=error)
    if claim.outcome is not ClaimOutcome.ACQUIRED:
        outcome = _NOT_ACQUIRED[claim.outcome]
        return Settled(outcome, outcome.value, claim.attempts, result=claim.result)
    began = now()
    handled = Handled(inside=False)
    failure: BaseException | None = None
    try:
        handled = yield Handle(notification, claim)
    except GeneratorExit:
        raise
    except BaseException as error:
        failure = error
    handler_seconds = now() - began
    if failure is not None:
        settled = yield from _failed(claim, failure)
        if not isinstance(failure, Exception):
            raise failure  # an interrupt or a cancelled task is not ours to keep
    else:
        settled = yield from (_committed(claim) if handled.inside else _complete(claim, handled.result, now))
    return settled._replace(attempts=claim.attempts, handler_seconds=handler_seconds)


_NOT_ACQUIRED: Final = {
    ClaimOutcome.COMPLETED: Outcome.DUPLICATE,
    ClaimOutcome.IN_PROGRESS: Outcome.IN_PROGRESS,
    ClaimOutcome.MISMATCH: Outcome.CONFLICT,
}


def _expect(payment: Payment) -> Generator[Command, Any, Expected | None]:
    try:
        expected: Expected | None = yield Expect(payment)
        return expected
    except NotifyError:
        raise
    except Exception as error:
        raise ExpectationFailed(f"the expectation raised {type(error).__name__}") from error


def _hand_over(notification: Notification, settled: Settled) -> Flow:
    try:
        yield HandOver(notification)
    except Exception as error:
        # It is in the inbox, and the sweeper will see to it.
        return settled._replace(outcome=Outcome.QUEUED, code="not_handed_over", error=error)
    return settled._replace(outcome=Outcome.QUEUED, code=Outcome.QUEUED.value)


def _claim(
    notification: Notification, key: str, now: Callable[[], float], deadline: float
) -> Generator[Command, Any, Claim]:
    pause = _FIRST_PAUSE
    while True:
        claim: Claim = yield DoClaim(key, notification.fingerprint, notification.out_trade_no)
        if claim.outcome is not ClaimOutcome.IN_PROGRESS or now() + pause > deadline:
            return claim
        yield Sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _complete(claim: Claim, result: str, now: Callable[[], float]) -> Flow:
    pauses, began = iter(_COMPLETE_PAUSES), now()
    while True:
        try:
            outcome: CompleteOutcome = yield Complete(claim, result)
        except Exception as error:
            pause = next(pauses, None)
            if pause is None or now() - began > _COMPLETE_SECONDS:
                return Settled(Outcome.STORE_DOWN, Outcome.STORE_DOWN.value, error=error)
            yield Sleep(pause)
            continue
        if outcome in (CompleteOutcome.DONE, CompleteOutcome.ALREADY):
            return Settled(Outcome.HANDLED, Outcome.HANDLED.value, result=result)
        return (yield from _look(claim))


def _committed(claim: Claim) -> Flow:
    settled = yield from _look(claim)
    if settled.outcome is Outcome.LOST:
        # Still pending under our own generation: nothing was committed.
        settled = yield from _failed(claim, None)
    return settled


def _failed(claim: Claim, error: BaseException | None) -> Flow:
    try:
        released: ReleaseOutcome = yield Release(claim, _described(error))
    except Exception:
        # The lease will run out instead.
        released = ReleaseOutcome.RELEASED
    if isinstance(error, ClaimLost) or released is ReleaseOutcome.LOST:
        settled = yield from _look(claim)
        return settled._replace(error=error)
    code = "not_committed" if error is None else Outcome.HANDLER_FAILED.value
    return Settled(Outcome.HANDLER_FAILED, code, error=error)


def _described(error: BaseException | None) -> str:
    if error is None:
        return "the transaction did not commit"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an exception that cannot say what it is
        return type(error).__name__


def _look(claim: Claim) -> Flow:
    try:
        record: Record | None = yield Find(claim.key)
    except Exception as error:
        return Settled(Outcome.STORE_DOWN, Outcome.STORE_DOWN.value, error=error)
    if record is None or record.state is not State.DONE:
        return Settled(Outcome.LOST, Outcome.LOST.value)
    outcome = Outcome.HANDLED if record.generation == claim.generation else Outcome.DUPLICATE
    return Settled(outcome, outcome.value, result=record.result)
