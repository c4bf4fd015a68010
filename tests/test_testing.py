from __future__ import annotations

import pytest

from wxnotify import Payment, parse, testing, verify
from wxnotify.errors import ExtraMissing
from wxnotify.testing import (
    APPID,
    KEY,
    MCH_ID,
    combined,
    contract,
    deduction,
    notification,
    payment,
    payment_fields,
    plate_state,
    query_answer,
    scan,
)

from .kinds import OPENID, TRANSACTION_ID, orders, told
from .support import code_of, signed
from .test_crypto_extra import without_cryptography as without_cryptography  # a fixture

OWN_KEY = "a-key-of-the-users-own-test-case"


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there(name):
    assert getattr(testing, name)


def test_the_fields_are_those_of_a_paid_order():
    assert Payment.from_verified(verify(signed(payment_fields()), KEY)).paid
    assert (payment_fields()["mch_id"], payment_fields()["appid"]) == (MCH_ID, APPID)


def test_each_call_gives_fields_of_its_own():
    payment_fields()["total_fee"] = "1"
    assert payment_fields()["total_fee"] == "100"


def test_a_field_is_changed_added_or_left_out():
    fields = payment_fields(total_fee="8800", attach="x", openid=None)
    assert (fields["total_fee"], fields["attach"]) == ("8800", "x")
    assert "openid" not in fields


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
@pytest.mark.parametrize(
    "build", [notification, query_answer, deduction, contract, plate_state, scan, combined]
)
def test_what_is_built_holds_the_reference_signature(build, sign_type):
    fields = parse(build(key=OWN_KEY, sign_type=sign_type, total_fee="8800"))
    assert fields == signed(
        {name: value for name, value in fields.items() if name != "sign"}, OWN_KEY, sign_type
    )
    assert verify(fields, OWN_KEY)["total_fee"] == "8800"
    assert code_of(verify, fields, KEY) == "bad_signature"


def test_a_notification_can_be_built_of_other_fields():
    fields = {"mch_id": MCH_ID, "contract_id": "1", "change_type": "ADD"}
    assert parse(notification(fields, contract_id="2")) == signed({**fields, "contract_id": "2"})
    assert fields["contract_id"] == "1"


def test_a_query_answer_tells_of_the_payment_that_the_notification_told_of():
    asked = Payment.from_verified(verify(parse(query_answer()), KEY))
    told = Payment.from_verified(verify(parse(notification()), KEY))
    assert asked == told == payment()
    assert asked.trade_state == "SUCCESS"
    assert asked.fields["nonce_str"] != told.fields["nonce_str"]


def test_a_query_answer_can_tell_another_state():
    assert Payment.from_verified(verify(parse(query_answer(trade_state="REFUND")), KEY)).result == "REFUND"


def test_a_payment_is_made_with_changes():
    assert payment(total_fee="8800").total_fee == 8800
    assert payment(openid=None, result_code="FAIL").paid is False


# --- the other kinds ------------------------------------------------------------------


@pytest.mark.parametrize("build", [deduction, contract, plate_state, scan])
def test_a_field_of_any_kind_is_changed_added_or_left_out(build):
    fields = parse(build(mch_id="1900000110", attach="x", nonce_str=None))
    assert (fields["mch_id"], fields["attach"]) == ("1900000110", "x")
    assert "nonce_str" not in fields


def test_every_kind_tells_of_the_same_merchant_payer_and_order():
    assert told(deduction()) == told(notification())
    assert {told(build()).mch_id for build in (deduction, contract, plate_state, scan)} == {MCH_ID}
    assert {told(build()).openid for build in (deduction, contract, scan)} == {OPENID}


def test_a_contract_that_was_terminated_has_the_fields_of_one():
    signed_one, terminated = parse(contract()), parse(contract(change_type="DELETE"))
    assert set(signed_one) - set(terminated) == {"contract_expired_time"}
    assert set(terminated) - set(signed_one) == {"contract_termination_mode"}
    assert (
        parse(contract(change_type="DELETE", contract_termination_mode="3"))["contract_termination_mode"]
        == "3"
    )
    assert "change_type" not in parse(contract(change_type=None))


def test_a_plate_that_is_blocked_has_the_fields_of_one():
    assert parse(plate_state())["deduct_mode"] == "AUTOPAY"
    blocked = parse(plate_state(vehicle_event_type="BLOCKED"))
    assert (blocked["vehicle_event_des"], "deduct_mode" in blocked) == ("OVERDUE", False)
    assert parse(plate_state(sign_type="MD5"))["sign_type"] == "MD5"


def test_a_combined_order_has_as_many_orders_as_are_asked_for():
    assert [order.out_trade_no for order in orders(combined())] == ["A-1001", "A-1002"]
    built = orders(combined([{}, {"total_fee": 1, "attach": "x"}, {"cash_fee": None}]))
    assert [order.total_fee for order in built] == [100, 1, 300]
    assert [order.attach for order in built] == ["", "x", ""]
    assert [order.cash_fee for order in built] == [100, 200, None]
    assert built[0].transaction_id == TRANSACTION_ID
    assert orders(combined(combine_out_trade_no="C-7"))[0].combine_out_trade_no == "C-7"


@pytest.mark.usefixtures("without_cryptography")
@pytest.mark.parametrize("build", [testing.refund_notification, testing.pay_after_notification])
def test_what_is_encrypted_cannot_be_built_without_the_extra_and_says_so(build):
    with pytest.raises(ExtraMissing, match=r"wxpay-notify\[crypto\]"):
        build()
