"""
The inbox: SUCCESS once the notification is durably queued, and the work done once, later, elsewhere.

Over every store that has an inbox, and for blocking ones also on an event loop. The engine here is a list
that is handed refs; real ones are in ``test_inbox_engines.py``, killed processes in ``test_inbox_crash.py``.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from wxnotify import Event, Expected, Outcome, Payment, Receiver, build_reply
from wxnotify import parse_order_query as parse_query
from wxnotify.errors import ConfigurationError, NotSettled, StoreError, StoreUnavailable, UnknownWork
from wxnotify.idempotency import QUEUED, State
from wxnotify.inbox import Inbox, unpack
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import KEY, notification, payment, query_answer

from .inbox_desk import DESKS, PAYMENT, REF, SQLITE, WORK, Desk, open_desk
from .receiving import MERCHANT, SUCCESS, Orders

OPENID = PAYMENT.openid
HOUR = 3_600.0
DAY = 24 * HOUR
#: The receiver's lease, and some.
PAST_THE_LEASE = 31.0


@pytest.fixture(params=DESKS, ids=lambda given: f"{given[0].name} {given[1]}".strip())
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    entry, how = request.param
    with open_desk(entry, tmp_path, how) as desk:
        yield desk


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[Desk]:
    """A desk on SQLite, for what does not depend on the store."""
    with open_desk(SQLITE, tmp_path) as desk:
        yield desk


@pytest.fixture
def awaited(tmp_path: Path) -> Iterator[Desk]:
    """The same with a store that is awaited."""
    with open_desk(SQLITE, tmp_path, "awaited") as desk:
        yield desk


# --- the delivery ---------------------------------------------------------------------


def test_success_is_said_once_the_notification_is_durably_in_the_inbox(desk: Desk) -> None:
    committed: list[object] = []
    desk.dispatching = lambda ref: committed.append((desk.waiting, desk.state()))
    assert desk.open().deliver() == "queued"
    # When the engine heard of it, another connection saw both: nothing was open any more.
    assert committed == [(True, State.DONE)]
    assert desk.handed == [REF]
    assert desk.handled == []
    (event,) = desk.events
    assert event.outcome is Outcome.QUEUED
    assert not event.work
    assert (event.attempts, event.out_trade_no, event.key_index) == (1, "A-1001", 1)


def test_the_claim_says_that_what_is_done_is_that_it_was_queued(desk: Desk) -> None:
    desk.open().deliver()
    assert desk.subject.find(REF).result == QUEUED
    desk.work()
    assert (desk.subject.find(REF).result, desk.subject.find(WORK).result) == (QUEUED, "")


def test_duplicates_are_told_success_and_queued_once(desk: Desk) -> None:
    desk.open()
    assert [desk.deliver() for _ in range(3)] == ["queued", "duplicate", "duplicate"]
    desk.work()
    assert desk.deliver() == "duplicate"
    assert desk.handed == [REF]
    assert not desk.waiting


def test_each_payment_is_queued_for_itself(desk: Desk) -> None:
    desk.open()
    other = payment(transaction_id="4200000000202611230000000002")
    desk.deliver()
    desk.deliver(transaction_id=other.transaction_id)
    assert desk.handed == [REF, other.key]
    desk.work(other.key)
    assert desk.handled == [other]
    assert desk.waiting


@pytest.mark.parametrize("step", ["put", "complete", "commit"])
def test_what_fails_before_the_commit_queues_nothing_and_is_sent_again(desk: Desk, step: str) -> None:
    desk.open().store.faults = {step}
    assert desk.deliver() == "handler_failed"
    assert desk.state() is State.RELEASED
    assert not desk.waiting
    assert desk.handed == []
    with pytest.raises(UnknownWork):
        desk.work()
    assert desk.deliver() == "queued"
    assert desk.waiting
    assert desk.handed == [REF]


def test_a_commit_whose_acknowledgement_was_lost_is_handed_over_nevertheless(desk: Desk) -> None:
    desk.open().store.faults = {"acknowledgement"}
    assert desk.deliver() == "queued"
    assert desk.handed == [REF]
    assert desk.waiting
    assert desk.work().outcome is Outcome.HANDLED


def test_what_an_engine_did_not_take_is_told_success_and_swept_up(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(ref: str) -> None:
        raise OSError("no broker")

    desk.open().dispatching = refuse
    assert desk.deliver() == "not_handed_over"
    (event,) = desk.events
    assert event.outcome is Outcome.QUEUED
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no broker" in caplog.text  # with its traceback
    assert desk.waiting

    desk.dispatching = lambda ref: None
    assert desk.deliver() == "duplicate"
    assert desk.handed == []
    desk.subject.advance(61)
    assert desk.sweep() == [REF]
    assert desk.work().outcome is Outcome.HANDLED


def test_a_failed_payment_is_queued_too(desk: Desk) -> None:
    failed = payment(result_code="FAIL")
    assert desk.open().deliver(result_code="FAIL") == "queued"
    desk.work(failed.key)
    assert [one.paid for one in desk.handled] == [False]


def test_what_is_not_what_the_order_says_is_not_queued(desk: Desk) -> None:
    assert desk.open().deliver(total_fee="1") == "amount_mismatch"
    assert desk.handed == []
    assert desk.state() is None


def test_an_order_query_is_queued_by_the_same_road(desk: Desk) -> None:
    answer = parse_query(query_answer(), MERCHANT)
    event: Event = desk.open().do("settle", answer)
    assert event.outcome is Outcome.QUEUED
    assert desk.handed == [answer.key] == [REF]
    assert desk.deliver() == "duplicate"
    desk.work()
    assert desk.handled[0].fields["trade_state"] == "SUCCESS"


# --- the work ---------------------------------------------------------------------------


def test_the_handler_is_called_with_what_wechat_pay_signed(desk: Desk) -> None:
    desk.open().deliver(attach='{"a": "支付\\n💰"}', sub_mch_id="")
    queued = payment(attach='{"a": "支付\\n💰"}')
    event = desk.work()
    assert (event.outcome, event.work, event.attempts, event.key_index) == (Outcome.HANDLED, True, 1, 1)
    (worked,) = desk.handled
    assert worked == queued
    assert dict(worked.fields) == dict(queued.fields)
    assert (worked.fields.key_index, worked.fields.sign_type) == (1, "MD5")
    assert worked.fingerprint == queued.fingerprint


def test_work_that_is_done_is_a_duplicate_and_leaves_the_inbox(desk: Desk) -> None:
    desk.open().deliver()
    assert desk.work().outcome is Outcome.HANDLED
    assert not desk.waiting
    assert desk.state(WORK) is State.DONE
    again = desk.work()
    assert (again.outcome, again.work) == (Outcome.DUPLICATE, True)
    assert len(desk.handled) == 1
    desk.subject.advance(DAY)
    assert desk.sweep() == []


def test_work_that_was_done_and_not_removed_is_removed_by_the_next(desk: Desk) -> None:
    desk.open().deliver()
    remove = desk.store._store.remove
    desk.store.remove = _unavailable_async if desk.awaited else _unavailable
    assert desk.work().outcome is Outcome.HANDLED
    assert desk.waiting
    desk.store.remove = remove
    desk.subject.advance(61)
    assert desk.sweep() == [REF]
    assert desk.work().outcome is Outcome.DUPLICATE
    assert not desk.waiting
    assert len(desk.handled) == 1


def _unavailable(*arguments: Any) -> None:
    raise StoreUnavailable("gone")


async def _unavailable_async(*arguments: Any) -> None:
    raise StoreUnavailable("gone")


def test_work_that_fails_is_raised_to_the_engine_and_worked_again(desk: Desk) -> None:
    error = RuntimeError("the printer is out of paper")
    desk.open().deliver()
    desk.failing = [error]
    with pytest.raises(NotSettled, match="handler_failed") as refusal:
        desk.work()
    assert refusal.value.__cause__ is error
    assert desk.events[-1].code == "handler_failed"
    record = desk.subject.find(WORK)
    assert record is not None
    assert (record.state, record.last_error) == (State.RELEASED, f"RuntimeError: {error}")
    assert desk.waiting

    event = desk.work()
    assert (event.outcome, event.attempts) == (Outcome.HANDLED, 2)
    assert not desk.waiting


def test_work_that_somebody_is_at_is_not_waited_for(desk: Desk) -> None:
    desk.open().deliver()
    held = desk.subject.claim(WORK, fingerprint=PAYMENT.fingerprint, owner=b"o" * 16, lease=30)
    with pytest.raises(NotSettled, match="in_progress"):
        desk.work()
    assert desk.handled == []
    desk.subject.complete(held, retain=30 * DAY)
    assert desk.work().outcome is Outcome.DUPLICATE


def test_work_whose_holder_died_is_taken_over_after_the_lease(desk: Desk) -> None:
    desk.open().deliver()
    desk.subject.claim(WORK, fingerprint=PAYMENT.fingerprint, owner=b"d" * 16, lease=30)
    desk.subject.advance(PAST_THE_LEASE)
    event = desk.work()
    assert (event.outcome, event.attempts) == (Outcome.HANDLED, 2)


def test_work_that_outlives_its_lease_is_not_settled(desk: Desk) -> None:
    def successor() -> None:
        desk.subject.advance(PAST_THE_LEASE)
        desk.subject.claim(WORK, fingerprint=PAYMENT.fingerprint, owner=b"s" * 16, lease=30)

    desk.open().deliver()
    desk.during = successor
    with pytest.raises(NotSettled, match="lost"):
        desk.work()
    assert desk.state(WORK) is State.PENDING
    assert desk.waiting


def test_an_engine_that_delivers_twice_at_once_has_the_work_done_once(desk: Desk) -> None:
    desk.open().deliver()
    start = threading.Barrier(4)

    def deliver_once(_: int) -> object:
        start.wait()
        try:
            return desk.do("work", REF).outcome
        except NotSettled as error:
            return str(error).split()[2]
        finally:
            desk.subject.thread_ends()

    with ThreadPoolExecutor(4) as engine:
        told = list(engine.map(deliver_once, range(4)))
    assert told.count(Outcome.HANDLED) == 1
    assert set(told) <= {Outcome.HANDLED, Outcome.DUPLICATE, "in_progress"}
    assert len(desk.handled) == 1


def test_work_in_a_transaction_has_its_effect_and_its_completion_together(desk: Desk) -> None:
    desk.open(in_transaction=True).deliver()
    assert desk.subject.effects(REF) == 0
    assert desk.work().outcome is Outcome.HANDLED
    assert desk.subject.effects(REF) == 1
    assert desk.work().outcome is Outcome.DUPLICATE
    assert desk.subject.effects(REF) == 1


@pytest.mark.parametrize("step", ["handler", "complete", "commit"])
def test_work_in_a_transaction_that_fails_has_no_effect(desk: Desk, step: str) -> None:
    desk.open(in_transaction=True).deliver()
    if step == "handler":
        desk.failing = [RuntimeError("late")]
    desk.store.faults = {step}
    with pytest.raises(NotSettled):
        desk.work()
    assert desk.subject.effects(REF) == 0
    assert desk.waiting
    desk.store.faults = set()
    assert desk.work().outcome is Outcome.HANDLED
    assert desk.subject.effects(REF) == 1


def test_work_in_a_transaction_whose_acknowledgement_was_lost_is_done(desk: Desk) -> None:
    desk.open(in_transaction=True).deliver()
    desk.store.faults = {"acknowledgement"}
    assert desk.work().outcome is Outcome.HANDLED
    assert desk.subject.effects(REF) == 1


def test_work_that_nobody_queued_is_unknown(desk: Desk) -> None:
    with pytest.raises(UnknownWork):
        desk.open().work()
    # Begun, by what is not in the inbox: nobody can know what it was.
    desk.subject.claim(WORK, fingerprint=PAYMENT.fingerprint, owner=b"o" * 16, lease=30)
    with pytest.raises(UnknownWork):
        desk.work()
    assert desk.events == []


def test_a_worker_that_has_no_handler_is_told_so(desk: Desk) -> None:
    desk.open().deliver()
    worker = Desk(desk.subject, desk.on_a_loop)
    with pytest.raises(ConfigurationError, match="no handler is registered for 'payment'"):
        worker.work()
    assert desk.state(WORK) is None
    assert desk.work().outcome is Outcome.HANDLED


def test_a_store_that_does_not_answer_is_told_to_the_engine(desk: Desk) -> None:
    desk.open().deliver()
    desk.store.claim = _unavailable_claim_async if desk.awaited else _unavailable_claim
    with pytest.raises(NotSettled, match="store_down") as refusal:
        desk.work()
    assert isinstance(refusal.value.__cause__, StoreUnavailable)
    desk.store.fetch = _unavailable_async if desk.awaited else _unavailable
    with pytest.raises(StoreUnavailable):
        desk.work()
    assert desk.handled == []


def _unavailable_claim(*arguments: Any, **named: Any) -> None:
    raise StoreUnavailable("gone")


async def _unavailable_claim_async(*arguments: Any, **named: Any) -> None:
    raise StoreUnavailable("gone")


def test_the_record_of_the_work_is_kept_and_purged_as_any_other(desk: Desk) -> None:
    desk.open().deliver()
    desk.subject.advance(DAY)
    desk.work()
    assert {record.key for record in desk.subject.records(order_no="A-1001")} == {REF, WORK}
    desk.subject.advance(29 * DAY + HOUR)
    assert desk.subject.purge(2 * DAY, 10) == 1  # the delivery's
    assert desk.work().outcome is Outcome.DUPLICATE
    desk.subject.advance(DAY)
    assert desk.subject.purge(2 * DAY, 10) == 1
    with pytest.raises(UnknownWork):
        desk.work()


def test_a_notification_that_waits_longer_than_its_claim_is_kept_is_worked_once(desk: Desk) -> None:
    desk.open().deliver()
    desk.subject.advance(31 * DAY)
    assert desk.subject.purge(2 * DAY, 10) == 1
    # A captured one, posted again: it is queued as it was, and worked as one.
    assert desk.deliver() == "queued"
    assert desk.work().outcome is Outcome.HANDLED
    assert desk.work().outcome is Outcome.DUPLICATE
    assert len(desk.handled) == 1


# --- the sweeper -------------------------------------------------------------------------


def test_the_sweeper_hands_over_what_is_due_and_waits_twice_as_long_each_time(desk: Desk) -> None:
    desk.open().deliver()
    assert desk.sweep() == []
    desk.subject.advance(50)
    assert desk.sweep() == []
    desk.subject.advance(11)
    assert desk.sweep() == [REF]
    for interval in (120, 240, 480):
        assert desk.sweep() == []
        desk.subject.advance(interval - 10)
        assert desk.sweep() == []
        desk.subject.advance(11)
        assert desk.sweep() == [REF]
    desk.work()
    desk.subject.advance(DAY)
    assert desk.sweep() == []
    assert desk.handed == [REF] * 5


def test_the_sweeper_takes_no_more_than_it_is_told_longest_due_first(desk: Desk) -> None:
    desk.open()
    refs = []
    for number in range(3):
        desk.deliver(transaction_id=f"420000000020261123000000000{number}")
        refs += desk.handed[-1:]
        desk.subject.advance(1)
    desk.subject.advance(60)
    assert desk.sweep(2) == refs[:2]
    assert desk.sweep(2) == refs[2:]
    assert desk.sweep(2) == []


def test_the_interval_has_a_limit() -> None:
    inbox = Inbox(print)
    assert [inbox.again_in(count) for count in (0, 1, 2)] == [60, 120, 240]
    assert inbox.again_in(9) == 6 * HOUR
    assert inbox.again_in(1_000_000) == 6 * HOUR
    assert Inbox(print, again_after=8 * HOUR).again_in(3) == 8 * HOUR


def test_what_the_engine_raises_reaches_the_sweep_and_is_put_off(desk: Desk) -> None:
    def refuse(ref: str) -> None:
        raise OSError("no broker")

    desk.open().deliver()
    desk.subject.advance(61)
    desk.dispatching = refuse
    with pytest.raises(OSError, match="no broker"):
        desk.sweep()
    assert desk.subject.due(10) == []
    desk.subject.advance(61)
    desk.dispatching = lambda ref: None
    assert desk.sweep() == [REF]
    assert desk.subject.due(10) == []


def test_one_that_cannot_be_handed_over_does_not_keep_the_others_from_the_engine(desk: Desk) -> None:
    def refuse(ref: str) -> None:
        if ref == refs[1]:
            raise ValueError("no task for this one")

    with desk.subject.transaction() as connection:
        desk.subject.bind(connection).put("refund/1", b"{}", again_in=0)
    refs = ["refund/1"]
    desk.open()
    for number in range(3):
        desk.deliver(transaction_id=f"420000000020261123000000000{number}")
        refs += desk.handed[-1:]
        desk.subject.advance(1)
    desk.subject.advance(60)
    desk.dispatching = refuse
    before = len(desk.handed)
    with pytest.raises(ConfigurationError, match="refund/1"):
        desk.sweep()
    assert desk.handed[before:] == refs[2:]
    desk.subject.advance(61)
    assert {ref for ref, _ in desk.subject.due(10)} == set(refs[:2])


def test_an_engine_that_is_down_is_asked_ten_times_in_a_sweep(desk: Desk) -> None:
    def refuse(ref: str) -> None:
        refused.append(ref)
        raise OSError(f"no broker for {ref}")

    refused: list[str] = []
    desk.open()
    for number in range(12):
        desk.deliver(transaction_id=f"42000000002026112300000000{number:02}")
        desk.subject.advance(1)
    desk.subject.advance(61)
    desk.dispatching = refuse
    with pytest.raises(OSError, match=f"no broker for {desk.handed[0]}"):
        desk.sweep()
    assert refused == desk.handed[:10]
    assert [ref for ref, _ in desk.subject.due(100)] == desk.handed[10:]


def test_what_is_in_the_inbox_without_an_inbox_to_hand_over_is_complained_of(desk: Desk) -> None:
    with desk.subject.transaction() as connection:
        desk.subject.bind(connection).put("refund/1", b"{}", again_in=0)
    with pytest.raises(ConfigurationError, match="refund/1"):
        desk.open().sweep()
    desk.subject.advance(61)
    with pytest.raises(ConfigurationError, match="refund/1"):
        Desk(desk.subject, desk.on_a_loop).sweep()


def test_a_handler_without_an_inbox_sweeps_nothing(blocking: Desk) -> None:
    blocking.open().deliver()
    blocking.subject.advance(61)
    without = Desk(blocking.subject)
    without.receiver.on("payment")(without.handle)
    with pytest.raises(ConfigurationError, match="no handler with an inbox"):
        without.sweep()


# --- the queue in the same database ------------------------------------------------------------


def test_within_queues_inside_the_transaction_and_nothing_is_dispatched(desk: Desk) -> None:
    desk.open(inbox=Inbox(desk.dispatch, within=lambda ref, connection: desk.raw_effect(connection, ref)))
    assert desk.deliver() == "queued"
    assert desk.subject.effects(REF) == 1
    assert desk.handed == []
    assert desk.deliver() == "duplicate"
    assert desk.subject.effects(REF) == 1
    # What the queue lost is dispatched again as anything else.
    desk.subject.advance(61)
    assert desk.sweep() == [REF]


@pytest.mark.parametrize("step", ["within", "complete", "commit"])
def test_within_a_transaction_that_fails_nothing_is_queued(desk: Desk, step: str) -> None:
    def within(ref: str, connection: Any) -> Any:
        desk.store.fail("within")
        return desk.raw_effect(connection, ref)

    desk.open(inbox=Inbox(desk.dispatch, within=within)).store.faults = {step}
    assert desk.deliver() == "handler_failed"
    assert desk.subject.effects(REF) == 0
    assert not desk.waiting
    assert desk.deliver() == "queued"
    assert desk.subject.effects(REF) == 1


def test_within_that_nobody_awaits_queues_nothing(blocking: Desk) -> None:
    async def within(ref: str, connection: Any) -> None: ...

    blocking.open(inbox=Inbox(blocking.dispatch, within=lambda *arguments: within(*arguments)))
    assert blocking.deliver() == "handler_failed"
    assert not blocking.waiting


def test_within_is_awaited_where_the_store_is(awaited: Desk) -> None:
    async def within(ref: str, connection: Any) -> None:
        await asyncio.sleep(0)
        awaited.raw_effect(connection, ref)

    awaited.open(inbox=Inbox(AwaitedEngine(awaited), within=within))
    awaited.store.faults = {"commit"}
    assert awaited.deliver() == "handler_failed"
    assert awaited.subject.effects(REF) == 0
    assert awaited.deliver() == "queued"
    assert awaited.subject.effects(REF) == 1
    assert awaited.handed == []


# --- an engine that is awaited ------------------------------------------------------------


class AwaitedEngine:
    """A dispatch that is a coroutine function."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, ref: str) -> None:
        await asyncio.sleep(0)
        self._desk.dispatch(ref)


