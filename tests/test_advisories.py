"""
Published advisories and defects of other SDKs, none of which may happen here.

Named by their ids: CVEs, GitHub issues (repository and number), and D1 to D42 of
the project's survey of its peers.
"""

from __future__ import annotations

import encodings
import hashlib
import hmac
import logging
from decimal import Decimal

import pytest

from wxnotify import Key, Merchant, Payment, build_reply, check_amount, check_merchant, parse, sign, verify
from wxnotify._merchants import Ring
from wxnotify.errors import ConfigurationError, NotifyError
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment, payment_fields

from .support import code_of, received, reference_sign, signed, string_to_sign

PAID = {name: value for name, value in payment_fields().items() if value}


# --- a forged payment accepted -------------------------------------------------


@pytest.mark.parametrize("left_out", [("sign",), ("sign", "return_code")])
@pytest.mark.parametrize("return_code", ["FAIL", "success", "SUCCESS"])
def test_wxjava_1890_and_d1_a_body_without_sign_is_refused_whatever_its_return_code(left_out, return_code):
    forged = {
        name: value
        for name, value in {**signed(PAID), "return_code": return_code}.items()
        if name not in left_out
    }
    assert code_of(received, forged) in ("missing_signature", "return_code_fail")


@pytest.mark.parametrize("trade_type", ["UNKNOWN", "", "None", "JSAPI"])
def test_d2_the_trade_type_of_a_request_does_not_choose_its_key(trade_type):
    forged = {**PAID, "trade_type": trade_type}
    unkeyed = string_to_sign(forged, "").removesuffix("&key=")
    for text in (unkeyed, unkeyed + "&key=", unkeyed + "&key=None"):
        assert (
            code_of(received, {**forged, "sign": hashlib.md5(text.encode()).hexdigest().upper()})
            == "bad_signature"
        )


@pytest.mark.parametrize("any_sign", ["0" * 32, "F" * 32, "A" * 64, "C380BEC2BFD727A4B6845133519F3AD6"])
def test_d3_not_just_any_signature_passes(any_sign):
    assert code_of(received, {**PAID, "sign": any_sign}) == "bad_signature"


@pytest.mark.parametrize("return_code", ["FAIL", "", "fail", "OK"])
def test_d4_no_return_code_skips_the_signature(return_code):
    forged = {**PAID, "return_code": return_code, "sign": "A" * 32}
    assert code_of(received, forged) == "return_code_fail"


@pytest.mark.parametrize("key", ["", None, " ", 0, b""])
def test_d6_d7_d13_an_empty_key_is_refused_and_never_left_out_of_the_text(key):
    unkeyed = string_to_sign(PAID, "")
    for text in (unkeyed, unkeyed.removesuffix("&key=")):
        forged = {**PAID, "sign": hashlib.md5(text.encode()).hexdigest().upper()}
        assert code_of(verify, forged, key) == "configuration"
    assert code_of(sign, PAID, key) == "configuration"
    assert code_of(Merchant, MCH_ID, APPID, key) == "configuration"


@pytest.mark.parametrize("name", ["key", "api_key", "mch_key", "sandbox_signkey", "Authorization"])
def test_d14_and_wx_pay_rb_a_request_never_brings_its_own_key(name):
    forged = {**PAID, name: "a-key-of-the-attackers-own-making"[:32]}
    assert code_of(received, signed(forged, forged[name])) == "bad_signature"


def test_d35_a_failed_result_is_not_paid_and_a_foreign_merchant_is_refused():
    assert payment(result_code="FAIL").paid is False
    foreign = payment(mch_id="1900000110", appid="wx9999999999999999")
    assert code_of(check_merchant, foreign, mch_id=MCH_ID, appid=APPID) == "merchant_mismatch"
    assert code_of(Merchant(MCH_ID, APPID, KEY).check, foreign) == "merchant_mismatch"


def test_d36_the_pay_sign_in_every_payers_browser_is_no_payment():
    jsapi = {
        "appId": APPID,
        "timeStamp": "1795406400",
        "nonceStr": "n",
        "package": "prepay_id=wx1",
        "signType": "MD5",
    }
    assert code_of(received, signed(jsapi)) == "missing_field"


@pytest.mark.parametrize(
    "extra", [b"<couponList><total_fee>1</total_fee></couponList>", b"<a><out_trade_no>B</out_trade_no></a>"]
)
def test_d37_nothing_is_read_from_below_the_first_level(extra):
    body = notification()
    assert code_of(parse, body.replace(b"<xml>", b"<xml>" + extra)) == "nested_element"
    assert code_of(parse, body.replace(b"</xml>", extra + b"</xml>")) == "nested_element"


