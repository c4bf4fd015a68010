from __future__ import annotations

import decimal
import pickle
from decimal import Decimal

import pytest

from wxnotify import Expected, check_amount, check_merchant
from wxnotify._checks import check_transaction
from wxnotify.errors import AmountMismatch, MerchantMismatch, TransactionMismatch
from wxnotify.testing import APPID, MCH_ID, payment, payment_fields

from .support import code_of, signed

OWN = {"mch_id": MCH_ID, "appid": APPID}


# --- amounts -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total_fee", "expected"),
    [
        ("100", 100),
        ("1", 1),
        ("9" * 16, 10**16 - 1),
        ("100", Decimal("1")),
        ("100", Decimal("1.00")),
        ("100", Decimal("1.000")),
        ("1", Decimal("0.01")),
        ("880000", Decimal("8.8E3")),
        ("9" * 16, Decimal("99999999999999.99")),
    ],
)
def test_the_amount_of_the_order_passes(total_fee, expected):
    assert check_amount(payment(total_fee=total_fee), expected) is None


@pytest.mark.parametrize("expected", [99, 101, 10_000, Decimal("100"), Decimal("1.01"), Decimal("0.99")])
def test_another_amount_is_refused(expected):
    assert code_of(check_amount, payment(total_fee="100"), expected) == "amount_mismatch"


def test_an_amount_is_compared_exactly_whatever_the_callers_decimal_context_rounds_to():
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = False
        assert check_amount(payment(total_fee="123456"), Decimal("1234.56")) is None
        assert code_of(check_amount, payment(total_fee="120000"), Decimal("1234.56")) == "amount_mismatch"


@pytest.mark.parametrize("moved", ["cash_fee", "settlement_total_fee", "coupon_fee"])
def test_coupons_and_exchange_rates_do_not_move_the_amount_that_is_compared(moved):
    paid = payment(total_fee="100", **{moved: "1"})
    assert check_amount(paid, 100) is None
    assert code_of(check_amount, paid, 1) == "amount_mismatch"


@pytest.mark.parametrize("fee_type", [None, "", "CNY"])
def test_a_payment_that_names_no_currency_is_in_cny(fee_type):
    paid = payment(fee_type=fee_type)
    assert check_amount(paid, 100) is None
    assert code_of(check_amount, paid, 100, "USD") == "amount_mismatch"


@pytest.mark.parametrize("fee_type", ["USD", "cny", "CNY ", "JPY"])
def test_another_currency_is_another_amount(fee_type):
    paid = payment(fee_type=fee_type)
    assert code_of(check_amount, paid, 100) == "amount_mismatch"
    assert check_amount(paid, 100, fee_type) is None


def test_a_mismatch_carries_both_amounts():
    with pytest.raises(AmountMismatch) as refusal:
        check_amount(payment(total_fee="1", fee_type="USD"), Decimal("1.00"))
    error = pickle.loads(pickle.dumps(refusal.value))
    assert (error.out_trade_no, error.received_fen, error.received_currency) == ("A-1001", 1, "USD")
    assert (error.expected_fen, error.expected_currency) == (100, "CNY")


def test_an_absent_amount_never_matches():
    assert code_of(check_amount, payment(result_code="FAIL", total_fee=None), 100) == "amount_mismatch"


@pytest.mark.parametrize("amount", [1.0, 100.0, float("nan"), True, False, "100", b"100", None, [100], 1j])
def test_money_is_never_a_float_a_bool_or_text(amount):
    with pytest.raises(TypeError, match="fen"):
        check_amount(payment(), amount)


