"""The receiver and the kinds: each reaches its handler once, and is answered as it wants to be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from wxnotify import (
    Event,
    Expected,
    Key,
    Merchant,
    Outcome,
    Payment,
    Reply,
    ScanRefusal,
    build_reply,
    parse,
    verify,
    write,
)
from wxnotify.errors import ConfigurationError, SignatureProbe
from wxnotify.idempotency import State
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import (
    APPID,
    KEY,
    MCH_ID,
    combined,
    contract,
    deduction,
    notification,
    plate_state,
    query_answer,
    scan,
)
from wxnotify.testing.apiv3_resources import COMBINED, PAYMENT

from .kinds import EVENTS, OPENID, PAY_AFTER, SUB_MCH_ID, TRANSACTION_ID, told, verified
from .receiving import MERCHANT, SUCCESS, AwaitedStore, FaultyStore
from .receiving_kinds import EveryKind, Told, both, posted
from .support import signed
from .test_crypto_extra import without_cryptography as without_cryptography  # a fixture
from .test_kinds import OTHER_MESSAGES
from .test_no_secrets import leaked, words_of_refusal

OTHER_KEY = "another-test-key-0123456789abcde"
SANDBOX_KEY = "sandbox-key-of-this-merchant-012"
PREPAY_ID = "wx201410272009395522657a690389285100"
TWO = {"A-1001": Expected(100), "A-1002": Expected(200)}
KINDS = {
    "payment": notification(),
    "deduction": deduction(),
    "contract signed": contract(),
    "contract terminated": contract(change_type="DELETE"),
    "plate": plate_state(),
    "plate blocked": plate_state(vehicle_event_type="BLOCKED"),
}
each = pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
OK_JSON = build_reply(dialect="APIv3")


def prepay_id(reply: Reply, key: Any = KEY) -> str:
    """Read a scan's answer as WeChat Pay does."""
    return verify(parse(reply.body), key)["prepay_id"]


# --- each kind of APIv2 ---------------------------------------------------------------


@each
def test_each_kind_reaches_its_handler_once_and_every_resend_is_told_success(body):
    shop = EveryKind()
    for outcome in (Outcome.HANDLED, Outcome.DUPLICATE, Outcome.DUPLICATE):
        reply, (event,) = shop.tell(body)
        assert (reply, event.outcome) == (SUCCESS, outcome)
    assert shop.told == [told(body)]


@each
def test_a_kind_without_a_handler_is_told_fail_and_uses_up_no_key(body):
    kind = told(body).kind
    shop = EveryKind("scan", store=FaultyStore())
    reply, (event,) = shop.tell(body)
    assert reply == build_reply("FAIL", "no_handler", status=500)
    assert (event.outcome, event.code) == (Outcome.REJECTED, "no_handler")
    assert shop.store.called == []
    shop.receiver.on(kind)(shop.take)
    assert shop.tell(body)[0] == SUCCESS


@each
def test_a_handler_that_fails_is_told_fail_and_called_again_by_the_resend(body):
    shop = EveryKind(failing=[ValueError()])
    assert shop.tell(body)[0] == build_reply("FAIL", "handler_failed", status=500)
    assert shop.tell(body)[0] == SUCCESS
    assert len(shop.told) == 2


@each
def test_what_is_reported_names_the_notification_and_the_key_that_matched(body):
    shop = EveryKind(merchants=Merchant(MCH_ID, APPID, [OTHER_KEY, KEY]))
    (event,) = shop.tell(body)[1]
    one = told(body)
    assert (event.kind, event.key, event.dialect, event.event_type) == (one.kind, one.key, "APIv2", "")
    assert (event.mch_id, event.out_trade_no, event.transaction_id) == (
        one.mch_id,
        one.out_trade_no,
        one.transaction_id,
    )
    assert event.paid is (True if one.kind == "payment" else None)
    assert (event.key_index, event.sandbox, event.notification_id, event.serial) == (1, False, "", "")
    assert OPENID not in repr(event)


@each
def test_no_expectation_is_asked_for_what_is_no_payment(body):
    shop = EveryKind()
    shop.tell(body)
    assert shop.asked == (["A-1001"] if told(body).kind == "payment" else [])


@each
def test_a_forged_one_is_refused_and_reaches_nobody(body):
    fields = parse(body)
    forged = write({**fields, "sign": "0" * len(fields["sign"])})
    shop = EveryKind(store=FaultyStore())
    assert shop.codes(forged) == ["bad_signature"]
    assert (shop.told, shop.store.called) == ([], [])


