"""Rent and hotel events, through both keys: signed with one, encrypted with the other."""

from __future__ import annotations

import base64

import pytest

from wxnotify import Key, PayAfter, parse, verify
from wxnotify._ciphers import aes_256_gcm_encrypt
from wxnotify._kinds import read_verified
from wxnotify.testing import APPID, KEY, MCH_ID, pay_after_notification
from wxnotify.testing.apiv3 import API_V3_KEY

from ..support import code_of, either

V3 = Key(API_V3_KEY)
OTHER = Key("another-key-of-our-own-making-02")


def read(body: bytes, *keys: Key) -> PayAfter:
    (one,) = read_verified(verify(parse(body), KEY), keys or (V3,))
    assert isinstance(one, PayAfter)
    return one


def sealed(plaintext: bytes, nonce: str = "0123456789ab", data: str = "payscore") -> dict[str, str]:
    ciphertext = aes_256_gcm_encrypt(V3, nonce.encode(), data.encode(), plaintext)
    return {"event_nonce": nonce, "event_ciphertext": base64.b64encode(ciphertext).decode()}


@pytest.mark.parametrize(
    ("event_type", "state", "total"),
    [
        ("CHECK.SUCCESS", "USER_ACCEPTED", None), ("CHECK.FAIL", "USER_REVOKED", None),
        ("TRANSACTION.SUCCESS", "USER_PAID", 200), ("TRANSACTION.FAIL", "USER_PAYING", 200),
    ],
)  # fmt: skip
def test_each_event_is_opened_and_read(event_type, state, total):
    one = read(pay_after_notification(event_type))
    assert (one.event_type, one.result, one.state, one.total_amount) == (event_type, event_type, state, total)
    assert (one.mch_id, one.appid, one.out_order_no) == (MCH_ID, APPID, "A-1001")
    assert one.fields["algorithm"] == one.fields.sign_type == "HMAC-SHA256"


def test_a_space_before_the_end_of_a_tag_as_the_page_has_it_is_xml():
    content = b"<xml><state>USER_PAID</state><out_order_no >A-1</out_order_no ><order_id>7</order_id></xml>"
    assert read(pay_after_notification(outside=sealed(content))).out_order_no == "A-1"


def test_of_several_apiv3_keys_whichever_opens_it_does():
    assert read(pay_after_notification(), OTHER, V3) == read(pay_after_notification())
    assert read(pay_after_notification(apiv3_key=OTHER), V3, OTHER).state == "USER_ACCEPTED"


def test_absent_associated_data_is_empty():
    content = b"<xml><state>S</state><out_order_no>A-1</out_order_no><order_id>7</order_id></xml>"
    outside = {**sealed(content, data=""), "event_associated_data": None}
    assert read(pay_after_notification(outside=outside)).state == "S"


def test_empty_fields_inside_are_absent_ones():
    assert read(pay_after_notification(deposit_amount="")).deposit_amount is None
    assert code_of(read, pay_after_notification(order_id="")) == "missing_field"


@pytest.mark.parametrize(
    "outside",
    [
        {"event_nonce": "0123456789ab"},
        {"event_nonce": "short"},
        {"event_nonce": "支付"},
        {"event_associated_data": "other"},
        {"event_associated_data": None},
        {"event_ciphertext": "AAAA"},
        {"event_ciphertext": "*"},
        sealed(b"no document"),
        sealed(b"<root><state>S</state></root>"),
        sealed(b"<xml><a>1</a><a>2</a></xml>"),
        sealed(b'<!DOCTYPE xml [<!ENTITY a "1">]><xml><a>&a;</a></xml>'),
    ],
    ids=range(11),
)
def test_what_does_not_open_to_a_document_is_refused_though_it_was_signed(outside):
    body = pay_after_notification(outside=outside)
    assert verify(parse(body), KEY)
    assert code_of(read, body) == "bad_ciphertext"


def test_under_another_apiv3_key_it_is_refused():
    assert code_of(read, pay_after_notification(), OTHER) == "bad_ciphertext"
    assert code_of(read, pay_after_notification(apiv3_key=OTHER)) == "bad_ciphertext"


@pytest.mark.parametrize(("keys", "said"), [([OTHER], "1 APIv3 key "), ([OTHER, OTHER], "2 APIv3 keys")])
def test_the_refusal_says_how_many_keys_were_tried(keys, said):
    verified = verify(parse(pay_after_notification()), KEY)
    assert said in str(either(PayAfter.from_verified, verified, keys))


def test_encryption_alone_proves_nothing_without_the_signature():
    fields = parse(pay_after_notification())
    assert code_of(verify, {**fields, "event_type": "TRANSACTION.SUCCESS"}, KEY) == "bad_signature"
    assert code_of(verify, {name: value for name, value in fields.items() if name != "sign"}, KEY) == (
        "missing_signature"
    )


def test_the_content_of_another_event_under_this_one_s_nonce_is_refused():
    other = parse(pay_after_notification("TRANSACTION.SUCCESS"))
    mixed = pay_after_notification(outside={"event_ciphertext": other["event_ciphertext"]})
    assert code_of(read, mixed) == "bad_ciphertext"
