"""The receiver: how it is made, and which messages it refuses, in which order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
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
    parse_order_query,
    sign,
    write,
)
from wxnotify.errors import ConfigurationError, StoreUnavailable, UnknownOrder
from wxnotify.idempotency import Store
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment, payment_fields, query_answer

from .receiving import MERCHANT, ORDER, SUCCESS, AwaitedStore, FaultyStore, Orders, Shop
from .support import code_of

PAID = notification()
OTHER_KEY = "another-test-key-0123456789abcde"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores that need no server."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        with SQLiteStore(tmp_path / "claims.db") as sqlite_store:
            yield sqlite_store


@pytest.fixture
def shop() -> Shop:
    return Shop(FaultyStore())


# --- construction --------------------------------------------------------------


async def coroutine_function(*arguments: object) -> None: ...


class NoStore:
    def claim(self) -> None: ...


@pytest.mark.parametrize(
    "options",
    [
        {"expect": None},
        {"expect": Expected(100)},
        {"lease": 0},
        {"lease": -1},
        {"lease": float("inf")},
        {"lease": float("nan")},
        {"lease": 86_400},
        {"lease": True},
        {"lease": "30"},
        {"retain": 48 * 3600 - 1},
        {"retain": float("nan")},
        {"retain": True},
        {"wait": -0.1},
        {"wait": 5},
        {"wait": float("nan")},
        {"store": NoStore()},
        {"store": None},
        {"store": MemoryStore},
        {"threads": 0},
        {"on_event": "print"},
        {"on_event": coroutine_function},
        {"merchants": []},
        {"merchants": [MERCHANT, MERCHANT]},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_when_it_is_made(options: dict[str, Any]) -> None:
    options = {"merchants": MERCHANT, "store": MemoryStore(), "expect": WAIVE_EXPECTATION, **options}
    assert code_of(Receiver, **options) == "configuration"


def test_a_receiver_without_an_expectation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expect is missing"):
        Receiver(MERCHANT, MemoryStore())


@pytest.mark.parametrize("kind", ["payments", "", "Payment", "支付", "TRANSACTION.SUCCESS"])
def test_a_handler_of_an_unknown_kind_is_refused(shop: Shop, kind: str) -> None:
    assert code_of(shop.receiver.on, kind) == "configuration"


def test_a_second_handler_of_a_kind_is_refused(shop: Shop) -> None:
    assert code_of(shop.receiver.on("payment"), print) == "configuration"


def test_what_cannot_be_called_is_no_handler_and_no_transaction(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=WAIVE_EXPECTATION)
        assert code_of(receiver.on("payment"), "no") == "configuration"
        assert code_of(receiver.on, "payment", transaction=True) == "configuration"
        assert code_of(receiver.on, "payment", transaction=store.transaction()) == "configuration"


@pytest.mark.parametrize(
    "expected",
    [Expected(100, mch_id=""), Expected(100, appid=""), Expected(100, sub_mch_id="")],
    ids=["mch_id", "appid", "sub_mch_id"],
)
def test_an_id_the_expectation_gives_as_empty_text_is_not_one_left_out(expected: Expected) -> None:
    merchant = Merchant(MCH_ID, APPID, KEY, sub_mch_ids=["1900000111"])
    shop = Shop(merchants=merchant, orders={ORDER: expected})
    assert shop.deliver(sub_mch_id="1900000111") == "merchant_mismatch"


def test_a_larger_body_is_taken_where_the_limit_is_larger() -> None:
    body = notification(promotion_detail="x" * 70_000)
    assert Shop(max_bytes=100_000).receiver.receive(body) == SUCCESS
    assert Shop().receiver.receive(body).status == 413


def test_the_decorator_gives_the_handler_back() -> None:
    receiver = Receiver(MERCHANT, MemoryStore(), expect=WAIVE_EXPECTATION)
    assert receiver.on("payment")(print) is print


def test_a_transaction_needs_a_store_that_completes_inside_it() -> None:
    receiver = Receiver(MERCHANT, MemoryStore(), expect=WAIVE_EXPECTATION)
    with pytest.raises(ConfigurationError, match="MemoryStore has no bind"):
        receiver.on("payment", transaction=lambda: None)(print)  # type: ignore[arg-type,return-value]


def test_an_asynchronous_transaction_is_a_function_too() -> None:
    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        yield

    class Bindable(AwaitedStore):
        bind = None

    receiver = Receiver(MERCHANT, Bindable(MemoryStore()), expect=WAIVE_EXPECTATION)
    assert code_of(receiver.on, "payment", transaction=transaction()) == "configuration"
    assert receiver.on("payment", transaction=transaction)(coroutine_function) is coroutine_function


def test_in_the_transaction_of_an_asynchronous_store_a_handler_is_a_coroutine_function() -> None:
    class Bindable(AwaitedStore):
        bind = None

    receiver = Receiver(MERCHANT, Bindable(MemoryStore()), expect=WAIVE_EXPECTATION)
    register = receiver.on("payment", transaction=lambda: contextlib.AsyncExitStack())
    with pytest.raises(ConfigurationError, match="Bindable, a handler is a coroutine function"):
        register(lambda payment, connection: None)


def test_a_handler_in_a_transaction_is_no_coroutine_function(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=WAIVE_EXPECTATION)
        register = receiver.on("payment", transaction=Orders(tmp_path / "shop.db").transaction)
        assert code_of(register, coroutine_function) == "configuration"
        register(lambda payment, connection: None)  # the refused one took no place


@pytest.mark.parametrize("part", ["store", "expect", "handler"])
def test_what_is_asynchronous_cannot_be_received_blocking(part: str) -> None:
    receiver = Receiver(
        MERCHANT,
        AwaitedStore(MemoryStore()) if part == "store" else MemoryStore(),
        expect=coroutine_function if part == "expect" else WAIVE_EXPECTATION,
    )
    receiver.on("payment")(coroutine_function if part == "handler" else print)
    assert code_of(receiver.receive, PAID) == "configuration"
    assert code_of(receiver.settle, payment()) == "configuration"


@pytest.mark.parametrize("headers", ["Wechatpay-Serial: F0", b"", ""])
def test_headers_that_are_a_text_are_a_mistake_in_the_callers_code(headers):
    with pytest.raises(TypeError, match="headers are a mapping"):
        Shop().receiver.receive(PAID, headers)


@pytest.mark.parametrize("body", ["<xml/>", bytearray(PAID), memoryview(PAID), None, parse(PAID)])
def test_anything_but_bytes_is_a_mistake_in_the_caller(shop: Shop, body: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        shop.receiver.receive(body)


@pytest.mark.parametrize("settled", [parse(PAID), None, "A-1001"])
def test_anything_but_a_payment_cannot_be_settled(shop: Shop, settled: Any) -> None:
    with pytest.raises(TypeError, match="Payment"):
        shop.receiver.settle(settled)


# --- the verdicts, in their order ----------------------------------------------


# Each is one fault; those that follow are further down the road, so that with all of them at once the first
# decides. (what is changed, how, code, status)
Fault = tuple[str, Any, str, int]
FAULTS: list[Fault] = [
    ("body", lambda body: body + b" " * 65_536, "too_large", 413),
    ("body", lambda body: body.replace(b"<xml>", b"\xff<xml>", 1), "bad_encoding", 400),
    ("body", lambda body: b'<!DOCTYPE xml [<!ENTITY a "b">]>' + body, "dtd_forbidden", 400),
    ("body", lambda body: body.replace(b"</xml>", b"<appid>x</appid></xml>"), "duplicate_field", 400),
    ("signed", {"return_code": "FAIL"}, "return_code_fail", 422),
    ("signed", {"sign": ""}, "missing_signature", 401),
    ("signed", {"mch_id": "1900000110"}, "unknown_merchant", 403),
    ("signed", {"sign": "zz"}, "malformed_signature", 401),
    ("signed", {"sign_type": "HMAC-SHA256"}, "bad_sign_type", 401),
    ("signed", {"cash_fee": "1"}, "bad_signature", 401),
    ("fields", {"attach": "a&bank_type=OTHERS"}, "ambiguous_signature", 401),
    ("fields", {"appid": "wx8888888888888889"}, "merchant_mismatch", 403),
    ("fields", {"openid": ""}, "missing_field", 422),
    ("fields", {"transaction_id": "42 00"}, "bad_field", 422),
    ("handler", None, "no_handler", 500),
    ("expect", LookupError, "expectation_failed", 500),
    ("order", lambda order: None, "unknown_order", 503),
    ("order", lambda order: {"total_fee": 100}, "expectation_failed", 500),
    ("order", lambda order: order._replace(sub_mch_id="1900000111"), "merchant_mismatch", 403),
    ("order", lambda order: order._replace(transaction_id="4200000000"), "transaction_mismatch", 409),
    ("order", lambda order: order._replace(total_fee=100.0), "expectation_failed", 500),
    ("order", lambda order: order._replace(total_fee=101), "amount_mismatch", 422),
]


class CountedStore(MemoryStore):
    """Counts how often it is asked anything."""

    asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("claim", "complete", "release", "extend", "purge", "find"):
            self.asked += 1
        return super().__getattribute__(name)


def faulty_delivery(faults: list[Fault]) -> tuple[Receiver, bytes, list[Event], list[Payment], CountedStore]:
    fields, signed, bytes_changes = payment_fields(), {}, []
    expected: Any = Expected(100)
    raises: type[Exception] | None = None
    has_handler = True
    for what, change, _, _ in reversed(faults):
        if what == "fields":
            fields.update(change)
        elif what == "signed":
            signed.update(change)
        elif what == "body":
            bytes_changes.append(change)
        elif what == "order":
            expected = change(expected) if expected is not None else None
        elif what == "expect":
            raises = change
        else:
            has_handler = False
    body = write({**fields, "sign": sign(fields, KEY), **signed})
    for change in bytes_changes:
        body = change(body)
    store, events, handled = CountedStore(), [], []

    def expect(payment: Payment) -> Any:
        if raises:
            raise raises("x")
        return expected

    receiver = Receiver(MERCHANT, store, expect=expect, on_event=events.append)
    if has_handler:
        receiver.on("payment")(handled.append)
    store.asked = 0
    return receiver, body, events, handled, store


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with all that follow"])
@pytest.mark.parametrize("position", range(len(FAULTS)), ids=lambda at: f"{at}-{FAULTS[at][2]}")
def test_the_first_fault_on_the_road_decides_and_nothing_after_it_is_done(position: int, alone: bool) -> None:
    faults = [FAULTS[position]] if alone else FAULTS[position:]
    _, _, code, status = FAULTS[position]
    receiver, body, events, handled, store = faulty_delivery(faults)
    reply = receiver.receive(body)
    assert reply == build_reply("FAIL", code, status=status)
    (event,) = events
    assert (event.outcome, event.code, event.status) == (Outcome.REJECTED, code, status)
    assert handled == []
    assert store.asked == 0  # not even claimed: nothing is used up


@pytest.mark.parametrize("position", range(len(FAULTS)), ids=lambda at: f"{at}-{FAULTS[at][2]}")
def test_a_refused_delivery_leaves_the_genuine_one_its_key(position: int) -> None:
    _, body, _, _, store = faulty_delivery([FAULTS[position]])
    shop = Shop(store)
    shop.deliver(body)
    # Where the shop and not the message had the fault, this other shop has handled it.
    genuine = FAULTS[position][0] in ("handler", "expect", "order")
    assert len(shop.handled) == genuine
    assert shop.deliver() == ("duplicate" if genuine else "handled")


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"<xml>", b"<xml></xml>", b"{}", b"\x00", b"null", b"<xml>" * 5000, PAID[:-1], PAID + PAID],
    ids=lambda body: repr(body[:12]),
)
def test_any_bytes_get_an_answer(shop: Shop, body: bytes) -> None:
    shop.deliver(body)
    assert shop.events[0].outcome is Outcome.REJECTED
    assert shop.asked == []


def test_a_body_at_the_limit_of_size_is_read_and_one_byte_more_is_not(shop: Shop) -> None:
    padding = " " * (65_536 - len(PAID))
    assert shop.deliver(PAID + padding.encode()) == "handled"
    assert shop.deliver(PAID + padding.encode() + b" ") == "too_large"


# --- orders --------------------------------------------------------------------


def test_an_order_that_is_not_there_yet_is_settled_by_the_resend(store: Store) -> None:
    shop = Shop(store, orders={})
    assert shop.deliver() == "unknown_order"
    assert shop.events[0].status == 503
    shop.orders[ORDER] = Expected(100)
    assert shop.deliver() == "handled"
    assert len(shop.handled) == 1


@pytest.mark.parametrize(
    ("expected", "changes", "code"),
    [
        (Expected(100), {}, "handled"),
        (Expected(Decimal("1.00")), {}, "handled"),
        (Expected(100), {"fee_type": None}, "handled"),
        (Expected(100, "USD"), {"fee_type": "USD"}, "handled"),
        (Expected(100, "USD"), {"fee_type": None}, "amount_mismatch"),
        (Expected(100), {"fee_type": "USD"}, "amount_mismatch"),
        (Expected(99), {}, "amount_mismatch"),
        (Expected(100), {"total_fee": "1", "cash_fee": "100"}, "amount_mismatch"),
        (Expected(Decimal("1.01")), {}, "amount_mismatch"),
        (Expected(Decimal("1.001")), {}, "expectation_failed"),
        (Expected(Decimal("NaN")), {}, "expectation_failed"),
        (Expected(Decimal(1), "USD"), {"fee_type": "USD"}, "expectation_failed"),
        (Expected(100.0), {}, "expectation_failed"),  # type: ignore[arg-type]
        (Expected("100"), {}, "expectation_failed"),  # type: ignore[arg-type]
        (Expected(True), {"total_fee": "1"}, "expectation_failed"),
        (Expected(0), {}, "expectation_failed"),
        (Expected(None), {}, "expectation_failed"),  # type: ignore[arg-type]
        (100, {}, "expectation_failed"),
        (True, {}, "expectation_failed"),
        ((100, "CNY", None, None, None, None, None), {}, "expectation_failed"),
        (Expected(100, mch_id=1900000109), {}, "expectation_failed"),  # type: ignore[arg-type]
        (Expected(100, mch_id=MCH_ID, appid=APPID), {}, "handled"),
        (Expected(100, mch_id="1900000110"), {}, "merchant_mismatch"),
        (Expected(100, appid="wx8888888888888889"), {}, "merchant_mismatch"),
        (Expected(100, sub_mch_id="1900000111"), {}, "merchant_mismatch"),
        (Expected(100), {"sub_mch_id": "1900000111"}, "merchant_mismatch"),
        (Expected(100, sub_mch_id="1900000111"), {"sub_mch_id": "1900000111"}, "handled"),
        (Expected(100, sub_mch_id="1900000112"), {"sub_mch_id": "1900000111"}, "merchant_mismatch"),
        (Expected(100, transaction_id=payment_fields()["transaction_id"]), {}, "handled"),
        (Expected(100, transaction_id="4200000000"), {}, "transaction_mismatch"),
    ],
    ids=repr,
)
def test_what_the_order_expects_decides(expected: Any, changes: dict[str, str | None], code: str) -> None:
    shop = Shop(orders={ORDER: expected})
    assert shop.deliver(**changes) == code
    assert len(shop.handled) == (code == "handled")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError("A-1001"), "expectation_failed"),
        (StopIteration(), "expectation_failed"),
        (AssertionError(), "expectation_failed"),
        (UnknownOrder("a draft"), "unknown_order"),
        (StoreUnavailable("the order database"), "store_down"),
    ],
)
def test_an_expectation_that_raises_refuses_and_the_resend_asks_again(error: Exception, code: str) -> None:
    raising = [error]

    def expect(payment: Payment) -> Expected:
        if raising:
            raise raising.pop()
        return Expected(100)

    shop = Shop(expect=expect)
    assert shop.deliver() == code
    assert shop.deliver() == "handled"


def test_an_expectation_that_returns_something_to_await_is_refused() -> None:
    class Later:
        def __await__(self) -> Iterator[Any]:
            raise AssertionError("nobody awaits it")

    assert Shop(expect=lambda payment: Later()).deliver() == "expectation_failed"


def test_a_waived_expectation_is_not_called_and_checks_merchants_all_the_same() -> None:
    shop = Shop(expect=WAIVE_EXPECTATION)
    assert shop.deliver(total_fee="7", out_trade_no="anything") == "handled"
    assert shop.deliver(appid="wx8888888888888889", transaction_id="43") == "merchant_mismatch"
    assert shop.deliver(sub_mch_id="1900000111", transaction_id="44") == "merchant_mismatch"
    with pytest.raises(AssertionError):
        WAIVE_EXPECTATION(payment())


def test_of_several_merchants_each_is_verified_with_its_own_key() -> None:
    other = Merchant("1900000110", "wx8888888888888889", OTHER_KEY)
    shop = Shop(merchants=[MERCHANT, other], expect=WAIVE_EXPECTATION)
    theirs = payment_fields(mch_id="1900000110", appid="wx8888888888888889")
    assert shop.deliver() == "handled"
    assert shop.deliver(notification(theirs, key=OTHER_KEY)) == "handled"
    assert shop.deliver(notification(theirs)) == "bad_signature"
    # Between them the app decides: an id of the other's is not ours.
    assert shop.deliver(appid="wx8888888888888889") == "merchant_mismatch"


def test_while_a_key_is_changed_the_event_says_which_one_matched() -> None:
    shop = Shop(merchants=Merchant(MCH_ID, APPID, [OTHER_KEY, KEY]))
    shop.deliver()
    assert shop.events[0].key_index == 1


# --- paid, unpaid --------------------------------------------------------------


def test_an_unpaid_payment_is_handled_as_unpaid_and_leaves_the_paid_one_its_key(store: Store) -> None:
    shop = Shop(store)
    assert shop.deliver(result_code="FAIL", err_code="NOTENOUGH") == "handled"
    assert shop.deliver(result_code="FAIL", err_code="NOTENOUGH") == "duplicate"
    assert shop.deliver() == "handled"
    assert [payment.paid for payment in shop.handled] == [False, True]
    assert [event.paid for event in shop.events] == [False, False, True]


def test_an_unpaid_payment_without_an_amount_has_none_to_compare(shop: Shop) -> None:
    assert shop.deliver(result_code="FAIL", total_fee=None, transaction_id=None) == "handled"


def test_an_unpaid_payment_with_another_amount_is_refused(shop: Shop) -> None:
    assert shop.deliver(result_code="FAIL", total_fee="1") == "amount_mismatch"


# --- order queries -------------------------------------------------------------


@pytest.mark.parametrize("first", ["query", "notification"])
def test_order_query_and_notification_settle_an_order_once_in_either_order(store: Store, first: str) -> None:
    shop = Shop(store)
    queried = parse_order_query(query_answer(), MERCHANT)
    if first == "query":
        event = shop.receiver.settle(queried)
        assert (event.outcome, event.status) == (Outcome.HANDLED, 200)
        assert shop.deliver() == "duplicate"
    else:
        assert shop.deliver() == "handled"
        assert shop.receiver.settle(queried).outcome is Outcome.DUPLICATE
    assert len(shop.handled) == 1
    assert len(shop.events) == 2


def test_a_queried_payment_walks_the_same_road(shop: Shop) -> None:
    shop.orders.clear()
    event = shop.receiver.settle(parse_order_query(query_answer(), MERCHANT))
    assert (event.outcome, event.code) == (Outcome.REJECTED, "unknown_order")
    assert shop.events == [event]


def test_a_queried_payment_of_a_merchant_that_is_not_configured_is_refused(shop: Shop) -> None:
    other = Merchant("1900000110", "wx8888888888888889", KEY)
    answer = query_answer(mch_id="1900000110", appid="wx8888888888888889")
    assert shop.receiver.settle(parse_order_query(answer, other)).code == "unknown_merchant"
