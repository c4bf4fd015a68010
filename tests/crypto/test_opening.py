"""What a genuine notification opens to, and the order in which one is judged."""

from __future__ import annotations

import json

import pytest

from wxnotify import Key, Merchant, Payment
from wxnotify.apiv3 import APIv3, PlatformKey, _opening
from wxnotify.testing import APPID, KEY, MCH_ID, apiv3_keys
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    PUBLIC_KEY_ID,
    SERIAL,
    Posted,
    apiv3,
    event,
    partner_payment_event,
    payment_event,
    platform_keys,
    signed,
)

from ..support import code_of
from .posting import NOW, envelope_of, genuine, merchant, opened, reenveloped, resealed, with_headers

SECOND_KEY = "another-key-of-our-own-making-02"
PAID = payment_event(now=NOW)


# --- what it opens to -----------------------------------------------------------------


def test_a_genuine_notification_opens_to_its_resource_and_envelope():
    posted = payment_event(
        now=NOW, options={"id": "EV-1", "create_time": "2026-11-23T12:00:01+08:00", "summary": "支付成功"}
    )
    resource = opened(posted)
    assert resource["amount"]["total"] == 100
    assert resource["payer"] == {"openid": "oTest0000000000000000000000Payer"}
    assert (resource.mch_id, resource.serial, resource.key_index) == (MCH_ID, SERIAL, 0)
    assert (resource.notification_id, resource.event_type) == ("EV-1", "TRANSACTION.SUCCESS")
    assert (resource.create_time, resource.summary) == ("2026-11-23T12:00:01+08:00", "支付成功")
    assert resource.original_type == "transaction"
    assert Payment.from_resource(resource).paid


@pytest.mark.parametrize("name", ["create_time", "summary", "resource_type"])
def test_what_only_informs_may_be_absent(name):
    assert opened(payment_event(now=NOW, options={name: None}))["out_trade_no"] == "A-1001"


def test_unknown_fields_are_kept_and_unknown_names_of_the_envelope_passed_over():
    posted = payment_event(now=NOW, options={"channel": "new"}, store_id="S-1")
    assert opened(posted)["store_id"] == "S-1"


@pytest.mark.parametrize("serial", [SERIAL, PUBLIC_KEY_ID])
def test_certificate_and_public_key_both_verify_while_a_merchant_moves(serial):
    assert opened(payment_event(now=NOW, options={"serial": serial})).serial == serial


@pytest.mark.parametrize("kind", [None, "WECHATPAY2-SHA256-RSA2048"])
def test_the_type_of_the_signature_may_be_absent(kind):
    assert opened(with_headers(PAID, Signature_Type=kind))


def test_headers_are_taken_as_asgi_and_wsgi_have_them():
    asgi = [(name.lower().encode(), value.encode()) for name, value in PAID.headers.items()]
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in PAID.headers.items()}
    for headers in (asgi, environ):
        assert opened(Posted(headers, PAID.body))["out_trade_no"] == "A-1001"


@pytest.mark.parametrize("body", [b"", b"\n", b"{}", b"\xff\xfe", b"x" * 70_000])
def test_the_signature_is_over_the_raw_bytes_whatever_they_are(body):
    assert code_of(opened, signed(body, now=NOW)) in ("bad_json", "missing_field")
    assert code_of(opened, Posted(signed(body, now=NOW).headers, body + b" ")) == "bad_signature"


@pytest.mark.parametrize("associated_data", [None, "", "transaction", "a" * 16, "附加"])
def test_associated_data_may_be_absent_empty_or_any_text(associated_data):
    assert opened(payment_event(now=NOW, options={"associated_data": associated_data}))


def test_absent_null_and_empty_associated_data_are_the_same():
    posted = payment_event(now=NOW, options={"associated_data": ""})
    envelope = envelope_of(posted)
    for spelled in ("", None):
        envelope["resource"]["associated_data"] = spelled
        assert opened(genuine(json.dumps(envelope).encode()))["out_trade_no"] == "A-1001"
    assert opened(resealed(posted, associated_data=None))["out_trade_no"] == "A-1001"


