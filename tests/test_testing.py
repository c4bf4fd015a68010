from __future__ import annotations

import pytest

from wxnotify import Payment, parse, testing, verify
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment, payment_fields, query_answer

from .support import code_of, signed

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
@pytest.mark.parametrize("build", [notification, query_answer])
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
