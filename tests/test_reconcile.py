"""What a bill and a store do not agree on, and what is no disagreement."""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from wxnotify.errors import BadBill, ConfigurationError, NotSettled, StoreUnavailable
from wxnotify.idempotency import QUEUED, Record, State
from wxnotify.inbox import Inbox
from wxnotify.reconcile import Finding, Problem, Progress, Report, _comparison, reconcile, reconcile_async
from wxnotify.reconcile import _reconciling as module
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import payment as notified

from . import bills
from .bills import MCH_ID, bill, payment, refund, transaction
from .receiving import Shop

BEIJING = timezone(timedelta(hours=8))
DAY = date(2026, 11, 23)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=BEIJING)
HOUR = timedelta(hours=1)
RETAIN = 30 * 86_400.0


class Books:
    """A store at a time of the test's choosing, and payments as notifications tell them."""

    def __init__(self) -> None:
        self.now = self.latest = MIDNIGHT + 10 * HOUR
        # Its clock reads seconds since the epoch, so that a moment is the same in both.
        self.store = MemoryStore(clock=lambda: self.now.timestamp(), wall=lambda: self.now)

    def claim(self, number: int, fen: int = 100, *, at: datetime | None = None, **changes: str) -> Any:
        """Claim a payment as the receiver does."""
        self.now = at or self.now
        self.latest = max(self.latest, self.now)
        fields = {"out_trade_no": f"A-{number}", "transaction_id": transaction(number), "total_fee": str(fen)}
        told = notified(**{**fields, **changes})
        return self.store.claim(
            told.key, fingerprint=told.fingerprint, owner=bytes(16), lease=30.0, order_no=told.out_trade_no
        )

    def settle(self, number: int, fen: int = 100, **changes: Any) -> None:
        """Claim it, and be done with it."""
        self.store.complete(self.claim(number, fen, **changes), retain=RETAIN)

    def work(self, number: int, *, at: datetime | None = None) -> Any:
        """Claim the work on a payment that was queued."""
        self.now = at or self.now
        self.latest = max(self.latest, self.now)
        told = notified(out_trade_no=f"A-{number}", transaction_id=transaction(number))
        return self.store.claim(
            f"work/{told.key}",
            fingerprint=told.fingerprint,
            owner=bytes(16),
            lease=30.0,
            order_no=f"A-{number}",
        )

    def compare(self, rows: Iterable[dict[str, str]], **options: Any) -> list[Finding]:
        """Reconcile with a bill of these rows; give the findings."""
        with self.report(rows, **options) as report:
            found = list(report)
            assert sum(report.counts.values()) == len(found)
            return found

    def report(self, rows: Iterable[dict[str, str]], **options: Any) -> Report:
        self.now = max(self.now, self.latest)  # a store shows nothing of the future
        return reconcile(bill(rows), self.store, clock=lambda: self.now, **options)


@pytest.fixture
def books() -> Books:
    return Books()


def problems(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(one.problem.value, one.out_trade_no) for one in found]


# --- what agrees --------------------------------------------------------------------


def test_a_payment_the_receiver_settled_is_settled_as_the_bill_has_it():
    shop = Shop()
    assert shop.deliver() == "handled"
    fields = {"微信订单号": "4200000000202611230000000001", "商户订单号": "A-1001"}
    with reconcile(bill([payment(1, "1.00", **fields)]), shop.store) as report:
        assert list(report) == []
        assert (report.rows, report.payments, report.settled, report.records) == (1, 1, 1, 1)


@pytest.mark.parametrize("header", [bills.ALL, bills.SUCCESS, bills.FORMER])
def test_it_is_so_for_every_kind_of_bill(books, header):
    books.settle(1, 1230)
    names = bills.FORMER_SUMMARY if header is bills.FORMER else bills.SUMMARY
    with reconcile(bill([payment(1, "12.30")], header=header, names=names), books.store) as report:
        assert (report.settled, report.counts) == (1, {})


def test_a_payment_of_a_sub_merchant_is_settled_under_the_provider(books):
    books.settle(1, sub_mch_id="1900000110")
    assert books.compare([payment(1, 特约商户号="1900000110")]) == []


