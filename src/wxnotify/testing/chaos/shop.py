"""
The merchant whose processes are killed: payments, a receiver and its handler.

Each payment is known by a number, which ends its ``transaction_id``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from ... import Event, Expected, Merchant, Payment, Receiver
from .. import APPID, KEY, MCH_ID, notification
from .effects import Log, Table
from .plan import Plan
from .points import Delivery, Point, Trap, WatchedAsyncStore, WatchedStore, current
from .tally import Tally

_TOTAL_FEE: Final = 100
_DIGITS: Final = 10


class Ground:
    """
    What is made before the first fork and used by all processes.

    Args:
        store: The store, or one with a mistake in it.

        asynchronous: Whether it is for an event loop.

        effects: A table for same-transaction mode, a log for lease mode.
    """

    def __init__(self, store: Any, *, asynchronous: bool, effects: Table | Log) -> None:
        self.store = store
        self.asynchronous = asynchronous
        self.effects = effects


def body_of(payment: int, plan: Plan) -> bytes:
    """Build the notification of a payment; each delivery of it is the same."""
    number = f"{plan.run}{payment:0{_DIGITS}d}"
    return notification(out_trade_no=f"C-{number}", transaction_id=number, total_fee=str(_TOTAL_FEE))


def open_shop(ground: Ground, plan: Plan, tally: Tally, slot: int, process: int) -> Receiver:
    """
    Make the receiver of a process that is to be killed.

    Args:
        ground: What it shares with the others.

        plan: The run's settings.

        tally: The shared memory.

        slot: The process's place in it.

        process: The process's own number.
    """
    trap = Trap(tally, slot)
    effects = ground.effects

    def note(delivery: Delivery, kind: Any) -> None:
        if isinstance(effects, Log):
            effects.write(kind, delivery, process)

    def tell(event: Event) -> None:
        current.get().code = event.code
        if event.code == "handled":
            trap.reached(Point.ANSWERING)

    watched: Any = (WatchedAsyncStore if ground.asynchronous else WatchedStore)(ground.store, trap, note)
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        watched,
        expect=_expect,
        on_event=tell,
        lease=plan.lease,
        wait=plan.wait,
        threads=plan.threads,
    )
    rng = random.Random(f"{plan.seed}/{process}/handler")  # noqa: S311 - the run's own dice

    def fail_now_and_then() -> None:
        if rng.random() < plan.fails:
            raise RuntimeError("the shop's own failure")

    if isinstance(effects, Table):
        handler = _in_transaction(effects, trap, fail_now_and_then, asynchronous=ground.asynchronous)
        receiver.on("payment", transaction=watched.transaction)(handler)
    else:
        handler = _beside(effects, trap, fail_now_and_then, process, asynchronous=ground.asynchronous)
        receiver.on("payment")(handler)
    return receiver


def _expect(payment: Payment) -> Expected:
    return Expected(_TOTAL_FEE)


def _number_of(payment: Payment) -> int:
    return int(payment.transaction_id[-_DIGITS:])


def _in_transaction(
    effects: Table, trap: Trap, fail_now_and_then: Callable[[], None], *, asynchronous: bool
) -> Callable[..., Any]:
    def handle(payment: Payment, connection: Any) -> None:
        trap.reached(Point.BEGUN)
        fail_now_and_then()
        effects.write(connection, _number_of(payment))
        trap.reached(Point.WRITTEN)
        fail_now_and_then()

    async def handle_async(payment: Payment, connection: Any) -> None:
        trap.reached(Point.BEGUN)
        fail_now_and_then()
        await effects.write_async(connection, _number_of(payment))
        trap.reached(Point.WRITTEN)
        fail_now_and_then()

    return handle_async if asynchronous else handle


def _beside(
    effects: Log, trap: Trap, fail_now_and_then: Callable[[], None], process: int, *, asynchronous: bool
) -> Callable[..., Any]:
    def handle(payment: Payment) -> None:
        trap.reached(Point.BEGUN)
        fail_now_and_then()  # not after the effect: that would be a double of the shop's own making
        effects.write("effect", current.get(), process)
        trap.reached(Point.WRITTEN)

    async def handle_async(payment: Payment) -> None:
        handle(payment)

    return handle_async if asynchronous else handle