@pytest.mark.parametrize("name", ["key", "couponList", "class", "sub_mch_id", "device_info"])
def test_d37_no_name_is_left_out_of_the_signed_text(name):
    assert code_of(received, {**signed(PAID), name: "1"}) == "bad_signature"


def test_d39_the_keys_of_two_merchants_do_not_bleed_into_each_other():
    other = "another-merchants-key-0123456789"
    ring = Ring([Merchant(MCH_ID, APPID, KEY), Merchant("1900000110", APPID, other)])
    fields = signed({**PAID, "mch_id": "1900000110"})
    assert code_of(verify, fields, ring.find("1900000110").keys) == "bad_signature"
    for sign_type in ("MD5", "HMAC-SHA256", "MD5"):
        first, second = Key(KEY), Key(other)
        assert sign(PAID, first, sign_type) == reference_sign(PAID, KEY, sign_type)
        assert sign(PAID, second, sign_type) == reference_sign(PAID, other, sign_type)


def test_d41_nothing_of_a_body_is_believed_before_it_is_verified():
    for fields in ({"return_code": "SUCCESS"}, {"return_code": "FAIL", "err_code": "X"}, {}):
        assert code_of(received, fields) in ("missing_signature", "return_code_fail")
        with pytest.raises(TypeError):
            Payment.from_verified(fields)


# --- crashes, floods, leaks ----------------------------------------------------


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://127.0.0.1:9/", "php://filter/read=x", "jar:file:///x!/y"]
)
def test_cve_2018_13439_no_external_entity_is_read(target):
    body = f'<!DOCTYPE xml [<!ENTITY x SYSTEM "{target}">]><xml><attach>&x;</attach></xml>'
    assert code_of(parse, body.encode()) == "dtd_forbidden"


@pytest.mark.parametrize(
    "subset",
    [
        '<!ENTITY % p SYSTEM "http://127.0.0.1:9/p.dtd">%p;',
        '<!ENTITY % a "x"><!ENTITY b "%a;">',
        "<!ELEMENT xml ANY>",
        "",
    ],
)
def test_cve_2018_20318_and_its_incomplete_fix_no_dtd_of_any_form_is_read(subset):
    assert code_of(parse, f"<!DOCTYPE xml [{subset}]><xml/>".encode()) == "dtd_forbidden"
    assert (
        code_of(parse, f'<!DOCTYPE xml PUBLIC "a" "http://127.0.0.1:9/" [{subset}]><xml/>'.encode())
        == "dtd_forbidden"
    )


def test_d27_the_parsers_defaults_resolve_nothing():
    assert code_of(parse, b'<!DOCTYPE xml SYSTEM "file:///etc/passwd"><xml/>') == "dtd_forbidden"


def test_cve_2017_11427_a_comment_does_not_cut_a_value_short():
    body = notification(out_trade_no="A-1001").replace(b">A-1001<", b">A-1<!-- -->001<")
    assert code_of(parse, body) == "comment_forbidden"


def test_cve_2024_45409_a_signed_message_is_not_wrapped_in_another():
    assert code_of(parse, b"<xml><total_fee>1</total_fee>" + notification() + b"</xml>") == "nested_element"


def test_cve_2023_52425_the_whole_body_is_one_call_so_a_long_token_costs_linear_time(expat_calls):
    body = b"<xml><a>" + b"x" * 60_000 + b"</a></xml>"
    assert len(parse(body)["a"]) == 60_000
    assert expat_calls == [{"bytes": len(body), "final": True, "encoding": "UTF-8", "buffered": True}]


def test_gh_146054_the_name_of_an_unknown_encoding_is_not_kept():
    before = set(encodings._cache)
    for number in range(20):
        assert (
            code_of(parse, f'<?xml version="1.0" encoding="x-evil-{number}"?><xml/>'.encode())
            == "bad_encoding"
        )
    assert set(encodings._cache) == before


def test_d15_no_log_record_is_written_at_all(caplog):
    with caplog.at_level(logging.DEBUG):
        received(signed(PAID))
        code_of(received, {**signed(PAID), "total_fee": "1"})
        code_of(parse, b"<!DOCTYPE xml><xml/>")
    assert caplog.records == []


@pytest.mark.parametrize("key", ["hunter2", "hunter2" * 9, "hunter2hunter2hunter2hunter2hun\n"])
def test_d16_a_key_of_the_wrong_length_is_not_echoed(key):
    with pytest.raises(ConfigurationError) as refusal:
        Key(key)
    assert "hunter2" not in str(refusal.value) + repr(refusal.value)