@pytest.mark.parametrize("fields", OTHER_MESSAGES.values(), ids=OTHER_MESSAGES)
def test_another_message_under_the_same_key_reaches_nobody(fields):
    shop = EveryKind(store=FaultyStore(), answer=PREPAY_ID)
    reply, (event,) = shop.tell(write(signed(fields, KEY, fields.get("sign_type", "MD5"))))
    assert event.code in ("missing_field", "bad_field", "unknown_merchant", "merchant_mismatch")
    assert reply.status == event.status >= 400
    assert (shop.told, shop.store.called) == ([], [])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (contract(mch_id="1900000999"), "unknown_merchant"),
        (plate_state(mch_id="1900000999"), "unknown_merchant"),
        (combined(combine_mch_id="1900000999"), "unknown_merchant"),
        (plate_state(appid="wx9"), "merchant_mismatch"),
        (scan(appid="wx9"), "merchant_mismatch"),
        (contract(appid="wx9"), "merchant_mismatch"),
        (combined(combine_appid="wx9"), "merchant_mismatch"),
        (notification({**PAY_AFTER, "app_id": "wx9"}), "merchant_mismatch"),
        (contract(sub_mch_id="1900000999"), "merchant_mismatch"),
        (plate_state(sub_mch_id="1900000999"), "merchant_mismatch"),
    ],
)  # fmt: skip
def test_what_is_for_another_merchant_app_or_sub_merchant_is_refused(body, code):
    shop = EveryKind(merchants=Merchant(MCH_ID, APPID, KEY, sub_mch_ids=[SUB_MCH_ID]), answer=PREPAY_ID)
    reply, (event,) = shop.tell(body)
    assert (event.code, reply.status) == (code, 403)
    assert shop.told == []


def test_a_contract_of_a_sub_merchant_that_is_served_here_is_taken():
    shop = EveryKind(merchants=Merchant(MCH_ID, APPID, KEY, sub_mch_ids=[SUB_MCH_ID]))
    assert shop.tell(contract(sub_mch_id=SUB_MCH_ID))[0] == SUCCESS


# --- combined orders ------------------------------------------------------------------


def test_each_order_of_a_combined_one_is_settled_by_itself():
    shop = EveryKind(orders=TWO)
    reply, events = shop.tell(combined())
    assert reply == SUCCESS
    assert [(event.outcome, event.out_trade_no) for event in events] == [
        (Outcome.HANDLED, "A-1001"),
        (Outcome.HANDLED, "A-1002"),
    ]
    assert shop.asked == ["A-1001", "A-1002"]
    assert [one.key for one in shop.told] == [event.key for event in events]
    assert len({event.key for event in events}) == 2
    assert all(shop.store.find(event.key).state is State.DONE for event in events)


def test_a_resend_of_a_combined_order_calls_nobody():
    shop = EveryKind(orders=TWO)
    shop.tell(combined())
    reply, events = shop.tell(combined())
    assert (reply, [event.outcome for event in events]) == (SUCCESS, [Outcome.DUPLICATE] * 2)
    assert len(shop.told) == 2


@pytest.mark.parametrize(
    ("failing", "failed"), [([ValueError()], "A-1001"), ([None, ValueError()], "A-1002")]
)
def test_after_one_order_failed_a_resend_calls_the_handler_for_it_alone(failing, failed):
    def fail_once(payment: Payment) -> None:
        calls.append(payment.out_trade_no)
        error = failing.pop(0) if failing else None
        if error is not None:
            raise error

    calls: list[str] = []
    shop = EveryKind("scan", orders=TWO)
    shop.receiver.on("payment")(fail_once)
    assert shop.tell(combined())[0] == build_reply("FAIL", "handler_failed", status=500)
    assert calls == ["A-1001", "A-1002"]
    reply, events = shop.tell(combined())
    assert reply == SUCCESS
    assert calls[2:] == [failed]
    assert {event.out_trade_no: event.code for event in events} == {
        failed: "handled",
        ({"A-1001", "A-1002"} - {failed}).pop(): "duplicate",
    }