def test_a_blocking_store_and_an_engine_that_is_awaited(blocking: Desk) -> None:
    blocking.on_a_loop = True
    blocking.open(inbox=Inbox(AwaitedEngine(blocking)))
    assert [blocking.deliver(), blocking.deliver()] == ["queued", "duplicate"]
    assert blocking.handed == [REF]
    blocking.subject.advance(61)
    assert blocking.sweep() == [REF]
    blocking.failing = [RuntimeError("once")]
    with pytest.raises(NotSettled):
        blocking.work()
    assert [blocking.work().outcome, blocking.work().outcome] == [Outcome.HANDLED, Outcome.DUPLICATE]
    assert not blocking.waiting
    with pytest.raises(UnknownWork):
        blocking.work("payment/never")


@pytest.mark.parametrize("verb", ["receive", "work", "sweep"])
def test_an_engine_that_is_awaited_needs_the_awaited_verbs(blocking: Desk, verb: str) -> None:
    blocking.open(inbox=Inbox(AwaitedEngine(blocking)))
    with pytest.raises(ConfigurationError, match=f"{verb}_async"):
        getattr(blocking.receiver, verb)(b"")


def test_a_partial_of_a_coroutine_function_is_awaited_by_the_sweep(blocking: Desk) -> None:
    async def enqueue(queue: str, ref: str) -> None:
        blocking.handed.append(ref)

    blocking.on_a_loop = True
    blocking.open(inbox=Inbox(partial(enqueue, "queue"))).deliver()
    blocking.subject.advance(61)
    assert blocking.sweep() == [REF]


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_a_dispatch_that_returns_what_nobody_awaits_is_found_out(blocking: Desk, on_a_loop: bool) -> None:
    blocking.on_a_loop = on_a_loop
    engine = AwaitedEngine(blocking)
    blocking.open(inbox=Inbox(lambda ref: engine(ref)))
    assert blocking.deliver() == "not_handed_over"
    blocking.subject.advance(61)
    with pytest.raises(TypeError, match="async def"):
        blocking.do("sweep")
    assert blocking.waiting


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
def test_a_handler_that_means_to_end_the_process_does_not_end_the_loop(
    blocking: Desk, error: type[BaseException]
) -> None:
    blocking.on_a_loop = True
    blocking.open().deliver()
    blocking.failing = [error()]
    with pytest.raises((RuntimeError, NotSettled)):
        blocking.work()
    assert blocking.state(WORK) is State.RELEASED
    assert blocking.work().outcome is Outcome.HANDLED


