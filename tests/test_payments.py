from __future__ import annotations

import copy
import hashlib
import pickle
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify import Coupon, Payment, parse, verify
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment, payment_fields, query_answer

from .support import code_of, received, signed

PAID = payment_fields()
ALWAYS = ("return_code", "result_code", "appid", "mch_id", "nonce_str", "out_trade_no")
WHEN_PAID = ("transaction_id", "total_fee", "openid", "trade_type", "bank_type", "time_end")


def answered(**changes: str | None) -> Payment:
    return Payment.from_verified(verify(parse(query_answer(**changes)), KEY))


# --- what makes a payment ------------------------------------------------------


def test_a_paid_notification_is_read():
    paid = payment(
        attach="note", cash_fee="0", settlement_total_fee="90", coupon_fee="100", cash_fee_type="USD"
    )
    assert paid.paid is True
    assert paid.kind == "payment"
    assert paid.result == "SUCCESS"
    assert (paid.mch_id, paid.appid) == (MCH_ID, APPID)
    assert (paid.out_trade_no, paid.transaction_id) == (PAID["out_trade_no"], PAID["transaction_id"])
    assert (paid.total_fee, paid.fee_type) == (100, "CNY")
    assert (paid.cash_fee, paid.cash_fee_type) == (0, "USD")
    assert (paid.settlement_total_fee, paid.coupon_fee) == (90, 100)
    assert (paid.openid, paid.attach, paid.bank_type) == (PAID["openid"], "note", "OTHERS")
    assert (paid.trade_type, paid.trade_state, paid.err_code) == ("JSAPI", "", "")
    assert paid.time_end == datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=8)))


def test_what_is_absent_is_empty_text_or_none():
    paid = payment(cash_fee=None, fee_type=None)
    assert (paid.cash_fee, paid.settlement_total_fee, paid.coupon_fee) == (None, None, None)
    assert (paid.attach, paid.sub_mch_id, paid.sub_appid, paid.err_code) == ("", "", "", "")
    assert (paid.fee_type, paid.cash_fee_type) == ("CNY", "CNY")
    assert paid.coupons == ()


def test_an_empty_fee_type_is_an_absent_one():
    assert payment(fee_type="").fee_type == "CNY"


def test_service_provider_fields_are_read():
    paid = payment(sub_mch_id="1900000110", sub_appid="wx9999999999999999")
    assert (paid.sub_mch_id, paid.sub_appid) == ("1900000110", "wx9999999999999999")


def test_unknown_fields_are_kept():
    assert payment(a_field_of_next_year="1").fields["a_field_of_next_year"] == "1"


@pytest.mark.parametrize(
    "made_of", [dict(PAID), None, b"<xml/>", signed(PAID), payment()], ids=lambda x: type(x).__name__
)
def test_only_what_verify_returned_is_read(made_of):
    with pytest.raises(TypeError, match="verify"):
        Payment.from_verified(made_of)


def test_a_payment_is_not_made_by_hand():
    with pytest.raises(TypeError, match="authenticated fields alone"):
        Payment()


@pytest.mark.parametrize("name", [*ALWAYS, *WHEN_PAID])
@pytest.mark.parametrize("value", [None, ""])
def test_a_paid_notification_without_a_field_every_one_has_is_refused(name, value):
    fields = payment_fields(**{name: value})
    if name == "return_code" and value == "":
        assert code_of(received, signed(fields)) == "return_code_fail"
    else:
        assert code_of(received, signed(fields)) == "missing_field"


@pytest.mark.parametrize("name", ["cash_fee", "fee_type", "is_subscribe", "attach"])
def test_a_field_that_genuine_messages_leave_out_is_not_needed(name):
    assert payment(**{name: None}).paid


# --- what is paid --------------------------------------------------------------


@pytest.mark.parametrize("result_code", ["FAIL", "success", "SUCCESS ", "OK", "1"])
def test_any_other_result_code_is_an_authentic_payment_that_failed(result_code):
    failed = payment(result_code=result_code, err_code="NOTENOUGH")
    assert failed.paid is False
    assert failed.result == "FAIL"
    assert failed.err_code == "NOTENOUGH"


@pytest.mark.parametrize("name", WHEN_PAID)
def test_a_failed_payment_needs_no_more_than_its_order(name):
    assert payment(result_code="FAIL", **{name: None}).paid is False


def test_a_failed_payment_still_needs_its_order():
    fields = payment_fields(result_code="FAIL", out_trade_no=None)
    assert code_of(received, signed(fields)) == "missing_field"


@pytest.mark.parametrize(
    "state",
    ["NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR", "REFUND", "ACCEPT", "NEW_STATE", "success"],
)
def test_an_order_query_is_paid_in_no_state_but_success(state):
    asked = answered(trade_state=state)
    assert asked.paid is False
    assert asked.result == asked.trade_state == state


def test_an_order_query_that_says_success_is_paid():
    assert answered().paid is True
    assert answered().trade_state == "SUCCESS"


def test_a_query_that_failed_is_not_paid_whatever_its_state():
    asked = answered(result_code="FAIL")
    assert (asked.paid, asked.result) == (False, "FAIL")