def test_a_refund_is_counted_and_compared_with_nothing(books):
    books.settle(1)
    with books.report([payment(1), refund(1), refund(2), payment(3, "0.00", 交易状态="REVOKED")]) as report:
        assert list(report) == []
        assert (report.rows, report.payments, report.refunds, report.revoked) == (4, 1, 2, 1)


def test_what_the_store_holds_besides_payments_does_not_matter(books):
    books.settle(1)
    for key in [
        f"refund/{MCH_ID}/5030/SUCCESS",
        f"work/payment/{MCH_ID}/{transaction(7)}/SUCCESS",
        f"payment/{MCH_ID}/{transaction(7)}/FAIL",
        f"payment/1900000999/{transaction(7)}/SUCCESS",
        f"contract/{MCH_ID}/{transaction(7)}/SUCCESS",
        "payment",
    ]:
        claim = books.store.claim(key, fingerprint=bytes(32), owner=bytes(16), lease=30.0)
        books.store.complete(claim, retain=RETAIN)
    with books.report([payment(1)]) as report:
        assert list(report) == []
        assert (report.records, report.settled) == (7, 1)


def test_a_failed_attempt_before_it_does_not_matter(books):
    books.settle(1, result_code="FAIL")
    assert problems(books.compare([payment(1)])) == [("never_claimed", "A-1")]
    books.settle(1)
    assert books.compare([payment(1)]) == []


# --- each disagreement ----------------------------------------------------------------


def test_a_payment_the_store_never_saw(books):
    (found,) = books.compare([payment(1, "12.30", 特约商户号="1900000110")])
    assert found == Finding(
        problem=Problem.NEVER_CLAIMED,
        key=f"payment/{MCH_ID}/{transaction(1)}/SUCCESS",
        mch_id=MCH_ID,
        transaction_id=transaction(1),
        out_trade_no="A-1",
        stored_order_no="",
        sub_mch_id="1900000110",
        bill_fen=1230,
        fee_type="CNY",
        paid_at=datetime(2026, 11, 23, 10, tzinfo=BEIJING),
        first_seen=None,
        last_error="",
        line=2,
    )


def test_a_payment_whose_handler_failed(books):
    books.store.release(books.claim(1), error="ValueError: out of stock")
    (found,) = books.compare([payment(1)])
    assert (found.problem, found.last_error) == (Problem.UNSETTLED, "ValueError: out of stock")
    assert found.first_seen == books.now
    assert found.first_seen.tzinfo is timezone.utc
    # The key is the one that the store finds it by.
    assert books.store.find(found.key).state is State.RELEASED


def test_a_payment_whose_handler_died_and_one_at_work(books):
    books.claim(1)
    books.now += timedelta(seconds=20)
    books.claim(2)
    books.now += timedelta(seconds=15)
    found = books.compare([payment(1), payment(2)])
    assert problems(found) == [("unsettled", "A-1"), ("in_progress", "A-2")]


@pytest.mark.parametrize(
    ("settled", "changes"),
    [(99, {}), (100, {"fee_type": "USD"}), (100, {"sub_mch_id": "1900000110"})],
)
def test_a_payment_that_was_settled_with_other_content(books, settled, changes):
    books.settle(1, settled, **changes)
    (found,) = books.compare([payment(1)])
    assert (found.problem, found.bill_fen, found.stored_order_no) == (Problem.OTHER_AMOUNT, 100, "A-1")


def test_a_payment_that_was_settled_for_another_order(books):
    books.settle(1, out_trade_no="B-7")
    (found,) = books.compare([payment(1)])
    assert (found.problem, found.out_trade_no, found.stored_order_no) == (Problem.OTHER_ORDER, "A-1", "B-7")


def test_without_an_order_in_the_store_the_content_decides(books):
    for number, fen in ((1, 100), (2, 99)):
        told = notified(out_trade_no=f"A-{number}", transaction_id=transaction(number), total_fee=str(fen))
        claim = books.store.claim(told.key, fingerprint=told.fingerprint, owner=bytes(16), lease=30.0)
        books.store.complete(claim, retain=RETAIN)
    assert problems(books.compare([payment(1), payment(2)])) == [("other_amount", "A-2")]


