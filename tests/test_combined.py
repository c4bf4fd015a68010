"""A combined order: one notification, and each order in it a payment of its own."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from wxnotify import Payment
from wxnotify._kinds import read_answer, read_resource
from wxnotify.testing import APPID, MCH_ID, combined
from wxnotify.testing.apiv3_resources import COMBINED

from .kinds import OPENID, TRANSACTION_ID, changed, orders, resource
from .support import code_of, either

CHINA = timezone(timedelta(hours=8))
ALWAYS = ("return_code", "result_code", "combine_appid", "combine_mch_id", "sub_order_list")
EACH = ("appid", "mch_id", "out_trade_no", "transaction_id", "total_fee", "time_end")


def listed(order_list: Any, **names: Any) -> bytes:
    """Build one whose ``sub_order_list`` is this JSON, WeChat Pay's own shape or not."""
    return combined(sub_order_list=json.dumps({"order_list": order_list, **names}))


def apiv3(*changes: dict[str, Any], **around: Any) -> tuple[Payment, ...]:
    """Read an APIv3 combined transaction whose orders are changed one by one."""
    sub_orders = [changed(COMBINED["sub_orders"][n % 2], change) for n, change in enumerate(changes)]
    content = changed(COMBINED, {"sub_orders": sub_orders, **around})
    return read_resource(resource("TRANSACTION.SUCCESS", content))  # type: ignore[return-value]


# --- APIv2 ----------------------------------------------------------------------------


def test_each_order_is_a_payment():
    first, second = orders(combined([{"attach": "a note", "cash_fee": 90}, {"fee_type": "USD"}]))
    assert (first.out_trade_no, first.transaction_id, first.total_fee) == ("A-1001", TRANSACTION_ID, 100)
    assert (second.out_trade_no, second.total_fee, second.fee_type) == ("A-1002", 200, "USD")
    assert (first.mch_id, first.combine_mch_id, first.combine_out_trade_no) == (MCH_ID, MCH_ID, "C-1001")
    assert (first.appid, first.sub_appid, first.openid) == (APPID, APPID, OPENID)
    assert (first.attach, first.cash_fee, first.fee_type) == ("a note", 90, "CNY")
    assert (first.bank_type, first.trade_type, first.paid, first.result) == (
        "OTHERS",
        "JSAPI",
        True,
        "SUCCESS",
    )
    assert first.time_end == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert first.fields is second.fields


def test_an_order_of_another_merchant_names_it_and_who_combined_it():
    (foreign,) = orders(combined([{"mch_id": "1900000110", "appid": "wx9"}]))
    assert (foreign.mch_id, foreign.sub_appid) == ("1900000110", "wx9")
    assert (foreign.combine_mch_id, foreign.appid) == (MCH_ID, APPID)
    assert foreign.key == f"payment/1900000110/{TRANSACTION_ID}/SUCCESS"


@pytest.mark.parametrize("name", ALWAYS)
def test_a_combined_order_without_a_field_every_one_has_is_refused(name):
    assert code_of(orders, combined(**{name: None})) == "missing_field"


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("at", [0, 1])
def test_one_of_whose_orders_lacks_a_field_is_refused_whole(name, at):
    changes = [{}, {}]
    changes[at] = {name: None}
    assert code_of(orders, combined(changes)) == "missing_field"


@pytest.mark.parametrize("odd", [True, 100.0, "100", 0, -1, 10**16, 10**60, [100], {"fen": 100}])
def test_an_amount_in_the_json_is_an_integer_of_fen(odd):
    refused = either(orders, combined([{"total_fee": odd}]))
    assert (refused.code, str(refused).startswith("total_fee is ")) == ("bad_field", True)


@pytest.mark.parametrize("odd", [True, 1.5, "1_0", -1, []])
def test_what_the_payer_paid_informs_and_costs_no_payment_when_it_is_odd(odd):
    (paid,) = orders(combined([{"cash_fee": odd}]))
    assert (paid.paid, paid.cash_fee) == (True, None)


@pytest.mark.parametrize("name", ["out_trade_no", "transaction_id", "mch_id"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\n", "订单", "x" * 65])
def test_an_id_of_an_order_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(orders, combined([{name: odd}])) == "bad_field"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"combine_mch_id": "19/0"}, "combine_mch_id"), ({"trade_state": "A/B"}, "trade_state"),
        ({"trade_state": "支付"}, "trade_state"), ({"combine_mch_id": "x" * 33}, "combine_mch_id"),
    ],
)  # fmt: skip
def test_what_goes_into_keys_has_the_characters_wechat_pay_uses_around_the_orders_too(changes, said):
    refused = either(orders, combined(**changes))
    assert (refused.code, str(refused).startswith(f"{said} is ")) == ("bad_field", True)


