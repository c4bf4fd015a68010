from __future__ import annotations

import pytest

from wxnotify import Merchant, Payment, Refund, parse, verify
from wxnotify.apiv3 import read_order_answer
from wxnotify.testing import APPID, KEY, MCH_ID, apiv3_keys, notification
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    MERCHANT_SERIAL,
    PUBLIC_KEY_ID,
    SERIAL,
    apiv3,
    combined_event,
    event,
    partner_payment_event,
    payment_event,
    platform_keys,
    query_answer,
    refund_event,
    signed,
)

from ..support import code_of
from .posting import NOW, envelope_of, merchant, opened

EVERY = {
    "payment": payment_event,
    "partner": partner_payment_event,
    "combined": combined_event,
    "refund": refund_event,
}


def test_the_payment_is_the_one_that_the_apiv2_notification_tells():
    told = Payment.from_verified(verify(parse(notification()), KEY))
    assert Payment.from_resource(opened(payment_event(now=NOW))) == told
    assert Payment.from_resource(opened(payment_event(now=NOW))).openid == told.openid


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_every_notification_opens_under_the_keys_of_the_tests(build):
    for serial in (SERIAL, PUBLIC_KEY_ID):
        posted = build(now=NOW, options={"serial": serial})
        assert opened(posted).serial == serial
        assert posted.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_names_can_be_changed_added_and_left_out(build):
    read = opened(build(now=NOW, transaction_id="1", store_id="S-1", out_trade_no=None))
    assert (read["transaction_id"], read["store_id"]) == ("1", "S-1")
    assert "out_trade_no" not in read


@pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
def test_two_of_them_are_a_notification_and_its_resend(build):
    first, second = build(now=NOW), build(now=NOW + 15)
    assert dict(opened(first)) == dict(opened(second))
    assert first.headers["Wechatpay-Nonce"] != second.headers["Wechatpay-Nonce"]
    assert envelope_of(first)["id"] != envelope_of(second)["id"]


def test_a_partner_s_payment_names_provider_and_sub_merchant():
    payment = Payment.from_resource(opened(partner_payment_event(now=NOW)))
    assert (payment.mch_id, payment.appid, payment.sub_mch_id) == (MCH_ID, APPID, "1900000110")
    assert opened(partner_payment_event(now=NOW, sub_mchid="7"))["sub_mchid"] == "7"


def test_a_combined_order_has_two():
    orders = opened(combined_event(now=NOW))["sub_orders"]
    assert [order["amount"]["total_amount"] for order in orders] == [100, 200]


@pytest.mark.parametrize("status", ["SUCCESS", "ABNORMAL", "CLOSED"])
def test_a_refund_s_status_follows_its_event(status):
    refund = Refund.from_resource(opened(refund_event(now=NOW, event_type=f"REFUND.{status}")))
    assert refund.result == status
    assert refund.out_trade_no == "A-1001"


def test_an_event_takes_its_envelope_by_name():
    posted = event("X.Y", {"a": 1}, now=NOW, id="EV-9", summary=None, original_type="x", associated_data=None)
    envelope = envelope_of(posted)
    assert envelope["id"] == "EV-9"
    assert "summary" not in envelope
    assert envelope["resource"]["original_type"] == "x"
    assert "associated_data" not in envelope["resource"]
    assert opened(posted).event_type == "X.Y"


def test_any_body_is_signed():
    assert code_of(opened, signed(b"\xff", now=NOW)) == "bad_json"
    assert opened(signed(payment_event(now=NOW).body, now=NOW, nonce="x"))


def test_keys_of_one_s_own_are_taken():
    other = "another-key-of-our-own-making-02"
    assert opened(payment_event(now=NOW, options={"key": other}), merchant(apiv3(other)))
    assert code_of(opened, payment_event(now=NOW, options={"key": other})) == "bad_ciphertext"


def test_the_answer_to_a_query_is_signed():
    posted = query_answer(now=NOW, trade_state="NOTPAY")
    assert read_order_answer(merchant(), 200, posted.headers, posted.body, NOW)["trade_state"] == "NOTPAY"


def test_the_merchant_and_the_platform_have_keys_of_their_own():
    names = ("CERTIFICATE_PRIVATE_KEY", "PUBLIC_KEY_PRIVATE_KEY", "MERCHANT_PRIVATE_KEY")
    assert len({getattr(apiv3_keys, name) for name in names}) == 3
    assert len({SERIAL, PUBLIC_KEY_ID, MERCHANT_SERIAL}) == 3
    assert [key.serial for key in platform_keys()] == [SERIAL, PUBLIC_KEY_ID]
    assert len(API_V3_KEY) == 32
    assert repr(Merchant(MCH_ID, APPID, apiv3=apiv3())) == f"<Merchant {MCH_ID}, 0 keys, APIv3>"