def test_a_pretty_printed_body_opens_as_it_was_signed():
    pretty = json.dumps(envelope_of(PAID), indent=2, ensure_ascii=False).encode()
    assert opened(genuine(pretty))["out_trade_no"] == "A-1001"


def test_a_resource_of_sm4_opens():
    resource = opened(payment_event(now=NOW, options={"algorithm": "AEAD_SM4_GCM"}))
    assert resource["out_trade_no"] == "A-1001"


# --- whose keys -----------------------------------------------------------------------


def test_the_position_of_the_key_that_opened_it_is_told():
    shop = merchant(apiv3([SECOND_KEY, API_V3_KEY]))
    assert opened(PAID, shop).key_index == 1
    assert opened(payment_event(now=NOW, options={"key": SECOND_KEY}), shop).key_index == 0


def test_of_several_merchants_it_is_the_one_whose_key_opens_it():
    first, second = merchant(apiv3(), "1900000101"), merchant(apiv3(SECOND_KEY), "1900000102")
    for mch_id, key in (("1900000101", API_V3_KEY), ("1900000102", SECOND_KEY)):
        assert opened(payment_event(now=NOW, options={"key": key}), first, second).mch_id == mch_id


@pytest.mark.parametrize("name", ["mchid", "sp_mchid", "combine_mchid", "mch_id"])
def test_of_merchants_with_one_key_it_is_the_one_that_is_named(name):
    shops = [merchant(apiv3(), mch_id) for mch_id in ("1900000101", "1900000102", "1900000103")]
    posted = event("COMPLAINT.CREATE", {name: "1900000102"}, now=NOW)
    assert opened(posted, *shops).mch_id == "1900000102"
    assert opened(event("COMPLAINT.CREATE", {name: "9"}, now=NOW), *shops).mch_id == "1900000101"
    assert opened(event("COMPLAINT.CREATE", {}, now=NOW), *shops).mch_id == "1900000101"


def test_a_provider_is_named_as_such():
    other = merchant(apiv3(), "1900000110")
    assert opened(partner_payment_event(now=NOW), other, merchant()).mch_id == MCH_ID


def test_merchants_without_apiv3_are_passed_over():
    old = Merchant("1900000101", APPID, KEY)
    assert opened(PAID, old, merchant()).mch_id == MCH_ID
    assert code_of(opened, PAID, old) == "unknown_serial"


def test_a_key_of_a_merchant_whose_ring_lacks_the_platform_key_does_not_open_it():
    certificate, public_key = platform_keys()
    mine = merchant(APIv3(SECOND_KEY, certificate))
    other = merchant(APIv3(API_V3_KEY, public_key), "1900000110")
    assert code_of(opened, PAID, mine, other) == "bad_ciphertext"


def test_a_serial_that_two_rings_have_other_keys_for_is_judged_by_each():
    certificate, _ = platform_keys()
    fake = PlatformKey._of(SERIAL, platform_keys()[1]._public_key, None)
    first, second = merchant(APIv3(SECOND_KEY, fake), "1"), merchant(APIv3(API_V3_KEY, certificate), "2")
    assert opened(PAID, first, second).mch_id == "2"
    forged = payment_event(now=NOW, options={"key": SECOND_KEY})
    assert code_of(opened, forged, first, second) == "bad_ciphertext"


def test_each_public_key_is_tried_once_however_many_merchants_have_it(monkeypatch):
    calls = []
    verifies = PlatformKey._signed

    def counted(key, message, signature):
        calls.append(key.serial)
        return verifies(key, message, signature)

    monkeypatch.setattr(PlatformKey, "_signed", counted)
    shops = [merchant(apiv3(), str(mch_id)) for mch_id in range(1900000100, 1900000120)]
    assert opened(PAID, *shops)
    assert calls == [SERIAL]


# --- the order of the checks ----------------------------------------------------------