# --- what is stored and what is told --------------------------------------------------------------


@pytest.mark.parametrize(
    "tampered",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"text"',
        b'{"fields": {}, "key_index": 0, "sign_type": "MD5"}',
        b'{"fields": [], "key_index": 0, "sign_type": "MD5"}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda stored: repr(stored[:20]),
)
def test_a_row_that_is_no_notification_is_not_worked(blocking: Desk, tampered: bytes) -> None:
    blocking.open()
    with blocking.subject.transaction() as connection:
        blocking.subject.bind(connection).put(REF, tampered, again_in=0)
    with pytest.raises(StoreError, match="not this notification"):
        blocking.work()
    assert blocking.handled == []
    assert blocking.waiting


def test_a_row_that_is_another_notification_is_not_worked(blocking: Desk) -> None:
    blocking.open().deliver()
    stored = blocking.subject.fetch(REF)
    assert stored
    other = payment(transaction_id="4200000000202611230000000002").key
    with blocking.subject.transaction() as connection:
        blocking.subject.bind(connection).put(other, stored, again_in=0)
    with pytest.raises(StoreError, match="not this notification") as refusal:
        blocking.work(other)
    assert refusal.value.__cause__ is refusal.value.__context__ is None
    assert unpack(REF, stored) == PAYMENT