@pytest.mark.parametrize(
    "amount",
    [0, -1, -100, Decimal(0), Decimal("-1"), Decimal("0.001"), Decimal("1.005"), Decimal("1E-9"),
     Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")],
)  # fmt: skip
def test_an_order_that_costs_nothing_or_part_of_a_fen_is_a_value_error(amount):
    with pytest.raises(ValueError, match="amount"):
        check_amount(payment(), amount)


def test_yuan_are_only_known_for_cny():
    with pytest.raises(ValueError, match="JPY"):
        check_amount(payment(fee_type="JPY"), Decimal("100"), "JPY")


@pytest.mark.parametrize(
    "unverified", [payment_fields(), signed(payment_fields()), None, b"<xml/>", payment().fields]
)
def test_only_a_payment_is_compared(unverified):
    for check in (
        lambda: check_amount(unverified, 100),
        lambda: check_merchant(unverified, **OWN),
    ):
        with pytest.raises(TypeError, match="verified Payment"):
            check()


# --- merchants -----------------------------------------------------------------


@pytest.mark.parametrize("appid", [APPID, [APPID], ("wx0", APPID), {APPID}])
def test_your_own_merchant_and_app_pass(appid):
    assert check_merchant(payment(), mch_id=MCH_ID, appid=appid) is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("mch_id", {"mch_id": "1900000110"}),
        ("mch_id", {"mch_id": "190000010"}),
        ("appid", {"appid": "wx9999999999999999"}),
        ("appid", {"appid": APPID.upper()}),
        ("appid", {"appid": APPID + " "}),
        ("sub_mch_id", {"sub_mch_id": "1900000110"}),
    ],
)
def test_a_payment_for_somebody_else_is_refused_by_the_field_that_differs(field, changes):
    with pytest.raises(MerchantMismatch) as refusal:
        check_merchant(payment(**changes), **OWN)
    error = pickle.loads(pickle.dumps(refusal.value))
    assert (error.code, error.field, error.out_trade_no) == ("merchant_mismatch", field, "A-1001")
    assert error.received == changes[field]


@pytest.mark.parametrize(
    ("name", "expected"), [("mch_id", "1900"), ("appid", "wx888"), ("appid", "wx88888888888888889")]
)
def test_an_id_is_compared_whole(name, expected):
    assert code_of(check_merchant, payment(), **{**OWN, name: expected}) == "merchant_mismatch"


@pytest.mark.parametrize("appid", ["", [], ()])
def test_no_app_configured_lets_no_payment_pass(appid):
    assert code_of(check_merchant, payment(), mch_id=MCH_ID, appid=appid) == "merchant_mismatch"


@pytest.mark.parametrize("expected", ["1900000110", ["1900000111", "1900000110"]])
def test_a_service_provider_names_the_sub_merchant(expected):
    paid = payment(sub_mch_id="1900000110")
    assert check_merchant(paid, **OWN, sub_mch_id=expected) is None
    assert (
        code_of(check_merchant, payment(sub_mch_id="1900000119"), **OWN, sub_mch_id=expected)
        == "merchant_mismatch"
    )
    assert code_of(check_merchant, payment(), **OWN, sub_mch_id=expected) == "merchant_mismatch"


def test_the_sub_merchants_app_is_compared_only_if_it_is_named():
    paid = payment(sub_mch_id="1900000110", sub_appid="wx9")
    assert check_merchant(paid, **OWN, sub_mch_id="1900000110") is None
    assert check_merchant(paid, **OWN, sub_mch_id="1900000110", sub_appid="wx9") is None
    assert (
        code_of(check_merchant, paid, **OWN, sub_mch_id="1900000110", sub_appid="wx8") == "merchant_mismatch"
    )
    assert code_of(check_merchant, paid, **OWN, sub_mch_id="1900000110", sub_appid="") == "merchant_mismatch"


# --- paid twice ----------------------------------------------------------------


@pytest.mark.parametrize("settled_by", [None, "", payment().transaction_id])
def test_an_order_not_yet_settled_or_settled_by_this_transaction_passes(settled_by):
    assert check_transaction(payment(), settled_by) is None


def test_an_order_settled_by_another_transaction_was_paid_twice():
    with pytest.raises(TransactionMismatch) as refusal:
        check_transaction(payment(), "4200000000202611230000000002")
    assert all(
        part in str(refusal.value)
        for part in ("A-1001", payment().transaction_id, "4200000000202611230000000002")
    )


def test_a_failed_second_attempt_is_not_paid_twice():
    assert check_transaction(payment(result_code="FAIL"), "4200000000202611230000000002") is None


def test_an_expectation_needs_an_amount_alone():
    assert Expected(100) == (100, "CNY", None, None, None, None, None)
    with pytest.raises(TypeError):
        Expected()


def test_an_amount_of_more_digits_than_there_are_is_a_mistake_of_the_callers():
    with pytest.raises(ValueError, match="digits"):
        check_amount(payment(), 10**5000)
