"""The receiver: what it reports of each delivery, and what it never tells."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wxnotify import (
    WAIVE_EXPECTATION,
    Event,
    Expected,
    Merchant,
    Outcome,
    Payment,
    Receiver,
    build_reply,
    parse,
)
from wxnotify.errors import ConfigurationError, StoreUnavailable, UnknownOrder
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification

from .receiving import ORDER, SUCCESS, FaultyStore, Shop
from .receiving_kinds import both, posted

PAID = notification()
OTHER_KEY = "another-test-key-0123456789abcde"


@pytest.fixture
def shop() -> Shop:
    return Shop(FaultyStore())


def test_an_event_says_what_happened_and_how_long_it_took(shop: Shop) -> None:
    shop.during = lambda: shop.clock.sleep(1.5)
    shop.deliver()
    assert shop.events == [
        Event(
            Outcome.HANDLED,
            "handled",
            200,
            kind="payment",
            mch_id=MCH_ID,
            out_trade_no=ORDER,
            transaction_id="4200000000202611230000000001",
            paid=True,
            key_index=0,
            attempts=1,
            seconds=1.5,
            handler_seconds=1.5,
            key=f"payment/{MCH_ID}/4200000000202611230000000001/SUCCESS",
            dialect="APIv2",
        )
    ]


def test_the_event_of_a_forgery_names_its_body_and_believes_none_of_its_fields(shop: Shop) -> None:
    body = notification(key=OTHER_KEY)
    shop.deliver(body)
    (event,) = shop.events
    assert event == Event(
        Outcome.REJECTED,
        "bad_signature",
        401,
        event.detail,
        body_bytes=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        dialect="APIv2",
    )


@pytest.mark.parametrize(("seconds", "over"), [(5.0, False), (5.25, True)])
def test_an_answer_that_took_longer_than_the_budget_is_reported(
    shop: Shop, caplog: pytest.LogCaptureFixture, seconds: float, over: bool
) -> None:
    shop.during = lambda: shop.clock.sleep(seconds)
    with caplog.at_level(logging.DEBUG, "wxnotify"):
        shop.deliver()
    assert (shop.events[0].seconds, shop.events[0].over_budget) == (seconds, over)
    assert caplog.records[0].levelno == (logging.WARNING if over else logging.INFO)


def test_a_refusal_that_took_longer_than_the_budget_is_reported(shop: Shop) -> None:
    shop.receiver.receive(b"", started=shop.clock.now - 6)
    assert (shop.events[0].seconds, shop.events[0].over_budget) == (6.0, True)


def test_a_hook_that_raises_changes_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: Event) -> None:
        raise ValueError("of the hook")

    shop = Shop(on_event=hook)
    assert shop.receiver.receive(PAID) == SUCCESS
    assert shop.receiver.receive(b"") == build_reply("FAIL", "empty_body", status=400)
    assert "on_event raised" in caplog.text
    assert "of the hook" in caplog.text


def test_without_a_hook_the_log_is_the_report(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "wxnotify"):
        Shop(on_event=None).receiver.receive(PAID)
    assert caplog.records[0].wxnotify.outcome is Outcome.HANDLED  # type: ignore[attr-defined]


def test_what_the_handler_raised_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Shop(failing=[ValueError("out of stock")]).deliver()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "out of stock" in caplog.text
    assert "in handle" in caplog.text


def test_what_the_expectation_raised_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def expect(payment: Payment) -> Expected:
        raise LookupError("no such column")

    Shop(expect=expect).deliver()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "no such column" in caplog.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub_mch_id": "1900000999"}, "merchant_mismatch"),
        ({"appid": "wx1"}, "merchant_mismatch"),
        ({"bank_type": None}, "missing_field"),
        ({"total_fee": "0x64"}, "bad_field"),
    ],
)
def test_what_is_authentic_and_refused_is_named_in_its_event(changes: dict[str, Any], code: str) -> None:
    shop = Shop(merchants=Merchant(MCH_ID, APPID, [OTHER_KEY, KEY], sub_mch_ids=["1900000111"]))
    assert shop.deliver(**changes) == code
    (event,) = shop.events
    fields = parse(PAID)
    assert (event.mch_id, event.out_trade_no) == (MCH_ID, fields["out_trade_no"])
    assert (event.transaction_id, event.key_index) == (fields["transaction_id"], 1)
    assert event.body_bytes


def test_what_is_not_authentic_names_nothing_in_its_event() -> None:
    shop = Shop()
    shop.deliver(PAID.replace(b"<cash_fee>100", b"<cash_fee>101"))
    (event,) = shop.events
    assert (event.code, event.mch_id, event.out_trade_no, event.transaction_id) == (
        "bad_signature",
        "",
        "",
        "",
    )
    assert (event.kind, event.key, event.key_index) == ("", "", None)


def test_an_event_is_one_line_of_the_log_whatever_it_names(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(merchants=both())
    with caplog.at_level(logging.DEBUG, "wxnotify"):
        shop.receiver.receive(posted("A.B\nwxnotify: handled", {"a": "b"}, id="EV-1\nhandled"))
    (record,) = caplog.records
    (event,) = shop.events
    assert "\n" not in record.getMessage()
    assert "notification_id=EV-1\\nhandled" in record.getMessage()
    assert (event.code, event.event_type) == ("bad_field", "")


@pytest.mark.parametrize("odd", ["A/1001", "A" * 33, "订单"])
def test_an_order_number_that_is_none_is_left_out_of_the_event(odd: str) -> None:
    shop = Shop()
    assert shop.deliver(out_trade_no=odd) == "bad_field"
    assert (shop.events[0].mch_id, shop.events[0].out_trade_no) == (MCH_ID, "")


def test_a_refusal_explains_itself_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Shop(orders={ORDER: Expected(101)}).deliver()
    (record,) = caplog.records
    assert not record.exc_info
    assert "total_fee is 100 fen, the order says 101 fen" in record.getMessage()


DELIVERIES: dict[str, Callable[[Shop], object]] = {
    "handled": lambda shop: shop.deliver(),
    "duplicate": lambda shop: (shop.deliver(), shop.deliver()),
    "conflict": lambda shop: (
        shop.orders.update({"A-1002": Expected(100)}),
        shop.deliver(),
        shop.deliver(out_trade_no="A-1002", openid="oTestAnother"),
    ),
    "in_progress": lambda shop: (
        setattr(shop, "during", lambda: shop.receiver.receive(PAID)),
        shop.receiver.receive(PAID),
    ),
    "handler_failed": lambda shop: (shop.failing.append(ValueError("x")), shop.deliver()),
    "amount_mismatch": lambda shop: shop.deliver(total_fee="1"),
    "merchant_mismatch": lambda shop: shop.deliver(appid="wx1"),
    "unknown_order": lambda shop: shop.deliver(out_trade_no="A-9"),
    "bad_signature": lambda shop: shop.deliver(PAID.replace(b"<cash_fee>100", b"<cash_fee>101")),
    "malformed_signature": lambda shop: shop.deliver(PAID.replace(b"<sign>", b"<sign>x")),
    "ambiguous_signature": lambda shop: shop.deliver(attach="secret-attach&bank_type=X"),
    "dtd_forbidden": lambda shop: shop.deliver(b"<!DOCTYPE xml>" + PAID),
    "malformed": lambda shop: shop.deliver(PAID[:-3]),
    "missing_field": lambda shop: shop.deliver(bank_type=None),
    "bad_field": lambda shop: shop.deliver(total_fee="0x64"),
    "store_down": lambda shop: (shop.store.faults.update(claim=[OSError("x")]), shop.deliver()),
}


@pytest.mark.parametrize("name", DELIVERIES)
def test_no_event_log_or_reply_holds_a_secret_and_each_delivery_has_one_of_each(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(FaultyStore())
    replies: list[bytes] = []
    receive = shop.receiver.receive

    def watched(body: bytes, **named: Any) -> Any:
        reply = receive(body, **named)
        replies.append(reply.body)
        return reply

    shop.receiver.receive = watched  # type: ignore[method-assign]
    with caplog.at_level(logging.DEBUG):
        DELIVERIES[name](shop)
    assert any(event.code == name for event in shop.events)
    records = [record for record in caplog.records if record.name == "wxnotify"]
    assert len(records) == len(shop.events) == len(replies)
    assert [record.wxnotify for record in records] == shop.events  # type: ignore[attr-defined]
    assert not any("\n" in record.getMessage() for record in records)
    fields = parse(PAID)
    told = "\n".join([caplog.text, repr(shop.events), *map(repr, replies), repr(shop.receiver)])
    secrets = [KEY, fields["sign"], fields["openid"], "oTestAnother", "secret-attach", fields["nonce_str"]]
    assert [secret for secret in secrets if secret in told] == []
    assert "<xml><appid>" not in told


def test_a_key_that_is_refused_is_in_no_traceback_that_shows_locals() -> None:
    secret = "not-32-characters-but-secret"
    try:
        Receiver(Merchant(MCH_ID, APPID, [KEY, secret]), MemoryStore(), expect=WAIVE_EXPECTATION)
    except ConfigurationError as error:
        frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack[1:]
        text = "".join(traceback.format_list(frames))
    assert secret not in text
    assert KEY not in text


def test_a_log_that_fails_changes_nothing(shop: Shop) -> None:
    class Failing(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("disk full")

    failing = Failing()
    logging.getLogger("wxnotify").addFilter(failing)
    try:
        assert shop.receiver.receive(PAID) == SUCCESS
    finally:
        logging.getLogger("wxnotify").removeFilter(failing)
    assert [event.code for event in shop.events] == ["handled"]


def test_a_hook_and_a_log_that_both_fail_change_nothing() -> None:
    def fail(event: Event) -> None:
        logging.getLogger("wxnotify").addFilter(failing)
        raise RuntimeError("of the hook")

    def failing(record: logging.LogRecord) -> bool:
        raise RuntimeError("disk full")

    try:
        assert Shop(on_event=fail).receiver.receive(PAID) == SUCCESS
    finally:
        logging.getLogger("wxnotify").removeFilter(failing)


def test_a_refusal_the_handler_raises_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Shop(failing=[UnknownOrder("of the handler")]).deliver()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "in handle" in caplog.text


def test_a_store_that_fails_the_expectation_is_down_and_refuses_nothing() -> None:
    def expect(payment: Payment) -> Expected:
        raise StoreUnavailable("shop.db was locked")

    shop = Shop(expect=expect)
    assert shop.deliver() == "store_down"
    assert (shop.events[0].outcome, shop.events[0].status) == (Outcome.STORE_DOWN, 503)
    assert shop.events[0].detail == "shop.db was locked"


class Odd(UnknownOrder):
    """A refusal of the merchant's own that cannot be what it says."""

    status = 200

    def __str__(self) -> str:
        raise RuntimeError


def test_a_refusal_of_the_merchants_own_is_never_told_success() -> None:
    def expect(payment: Payment) -> Expected:
        raise Odd

    shop = Shop(expect=expect)
    assert shop.receiver.receive(PAID) == build_reply("FAIL", "unknown_order", status=500)
    assert shop.events[0].detail == "unknown_order"


#: A process of its own: here, what other tests have left behind may end meanwhile, on threads of its own.
FAILING = """
import gc, logging
from wxnotify.errors import UnknownOrder
from wxnotify.testing import notification
from tests.receiving import Shop

logging.disable()
for failing in ValueError(), UnknownOrder("x"):
    Shop(failing=[failing]).deliver()  # what is imported at the first call is imported now
    shop, paid = Shop(failing=[failing]), notification()
    gc.collect()
    gc.disable()
    assert shop.receiver.receive(paid).status != 200
    print(gc.collect())
    gc.enable()
"""


def test_a_failed_delivery_leaves_nothing_to_the_cycle_collector() -> None:
    command = [sys.executable, "-c", FAILING]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "0"]