@pytest.mark.parametrize(
    ("orders", "codes", "status"),
    [
        ({"A-1001": Expected(1), "A-1002": Expected(200)}, ["amount_mismatch", "handled"], 422),
        ({"A-1001": Expected(100), "A-1002": Expected(300)}, ["handled", "amount_mismatch"], 422),
        ({"A-1001": Expected(100)}, ["handled", "unknown_order"], 503),
        ({"A-1001": Expected(100), "A-1002": Expected(200, "USD")}, ["handled", "amount_mismatch"], 422),
        ({"A-1001": Expected(100), "A-1002": Expected(200, mch_id="1900000111")},
         ["handled", "merchant_mismatch"], 403),
        ({}, ["unknown_order", "unknown_order"], 503),
    ],
)  # fmt: skip
def test_each_order_is_compared_with_its_own_expectation(orders, codes, status):
    shop = EveryKind(orders=orders)
    reply, events = shop.tell(combined())
    assert ([event.code for event in events], reply.status) == (codes, status)
    assert len(shop.told) == codes.count("handled")
    shop.orders.update(TWO)
    assert shop.tell(combined())[0] == SUCCESS
    assert len(shop.told) == 2


def test_an_order_that_was_told_by_itself_before_is_a_duplicate_in_the_combined_one():
    shop = EveryKind(orders=TWO)
    assert shop.codes(notification()) == ["handled"]
    assert shop.codes(combined()) == ["duplicate", "handled"]
    assert shop.codes(query_answer()) == ["duplicate"]


def test_an_order_of_a_merchant_who_is_not_combined_here_is_refused_with_all_of_them():
    body = combined([{}, {"mch_id": SUB_MCH_ID, "appid": "wx9"}])
    shop = EveryKind(orders=TWO, store=FaultyStore())
    reply, (event,) = shop.tell(body)
    assert (event.code, reply.status) == ("merchant_mismatch", 403)
    assert (shop.told, shop.store.called) == ([], [])
    provider = EveryKind(orders=TWO, merchants=Merchant(MCH_ID, APPID, KEY, sub_mch_ids=[SUB_MCH_ID]))
    assert provider.codes(body) == ["merchant_mismatch"]
    served = EveryKind(orders=TWO, merchants=Merchant(MCH_ID, APPID, KEY, combined_mch_ids=[SUB_MCH_ID]))
    assert served.tell(body)[0] == SUCCESS
    assert [one.mch_id for one in served.told] == [MCH_ID, SUB_MCH_ID]


def test_a_provider_who_combines_orders_says_so_of_those_of_its_sub_merchants_and_of_others_apart():
    provider = Merchant(MCH_ID, APPID, KEY, sub_mch_ids=[SUB_MCH_ID], combined_mch_ids=["1900000222"])
    shop = EveryKind(orders=TWO, merchants=provider)
    orders = [{"sub_mch_id": SUB_MCH_ID}, {"mch_id": "1900000222"}]
    assert shop.codes(combined(orders)) == ["handled", "handled"]
    # What the provider sells itself is no sub-merchant's, unless the order says so.
    assert shop.codes(combined([{}, orders[1]])) == ["merchant_mismatch", "duplicate"]
    # And a sub-merchant is not one whose own orders are combined.
    assert shop.codes(combined([orders[0], {"mch_id": SUB_MCH_ID}])) == ["merchant_mismatch"]


def test_of_a_combined_order_the_event_names_the_order_that_is_not_the_merchants():
    _, (event,) = EveryKind(orders=TWO).tell(combined([{}, {"mch_id": SUB_MCH_ID}]))
    assert (event.code, event.kind, event.out_trade_no) == ("merchant_mismatch", "payment", "A-1002")
    assert (event.mch_id, event.key_index) == (SUB_MCH_ID, 0)


def test_an_apiv3_event_that_is_authentic_and_refused_is_named_with_its_serial():
    shop = EveryKind(merchants=both())
    for content, code in (
        ({**PAYMENT, "appid": "wx9"}, "merchant_mismatch"),
        ({"mchid": MCH_ID}, "missing_field"),
    ):
        _, (event,) = shop.tell(posted("TRANSACTION.SUCCESS", content))
        assert (event.code, event.mch_id, event.serial, event.key_index) == (code, MCH_ID, "F0", 0)
        assert (event.event_type, event.notification_id) == ("TRANSACTION.SUCCESS", "EV-1")
        assert event.out_trade_no == content.get("out_trade_no", "")


def test_whoever_has_the_initiators_key_cannot_tell_of_another_configured_merchants_order():
    other = Merchant(SUB_MCH_ID, "wx9", OTHER_KEY)
    shop = EveryKind(orders=TWO, merchants=[MERCHANT, other])
    assert shop.codes(combined([{"mch_id": SUB_MCH_ID}])) == ["merchant_mismatch"]
    assert shop.told == []