def test_an_unpaid_order_needs_no_amount():
    fields = {name: PAID[name] for name in ALWAYS} | {"trade_state": "CLOSED"}
    closed = received(signed(fields))
    assert (closed.paid, closed.total_fee, closed.time_end, closed.transaction_id) == (False, None, None, "")


# --- shapes --------------------------------------------------------------------

NOT_DIGITS = [
    "+1", "-1", " 1", "1 ", "1_0", "1.0", "1e3", "0x10", "nan", "inf", "１００", "٣", "²", "1\n", "\n1",
    "1\xa0", "1,000",
    "1" * 17, "9" * 5_000, "a", "1\u200b",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_DIGITS, ids=range(len(NOT_DIGITS)))
def test_the_amount_is_plain_ascii_digits(text):
    assert code_of(payment, total_fee=text) == "bad_field"


@pytest.mark.parametrize("name", ["cash_fee", "settlement_total_fee", "coupon_fee"])
@pytest.mark.parametrize("text", NOT_DIGITS, ids=range(len(NOT_DIGITS)))
def test_an_amount_for_information_is_plain_ascii_digits_or_none_and_costs_no_payment(name, text):
    odd = payment(**{name: text})
    assert (odd.paid, getattr(odd, name), odd.fields[name]) == (True, None, text)


@pytest.mark.parametrize("text", NOT_DIGITS, ids=range(len(NOT_DIGITS)))
def test_a_coupons_amount_is_plain_ascii_digits_or_none_and_costs_no_payment(text):
    odd = payment(coupon_fee_0=text)
    assert (odd.paid, [coupon.fee for coupon in odd.coupons]) == (True, [None])


@pytest.mark.parametrize("text", ["0", "00", "0100", "01"])
def test_an_order_costs_something_and_has_no_leading_zeros(text):
    assert code_of(payment, total_fee=text) == "bad_field"


@pytest.mark.parametrize("text", ["1", "10", "9" * 16])
def test_an_amount_is_read_exactly(text):
    assert payment(total_fee=text).total_fee == int(text)


def test_the_amount_of_an_unpaid_order_is_read_as_strictly():
    assert code_of(payment, result_code="FAIL", total_fee="1_0") == "bad_field"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("out_trade_no", text)
            for text in ("A" * 33, "A 1", "A/1", "A:1", "A.1", "订单", "A\n", "A1&b", "Ａ1", "A'1")
        ),
        *(("transaction_id", text) for text in ("4" * 65, "42-1", "42/1", "42:1", "４２", "42\n", "42_1")),
        *(("mch_id", text) for text in ("1" * 33, "19 0", "19/0", "１９", "19\n", "19:0", "19-0")),
        *(
            ("trade_state", text)
            for text in ("SUCCESS\n", "S" * 33, "A/B", "A:B", "SUCCESS ", "NOT PAY", "支付")
        ),
    ],
)
def test_an_id_holds_no_other_characters_than_wechat_pay_uses(name, text):
    assert code_of(payment, **{name: text}) == "bad_field"


@pytest.mark.parametrize("text", ["a", "A" * 32, "aZ09_-|*@", "-", "0"])
def test_an_order_number_has_the_characters_merchants_may_use(text):
    assert payment(out_trade_no=text).out_trade_no == text


def test_a_transaction_id_may_have_64_characters():
    assert payment(transaction_id="9" * 64).transaction_id == "9" * 64


@pytest.mark.parametrize(
    "text",
    ["20261123", "20261123120000 ", "20261323120000", "20261132120000", "20261123250000", "20261123126000",
     "20261123120060", "00001123120000", "２０２６１１２３１２００００", "2026-11-23T12:00:00", "9" * 14,
     "x" * 5_000],
)  # fmt: skip
def test_an_odd_time_never_costs_a_payment(text):
    paid = payment(time_end=text)
    assert (paid.paid, paid.time_end) == (True, None)
    assert paid.fields["time_end"] == text


def test_every_digit_of_the_time_counts():
    assert payment(time_end="20240229235958").time_end == datetime(
        2024, 2, 29, 23, 59, 58, tzinfo=timezone(timedelta(hours=8))
    )


# --- coupons -------------------------------------------------------------------


def test_coupons_are_those_the_message_has_in_their_order():
    paid = payment(
        coupon_fee_10="7",
        coupon_id_0="a",
        coupon_type_0="CASH",
        coupon_fee_0="5",
        coupon_id_2="b",
        coupon_type_10="NO_CASH",
    )
    assert paid.coupons == (Coupon(0, "a", "CASH", 5), Coupon(2, "b", "", None), Coupon(10, "", "NO_CASH", 7))


@pytest.mark.parametrize("count", ["0", "1", "999999999", "-1", "x"])
def test_the_count_of_coupons_is_not_believed(count):
    assert len(payment(coupon_count=count, coupon_fee_0="1", coupon_fee_1="1").coupons) == 2