def test_what_stands_around_the_orders_may_be_absent():
    first, _ = orders(combined(bank_type=None, trade_type=None, combine_openid=None))
    assert (first.bank_type, first.trade_type, first.cash_fee_type, first.err_code) == ("", "", "CNY", "")
    (failed, _) = orders(combined(result_code="FAIL"))
    assert failed.err_code == ""


@pytest.mark.parametrize(
    "name", ["appid", "mch_id", "openid", "out_trade_no", "transaction_id", "time_end", "attach", "fee_type"]
)
@pytest.mark.parametrize("odd", [1, True, 1.5, ["x"], {"x": 1}])
def test_a_value_of_another_type_in_an_order_is_refused(name, odd):
    assert code_of(orders, combined([{name: odd}])) == "bad_field"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", '"x"', '{"order_list":[{}]', "{'order_list':[]}", "{}x", "NaN", "\ufeff{}"],
)
def test_what_is_no_json_object_is_refused(text):
    expected = "missing_field" if text == "" else "bad_json"
    assert code_of(orders, combined(sub_order_list=text)) == expected


@pytest.mark.parametrize("order_list", [None, {}, "x", 1, True, [1], [None], ["x"], [[]], [{}, 1], {"0": {}}])
def test_what_is_no_list_of_orders_is_refused(order_list):
    assert code_of(orders, listed(order_list)) == "bad_field"


def test_a_list_of_no_orders_is_no_payment():
    assert code_of(orders, listed([])) == "missing_field"
    assert code_of(orders, combined([])) == "missing_field"


def test_a_name_that_comes_twice_in_an_order_is_refused():
    order = json.dumps({"total_fee": 1})[:-1] + ',"total_fee":100}'
    assert code_of(orders, combined(sub_order_list=f'{{"order_list":[{order}]}}')) == "bad_json"


@pytest.mark.parametrize("order_num", [0, 1, 3, -1, "2", "x", None, [2], 2.5, 2.0, True])
def test_the_number_of_orders_is_what_it_says(order_num):
    two = [{"out_trade_no": "A-1"}, {"out_trade_no": "A-2"}]
    assert code_of(orders, listed(two, order_num=order_num)) == "bad_field"


def test_the_number_of_orders_need_not_be_said():
    body = combined()
    assert len(orders(body)) == 2
    assert b'"order_num":2' in body
    whole = json.loads(orders(body)[0].fields["sub_order_list"])
    assert orders(listed(whole["order_list"])) == orders(body)


def test_two_orders_of_one_transaction_are_refused():
    assert code_of(orders, combined([{}, {"transaction_id": TRANSACTION_ID}])) == "bad_field"
    assert code_of(apiv3, {}, {"transaction_id": TRANSACTION_ID}) == "bad_field"


def test_two_orders_of_two_merchants_may_have_one_number():
    numbered = orders(combined([{"out_trade_no": "A-1"}, {"out_trade_no": "A-1", "mch_id": "1900000110"}]))
    assert len({payment.key for payment in numbered}) == 2


def test_more_orders_than_are_combined_are_refused():
    assert len(orders(combined([{}] * 100))) == 100
    assert code_of(orders, combined([{}] * 101)) == "bad_field"


@pytest.mark.parametrize("result_code", ["FAIL", "success", "OK"])
def test_a_combined_order_that_failed_is_authentic_and_nothing_in_it_is_paid(result_code):
    failed = orders(combined(result_code=result_code, err_code="SYSTEMERROR"))
    assert [(one.paid, one.result, one.err_code) for one in failed] == [(False, "FAIL", "SYSTEMERROR")] * 2
    assert {one.key for one in failed}.isdisjoint(one.key for one in orders(combined()))


def test_an_order_that_failed_needs_its_number_alone():
    bare = [{"transaction_id": None, "total_fee": None, "time_end": None, "cash_fee": None, "openid": None}]
    (failed,) = orders(combined(bare, result_code="FAIL"))
    assert (failed.paid, failed.total_fee, failed.key) == (
        False,
        None,
        f"payment/{MCH_ID}/out_trade_no:A-1001/FAIL",
    )