def test_two_orders_in_one_combined_order_cannot_pay_for_one_another():
    twice = combined([{}, {"transaction_id": TRANSACTION_ID, "out_trade_no": "A-1002"}])
    shop = EveryKind(orders=TWO, store=FaultyStore())
    assert shop.codes(twice) == ["bad_field"]
    assert shop.store.called == []


def test_one_transaction_for_two_orders_is_a_conflict_in_a_combined_order_too():
    shop = EveryKind(orders=TWO)
    assert shop.codes(combined([{}])) == ["handled"]
    changed = combined([{"out_trade_no": "A-1002"}, {}])
    reply, events = shop.tell(combined([{"total_fee": 200, "out_trade_no": "A-1002"}]))
    assert ([event.code for event in events], reply.status) == (["conflict"], 500)
    assert shop.codes(changed)[0] == "amount_mismatch"


def test_a_combined_order_that_failed_is_told_as_unpaid_and_leaves_the_paid_ones_their_keys():
    shop = EveryKind(orders=TWO)
    assert shop.tell(combined(result_code="FAIL"))[0] == SUCCESS
    assert [one.paid for one in shop.told] == [False, False]
    assert shop.tell(combined())[0] == SUCCESS
    assert [one.paid for one in shop.told[2:]] == [True, True]


def test_the_answer_to_a_query_of_a_combined_order_is_not_paid_unless_its_state_says_so():
    shop = EveryKind(orders=TWO)
    assert shop.tell(combined(trade_state="REFUND"))[0] == SUCCESS
    assert [(one.paid, one.result) for one in shop.told] == [(False, "REFUND")] * 2


def test_a_store_that_fails_for_one_order_is_told_fail_and_the_resend_settles_it():
    store = FaultyStore()
    shop = EveryKind(orders=TWO, store=store)
    store.faults["claim"] = [OSError()]
    reply, events = shop.tell(combined())
    assert reply == build_reply("FAIL", "store_down", status=503)
    assert [event.code for event in events] == ["store_down", "handled"]
    assert shop.codes(combined()) == ["handled", "duplicate"]


def test_a_combined_order_on_an_event_loop_is_settled_one_by_one():
    shop = EveryKind(orders=TWO, store=AwaitedStore(FaultyStore()))
    replies = asyncio.run(received_async(shop, combined(), combined()))
    assert replies == [SUCCESS, SUCCESS]
    assert [event.code for event in shop.events] == ["handled", "handled", "duplicate", "duplicate"]


async def received_async(shop: EveryKind, *bodies: bytes) -> list[Reply]:
    return [await shop.receiver.receive_async(body) for body in bodies]


# --- refunds --------------------------------------------------------------------------


def test_merchants_whose_refunds_nothing_tells_apart_are_refused_a_handler_for_refunds():
    one, other = Merchant(MCH_ID, APPID, [OTHER_KEY, KEY]), Merchant(SUB_MCH_ID, "wx9", [KEY[::-1], KEY])
    shop = EveryKind("payment", merchants=[one, other])
    same = f"{MCH_ID} and {SUB_MCH_ID} have the same APIv2 key"
    with pytest.raises(ConfigurationError, match=same) as refusal:
        shop.receiver.on("refund")
    words = "\n".join(words_of_refusal(refusal.value))
    assert not leaked(KEY, words)
    assert not leaked(Key(KEY)._ecb_key().decode(), words)


def test_a_merchant_may_have_a_key_twice_and_another_merchant_none():
    without = Merchant(SUB_MCH_ID, "wx9", apiv3=Told())
    shop = EveryKind("refund", merchants=[Merchant(MCH_ID, APPID, [KEY, KEY]), without])
    assert shop.codes(notification()) == ["no_handler"]


# --- scans ----------------------------------------------------------------------------


def test_a_scan_is_answered_with_what_its_handler_returned_signed():
    shop = EveryKind(answer=PREPAY_ID)
    reply, (event,) = shop.tell(scan())
    assert (reply.status, event.outcome) == (200, Outcome.HANDLED)
    assert prepay_id(reply) == PREPAY_ID
    assert verify(parse(reply.body), KEY)["result_code"] == "SUCCESS"


def test_the_same_scan_told_again_is_given_the_same_prepay_id_and_the_handler_called_once():
    shop = EveryKind(answer=PREPAY_ID)
    first, _ = shop.tell(scan())
    shop.answer = "wx-another"
    again, (event,) = shop.tell(scan())
    assert (prepay_id(again), event.outcome) == (PREPAY_ID, Outcome.DUPLICATE)
    assert len(shop.told) == 1
    assert again.body != first.body  # the nonce is another