def test_a_payment_that_is_not_in_the_bill(books):
    books.settle(1)
    books.settle(2)
    (found,) = books.compare([payment(1)])
    assert found == Finding(
        problem=Problem.NOT_IN_BILL,
        key=f"payment/{MCH_ID}/{transaction(2)}/SUCCESS",
        mch_id=MCH_ID,
        transaction_id=transaction(2),
        out_trade_no="A-2",
        stored_order_no="A-2",
        sub_mch_id="",
        bill_fen=None,
        fee_type="",
        paid_at=None,
        first_seen=books.now,
        last_error="",
        line=0,
    )


def test_a_refund_in_the_bill_is_no_payment_in_it(books):
    books.settle(1)
    books.settle(2)
    assert problems(books.compare([payment(1), refund(2)])) == [("not_in_bill", "A-2")]


def test_what_is_not_settled_need_not_be_in_the_bill(books):
    books.settle(1)
    books.claim(2)
    books.store.release(books.claim(3), error="")
    assert books.compare([payment(1)]) == []


def test_a_row_of_a_state_that_is_new(books):
    books.settle(1)
    with books.report([payment(1), payment(1, "2.00", 交易状态="SETTLING")]) as report:
        (found,) = report
        assert (found.problem, found.out_trade_no, found.bill_fen, found.line) == (
            Problem.UNKNOWN_STATE, "A-1", 200, 3,
        )  # fmt: skip
        assert (report.payments, report.settled, report.rows) == (1, 1, 2)


def test_in_another_currency_all_but_the_amount_is_compared(books):
    # Is it 100 yen or 1.00 yen that the bill calls 100.00? Nothing is said of it, so nothing is guessed.
    books.settle(1, 100, fee_type="JPY")
    books.settle(2, 100, fee_type="JPY", out_trade_no="B-7")
    rows = [payment(number, "100.00", 货币种类="JPY") for number in (1, 2, 3)]
    with books.report(rows) as report:
        found = list(report)
        assert problems(found) == [("other_order", "A-2"), ("never_claimed", "A-3")]
        assert [(one.bill_fen, one.fee_type) for one in found] == [(None, "JPY")] * 2
        assert (report.foreign, report.settled) == (3, 1)


@pytest.mark.parametrize("order", ["A-1", "B-7"])
def test_a_payment_of_which_only_the_refund_is_settled(books, order):
    books.settle(1, trade_state="REFUND", out_trade_no=order)
    with books.report([payment(1)]) as report:
        (found,) = report
        assert (found.problem, found.stored_order_no) == (Problem.REFUNDED, order)
        assert (found.bill_fen, found.first_seen) == (100, books.now)
        assert (report.payments, report.settled) == (1, 0)
    assert books.store.find(found.key).state is State.DONE
    assert found.key.endswith("/REFUND")


def test_a_refund_that_is_not_done_tells_nothing(books):
    books.store.release(books.claim(1, trade_state="REFUND"), error="ValueError")
    assert problems(books.compare([payment(1)])) == [("never_claimed", "A-1")]


@pytest.mark.parametrize("refund_first", [True, False])
@pytest.mark.parametrize("state", State)
def test_what_is_known_of_the_payment_itself_counts_before_its_refund(books, state, refund_first):
    if refund_first:
        books.settle(1, trade_state="REFUND")
        books.now += timedelta(seconds=1)
    claim = books.claim(1)
    if state is State.DONE:
        books.store.complete(claim, retain=RETAIN)
    elif state is State.RELEASED:
        books.store.release(claim, error="")
    if not refund_first:
        books.now += timedelta(seconds=1)
        books.settle(1, trade_state="REFUND")
    expected = {State.DONE: [], State.RELEASED: ["unsettled"], State.PENDING: ["in_progress"]}[state]
    assert [problem for problem, _ in problems(books.compare([payment(1)]))] == expected


def test_a_payment_that_was_refunded_need_not_be_in_the_bill(books):
    books.settle(1)
    books.settle(2, trade_state="REFUND")
    assert books.compare([payment(1)]) == []


def test_a_payment_the_store_has_in_a_row_of_a_state_that_is_new_is_in_the_bill(books):
    books.settle(1)
    books.settle(2)
    found = books.compare([payment(1), payment(2, 交易状态="SETTLING")])
    assert problems(found) == [("unknown_state", "A-2")]


# --- payments that were queued -------------------------------------------------------------


def test_a_payment_whose_work_is_done_is_settled(books):
    books.settle(1)
    books.store.complete(books.work(1), retain=RETAIN)
    assert books.compare([payment(1)]) == []