def test_the_payer_is_in_no_event_and_no_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(ref: str) -> None:
        raise OSError("no broker")

    told: list[str] = []
    with caplog.at_level(logging.DEBUG, "wxnotify"):
        desk.open().dispatching = refuse
        desk.deliver()
        desk.dispatching = lambda ref: None
        desk.subject.advance(61)
        desk.sweep()
        desk.failing = [RuntimeError("out of paper")]
        try:
            desk.work()
        except NotSettled as error:
            told += [repr(error), "".join(traceback.format_exception(error))]
        desk.work()
        desk.work()
        stored = desk.subject.fetch(REF)
    assert stored is None
    assert desk.handled[0].openid == OPENID
    told += [caplog.text, repr(desk.events), repr(desk.handed), repr(desk.inbox)]
    told += [repr(record) for record in desk.subject.records()]
    assert all(OPENID not in text and KEY not in text for text in told)
    assert len(desk.events) == 4


def test_the_log_tells_work_from_deliveries(blocking: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wxnotify"):
        blocking.open().deliver()
        blocking.work()
    delivered, worked = [record.getMessage() for record in caplog.records]
    assert delivered.startswith("queued ")
    assert "work=" not in delivered
    assert worked.startswith("handled ")
    assert "work=True" in worked


def test_work_is_allowed_to_take_its_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=lambda payment: Expected(100), clock=lambda: now[0])

        @receiver.on("payment", inbox=Inbox(lambda ref: None))
        def print_slowly(payment: Payment) -> None:
            now[0] += 20

        assert receiver.receive(notification()) == SUCCESS
        event = receiver.work(REF)
    assert (event.seconds, event.handler_seconds, event.over_budget) == (20.0, 20.0, False)
    assert caplog.records == []