def test_another_scan_is_another_order():
    shop = EveryKind(answer=PREPAY_ID)
    shop.tell(scan())
    shop.answer = "wx-another"
    assert prepay_id(shop.tell(scan(nonce_str="another"))[0]) == "wx-another"


def test_a_refusal_is_told_to_the_payer_and_repeated_as_it_was():
    shop = EveryKind(answer=ScanRefusal("已售罄"))
    for _ in range(2):
        fields = verify(parse(shop.tell(scan())[0].body), KEY)
        assert (fields["return_code"], fields["result_code"], fields["err_code_des"]) == (
            "SUCCESS",
            "FAIL",
            "已售罄",
        )
        shop.answer = PREPAY_ID
    assert len(shop.told) == 1


def test_a_scan_whose_handler_raised_is_plainly_told_fail():
    shop = EveryKind(answer=PREPAY_ID, failing=[ValueError()])
    assert shop.tell(scan())[0] == build_reply("FAIL", "handler_failed", status=500)
    assert prepay_id(shop.tell(scan())[0]) == PREPAY_ID


@pytest.mark.parametrize("answer", [None, 5, b"wx1", "", "a\nb", "x" * 65, "FAIL:x", ScanRefusal("")])
def test_a_scan_whose_handler_returned_no_answer_is_told_fail_and_asked_again(answer):
    shop = EveryKind(answer=answer)
    assert shop.tell(scan())[0] == build_reply("FAIL", "handler_failed", status=500)
    shop.answer = PREPAY_ID
    assert prepay_id(shop.tell(scan())[0]) == PREPAY_ID


def test_what_the_handler_of_another_kind_returns_is_not_looked_at():
    shop = EveryKind(answer=object())
    assert shop.tell(contract())[0] == SUCCESS


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
def test_a_scan_is_answered_in_its_own_algorithm(sign_type):
    reply, _ = EveryKind(answer=PREPAY_ID).tell(scan(sign_type=sign_type))
    assert verify(parse(reply.body), KEY).sign_type == sign_type


def test_while_the_key_is_changed_a_scan_is_answered_under_the_one_it_was_signed_with():
    shop = EveryKind(answer=PREPAY_ID, merchants=Merchant(MCH_ID, APPID, [OTHER_KEY, KEY]))
    old, new = shop.tell(scan())[0], shop.tell(scan(key=OTHER_KEY))[0]
    assert (prepay_id(old, KEY), prepay_id(new, OTHER_KEY)) == (PREPAY_ID, PREPAY_ID)
    assert [event.key_index for event in shop.events] == [1, 0]
    assert len(shop.told) == 1


def test_a_scan_that_waited_for_another_is_given_its_answer():
    shop = EveryKind(answer=PREPAY_ID, wait=0)
    inner: list[Reply] = []

    def overtaken() -> None:
        # The lease runs out while the handler is at work, and another delivery settles it.
        shop.during = lambda: None
        shop.clock.now += 31
        inner.append(shop.tell(scan())[0])
        shop.answer = "wx-too-late"

    shop.during = overtaken
    outer, _ = shop.tell(scan())
    assert (prepay_id(inner[0]), prepay_id(outer)) == (PREPAY_ID, PREPAY_ID)


def test_a_scan_in_progress_is_told_fail():
    shop = EveryKind(answer=PREPAY_ID)
    inner: list[Reply] = []
    shop.during = lambda: inner.append(shop.tell(scan())[0])
    shop.tell(scan())
    assert inner == [build_reply("FAIL", "in_progress", status=503)]


def test_in_a_transaction_the_answer_is_kept_with_the_order(tmp_path: Path):
    with SQLiteStore(tmp_path / "shop.db") as store:
        shop = EveryKind("payment", store=store)
        calls: list[str] = []

        def order(scan: Any, connection: Any) -> str:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (product TEXT)")
            connection.execute("INSERT INTO orders VALUES (?)", (scan.product_id,))
            calls.append(scan.product_id)
            return PREPAY_ID if len(calls) > 1 else ""

        shop.receiver.on("scan", transaction=store.transaction)(order)
        assert shop.tell(scan())[0].status == 500
        assert [prepay_id(shop.tell(scan())[0]) for _ in range(3)] == [PREPAY_ID] * 3
        with store.transaction() as connection:
            assert connection.execute("SELECT product FROM orders").fetchall() == [("P-1001",)]