def test_a_payment_that_was_queued_and_whose_work_failed(books):
    seen = books.now
    books.settle(1)
    books.store.release(books.work(1, at=seen + HOUR), error="ValueError: out of stock")
    with books.report([payment(1)]) as report:
        (found,) = report
        assert (found.problem, found.last_error) == (Problem.UNSETTLED, "ValueError: out of stock")
        assert (found.stored_order_no, found.first_seen) == ("A-1", seen)
        assert report.settled == 0
    assert books.store.find(found.key).state is State.RELEASED
    assert found.key == f"work/payment/{MCH_ID}/{transaction(1)}/SUCCESS"


def test_what_was_queued_and_nobody_began(books):
    books.store.complete(books.claim(1), retain=RETAIN, result=QUEUED)
    seen, books.now = books.now, books.now + HOUR
    with books.report([payment(1)]) as report:
        (found,) = report
        assert (found.problem, found.first_seen, report.settled) == (Problem.UNSETTLED, seen, 0)
    assert problems(books.compare([payment(2)])) == [("never_claimed", "A-2"), ("not_in_bill", "A-1")]


def test_what_was_queued_and_is_worked_is_settled_and_compared(books):
    for number, fen in ((1, 100), (2, 101)):
        books.store.complete(books.claim(number, fen), retain=RETAIN, result=QUEUED)
        books.store.complete(books.work(number), retain=RETAIN)
    assert problems(books.compare([payment(1), payment(2)])) == [("other_amount", "A-2")]


def test_a_refund_that_was_queued_settles_no_payment(books):
    key = f"payment/{MCH_ID}/{transaction(1)}/REFUND"
    claim = books.store.claim(key, fingerprint=bytes(32), owner=bytes(16), lease=30.0)
    books.store.complete(claim, retain=RETAIN, result=QUEUED)
    assert problems(books.compare([payment(1)])) == [("refunded", "A-1")]


def test_a_payment_whose_worker_died_and_one_at_work(books):
    books.settle(1)
    books.settle(2)
    books.work(1)
    books.now += timedelta(seconds=20)
    books.work(2)
    books.now += timedelta(seconds=15)
    found = books.compare([payment(1), payment(2)])
    assert problems(found) == [("unsettled", "A-1"), ("in_progress", "A-2")]


def test_a_payment_of_which_only_the_work_is_known(books):
    # It was claimed while the store was read, or its claim was forgotten before that of the work.
    books.store.release(books.work(1), error="ValueError")
    (found,) = books.compare([payment(1)])
    assert (found.problem, found.first_seen) == (Problem.UNSETTLED, books.now)
    books.store.complete(books.work(1), retain=RETAIN)
    assert problems(books.compare([payment(1)])) == [("never_claimed", "A-1")]


def test_work_that_is_done_meanwhile_is_done(books):
    books.settle(1)
    claim = books.work(1)
    before = list(books.store.records())
    books.store.complete(claim, retain=RETAIN)
    for records in ([*before, *books.store.records()], [*books.store.records(), *before]):
        with reconcile(bill([payment(1)]), Recorded(records), clock=lambda: books.now) as report:
            assert report.counts == {}


def test_a_payment_that_is_not_done_itself_is_told_before_its_work(books):
    books.store.release(books.claim(1), error="OSError: the first")
    books.store.release(books.work(1), error="OSError: the second")
    (found,) = books.compare([payment(1)])
    assert (found.last_error, found.key.startswith("payment/")) == ("OSError: the first", True)


def test_a_payment_that_was_queued_must_be_in_the_bill_whether_it_was_worked_or_not(books):
    for number in (1, 2, 3):
        books.settle(number)
    books.store.release(books.work(2), error="")
    # The day of the payment counts, and not that of the work.
    books.settle(4, at=MIDNIGHT - HOUR)
    books.store.complete(books.work(4, at=MIDNIGHT + 9 * HOUR), retain=RETAIN)
    assert problems(books.compare([payment(1)])) == [("not_in_bill", "A-2"), ("not_in_bill", "A-3")]


def test_work_on_a_refund_is_none_on_a_payment(books):
    books.settle(1)
    key = f"work/payment/{MCH_ID}/{transaction(1)}/REFUND"
    books.store.release(
        books.store.claim(key, fingerprint=bytes(32), owner=bytes(16), lease=30.0), error="ValueError"
    )
    assert books.compare([payment(1)]) == []