def test_orders_and_inbox_in_one_file(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "shop.db")
    with SQLiteStore(orders.path) as store:
        receiver = Receiver(MERCHANT, store, expect=lambda payment: Expected(100))
        receiver.on("payment", transaction=orders.transaction, inbox=Inbox(lambda ref: None))(orders.ship)
        assert receiver.receive(notification()) == SUCCESS
        assert orders.shipped == 0
        receiver.work(REF)
        receiver.work(REF)
    assert orders.shipped == 1
    with closing(sqlite3.connect(orders.path)) as shop:
        assert shop.execute("SELECT count(*) FROM wxnotify_inbox").fetchone() == (0,)


# --- what cannot work is refused ------------------------------------------------------------------------


async def _awaited(*arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("inbox", "why"),
    [
        ("task.delay", "not str"),
        (print, "not builtin_function_or_method"),
        (Inbox("task"), "are functions"),  # type: ignore[arg-type]
        (Inbox(print, within="connection"), "are functions"),
        (Inbox(print, within=_awaited), "blocking store"),
        (Inbox(print, again_after=0), "again_after"),
        (Inbox(print, again_after=-1), "again_after"),
        (Inbox(print, again_after=float("nan")), "again_after"),
        (Inbox(print, again_after=float("inf")), "again_after"),
        (Inbox(print, again_after=86_400), "again_after"),
        (Inbox(print, again_after="60"), "again_after"),  # type: ignore[arg-type]
        (Inbox(print, again_after=True), "again_after"),
    ],
    ids=repr,
)
def test_an_inbox_that_cannot_work_is_refused(blocking: Desk, inbox: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        blocking.receiver.on("payment", inbox=inbox)


def test_a_store_without_an_inbox_is_refused() -> None:
    receiver = Receiver(MERCHANT, MemoryStore(), expect=lambda payment: Expected(100))
    with pytest.raises(
        ConfigurationError, match="MemoryStore has no inbox: it lacks bind, transaction, fetch"
    ):
        receiver.on("payment", inbox=Inbox(print))


def test_a_delivery_without_an_inbox_is_handled_as_ever(blocking: Desk) -> None:
    blocking.receiver.on("payment")(blocking.handle)
    assert blocking.deliver() == "handled"
    assert blocking.receiver.receive(notification()) == build_reply()
    assert len(blocking.handled) == 1
    with pytest.raises(UnknownWork):
        blocking.work()