def test_a_scan_is_answered_on_an_event_loop():
    async def order(scan: Any) -> str:
        await asyncio.sleep(0)
        return PREPAY_ID

    shop = EveryKind("payment")
    shop.receiver.on("scan")(order)
    replies = asyncio.run(received_async(shop, scan(), scan()))
    assert [prepay_id(reply) for reply in replies] == [PREPAY_ID] * 2
    assert [event.code for event in shop.events] == ["handled", "duplicate"]


def test_the_code_itself_which_everybody_can_read_orders_nothing():
    code = {
        "appid": APPID,
        "mch_id": MCH_ID,
        "nonce_str": "n",
        "product_id": "P-1",
        "time_stamp": "1795406400",
    }
    shop = EveryKind(answer=PREPAY_ID)
    assert shop.codes(write(signed(code))) == ["missing_field"]
    for added in ({"openid": "o", "is_subscribe": "N"}, {"openid": "o"}):
        assert shop.codes(write({**signed(code), **added})) == ["bad_signature"]
    assert shop.told == []


# --- what can be registered -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("TRANSACTION.SUCCESS", "payment"), ("TRANSACTION.FAIL", "payment"), ("REFUND.ABNORMAL", "refund"),
        ("ENTRUST.SIGN", "contract"), ("PROFITSHARING.RETURN", "profit_sharing"),
        ("MCHTRANSFER.BILL.FINISHED", "transfer"), ("PAYSCORE.USER_PAID", "payscore"),
    ],
)  # fmt: skip
def test_an_event_that_arrives_as_a_kind_is_registered_as_that_kind(kind, said):
    with pytest.raises(ConfigurationError, match=f"arrives as the kind '{said}'"):
        EveryKind().receiver.on(kind)


@pytest.mark.parametrize(
    "kind", ["", "payments", "Payment", "complaint.create", "A B", "投诉", None, 5, ("payment",)]
)
def test_what_is_no_kind_and_no_event_type_is_refused(kind):
    with pytest.raises(ConfigurationError, match="there is no kind"):
        EveryKind().receiver.on(kind)


# --- APIv3, after the dialect ---------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENTS)
def test_each_event_of_apiv3_reaches_its_handler_once_and_is_answered_in_json(event_type):
    shop = EveryKind(merchants=both())
    for outcome in (Outcome.HANDLED, Outcome.DUPLICATE):
        reply, (event,) = shop.tell(posted(event_type, EVENTS[event_type]))
        assert (reply, event.outcome) == (OK_JSON, outcome)
        assert (event.dialect, event.event_type, event.notification_id, event.serial) == (
            "APIv3",
            event_type,
            "EV-1",
            "F0",
        )
    assert len(shop.told) == 1
    assert shop.events[0].key == shop.told[0].key


def test_a_handler_of_an_event_type_is_preferred_to_that_of_all_events():
    shop = EveryKind("COMPLAINT.CREATE", merchants=both())
    others: list[Any] = []
    shop.receiver.on("event")(others.append)
    shop.tell(posted("COMPLAINT.CREATE", {"complaint_id": "1"}))
    shop.tell(posted("COMPLAINT.STATE_CHANGE", {"complaint_id": "1"}))
    assert [one.kind for one in shop.told] == ["COMPLAINT.CREATE"]
    assert [one.kind for one in others] == ["COMPLAINT.STATE_CHANGE"]


@pytest.mark.parametrize("event_type", EVENTS)
def test_without_a_handler_an_event_is_told_fail_in_json(event_type):
    shop = EveryKind("scan", merchants=both(), store=FaultyStore())
    reply, (event,) = shop.tell(posted(event_type, EVENTS[event_type]))
    assert reply == build_reply("FAIL", "no_handler", status=500, dialect="APIv3")
    assert (event.code, shop.store.called) == ("no_handler", [])


def test_a_handler_of_all_events_takes_no_kind_with_a_class_of_its_own():
    shop = EveryKind("event", merchants=both())
    assert shop.codes(posted("TRANSACTION.SUCCESS", PAYMENT)) == ["no_handler"]
    assert shop.codes(notification()) == ["no_handler"]
    assert shop.codes(posted("COMPLAINT.CREATE", {})) == ["handled"]