def test_a_payment_the_receiver_queued_is_settled_once_the_engine_has_worked_it(tmp_path):
    rows = [payment(1, 微信订单号="4200000000202611230000000001", 商户订单号="A-1001")]
    with SQLiteStore(tmp_path / "shop.db") as store:

        class Queueing(Shop):
            def register(self) -> None:
                self.receiver.on("payment", inbox=Inbox(refs.append))(self.handle)

        refs: list[str] = []
        shop = Queueing(store, failing=[ValueError("out of stock")])
        assert shop.deliver() == "queued"
        # No engine has taken it yet.
        with reconcile(bill(rows), store) as report:
            (found,) = report
            assert (found.problem, found.stored_order_no) == (Problem.UNSETTLED, "A-1001")
            assert found.key.removeprefix("work/") == refs[0]
        with pytest.raises(NotSettled):
            shop.receiver.work(refs[0])
        with reconcile(bill(rows), store) as report:
            (found,) = report
            assert (found.problem, found.last_error) == (Problem.UNSETTLED, "ValueError: out of stock")
        assert shop.receiver.work(found.key.removeprefix("work/")).code == "handled"
        with reconcile(bill(rows), store) as report:
            assert (report.counts, report.settled) == ({}, 1)


# --- which settled payments must be in the bill ------------------------------------------


@pytest.mark.parametrize(
    ("first_seen", "slack", "missed"),
    [
        (MIDNIGHT - timedelta(seconds=1), 0.0, False),
        (MIDNIGHT, 0.0, True),
        (MIDNIGHT, 3600.0, False),
        (MIDNIGHT + HOUR - timedelta(seconds=1), 3600.0, False),
        (MIDNIGHT + HOUR, 3600.0, True),
        (MIDNIGHT + 24 * HOUR - timedelta(seconds=1), 3600.0, True),
        (MIDNIGHT + 24 * HOUR, 3600.0, False),
    ],
)
def test_a_payment_must_be_in_the_bill_of_the_day_the_store_first_saw_it(books, first_seen, slack, missed):
    books.settle(2, at=first_seen)
    books.settle(1, at=MIDNIGHT + 12 * HOUR)
    assert bool(books.compare([payment(1)], slack=slack)) is missed


def test_an_hour_of_slack_is_the_default(books):
    books.settle(1)
    books.settle(2, at=MIDNIGHT + HOUR - timedelta(seconds=1))
    books.settle(3, at=MIDNIGHT + HOUR)
    assert problems(books.compare([payment(1)])) == [("not_in_bill", "A-3")]


def test_days_begin_and_end_at_midnight_in_china(books):
    books.settle(1)
    books.settle(2, at=datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc))
    assert problems(books.compare([payment(1)])) == [("not_in_bill", "A-2")]


def test_a_bill_of_several_days_is_of_all_of_them(books):
    rows = []
    for number, hours in enumerate([10, 34, 58]):
        at = MIDNIGHT + hours * HOUR
        books.settle(number, at=at)
        rows.append(payment(number, 交易时间=f"{at:%Y-%m-%d %H:%M:%S}"))
    books.settle(9, at=MIDNIGHT + 24 * HOUR)
    with books.report(reversed(rows)) as report:
        assert report.days == (DAY, DAY + timedelta(days=2))
        assert problems(report) == [("not_in_bill", "A-9")]


def test_of_a_part_of_the_payments_none_can_be_missed(books):
    books.settle(1)
    books.settle(2)
    with books.report([payment(1), payment(3)], whole=False) as report:
        assert problems(report) == [("never_claimed", "A-3")]
        assert report.days is None


def test_a_bill_without_payments_must_be_told_whose_and_of_when_it_is(books):
    books.settle(2)
    with books.report([refund(1)], mch_id=MCH_ID) as report:
        assert (list(report), report.days) == ([], None)
    with books.report([], day=DAY) as report:
        assert (list(report), report.days) == ([], None)
    with books.report([], mch_id=MCH_ID, day=DAY) as report:
        assert (problems(report), report.days) == ([("not_in_bill", "A-2")], (DAY, DAY))


