"""The inbox and the kinds: each is stored and read back as it was, and worked once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wxnotify import Expected, Merchant, Outcome, Payment
from wxnotify.errors import ConfigurationError, NotSettled, StoreError, UnknownWork
from wxnotify.inbox import Inbox, kind_of, pack, unpack
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import APPID, KEY, MCH_ID, combined, contract, notification, plate_state
from wxnotify.testing.apiv3_resources import COMBINED

from .kinds import EVERY, orders, resource, told
from .receiving import SUCCESS
from .receiving_kinds import EveryKind, both, posted

each = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
TWO = {"A-1001": Expected(100), "A-1002": Expected(200)}


# --- what is stored -------------------------------------------------------------------


@each
def test_it_is_read_back_as_it_was(make):
    one = make()
    read = unpack(one.key, pack(one))
    assert read == one
    assert type(read) is type(one)
    assert dict(read.fields) == dict(one.fields)
    for name in ("kind", "key", "fingerprint", "dialect", "event_type", "result", "mch_id", "out_trade_no"):
        assert getattr(read, name) == getattr(one, name)
    for name in ("mch_id", "key_index", "sandbox", "sign_type", "serial", "notification_id", "create_time"):
        assert getattr(read.fields, name, None) == getattr(one.fields, name, None)


@each
def test_what_is_stored_is_json_and_holds_no_key(make):
    stored = pack(make())
    assert isinstance(json.loads(stored), dict)
    assert KEY.encode() not in stored
    assert b'"sign":' not in stored


@each
def test_its_ref_names_the_kind_that_its_handler_is_registered_by(make):
    one = make()
    assert kind_of(one.key) == one.kind


def test_of_a_combined_order_the_one_that_was_queued_is_read_back():
    for payment in orders(combined()):
        assert unpack(payment.key, pack(payment)).out_trade_no == payment.out_trade_no


def test_what_was_encrypted_is_stored_open_and_what_stood_outside_with_it():
    refund = EVERY["refund"]()
    read = unpack(refund.key, pack(refund))
    assert read.fields.unauthenticated == refund.fields.unauthenticated
    event = EVERY["pay_after"]()
    assert unpack(event.key, pack(event)).content == event.content


def test_what_tells_another_key_is_not_worked():
    for make in EVERY.values():
        with pytest.raises(StoreError, match="not this notification"):
            unpack("payment/1/2/SUCCESS", pack(make()))


@each
@pytest.mark.parametrize(
    "damage", [lambda s: s[:-1], lambda s: b"{}", lambda s: s.replace(b"{", b"[", 1), lambda s: b""]
)
def test_what_is_damaged_is_not_worked(make, damage):
    with pytest.raises(StoreError) as refusal:
        unpack(make().key, damage(pack(make())))
    assert refusal.value.__context__ is None


# --- deliveries and work --------------------------------------------------------------


class Desk(EveryKind):
    """A merchant whose every kind but a scan is queued; the engine is a list of refs."""

    def __init__(self, store: SQLiteStore, **options: object) -> None:
        self.refs: list[str] = []
        kinds = ("payment", "refund", "contract", "plate", "profit_sharing", "transfer", "payscore", "event")
        super().__init__(*kinds, store=store, merchants=both(), orders=TWO, **options)

    def register(self) -> None:
        for kind in self.kinds:
            self.receiver.on(kind, inbox=Inbox(self.refs.append))(self.take)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with SQLiteStore(tmp_path / "shop.db") as store:
        yield Desk(store)


BODIES = {
    "payment": notification(),
    "contract": contract(),
    "plate": plate_state(),
    "profit_sharing": posted("PROFITSHARING.SUCCESS", EVERY["profit_sharing"]().fields),
    "transfer": posted("MCHTRANSFER.BILL.FINISHED", EVERY["transfer"]().fields),
    "payscore": posted("PAYSCORE.USER_PAID", EVERY["payscore order"]().fields),
    "refund APIv3": posted("REFUND.SUCCESS", EVERY["refund APIv3"]().fields),
    "event": posted("COMPLAINT.CREATE", EVERY["event"]().fields),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_each_kind_is_queued_once_and_worked_once(desk, body):
    reply, (event,) = desk.tell(body)
    assert (event.outcome, reply.status) == (Outcome.QUEUED, 200)
    assert desk.tell(body)[1][0].outcome is Outcome.DUPLICATE
    (ref,) = desk.refs
    assert (ref, desk.told) == (event.key, [])
    assert desk.receiver.work(ref).outcome is Outcome.HANDLED
    assert desk.receiver.work(ref).outcome is Outcome.DUPLICATE
    (one,) = desk.told
    assert (one.key, one.kind) == (ref, event.kind)


def test_an_event_without_a_handler_of_its_own_is_worked_by_that_of_all_events(desk):
    desk.tell(BODIES["event"])
    assert desk.refs[0].startswith("COMPLAINT.CREATE/")
    assert desk.receiver.work(desk.refs[0]).kind == "COMPLAINT.CREATE"


def test_the_orders_of_a_combined_one_are_queued_and_worked_each_by_itself(desk):
    assert desk.tell(combined())[0] == SUCCESS
    assert len(desk.refs) == 2
    assert desk.tell(combined())[0] == SUCCESS
    assert len(desk.refs) == 2
    for ref in reversed(desk.refs):
        assert desk.receiver.work(ref).key == ref
    assert [one.out_trade_no for one in desk.told] == ["A-1002", "A-1001"]
    assert all(isinstance(one, Payment) for one in desk.told)


def test_the_orders_of_a_combined_one_of_apiv3_are_worked_each_by_itself(desk):
    desk.tell(posted("TRANSACTION.SUCCESS", COMBINED))
    for ref in desk.refs:
        desk.receiver.work(ref)
    assert [one.combine_out_trade_no for one in desk.told] == ["C-1001", "C-1001"]
    assert [one.out_trade_no for one in desk.told] == ["A-1001", "A-1002"]


def test_one_order_of_a_combined_one_that_fails_is_worked_again_by_itself(desk):
    desk.tell(combined())
    desk.failing = [ValueError()]
    with pytest.raises(NotSettled):
        desk.receiver.work(desk.refs[0])
    assert desk.receiver.work(desk.refs[1]).outcome is Outcome.HANDLED
    assert desk.receiver.work(desk.refs[0]).outcome is Outcome.HANDLED
    assert [one.out_trade_no for one in desk.told] == ["A-1001", "A-1002", "A-1001"]


def test_an_order_that_does_not_fit_is_not_queued_with_the_others(desk):
    desk.orders["A-1002"] = Expected(1)
    assert desk.tell(combined())[0].status == 422
    assert [kind_of(ref) for ref in desk.refs] == ["payment"]
    with pytest.raises(UnknownWork):
        desk.receiver.work(orders(combined())[1].key)


def test_the_answer_to_a_query_is_queued_and_worked_as_the_event_is(desk):
    payment = Payment.from_resource(resource("", EVERY["payment APIv3"]().fields, key_index=None))
    assert desk.receiver.settle(payment).outcome is Outcome.QUEUED
    desk.receiver.work(desk.refs[0])
    assert desk.told == [told(notification())]


def test_a_scan_cannot_be_queued_because_its_payer_waits(tmp_path):
    with SQLiteStore(tmp_path / "shop.db") as store:
        shop = EveryKind("payment", store=store, merchants=Merchant(MCH_ID, APPID, KEY))
        with pytest.raises(ConfigurationError, match="cannot be queued"):
            shop.receiver.on("scan", inbox=Inbox(print))