# Each message has the fault it is named for and every fault that is looked for later.
STALE, NO_JSON = NOW - 301, b"[" * 3_000
LATER = with_headers(signed(NO_JSON, now=STALE), Signature="****")
BEFORE = with_headers(LATER, Serial="F0", Signature_Type="SM2")
PROBE = "WECHATPAY/SIGNTEST/*"
IN_ORDER = {
    "missing_signature": with_headers(BEFORE, Signature=None),
    "bad_header": with_headers(BEFORE, Signature=PROBE, Nonce=""),
    "signature_probe": with_headers(BEFORE, Signature=PROBE),
    "bad_sign_type": BEFORE,
    "unknown_serial": with_headers(LATER, Serial="F0"),
    "bad_signature": LATER,
    "stale_timestamp": signed(NO_JSON, now=STALE),
    "bad_json": signed(NO_JSON, now=NOW),
    "missing_field": signed(b"{}", now=NOW),
}


@pytest.mark.parametrize("code", IN_ORDER)
def test_the_first_fault_in_the_order_of_checks_decides(code):
    assert code_of(opened, IN_ORDER[code]) == code


def test_nothing_is_parsed_before_the_signature_held(monkeypatch):
    def never(*_):
        raise AssertionError("it was parsed")

    monkeypatch.setattr(_opening, "read_json", never)
    for code in list(IN_ORDER)[:7]:
        assert code_of(opened, IN_ORDER[code]) == code


# --- the envelope ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "event_type", "resource"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_envelope_has_an_id_an_event_type_and_a_resource(name, value):
    assert code_of(opened, reenveloped(PAID, **{name: value})) == "missing_field"


@pytest.mark.parametrize("name", ["id", "event_type", "create_time", "summary", "resource"])
@pytest.mark.parametrize("value", [5, True, ["x"], 1.5])
def test_a_value_of_another_type_is_refused(name, value):
    assert code_of(opened, reenveloped(PAID, **{name: value})) == "bad_field"


@pytest.mark.parametrize("name", ["algorithm", "nonce", "ciphertext", "associated_data", "original_type"])
@pytest.mark.parametrize("value", [5, True, ["x"], {}])
def test_a_value_of_another_type_in_the_resource_is_refused(name, value):
    assert code_of(opened, resealed(PAID, **{name: value})) == "bad_field"


LACKING = {"algorithm": "bad_field", "nonce": "bad_ciphertext", "ciphertext": "bad_ciphertext"}


@pytest.mark.parametrize("name", LACKING)
def test_a_resource_that_lacks_one_of_its_parts_is_refused(name):
    assert code_of(opened, resealed(PAID, **{name: None})) == LACKING[name]


@pytest.mark.parametrize("algorithm", ["", "AEAD_AES_128_GCM", "aead_aes_256_gcm", "AES-256-ECB", "none"])
def test_an_unknown_algorithm_is_refused_by_name(algorithm):
    assert code_of(opened, resealed(PAID, algorithm=algorithm)) == "bad_field"


def test_the_algorithm_is_part_of_what_is_authenticated():
    assert code_of(opened, resealed(PAID, algorithm="AEAD_SM4_GCM")) == "bad_ciphertext"


@pytest.mark.parametrize("ciphertext", ["*", "QUI", "QU I=", "QUJ=", "_-_-", "", "é"])
def test_a_ciphertext_that_is_no_base64_is_refused(ciphertext):
    assert code_of(opened, resealed(PAID, ciphertext=ciphertext)) == "bad_ciphertext"


def test_under_none_of_the_keys_it_says_how_many_were_tried():
    shops = [merchant(apiv3([KEY, SECOND_KEY]), "1"), merchant(apiv3(SECOND_KEY), "2")]
    with pytest.raises(Exception, match=r"\(3 keys tried\); make sure that it is the APIv3 key") as refusal:
        opened(PAID, *shops)
    assert refusal.value.code == "bad_ciphertext"


def test_a_test_s_key_of_16_bytes_opens_what_aes_128_closed():
    short = Key("testMchAPIv3Key0", any_length=True)
    posted = payment_event(now=NOW, options={"key": short})
    assert opened(posted, merchant(apiv3(short)))["out_trade_no"] == "A-1001"


def test_the_keys_of_the_tests_are_not_each_other_s():
    first, second = platform_keys()
    assert first._encoded != second._encoded
    assert PlatformKey.from_public_key(PUBLIC_KEY_ID, apiv3_keys.PUBLIC_KEY) == second