def test_a_bill_of_another_merchant_is_refused(books):
    assert books.compare([payment(1)], mch_id=MCH_ID) != []
    with pytest.raises(BadBill) as refusal:
        books.compare([payment(1), payment(2, 商户号="1900000110")], mch_id=MCH_ID)
    assert (refusal.value.line, refusal.value.column) == (3, "商户号")


@pytest.mark.parametrize("state", ["REFUND", "REVOKED"])
def test_a_refund_of_another_merchant_is_in_another_merchants_bill(books, state):
    with pytest.raises(BadBill) as refusal:
        books.compare([payment(1, 商户号="1900000110", 交易状态=state)], mch_id=MCH_ID)
    assert (refusal.value.line, refusal.value.column) == (2, "商户号")


def test_a_bill_of_refunds_says_whose_it_is(books):
    books.settle(2)
    with books.report([refund(1)], day=DAY) as report:
        assert (problems(report), report.days) == ([("not_in_bill", "A-2")], (DAY, DAY))


def test_a_bill_of_another_day_is_refused(books):
    assert books.compare([payment(1)], day=DAY) != []
    with pytest.raises(BadBill) as refusal:
        books.compare([payment(1), payment(2, 交易时间="2026-11-24 00:00:00")], day=DAY)
    assert (refusal.value.line, refusal.value.column) == (3, "交易时间")


def test_a_day_that_is_in_no_calendar_is_refused(books):
    with pytest.raises(BadBill, match="2026-02-30"):
        books.compare([payment(1, 交易时间="2026-02-30 10:00:00")])


@pytest.mark.parametrize("mch_id", [1900000109, b"1900000109", ""])
def test_a_merchant_that_is_no_text_is_a_mistake(books, mch_id):
    with pytest.raises(ConfigurationError, match="mch_id is the merchant's number"):
        books.compare([payment(1)], mch_id=mch_id)


@pytest.mark.parametrize("day", ["2026-11-23", MIDNIGHT, 20261123])
def test_a_day_that_is_no_date_is_a_mistake(books, day):
    with pytest.raises(ConfigurationError, match=r"day is a datetime\.date"):
        books.compare([payment(1)], day=day)


@pytest.mark.parametrize("slack", [-1, 86_400, float("nan"), float("inf"), "1", True, None])
def test_slack_is_less_than_a_day(books, slack):
    with pytest.raises(ConfigurationError, match="slack"):
        books.compare([], slack=slack)


# --- a store that changes while it is read --------------------------------------------------