@pytest.mark.parametrize(
    "name",
    [
        "coupon_id",
        "coupon_fee_",
        "coupon_fee_00",
        "coupon_fee_x",
        "coupon_fee_99999",
        "coupon_note_0",
        "coupon_fee_0_0",
    ],
)
def test_other_names_that_begin_with_coupon_are_no_coupons(name):
    paid = payment(**{name: "odd"})
    assert paid.coupons == ()
    assert paid.fields[name] == "odd"


# --- key and fingerprint -------------------------------------------------------


def test_the_key_says_kind_merchant_transaction_and_result():
    assert payment().key == f"payment/{MCH_ID}/{PAID['transaction_id']}/SUCCESS"


def test_without_a_transaction_the_key_names_the_order():
    assert (
        payment(result_code="FAIL", transaction_id=None).key == f"payment/{MCH_ID}/out_trade_no:A-1001/FAIL"
    )


def test_a_failure_never_uses_up_the_key_of_the_payment_that_follows():
    keys = {
        payment().key,
        payment(result_code="FAIL").key,
        *(answered(trade_state=s).key for s in ("REFUND", "NOTPAY")),
    }
    assert len(keys) == 4


def test_an_order_query_finds_what_its_notification_told():
    assert answered() == payment()
    assert (answered().key, answered().fingerprint) == (payment().key, payment().fingerprint)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce_str": "another"},
        {"attach": "a note"},
        {"sign_type": "MD5"},
        {"time_end": "20270101000000"},
        {"cash_fee": "1"},
        {"fee_type": None},
        {"bank_type": "CMC"},
        {"trade_type": "NATIVE"},
        {"a_field_of_next_year": "1"},
        {"coupon_fee_0": "1"},
    ],
    ids=str,
)
def test_what_may_differ_between_two_deliveries_is_not_in_the_fingerprint(changes):
    assert payment(**changes) == payment()
    assert hash(payment(**changes)) == hash(payment())


@pytest.mark.parametrize(
    "changes",
    [
        {"total_fee": "1"},
        {"out_trade_no": "B-1"},
        {"fee_type": "USD"},
        {"sub_mch_id": "1900000110"},
    ],
    ids=str,
)
def test_the_same_transaction_with_other_business_content_is_seen(changes):
    assert payment(**changes).key == payment().key
    assert payment(**changes).fingerprint != payment().fingerprint
    assert payment(**changes) != payment()


def test_the_payer_is_no_business_content_because_dialects_and_queries_name_payers_differently():
    assert payment(openid="o2") == payment()


@pytest.mark.parametrize(
    "changes", [{"mch_id": "1900000110"}, {"transaction_id": "4200000000202611230000000002"}], ids=str
)
def test_another_merchant_or_transaction_is_another_key(changes):
    assert payment(**changes).key != payment().key


def test_attempts_that_failed_differently_have_one_fingerprint():
    first = payment(result_code="FAIL", total_fee="100", openid="o1", err_code="NOTENOUGH")
    second = payment(result_code="FAIL", total_fee=None, openid=None, err_code="SYSTEMERROR")
    assert first == second


def test_the_fingerprint_is_sha_256_of_values_led_by_their_lengths():
    # Stored in databases: another release must find the same 32 bytes.
    content = ["1900000110", "A-1001", "100", "CNY"]
    expected = hashlib.sha256("".join(f"{len(part)}:{part}" for part in content).encode()).digest()
    assert payment(sub_mch_id="1900000110").fingerprint == expected
    assert payment(result_code="FAIL").fingerprint == hashlib.sha256(b"0:6:A-1001").digest()


def test_no_two_lists_of_values_run_into_one_fingerprint():
    assert (
        payment(total_fee="10", fee_type="0CNY").fingerprint
        != payment(total_fee="100", fee_type="CNY").fingerprint
    )


# --- the value -----------------------------------------------------------------


def test_a_payment_cannot_be_changed():
    paid = payment()
    for name in ("total_fee", "paid", "anything"):
        with pytest.raises(AttributeError):
            setattr(paid, name, 1)
        with pytest.raises(AttributeError):
            delattr(paid, name)
    assert paid == payment()


def test_a_payment_equals_no_other_kind_of_thing():
    assert payment() != payment().key
    assert payment() != dict(payment().fields)


def test_the_repr_shows_the_order_and_nothing_of_the_payer():
    text = repr(payment(attach="a secret note"))
    assert all(part in text for part in ("A-1001", PAID["transaction_id"], "total_fee=100", "paid=True"))
    assert PAID["openid"] not in text
    assert "secret" not in text


def test_the_repr_stays_on_one_line_whatever_the_currency_says():
    assert repr(payment(fee_type="CNY\n\x85\u2028\u202e")).isprintable()


def test_a_notification_goes_from_bytes_to_payment():
    assert Payment.from_verified(verify(parse(notification(total_fee="8800")), KEY)).total_fee == 8800


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_payment_can_be_copied_and_pickled_for_a_worker(copied):
    one = payment(coupon_id_0="1", coupon_fee_0="5")
    other = copied(one)
    assert other == one
    assert (dict(other.fields), other.coupons, other.time_end) == (
        dict(one.fields),
        one.coupons,
        one.time_end,
    )
