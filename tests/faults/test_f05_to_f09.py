"""Lost acknowledgements, overrun leases, copies at once, and the provider's schedule (F5, F6, F8, F9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from wxnotify import Reply
from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import State
from wxnotify.testing import notification

from .shop import LEASE, PAID, Shop

#: Seconds from one of WeChat Pay's sixteen copies to the next (APIv2, "payment result notification").
GAPS = [15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600, 10_800, 10_800, 10_800, 21_600, 21_600]


def once(error: BaseException) -> Callable[[], None]:
    """Raise *error* at the first call, and nothing after."""
    left = [error]

    def raise_it() -> None:
        if left:
            raise left.pop()

    return raise_it


# --- F5: it was done, and nobody was told -----------------------------------------------


def test_f5_a_claim_whose_acknowledgement_is_lost_is_taken_over_after_its_lease(shop: Shop) -> None:
    shop.faults.after["claim"] = once(StoreUnavailable())
    assert shop.deliver() == "store_down"
    assert shop.calls == 0
    assert shop.deliver() == "in_progress"
    shop.trial.advance(LEASE + 1)
    assert shop.deliver() == "handled"
    assert shop.effects() == 1


def test_f5_a_completion_whose_acknowledgement_is_lost_is_repeated(shop: Shop) -> None:
    if shop.mode == "same-transaction":
        shop.commit = once(ConnectionError())  # after the commit
    else:
        shop.faults.after["complete"] = once(StoreUnavailable())
    assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    assert shop.effects() == 1


def test_f5_a_release_whose_acknowledgement_is_lost_leaves_the_payment_free(shop: Shop) -> None:
    shop.during = once(ValueError("out of stock"))
    shop.faults.after["release"] = once(StoreUnavailable())
    assert shop.deliver() == "handler_failed"
    assert shop.deliver() == "handled"
    assert shop.effects() == (1 if shop.mode == "same-transaction" else 2)


def test_f5_a_look_that_is_lost_after_the_commit_is_told_fail_and_then_found_done(
    transactional: Shop,
) -> None:
    transactional.faults.before["find"] = once(StoreUnavailable())
    assert transactional.deliver() == "store_down"
    assert transactional.deliver() == "duplicate"
    assert transactional.effects() == 1


# --- F6: the handler outlives its lease ---------------------------------------------------


@pytest.mark.parametrize("successor", ["handled", "handler_failed", "running"])
def test_f6_whoever_lost_its_lease_touches_nothing_of_its_successor(shop: Shop, successor: str) -> None:
    seen: list[str] = []

    def overrun() -> None:
        # Before the transaction, because SQLite has one writer and would let nobody else in.
        shop.begin = shop.during = lambda: None
        shop.trial.advance(LEASE + 1)
        if successor == "handler_failed":
            shop.during = once(ValueError("out of stock"))
            seen.append(shop.deliver())
        elif successor == "running":
            # A claim that nobody completes; as one that is being handled elsewhere.
            shop.faults.after["claim"] = once(StoreUnavailable())
            seen.append(shop.deliver())
        else:
            seen.append(shop.deliver())

    if shop.mode == "same-transaction":
        shop.begin = overrun
    else:
        shop.during = overrun
    code = shop.deliver()
    record = shop.trial.find(PAID)
    assert record is not None
    assert record.generation == 2
    if successor == "handled":
        assert (seen, code, record.state) == (["handled"], "duplicate", State.DONE)
    else:
        # It must not say SUCCESS for work that its successor may yet fail.
        assert seen == [{"running": "store_down"}.get(successor, successor)]
        assert code == "lost"
        assert record.state is (State.PENDING if successor == "running" else State.RELEASED)
        shop.trial.advance(LEASE + 1)
        assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    if shop.mode == "same-transaction":
        assert shop.effects() == 1
    else:
        assert 1 <= shop.effects() <= 3  # what a lease store promises: no more than it had holders


# --- F8: copies at once ---------------------------------------------------------------------


@pytest.mark.parametrize("copies", [2, 16, 64])
def test_f8_of_many_copies_at_once_one_is_handled_and_none_is_told_anything_wrong(
    open_shop: Callable[..., Shop], copies: int
) -> None:
    shop = open_shop(wait=3.5)
    body = notification()
    replies: list[Reply] = []
    if shop.awaited:

        async def all_at_once() -> list[Reply]:
            return list(await asyncio.gather(*(shop.receiver.receive_async(body) for _ in range(copies))))

        assert shop.trial.run is not None
        replies = shop.trial.run(all_at_once())
    else:

        def receive(_: int) -> Reply:
            try:
                return shop.receiver.receive(body)
            finally:
                shop.trial.thread_ends()

        with ThreadPoolExecutor(copies) as threads:
            replies = list(threads.map(receive, range(copies)))
    codes = [event.code for event in shop.events]
    assert len(replies) == len(codes) == copies
    assert codes.count("handled") == 1
    assert set(codes) <= {"handled", "duplicate", "in_progress"}
    assert shop.calls == shop.effects() == 1
    assert [b"[SUCCESS]" in reply.body for reply in replies].count(False) == codes.count("in_progress")


# --- F9: sixteen copies over 24 hours ----------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 4, 15])
def test_f9_however_many_copies_fail_the_payment_is_settled_by_the_first_that_does_not(
    shop: Shop, failures: int
) -> None:
    def fail() -> None:
        if shop.calls <= failures:
            raise ValueError("out of stock")

    if shop.mode == "same-transaction":
        shop.during = fail
    else:
        shop.faults.before["complete"] = lambda: None
        shop.during = fail
    told = []
    for gap in [0, *GAPS]:
        shop.trial.advance(gap)
        told.append(shop.deliver())
    assert told == ["handler_failed"] * failures + ["handled"] + ["duplicate"] * (15 - failures)
    assert shop.effects() == (1 if shop.mode == "same-transaction" else failures + 1)


def test_f9_a_copy_that_crashes_after_each_claim_is_taken_over_by_a_later_one(shop: Shop) -> None:
    told = []
    for copy, gap in enumerate([0, *GAPS]):
        shop.trial.advance(gap)
        if copy < 3:
            shop.faults.after["claim"] = once(StoreUnavailable())  # as if the process had gone
        told.append(shop.deliver())
    # 15 s and 30 s after the first, its lease of 30 s runs or has just run out.
    assert told[0] == "store_down"
    assert told.count("handled") == 1
    assert told.index("handled") <= 4
    assert told[-1] == "duplicate"
    assert shop.effects() == 1
