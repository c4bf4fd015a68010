"""What happened once has one key and one fingerprint, in whatever dialect and by whatever road it is told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from wxnotify import Contract, Notification, Payment, Refund, parse_order_query
from wxnotify._kinds import read_answer, read_resource
from wxnotify.testing import APPID, MCH_ID, combined, contract, notification, query_answer
from wxnotify.testing.apiv3_resources import COMBINED, PARTNER_PAYMENT, PAYMENT, REFUND

from .kinds import (
    CONTRACT,
    OPENID,
    PARTNER_CONTRACT,
    SUB_MCH_ID,
    TRANSACTION_ID,
    changed,
    decrypted,
    event,
    orders,
    resource,
    told,
)
from .receiving import MERCHANT
from .support import code_of, either

CHINA = timezone(timedelta(hours=8))


def answer(content: dict[str, object], **changes: object) -> tuple[Payment, ...]:
    """Read the signed answer to an APIv3 order query."""
    return read_answer(resource("", changed(content, changes), key_index=None))


def one_and_the_same(*told_by: Notification) -> None:
    assert len({type(one) for one in told_by}) == 1
    assert len({one.key for one in told_by}) == 1
    assert len({one.fingerprint for one in told_by}) == 1
    assert all(one == told_by[0] for one in told_by)


# --- payments -------------------------------------------------------------------------


def test_a_payment_is_one_in_both_dialects_and_both_queries():
    (asked,) = answer(PAYMENT)
    one_and_the_same(
        told(notification()), parse_order_query(query_answer(), MERCHANT), event("TRANSACTION.SUCCESS"), asked
    )


def test_a_payment_to_a_sub_merchant_is_one_in_both_dialects_and_both_queries():
    sub = {"sub_mch_id": SUB_MCH_ID}
    (asked,) = answer(PARTNER_PAYMENT)
    one_and_the_same(
        told(notification(**sub)),
        parse_order_query(query_answer(**sub), MERCHANT),
        event("TRANSACTION.SUCCESS", PARTNER_PAYMENT),
        asked,
    )


def test_an_order_of_a_combined_one_is_one_in_both_dialects_and_asked_for_by_itself():
    first, second = orders(combined())
    assert first != second
    apiv3 = read_resource(resource("TRANSACTION.SUCCESS", COMBINED))
    one_and_the_same(first, apiv3[0], answer(COMBINED)[0], told(notification()), told(query_answer()))
    changes = {"out_trade_no": "A-1002", "transaction_id": second.transaction_id, "total_fee": "200"}
    one_and_the_same(second, apiv3[1], answer(COMBINED)[1], told(query_answer(**changes)))


def test_a_combined_order_of_a_sub_merchant_is_one_in_both_dialects():
    sub_order = {**COMBINED["sub_orders"][0], "sub_mchid": SUB_MCH_ID, "sub_appid": "wx9999999999999999"}
    (apiv3,) = answer(COMBINED, sub_orders=[sub_order])
    (apiv2,) = orders(combined([{"sub_mch_id": SUB_MCH_ID}]))
    one_and_the_same(apiv2, apiv3, told(notification(sub_mch_id=SUB_MCH_ID)))


@pytest.mark.parametrize("state", ["REFUND", "NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR"])
def test_an_order_that_is_not_paid_is_one_in_both_queries(state):
    (asked,) = answer(PAYMENT, trade_state=state)
    one_and_the_same(asked, told(query_answer(trade_state=state)))
    assert (asked.paid, asked.result) == (False, state)


def test_an_order_that_was_never_paid_is_one_in_both_queries():
    (asked,) = answer(
        PAYMENT, trade_state="NOTPAY", transaction_id=None, amount=None, payer=None, success_time=None
    )
    absent = dict.fromkeys(("transaction_id", "total_fee", "openid", "time_end"))
    one_and_the_same(asked, told(query_answer(trade_state="NOTPAY", **absent)))
    assert asked.key == f"payment/{MCH_ID}/out_trade_no:A-1001/NOTPAY"
    assert (asked.total_fee, asked.openid, asked.time_end) == (None, "", None)


@pytest.mark.parametrize(
    ("apiv2", "apiv3"),
    [
        ({"total_fee": "1"}, {"amount": {"total": 1, "currency": "CNY"}}),
        ({"fee_type": "USD"}, {"amount": {"total": 100, "currency": "USD"}}),
        ({"out_trade_no": "B-1"}, {"out_trade_no": "B-1"}),
        ({"transaction_id": "7"}, {"transaction_id": "7"}),
        ({"mch_id": "7"}, {"mchid": "7"}),
    ],
)
def test_what_makes_another_payment_of_it_in_one_dialect_does_so_in_the_other(apiv2, apiv3):
    changed_apiv2, changed_apiv3 = told(notification(**apiv2)), event("TRANSACTION.SUCCESS", **apiv3)
    one_and_the_same(changed_apiv2, changed_apiv3)
    assert changed_apiv2 != told(notification())


def test_attributes_carry_the_same_names_whichever_dialect_it_came_in():
    apiv2, apiv3 = told(notification()), event("TRANSACTION.SUCCESS")
    for name in (
        "kind", "mch_id", "appid", "out_trade_no", "transaction_id", "total_fee", "fee_type", "cash_fee",
        "cash_fee_type", "bank_type", "trade_type", "openid", "attach", "paid", "result", "time_end",
        "sub_mch_id", "sub_appid", "err_code", "coupons", "coupon_fee", "settlement_total_fee",
        "contract_id", "combine_out_trade_no", "combine_mch_id",
    ):  # fmt: skip
        assert getattr(apiv2, name) == getattr(apiv3, name), name
    assert (apiv2.dialect, apiv3.dialect) == ("APIv2", "APIv3")
    for name in (
        "sub_mch_id",
        "sub_appid",
        "err_code",
        "contract_id",
        "combine_out_trade_no",
        "combine_mch_id",
    ):
        assert getattr(apiv3, name) == ""
    assert (apiv2.event_type, apiv3.event_type) == ("", "TRANSACTION.SUCCESS")


# --- an APIv3 transaction -------------------------------------------------------------


def test_a_transaction_is_read():
    amount = {"total": 100, "payer_total": 90, "currency": "CNY", "payer_currency": "USD"}
    paid = event("TRANSACTION.SUCCESS", amount=amount, attach="note", trade_type="NATIVE")
    assert isinstance(paid, Payment)
    assert (paid.mch_id, paid.appid, paid.openid) == (MCH_ID, APPID, OPENID)
    assert (paid.total_fee, paid.cash_fee, paid.cash_fee_type) == (100, 90, "USD")
    assert (paid.attach, paid.trade_type, paid.trade_state) == ("note", "NATIVE", "SUCCESS")
    assert paid.time_end == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert paid.fields["trade_state_desc"] == "支付成功"


def test_a_transaction_of_a_provider_names_provider_sub_merchant_and_payer():
    paid = event("TRANSACTION.SUCCESS", PARTNER_PAYMENT, sub_appid="wx9")
    assert (paid.mch_id, paid.appid, paid.sub_mch_id) == (MCH_ID, APPID, SUB_MCH_ID)
    assert (paid.sub_appid, paid.openid) == ("wx9", OPENID)


def test_a_parking_fee_of_a_provider_calls_its_app_and_payer_as_a_direct_one_does():
    parked = event(
        "TRANSACTION.SUCCESS", PARTNER_PAYMENT, sp_appid=None, appid=APPID, payer={"openid": OPENID}
    )
    assert (parked.appid, parked.openid, parked.paid) == (APPID, OPENID, True)
    assert parked == event("TRANSACTION.SUCCESS", PARTNER_PAYMENT)


@pytest.mark.parametrize("name", ["mchid", "out_trade_no", "trade_state", "transaction_id", "amount"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_transaction_without_a_field_every_one_has_is_refused(name, value):
    content = {n: v for n, v in PAYMENT.items() if n != name or value is not None}
    if value is not None:
        content[name] = value
    expected = "bad_field" if (name, value) == ("amount", "") else "missing_field"
    assert code_of(event, "TRANSACTION.SUCCESS", content) == expected


def test_a_transaction_that_is_paid_has_an_amount():
    for amount in ({}, {"currency": "CNY"}, {"total": None}):
        assert code_of(event, "TRANSACTION.SUCCESS", amount=amount) == "missing_field"


@pytest.mark.parametrize("total", [True, 100.0, "100", 0, -1, 10**16, 10**60, [100], {"total": 100}])
@pytest.mark.parametrize("trade_state", ["SUCCESS", "REFUND"])
def test_the_amount_of_a_transaction_is_an_integer_of_fen_paid_or_not(total, trade_state):
    amount = {"total": total, "currency": "CNY"}
    refused = either(lambda: event("TRANSACTION.SUCCESS", amount=amount, trade_state=trade_state))
    assert (refused.code, str(refused).startswith("amount.total is ")) == ("bad_field", True)


@pytest.mark.parametrize("payer_total", [True, 1.5, "1_0", -1, 10**16, []])
def test_what_the_payer_paid_informs_and_costs_no_payment_when_it_is_odd(payer_total):
    paid = event("TRANSACTION.SUCCESS", amount={"total": 100, "payer_total": payer_total})
    assert (paid.paid, paid.cash_fee, paid.fee_type, paid.cash_fee_type) == (True, None, "CNY", "CNY")


@pytest.mark.parametrize(
    ("event_type", "trade_state", "result"),
    [
        ("TRANSACTION.SUCCESS", "SUCCESS", "SUCCESS"), ("", "SUCCESS", "SUCCESS"),
        ("TRANSACTION.FAIL", "SUCCESS", "FAIL"), ("TRANSACTION.PAY_BACK", "SUCCESS", "PAY_BACK"),
        ("TRANSACTION.SUCCESS", "NOTPAY", "NOTPAY"), ("TRANSACTION.FAIL", "FAIL", "FAIL"),
        ("TRANSACTION.PAY_BACK", "PAY_BACK", "PAY_BACK"), ("", "REFUND", "REFUND"),
        ("TRANSACTION.SUCCESS", "success", "success"), ("TRANSACTION.INDUSTRY_SUCCESS", "SUCCESS", "SUCCESS"),
        ("TRANSACTION.INDUSTRY_FAILED", "SUCCESS", "FAIL"),
    ],
)  # fmt: skip
def test_it_is_paid_only_if_event_and_state_both_say_so(event_type, trade_state, result):
    content = changed(PAYMENT, {"trade_state": trade_state})
    payment = Payment.from_resource(resource(event_type, content))
    assert (payment.paid, payment.result) == (result == "SUCCESS", result)
    assert payment.key.endswith(f"/{result}")


def test_a_campus_payment_names_provider_and_sub_merchant_in_its_own_way():
    content = changed(PAYMENT, {"sub_mchid": "1900000111", "sub_appid": "wx9"})
    payment = Payment.from_resource(resource("TRANSACTION.INDUSTRY_SUCCESS", content))
    assert (payment.mch_id, payment.sub_mch_id, payment.sub_appid) == (MCH_ID, "1900000111", "wx9")
    assert (payment.paid, payment.total_fee, payment.appid) == (True, 100, APPID)


@pytest.mark.parametrize("odd", [None, "2026-11-23", "20261323120000", "soon", "9" * 5_000])
def test_an_odd_time_costs_no_payment(odd):
    assert event("TRANSACTION.SUCCESS", success_time=odd).paid
    assert event("TRANSACTION.SUCCESS", success_time=odd).time_end is None


@pytest.mark.parametrize("name", ["out_trade_no", "transaction_id", "mchid", "trade_state"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\n", "订单", "x" * 65])
def test_an_id_of_a_transaction_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(event, "TRANSACTION.SUCCESS", **{name: odd}) == "bad_field"


@pytest.mark.parametrize("content", [PAYMENT, PARTNER_PAYMENT], ids=["direct", "partner"])
def test_a_value_of_another_type_anywhere_in_a_transaction_is_refused(content):
    read = {name: value for name, value in content.items() if name != "trade_state_desc"}
    for name, value in read.items():
        for odd in (1, True, 1.5, ["x"], {"x": 1}):
            if type(odd) is not type(value):
                assert code_of(event, "TRANSACTION.SUCCESS", {**content, name: odd}) == "bad_field"


# --- refunds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apiv2", "apiv3"), [("SUCCESS", "SUCCESS"), ("CHANGE", "ABNORMAL"), ("REFUNDCLOSE", "CLOSED")]
)
def test_a_refund_is_one_in_both_dialects(apiv2, apiv3):
    from_apiv2 = Refund.from_decrypted(decrypted(refund_status=apiv2))
    from_apiv3 = event(f"REFUND.{apiv3}")
    one_and_the_same(from_apiv2, from_apiv3)
    assert from_apiv2.result == from_apiv3.result == apiv3
    assert (from_apiv2.refund_status, from_apiv3.refund_status) == (apiv2, apiv3)
    assert from_apiv2.key == f"refund/{MCH_ID}/50300000002026112300000000001/{apiv3}"


def test_a_refund_through_a_provider_is_one_in_both_dialects():
    provider = {"mchid": None, "sp_mchid": MCH_ID, "sub_mchid": SUB_MCH_ID}
    refunded = event("REFUND.SUCCESS", **provider)
    one_and_the_same(refunded, Refund.from_decrypted(decrypted()))
    assert (refunded.mch_id, refunded.sub_mch_id) == (MCH_ID, SUB_MCH_ID)


@pytest.mark.parametrize(
    ("apiv2", "apiv3"),
    [
        ({"refund_fee": "1"}, {"amount": {"total": 100, "refund": 1}}),
        ({"total_fee": "101"}, {"amount": {"total": 101, "refund": 100}}),
        ({"out_refund_no": "R-2"}, {"out_refund_no": "R-2"}),
        ({"out_trade_no": "B-1"}, {"out_trade_no": "B-1"}),
        ({"transaction_id": "7"}, {"transaction_id": "7"}),
        ({"refund_id": "7"}, {"refund_id": "7"}),
    ],
)
def test_what_makes_another_refund_of_it_in_one_dialect_does_so_in_the_other(apiv2, apiv3):
    from_apiv2 = Refund.from_decrypted(decrypted(**apiv2))
    one_and_the_same(from_apiv2, event("REFUND.SUCCESS", **apiv3))
    assert from_apiv2 != Refund.from_decrypted(decrypted())


def test_attributes_of_a_refund_carry_the_same_names_whichever_dialect_it_came_in():
    apiv2, apiv3 = Refund.from_decrypted(decrypted(cash_refund_fee="100")), event("REFUND.SUCCESS")
    for name in (
        "kind", "mch_id", "out_trade_no", "transaction_id", "refund_id", "out_refund_no", "refund_status",
        "result", "refund_fee", "total_fee", "cash_refund_fee", "success_time", "refund_recv_accout",
    ):  # fmt: skip
        assert getattr(apiv2, name) == getattr(apiv3, name), name
    assert apiv2.success_time == datetime(2026, 11, 23, 13, 0, tzinfo=CHINA)
    assert apiv3.transaction_id == TRANSACTION_ID
    assert REFUND["user_received_account"] == apiv3.refund_recv_accout


# --- contracts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change_type", "event_type"), [("ADD", "ENTRUST.SIGN"), ("DELETE", "ENTRUST.TERMINATE")]
)
def test_a_contract_is_one_in_both_dialects(change_type, event_type):
    from_apiv2, from_apiv3 = told(contract(change_type=change_type)), event(event_type)
    assert isinstance(from_apiv2, Contract)
    one_and_the_same(from_apiv2, from_apiv3)
    assert from_apiv2.change_type == from_apiv3.change_type == from_apiv3.result == change_type
    for name in ("kind", "mch_id", "contract_id", "contract_code", "plan_id", "openid", "sub_mch_id"):
        assert getattr(from_apiv2, name) == getattr(from_apiv3, name), name


def test_a_contract_with_a_sub_merchant_is_one_in_both_dialects():
    one_and_the_same(told(contract(sub_mch_id=SUB_MCH_ID)), event("ENTRUST.SIGN", PARTNER_CONTRACT))


@pytest.mark.parametrize(
    ("apiv2", "apiv3"),
    [
        ({"contract_code": "K-2"}, {"out_contract_code": "K-2"}),
        ({"plan_id": "7"}, {"plan_id": 7}),
        ({"plan_id": "7"}, {"plan_id": "7"}),
        ({"contract_id": "7"}, {"contract_id": "7"}),
        ({"mch_id": "7"}, {"mchid": "7"}),
    ],
)
def test_what_makes_another_contract_of_it_in_one_dialect_does_so_in_the_other(apiv2, apiv3):
    one_and_the_same(told(contract(**apiv2)), event("ENTRUST.SIGN", CONTRACT, **apiv3))
    assert told(contract(**apiv2)) != told(contract())