def test_one_handler_serves_both_dialects_and_the_second_to_come_is_a_duplicate():
    shop = EveryKind(merchants=both())
    assert shop.tell(notification())[0] == SUCCESS
    assert shop.tell(posted("TRANSACTION.SUCCESS", PAYMENT))[0] == OK_JSON
    assert shop.tell(contract())[0] == SUCCESS
    assert shop.tell(posted("ENTRUST.SIGN", EVENTS["ENTRUST.SIGN"]))[0] == OK_JSON
    assert [event.code for event in shop.events] == ["handled", "duplicate"] * 2
    assert [event.dialect for event in shop.events] == ["APIv2", "APIv3"] * 2


def test_a_combined_transaction_of_apiv3_is_settled_one_by_one():
    shop = EveryKind(merchants=both(), orders={"A-1001": Expected(100)})
    body = posted("TRANSACTION.SUCCESS", COMBINED)
    reply, events = shop.tell(body)
    assert reply == build_reply("FAIL", "unknown_order", status=503, dialect="APIv3")
    assert [event.code for event in events] == ["handled", "unknown_order"]
    shop.orders.update(TWO)
    assert shop.tell(body)[0] == OK_JSON
    assert [one.out_trade_no for one in shop.told] == ["A-1001", "A-1002"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"mchid": "1900000999"}, "merchant_mismatch"),
        ({"appid": "wx9"}, "merchant_mismatch"),
        ({"amount": {"total": 1, "currency": "CNY"}}, "amount_mismatch"),
        ({"out_trade_no": "B-1"}, "unknown_order"),
        ({"amount": {"total": "100"}}, "bad_field"),
        ({"transaction_id": ""}, "missing_field"),
    ],
)
def test_what_does_not_fit_is_refused_in_json_however_it_was_signed(change, code):
    shop = EveryKind(merchants=both())
    reply, (event,) = shop.tell(posted("TRANSACTION.SUCCESS", {**PAYMENT, **change}))
    assert event.code == code
    assert json.loads(reply.body) == {"code": "FAIL", "message": code}
    assert reply.status == event.status >= 400
    assert shop.told == []


def test_a_probe_is_an_outcome_of_its_own():
    shop = EveryKind(merchants=both(dialect=Told(SignatureProbe("a probe"))))
    reply, (event,) = shop.tell(posted("TRANSACTION.SUCCESS", PAYMENT))
    assert (event.outcome, event.code, reply.status) == (Outcome.PROBE, "signature_probe", 401)
    assert json.loads(reply.body) == {"code": "FAIL", "message": "signature_probe"}


def test_the_dialect_is_given_the_headers_and_the_receivers_wall_clock():
    dialect = Told()
    shop = EveryKind(merchants=both(dialect=dialect), wall_clock=lambda: 1_795_000_000.0)
    headers = {"Wechatpay-Serial": "F0"}
    shop.tell(posted("COMPLAINT.CREATE", {}), headers)
    assert dialect.seen == [(headers, 1_795_000_000.0)]


@pytest.mark.parametrize("headers", [{}, None, {"Content-Type": "text/xml"}])
def test_what_the_bytes_are_decides_and_no_header(headers):
    shop = EveryKind(merchants=both())
    assert shop.tell(posted("COMPLAINT.CREATE", {}), headers)[0] == OK_JSON
    signed_headers = {f"Wechatpay-{name}": "x" for name in ("Timestamp", "Nonce", "Signature", "Serial")}
    assert shop.tell(notification(), signed_headers)[0] == SUCCESS


def test_xml_for_a_merchant_of_apiv3_alone_says_that_no_key_is_configured():
    shop = EveryKind(merchants=both(keys=()))
    reply, (event,) = shop.tell(notification())
    assert (event.code, "no APIv2 key" in event.detail) == ("unknown_merchant", True)
    assert reply == build_reply("FAIL", "unknown_merchant", status=403)


def test_a_handler_that_fails_is_told_fail_in_json():
    shop = EveryKind(merchants=both(), failing=[ValueError()])
    reply, _ = shop.tell(posted("COMPLAINT.CREATE", {}))
    assert reply == build_reply("FAIL", "handler_failed", status=500, dialect="APIv3")


def test_of_several_merchants_the_one_whose_key_opened_it_is_asked():
    other = Merchant(SUB_MCH_ID, "wx9", apiv3=Told())
    shop = EveryKind(merchants=[both(), other])
    content = {**PAYMENT, "mchid": SUB_MCH_ID, "appid": "wx9"}
    assert shop.codes(posted("TRANSACTION.SUCCESS", content, mch_id=SUB_MCH_ID)) == ["handled"]
    # Opened under one merchant's key, it is not the other's.
    assert shop.codes(posted("TRANSACTION.SUCCESS", content)) == ["merchant_mismatch"]