@pytest.mark.parametrize(
    "state", ["NOTPAY", "REFUND", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR", "success"]
)
def test_the_answer_to_a_query_is_signed_with_the_same_key_and_not_paid_unless_its_state_says_so(state):
    around = orders(combined(trade_state=state))
    assert [(one.paid, one.result, one.trade_state) for one in around] == [(False, state, state)] * 2
    first, second = orders(combined([{"trade_state": state}, {}]))
    assert (first.paid, first.result, second.paid, second.result) == (False, state, True, "SUCCESS")


def test_the_answer_to_a_query_that_says_success_is_the_notification_s_payment():
    assert orders(combined(trade_state="SUCCESS")) == orders(combined())


def test_an_order_of_an_answer_that_is_not_paid_needs_its_number_alone():
    bare = [{"transaction_id": None, "total_fee": None, "time_end": None}]
    (asked,) = orders(combined(bare, trade_state="NOTPAY"))
    assert asked.key == f"payment/{MCH_ID}/out_trade_no:A-1001/NOTPAY"


def test_an_err_code_beside_success_is_a_sample_s_and_says_nothing():
    assert [one.err_code for one in orders(combined(err_code="SYSTEMERROR"))] == ["", ""]


# --- APIv3 ----------------------------------------------------------------------------


def test_each_order_of_apiv3_is_a_payment():
    first, second = apiv3({"attach": "a note"}, {"sub_mchid": "1900000110", "sub_appid": "wx9"})
    assert (first.out_trade_no, first.transaction_id, first.total_fee) == ("A-1001", TRANSACTION_ID, 100)
    assert (first.attach, first.cash_fee, first.fee_type) == ("a note", 100, "CNY")
    assert (first.appid, first.openid, first.combine_mch_id) == (APPID, OPENID, MCH_ID)
    assert (second.out_trade_no, second.total_fee) == ("A-1002", 200)
    assert (second.sub_mch_id, second.sub_appid) == ("1900000110", "wx9")
    assert first.time_end == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert (first.dialect, first.event_type) == ("APIv3", "TRANSACTION.SUCCESS")


def test_the_answer_to_a_query_is_read_as_the_event_is():
    asked = read_answer(resource("", COMBINED, key_index=None))
    assert asked == apiv3({}, {})


@pytest.mark.parametrize("name", ["combine_mchid", "sub_orders"])
def test_an_apiv3_combined_order_without_a_field_every_one_has_is_refused(name):
    assert code_of(apiv3, {}, **{name: None}) == "missing_field"
    assert code_of(apiv3, {}, combine_out_trade_no="") == "missing_field"


@pytest.mark.parametrize("name", ["mchid", "out_trade_no", "trade_state", "transaction_id", "amount"])
def test_one_of_whose_apiv3_orders_lacks_a_field_is_refused_whole(name):
    assert code_of(apiv3, {}, {name: None}) == "missing_field"


@pytest.mark.parametrize("odd", [True, 100.0, "100", 0, -1, 10**16, [100]])
def test_an_amount_of_an_apiv3_order_is_an_integer_of_fen(odd):
    refused = either(lambda: apiv3({"amount": {"total_amount": odd}}))
    assert (refused.code, str(refused).startswith("amount.total_amount is ")) == ("bad_field", True)


def test_the_total_of_a_direct_payment_is_none_of_an_order_of_a_combined_one():
    assert code_of(apiv3, {"amount": {"total": 100, "currency": "CNY"}}) == "missing_field"


@pytest.mark.parametrize("name", ["mchid", "out_trade_no", "transaction_id", "trade_state"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\n", "订单", "x" * 65])
def test_an_id_of_an_apiv3_order_has_the_characters_wechat_pay_uses(name, odd):
    refused = either(lambda: apiv3({name: odd}))
    assert (refused.code, str(refused).startswith(f"{name} is ")) == ("bad_field", True)


@pytest.mark.parametrize("odd", ["a/b", "a\n", "x" * 33])
def test_whoever_combined_them_has_the_characters_of_a_merchant_in_apiv3(odd):
    refused = either(lambda: apiv3({}, combine_mchid=odd))
    assert (refused.code, str(refused).startswith("combine_mchid is ")) == ("bad_field", True)


@pytest.mark.parametrize("sub_orders", [{}, "x", 1, True, [1], [None], ["x"], [[]]])
def test_what_is_no_list_of_apiv3_orders_is_refused(sub_orders):
    assert code_of(apiv3, sub_orders=sub_orders) == "bad_field"
    assert code_of(apiv3, sub_orders=[]) == "missing_field"


@pytest.mark.parametrize("name", ["mchid", "trade_type", "bank_type", "attach", "success_time", "amount"])
@pytest.mark.parametrize("odd", [1, True, 1.5, ["x"]])
def test_a_value_of_another_type_in_an_apiv3_order_is_refused(name, odd):
    assert code_of(apiv3, {name: odd}) == "bad_field"


@pytest.mark.parametrize(
    "around", ["combine_appid", "combine_mchid", "combine_out_trade_no", "combine_payer_info"]
)
@pytest.mark.parametrize("odd", [1, True, 1.5, ["x"]])
def test_a_value_of_another_type_around_the_orders_is_refused(around, odd):
    assert code_of(apiv3, {}, **{around: odd}) == "bad_field"


def test_an_order_of_a_combined_one_may_be_paid_while_another_is_not():
    first, second = apiv3({}, {"trade_state": "CLOSED", "transaction_id": None})
    assert (first.paid, second.paid, second.result) == (True, False, "CLOSED")