class Recorded:
    """A store that gives these records."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records

    def records(self, **_: Any) -> Iterator[Record]:
        return iter(self._records)


def test_a_payment_that_is_done_meanwhile_is_done(books):
    before = [*books.store.records(), books.claim(1)] and list(books.store.records())
    books.settle(1)
    after = list(books.store.records())
    assert (before[0].state, after[0].state) == (State.PENDING, State.DONE)
    for records in (before + after, after + before, after + after):
        with reconcile(bill([payment(1)]), Recorded(records)) as report:
            assert (list(report), report.settled) == ([], 1)
        with reconcile(bill([payment(2)]), Recorded(records)) as report:
            assert report.counts == {Problem.NEVER_CLAIMED: 1, Problem.NOT_IN_BILL: 1}


def test_a_payment_that_is_taken_up_meanwhile_is_in_progress(books):
    books.store.release(books.claim(1), error="")
    before = list(books.store.records())
    books.claim(1)
    both = Recorded([*before, *books.store.records()])
    with reconcile(bill([payment(1)]), both, clock=lambda: books.now) as report:
        assert report.counts == {Problem.IN_PROGRESS: 1}


@pytest.mark.parametrize("store", [None, "postgresql://shop:secret@host/shop", MemoryStore, object()])
def test_what_is_no_store_is_a_mistake(store):
    for reconciled in (reconcile, lambda *given: asyncio.run(reconcile_async(*given))):
        with pytest.raises(ConfigurationError, match="the one the receiver uses") as refusal:
            reconciled(bill([payment(1)]), store)
        assert "secret" not in str(refusal.value)


def test_a_store_of_the_other_kind_is_a_mistake_that_names_the_other_function(books):
    with pytest.raises(ConfigurationError, match=r"Awaited is asynchronous: await reconcile_async\(\)"):
        reconcile(bill([payment(1)]), Awaited(books.store))
    with pytest.raises(ConfigurationError, match=r"MemoryStore blocks: call reconcile\(\)"):
        asyncio.run(reconcile_async(bill([payment(1)]), books.store))
    gc.collect()


def test_a_store_that_cannot_be_read_is_said():
    class Down:
        def records(self, **_: Any) -> Iterator[Record]:
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        reconcile(bill([payment(1)]), Down())


# --- a bill that is not one -------------------------------------------------------------------


def test_a_payment_that_is_there_twice_is_refused(books):
    with pytest.raises(BadBill) as refusal:
        books.compare([payment(1), payment(2), payment(1, "2.00")])
    assert (refusal.value.line, refusal.value.column) == (4, "微信订单号")
    assert "line 2" in str(refusal.value)


def test_a_bill_that_is_refused_leaves_nothing_open(books):
    with pytest.raises(BadBill):
        reconcile(bill([payment(1)])[:-9], books.store)
    # A connection that nobody closed would be a ResourceWarning now, and so a failure.
    gc.collect()


@pytest.mark.parametrize("given", [None, 7, object()])
def test_what_is_no_bill_is_a_mistake(books, given):
    with pytest.raises(TypeError, match="bill is a path, a file opened in binary mode or the bytes"):
        reconcile(given, books.store)


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize("text", [bill([payment(1)]).decode(), "\x1f\ufffd\b\0"], ids=["plain", "packed"])
def test_a_bill_that_was_made_a_text_is_a_mistake_that_does_not_repeat_it(books, text, as_path):
    with pytest.raises(TypeError, match=r"response\.content") as refusal:
        reconcile(as_path(text), books.store)
    assert len(str(refusal.value)) < 100
    assert refusal.value.__context__ is None


def test_a_file_that_is_not_there_is_said(books, tmp_path):
    with pytest.raises(FileNotFoundError):
        reconcile(tmp_path / "none.csv", books.store)


# --- the report --------------------------------------------------------------------------------


def test_findings_come_in_the_order_of_the_bill_and_then_of_the_store(books):
    order = list(range(100))
    random.Random(1).shuffle(order)
    books.settle(200)
    books.settle(201, at=books.now + HOUR)
    with books.report([payment(number) for number in order]) as report:
        expected = [f"A-{number}" for number in [*order, 200, 201]]
        assert [one.out_trade_no for one in report] == expected
        assert [one.line for one in report] == [*range(2, 102), 0, 0]


def test_a_report_is_read_as_often_as_one_likes_until_it_is_closed(books):
    report = books.report([payment(1), payment(2)])
    first, second = iter(report), iter(report)
    assert next(first) == next(second)
    assert len(list(first)) == 1
    assert len(list(report)) == 2
    report.close()
    assert report.counts == {Problem.NEVER_CLAIMED: 2}
    with pytest.raises(ConfigurationError, match="closed"):
        list(report)


def test_no_room_for_the_temporary_file_is_said(books, monkeypatch):
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql.startswith("INSERT"):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *parameters)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Full, **options))
    with pytest.raises(ConfigurationError, match="is there room"):
        books.compare([payment(1)])


@pytest.mark.parametrize(("piles", "together"), [(256, 64), (1, 64), (7, 1), (3, 5)])
def test_however_it_is_dealt_out_it_finds_what_a_dictionary_would(books, monkeypatch, piles, together):
    monkeypatch.setattr(_comparison, "_PILES", piles)
    monkeypatch.setattr(_comparison, "_TOGETHER", together)
    choose = random.Random(piles)
    expected: dict[Problem, set[str]] = {}
    rows, numbers = [], list(range(700))
    choose.shuffle(numbers)
    for number in numbers:
        fate = choose.choice([None, None, *Problem])
        if fate is Problem.IN_PROGRESS:
            fate = None
        if fate is not Problem.NOT_IN_BILL:
            state = "SETTLING" if fate is Problem.UNKNOWN_STATE else "SUCCESS"
            rows.append(payment(number, f"{number + 1}.00", 交易状态=state))
        if fate is Problem.REFUNDED:
            books.settle(number, trade_state="REFUND")
        elif fate is Problem.UNSETTLED and choose.random() < 0.5:
            books.store.release(books.claim(number), error="")
        elif fate is not Problem.NEVER_CLAIMED:
            changes = {"out_trade_no": "B-1"} if fate is Problem.OTHER_ORDER else {}
            books.settle(number, 100 * number + (99 if fate is Problem.OTHER_AMOUNT else 100), **changes)
            if fate is Problem.UNSETTLED:
                books.store.release(books.work(number), error="")
            elif choose.random() < 0.5:
                books.store.complete(books.work(number), retain=RETAIN)
        if fate:
            expected.setdefault(fate, set()).add(transaction(number))
    found: dict[Problem, set[str]] = {}
    told: list[Progress] = []
    for one in books.compare(rows, on_progress=told.append):
        found.setdefault(one.problem, set()).add(one.transaction_id)
    assert len(expected) == 7
    assert found == expected
    assert told[-1].done == len(rows) - len(expected[Problem.UNKNOWN_STATE])


# --- progress ------------------------------------------------------------------------------------


def test_progress_is_told_from_the_first_row_to_the_last(books, monkeypatch):
    monkeypatch.setattr(module, "_EVERY", 10)
    for number in range(25):
        books.settle(number)
    told: list[Progress] = []
    said = bill([payment(number) for number in range(35)])
    pieces = [said[at : at + 1000] for at in range(0, len(said), 1000)]
    with reconcile(pieces, books.store, on_progress=told.append):
        pass
    stages = [one.stage for one in told]
    assert stages == sorted(stages, key=["bill", "store", "compare"].index)
    for stage, last in (("bill", 35), ("store", 25), ("compare", 35)):
        counts = [one.done for one in told if one.stage == stage]
        assert counts == sorted(counts)
        assert counts[-1] == last
        assert len(counts) > 3
    sizes = [one.bill_bytes for one in told]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1000, len(said))


@pytest.mark.parametrize("stage", ["bill", "store", "compare"])
def test_what_on_progress_raises_ends_it(books, stage):
    def enough(progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        books.compare([payment(1)], on_progress=enough)
    gc.collect()


# --- on an event loop ---------------------------------------------------------------------------


class Awaited:
    """A store that is awaited."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def records(self, **_: Any) -> AsyncIterator[Record]:
        for record in self._store.records():
            await asyncio.sleep(0)
            yield record