def test_d17_a_message_without_sign_is_a_refusal_and_no_crash():
    assert code_of(received, PAID) == "missing_signature"
    assert code_of(received, {**PAID, "sign": ""}) == "missing_signature"


D22 = [b"<xml/>", b"<xml>text</xml>", b"<!DOCTYPE xml><xml/>", b'<?xml version="1.0" encoding="gbk"?><xml/>',
       b'<?xml version="1.0" encoding="rot_13"?><xml/>', b'<?xml version="1.0" encoding="idna"?><xml/>',
       b'<?xml version="1.0" encoding="undefined"?><xml/>', b"<a>" * 20_000, b"<xml>" + b"<a>" * 20_000,
       b"<xml><req_info/></xml>", b"<xml><req_info>x</req_info></xml>", b"\xff", b"", b"{}"]  # fmt: skip


@pytest.mark.parametrize("body", D22, ids=range(len(D22)))
def test_d22_an_odd_body_gets_one_documented_refusal(body):
    with pytest.raises(NotifyError):
        Payment.from_verified(verify(parse(body), KEY))


def test_d23_a_comment_a_missing_sign_and_entity_text_are_no_crash_and_no_truncation():
    assert code_of(parse, b"<xml><!-- c --><a>1</a></xml>") == "comment_forbidden"
    assert code_of(verify, parse(b"<xml><a>1</a></xml>"), KEY) == "missing_signature"
    assert parse(b"<xml><a>x&amp;y&#33;z</a></xml>") == {"a": "x&y!z"}


def test_d24_a_body_over_the_limit_is_refused_unread():
    assert code_of(parse, b"\xff" * 65_537) == "too_large"


@pytest.mark.parametrize("signature", ["é" * 32, "\ud800" * 32, "Ａ" * 32])
def test_compare_digest_is_never_given_text_it_raises_for(signature):
    with pytest.raises(TypeError):
        hmac.compare_digest(signature, "A" * 32)
    assert code_of(verify, {**PAID, "sign": signature}, KEY) == "malformed_signature"


# --- a genuine payment refused -------------------------------------------------


@pytest.mark.parametrize(
    "new",
    ["sub_mch_id", "coupon_fee_3", "sign_type", "rate_value", "promotion_detail", "a_field_of_next_year"],
)
def test_d28_a_field_the_library_has_never_heard_of_is_signed_and_kept(new):
    value = "MD5" if new == "sign_type" else "1"
    assert received(signed({**PAID, new: value})).fields[new] == value


@pytest.mark.parametrize("declared", [{}, {"sign_type": "HMAC-SHA256"}])
def test_d29_and_wxjava_1585_hmac_messages_verify_with_and_without_sign_type(declared):
    assert received(signed({**PAID, **declared}, KEY, "HMAC-SHA256")).paid


def test_helei112g_payment_208_and_211_sign_type_is_part_of_the_signed_text():
    assert received(signed({**PAID, "sign_type": "MD5"})).paid
    assert code_of(received, {**signed(PAID), "sign_type": "MD5"}) == "bad_signature"


def test_d30_the_body_is_bytes_and_anything_else_says_where_the_bytes_are():
    assert parse(notification())["out_trade_no"] == "A-1001"
    with pytest.raises(TypeError, match="raw request body"):
        parse(notification().decode())


def test_xmltodict_white_space_in_a_value_is_not_stripped():
    assert received(signed({**PAID, "attach": " x "})).attach == " x "


# --- foot-guns -----------------------------------------------------------------


@pytest.mark.parametrize("message", ["]]>", "a]]><b>", "<", "&", "]]></return_msg></xml><xml>"])
def test_d34_a_message_does_not_break_the_reply(message):
    assert parse(build_reply("FAIL", message).body) == {"return_code": "FAIL", "return_msg": message}


@pytest.mark.parametrize("amount", [43.5, 4350.0, "4350", True])
def test_d40_money_is_never_a_float(amount):
    with pytest.raises(TypeError):
        check_amount(payment(total_fee="4350"), amount)


@pytest.mark.parametrize("fen", [1, 57, 58, 113, 114, 115, 1998, 435_000_001])
def test_d40_yuan_become_exactly_their_fen(fen):
    assert check_amount(payment(total_fee=str(fen)), Decimal(fen) / 100) is None


def test_skit_a_signature_is_compared_as_the_provider_spells_it():
    fields = signed(PAID)
    assert code_of(verify, {**fields, "sign": fields["sign"].lower()}, KEY) == "malformed_signature"


def test_wxjava_coupon_count_is_no_index():
    assert payment(coupon_count="3", coupon_fee_0="1").coupons[0].fee == 1
    assert payment(coupon_count="999999999").coupons == ()