# --- a core install -------------------------------------------------------------------

MISSING = {
    "refund": (
        write({"return_code": "SUCCESS", "mch_id": MCH_ID, "req_info": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        "APIv2",
    ),
    "pay_after": (notification(PAY_AFTER), "pay_after"),
    "APIv3": (b'{"id": "EV-1"}', "APIv3"),
}


@pytest.mark.usefixtures("without_cryptography")
@pytest.mark.parametrize(("body", "dialect"), MISSING.values(), ids=MISSING)
def test_without_the_extra_it_is_named_and_told_fail_so_that_it_comes_again(body, dialect):
    dialect_of_tests = Told()
    dialect_of_tests.keys = (Key("another-key-of-our-own-making-02"),)
    merchants = MERCHANT if dialect == "APIv3" else both(dialect=dialect_of_tests)
    reply, (event,) = EveryKind(merchants=merchants).tell(body)
    assert (event.code, 'wxpay-notify[crypto]"' in event.detail) == ("extra_missing", True)
    assert reply == build_reply("FAIL", "extra_missing", status=501, dialect=dialect)


@pytest.mark.usefixtures("without_cryptography")
def test_without_the_extra_everything_that_is_signed_in_apiv2_is_settled():
    shop = EveryKind(answer=PREPAY_ID, orders=TWO)
    for body in (*KINDS.values(), scan(), combined(), query_answer()):
        assert shop.tell(body)[0].status == 200


# --- the sandbox ----------------------------------------------------------------------

SANDBOX = Merchant(MCH_ID, APPID, [KEY, Key(SANDBOX_KEY, sandbox=True)])
SIGNED = {
    "payment": notification,
    "contract": contract,
    "plate": plate_state,
    "scan": scan,
    "combined": combined,
}


@pytest.mark.parametrize("build", SIGNED.values(), ids=SIGNED)
def test_what_the_sandbox_s_key_signed_is_refused_unless_it_is_allowed(build):
    body = build(key=SANDBOX_KEY)
    shop = EveryKind(merchants=SANDBOX, store=FaultyStore(), orders=TWO, answer=PREPAY_ID)
    reply, (event,) = shop.tell(body)
    assert (event.code, reply.status, shop.told, shop.store.called) == ("sandbox_key", 403, [], [])
    allowed = EveryKind(merchants=SANDBOX, allow_sandbox=True, orders=TWO, answer=PREPAY_ID)
    reply, events = allowed.tell(body)
    assert reply.status == 200
    assert {(event.sandbox, event.key_index) for event in events} == {(True, 1)}
    reply, events = allowed.tell(build(nonce_str="n") if build is scan else build())
    assert {(event.sandbox, event.key_index) for event in events} == {(False, 0)}


def test_a_refusal_of_the_sandbox_s_key_names_no_key():
    _, (event,) = EveryKind(merchants=SANDBOX).tell(notification(key=SANDBOX_KEY))
    assert SANDBOX_KEY not in repr(event)


# --- what was settled is what was reported --------------------------------------------


def test_every_reply_agrees_with_its_events():
    replies: list[Reply] = []
    shop = EveryKind(merchants=both(), answer=PREPAY_ID, orders={"A-1001": Expected(100)})
    bodies = [*KINDS.values(), scan(), combined(), b"<xml/>", b"{}", posted("COMPLAINT.CREATE", {})]
    for body in bodies:
        before = len(shop.events)
        reply, events = shop.tell(body)
        assert len(events) == len(shop.events) - before >= 1
        failed: list[Event] = [event for event in events if not event.outcome.success]
        assert reply.status == (failed[0].status if failed else 200)
        replies.append(reply)
    assert len(replies) == len(bodies)


def test_a_verified_message_is_what_the_handler_is_given():
    shop = EveryKind()
    shop.tell(contract(a_field_of_next_year="1"))
    assert dict(shop.told[0].fields) == dict(verified(contract(a_field_of_next_year="1")))


@pytest.mark.parametrize("dialect", ["an-apiv3-key-0123456789abcdefgh12", object(), Key(OTHER_KEY), MERCHANT])
def test_what_is_no_dialect_is_refused_when_the_merchant_is_made(dialect):
    with pytest.raises(ConfigurationError, match=r"apiv3 is wxnotify\.apiv3\.APIv3"):
        Merchant(MCH_ID, APPID, KEY, apiv3=dialect)
