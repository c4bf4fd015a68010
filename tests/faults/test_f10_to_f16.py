"""Stores that are down, clocks that are wrong, claims that are old, handlers that misbehave (F10 to F16)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import State

from .shop import LEASE, PAID, Shop

DAY = 86_400.0
HOUR = 3_600.0
#: From the first of WeChat Pay's copies to the last.
LAST_COPY = 24 * HOUR + 4 * 60


def down() -> None:
    raise StoreUnavailable("the server does not answer")


# --- F10: the store is down (on the network: test_f05_f10_f11_network.py) -----------


@pytest.mark.parametrize("copies", [1, 3])
def test_f10_a_store_that_is_down_at_the_claim_calls_no_handler_and_recovers(shop: Shop, copies: int) -> None:
    shop.faults.before["claim"] = down
    assert [shop.deliver() for _ in range(copies)] == ["store_down"] * copies
    assert shop.calls == 0
    del shop.faults.before["claim"]
    assert shop.deliver() == "handled"
    assert shop.effects() == 1


def test_f10_a_store_that_goes_down_during_the_handler_is_told_fail_until_it_is_known_what_came_of_it(
    shop: Shop,
) -> None:
    verb = "find" if shop.mode == "same-transaction" else "complete"
    shop.faults.before[verb] = down
    assert shop.deliver() == "store_down"
    del shop.faults.before[verb]
    if shop.mode == "same-transaction":
        assert shop.deliver() == "duplicate"
        assert shop.effects() == 1
    else:
        # The work is done and not recorded: what a lease store repeats.
        assert shop.deliver() == "in_progress"
        shop.trial.advance(LEASE + 1)
        assert shop.deliver() == "handled"
        assert shop.effects() == 2


def test_f10_a_store_that_fails_every_other_time_settles_the_payment_once(shop: Shop) -> None:
    turns = iter(range(10_000))

    def flap() -> None:
        if next(turns) % 2 == 0:
            down()

    for verb in ("claim", "complete", "release", "find"):
        shop.faults.before[verb] = flap
    told = []
    for _ in range(12):
        told.append(shop.deliver())
        shop.trial.advance(LEASE + 1)
    assert "duplicate" in told
    assert set(told) <= {"store_down", "handled", "duplicate"}
    assert shop.effects() == 1


# --- F12: the client's clock is wrong --------------------------------------------------------


@pytest.mark.parametrize("wrong_by", [-HOUR, HOUR], ids=["slow", "fast"])
def test_f12_a_client_whose_clock_is_wrong_changes_no_outcome(
    server_clock: Shop, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    shop = server_clock
    true_time = time.time
    seen: list[str] = []

    def deliver_elsewhere() -> None:
        shop.begin = shop.during = lambda: None
        seen.append(shop.deliver())

    if shop.mode == "same-transaction":
        shop.begin = deliver_elsewhere
    else:
        shop.during = deliver_elsewhere
    monkeypatch.setattr(time, "time", lambda: true_time() + wrong_by)
    assert shop.deliver() == "handled"
    assert seen == ["in_progress"]
    record = shop.trial.find(PAID)
    assert record is not None
    assert abs(record.updated.timestamp() - true_time()) < 60
    assert shop.deliver() == "duplicate"


# --- F13: the edge of what is remembered --------------------------------------------------------


def test_f13_the_last_copy_after_24_hours_finds_the_payment_settled(shop: Shop) -> None:
    assert shop.deliver() == "handled"
    shop.trial.advance(LAST_COPY)
    assert shop.trial.purge(2 * DAY, limit=10) == 0
    assert shop.deliver() == "duplicate"
    assert shop.effects() == 1


def test_f13_a_payment_is_remembered_as_long_as_was_said_and_no_longer(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(retain=3 * DAY)
    assert shop.deliver() == "handled"
    shop.trial.advance(3 * DAY - 60)
    assert shop.trial.purge(2 * DAY, limit=10) == 0
    assert shop.deliver() == "duplicate"
    shop.trial.advance(120)
    shop.trial.purge(2 * DAY, limit=10)
    assert shop.trial.find(PAID) is None


def test_f13_a_purge_at_the_same_moment_takes_nothing_that_is_not_old_and_done(shop: Shop) -> None:
    ended: list[bool] = []

    def purge() -> int:
        purged = 0
        while not ended:
            purged += shop.trial.purge(2 * DAY, limit=1_000)
        shop.trial.thread_ends()
        return purged

    with ThreadPoolExecutor(1) as threads:
        purging = threads.submit(purge)
        told = [shop.deliver(transaction_id=f"42000000{number:04d}") for number in range(20)]
        ended.append(True)
        assert purging.result() == 0
    assert told == ["handled"] * 20


# --- F14: the same key with other content -----------------------------------------------------------


@pytest.mark.parametrize("situation", ["pending", "released", "done", "taken over"])
def test_f14_the_same_payment_with_another_amount_is_a_conflict_in_every_situation(
    shop: Shop, situation: str
) -> None:
    if situation in ("pending", "taken over"):
        shop.faults.after["claim"] = down  # as if the process had gone
        shop.deliver()
        if situation == "taken over":
            shop.trial.advance(LEASE + 1)
            shop.deliver()
        del shop.faults.after["claim"]
    elif situation == "released":
        shop.during = lambda: 1 / 0
        assert shop.deliver() == "handler_failed"
        shop.during = lambda: None
    else:
        assert shop.deliver() == "handled"
    calls = shop.calls
    assert shop.deliver(total_fee="1") == "conflict"
    assert shop.calls == calls
    shop.trial.advance(LEASE + 1)
    assert shop.deliver() == ("duplicate" if situation == "done" else "handled")
    assert shop.deliver(total_fee="1") == "conflict"
    assert shop.deliver() == "duplicate"


# --- F15: what a handler can do wrong --------------------------------------------------------------------


def deeper(depth: int) -> int:
    return deeper(depth + 1) + 1


@pytest.mark.parametrize(
    "misbehave",
    [lambda: 1 / 0, lambda: deeper(0), lambda: (_ for _ in ()).throw(TimeoutError())],
    ids=["raises", "recurses", "times out"],
)
def test_f15_a_handler_that_fails_is_called_again_at_the_next_copy(
    shop: Shop, misbehave: Callable[[], object]
) -> None:
    shop.during = misbehave
    assert shop.deliver() == "handler_failed"
    record = shop.trial.find(PAID)
    assert record is not None
    assert record.state is State.RELEASED
    assert record.last_error
    shop.during = lambda: None
    assert shop.deliver() == "handled"
    assert shop.effects() == (1 if shop.mode == "same-transaction" else 2)


@pytest.mark.parametrize("interrupt", [SystemExit, asyncio.CancelledError])
def test_f15_a_handler_that_is_interrupted_leaves_the_payment_to_the_next_copy(
    shop: Shop, interrupt: type[BaseException]
) -> None:
    def end() -> None:
        raise interrupt

    shop.during = end
    with suppress(interrupt):  # a blocking receiver lets it through, once the claim is released
        assert shop.deliver() == "handler_failed"
    record = shop.trial.find(PAID)
    assert record is not None
    assert record.state is State.RELEASED
    shop.during = lambda: None
    assert shop.deliver() == "handled"


def test_f15_a_handler_that_delivers_its_own_notification_finds_itself_in_progress(shop: Shop) -> None:
    seen: list[str] = []

    def again() -> None:
        shop.begin = shop.during = lambda: None
        seen.append(shop.deliver())

    if shop.mode == "same-transaction":
        shop.begin = again
    else:
        shop.during = again
    assert shop.deliver() == "handled"
    assert seen == ["in_progress"]
    assert shop.effects() == 1


# --- F16: the transaction is not what it seems (isolation levels and aliases: the stores' own tests) -------


def test_f16_a_transaction_that_rolls_back_in_the_end_is_no_success(transactional: Shop) -> None:
    shop = transactional

    class Undone(Exception):
        pass

    def undo() -> None:
        raise Undone

    given = shop.trial._transaction

    @contextmanager
    def undone() -> Any:
        try:
            with given() as connection:
                yield connection
                undo()
        except Undone:
            pass

    @asynccontextmanager
    async def undone_soon() -> Any:
        try:
            async with given() as connection:
                yield connection
                undo()
        except Undone:
            pass

    shop.trial._transaction = undone_soon if shop.awaited else undone
    assert shop.deliver() == "not_committed"
    assert shop.effects() == 0
    shop.trial._transaction = given
    assert shop.deliver() == "handled"
    assert shop.effects() == 1