def test_an_awaited_store_is_compared_alike(books, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 3)
    for number in range(8):
        books.settle(number, 100 if number else 99)
    said = bill([payment(number) for number in [0, *range(2, 9)]])
    threads: dict[str, set[bool]] = {}

    def note(progress: Progress) -> None:
        threads.setdefault(progress.stage, set()).add(threading.current_thread() is threading.main_thread())

    with asyncio.run(reconcile_async(said, Awaited(books.store), on_progress=note)) as report:
        with reconcile(said, books.store) as blocking:
            assert list(report) == list(blocking)
            assert report.counts == blocking.counts == {
                Problem.OTHER_AMOUNT: 1, Problem.NEVER_CLAIMED: 1, Problem.NOT_IN_BILL: 1,
            }  # fmt: skip
        assert (report.records, report.settled) == (8, 6)
    # What takes long keeps no loop from running.
    assert threads["bill"] == {False}
    assert False in threads["compare"]


def test_an_awaited_reconciliation_refuses_a_bad_bill(books):
    with pytest.raises(BadBill):
        asyncio.run(reconcile_async(b"", Awaited(books.store)))
    gc.collect()


def endless(begun: Callable[[], object]) -> Iterator[bytes]:
    """A bill that goes on for as long as somebody reads it."""
    yield bills.ALL.encode() + b"\r\n"
    row, number = bills.line(payment(1)) + "\r\n", 0
    while True:
        number += 1
        yield row.replace(transaction(1), transaction(number)).encode()
        if number == 100:
            begun()


@pytest.mark.parametrize("impatience", [1, 3])
def test_one_that_is_cancelled_ends_before_it_says_so(books, monkeypatch, impatience):
    monkeypatch.setattr(module, "_EVERY", 10)
    ended = threading.Event()
    read_bill = module._Run.read_bill

    def watched(run: Any) -> None:
        try:
            read_bill(run)
        finally:
            ended.set()

    monkeypatch.setattr(module._Run, "read_bill", watched)

    async def cancelled() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        source = endless(lambda: loop.call_soon_threadsafe(begun.set))
        task = asyncio.ensure_future(reconcile_async(source, Awaited(books.store)))
        await begun.wait()
        for _ in range(impatience):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(cancelled())
    gc.collect()
