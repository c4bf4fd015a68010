from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from types import MappingProxyType

import pytest

from wxnotify import Key, NotifyError, Verified, sign, verify
from wxnotify.errors import BadSignature
from wxnotify.testing import KEY, payment_fields

from .support import code_of, reference_sign, signed

OLD = "an-older-key-of-our-own-making-1"
FIELDS = payment_fields(attach="支付测试 a=b&c=d")
ALGORITHMS = pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])


# --- the rule ------------------------------------------------------------------


def test_md5_is_taken_of_sorted_pairs_and_the_key():
    text = b"appid=wx1&mch_id=19&key=" + KEY.encode()
    assert sign({"mch_id": "19", "appid": "wx1"}, KEY) == hashlib.md5(text).hexdigest().upper()


def test_hmac_sha256_is_taken_of_the_same_text_under_the_same_key():
    text = b"appid=wx1&mch_id=19&key=" + KEY.encode()
    expected = hmac.new(KEY.encode(), text, hashlib.sha256).hexdigest().upper()
    assert sign({"mch_id": "19", "appid": "wx1"}, KEY, "HMAC-SHA256") == expected


@ALGORITHMS
def test_names_are_sorted_by_code_point(sign_type):
    fields = {
        "coupon_fee_2": "1",
        "coupon_fee_10": "2",
        "coupon_fee": "3",
        "appId": "4",
        "appid": "5",
        "Z": "6",
    }
    assert sign(fields, KEY, sign_type) == reference_sign(fields, KEY, sign_type)


@ALGORITHMS
@pytest.mark.parametrize("change", [{"sign": "ABC"}, {"attach": ""}, {"sign": ""}, {"new": "", "newer": ""}])
def test_sign_and_empty_values_take_no_part(sign_type, change):
    fields = payment_fields()
    assert sign({**fields, **change}, KEY, sign_type) == sign(fields, KEY, sign_type)


@pytest.mark.parametrize("value", ["0", " ", "   ", "\n"])
def test_zero_and_white_space_are_not_empty(value):
    assert sign({"a": "1", "b": value}, KEY) != sign({"a": "1"}, KEY)
    assert sign({"a": "1", "b": value}, KEY) == reference_sign({"a": "1", "b": value})


@pytest.mark.parametrize("name", ["sign_type", "key", "self", "a_field_of_next_year"])
def test_every_other_field_takes_part(name):
    assert sign({**FIELDS, name: "1"}, KEY) == reference_sign({**FIELDS, name: "1"})
    assert sign({**FIELDS, name: "1"}, KEY) != sign(FIELDS, KEY)


@ALGORITHMS
def test_a_key_gives_the_same_signature_every_time(sign_type):
    key = Key(KEY)
    assert (
        sign(FIELDS, key, sign_type) == sign(FIELDS, key, sign_type) == reference_sign(FIELDS, KEY, sign_type)
    )


@pytest.mark.parametrize("sign_type", ["", "md5", "HMAC", "SHA256", None, 5])
def test_nothing_is_signed_with_an_unknown_algorithm(sign_type):
    assert code_of(sign, FIELDS, KEY, sign_type) == "configuration"


def test_a_frozen_mapping_can_be_signed_and_verified_and_stays_as_it_is():
    fields = MappingProxyType(OrderedDict(signed(FIELDS)))
    assert verify(fields, KEY)["attach"] == FIELDS["attach"]
    assert "sign" in fields


# --- what holds ----------------------------------------------------------------


@ALGORITHMS
def test_a_genuine_message_is_verified_without_its_sign_and_empty_values(sign_type):
    verified = verify({**signed(FIELDS, KEY, sign_type), "device_info": ""}, KEY)
    assert dict(verified) == FIELDS
    assert verified.sign_type == sign_type
    assert verified.key_index == 0


@ALGORITHMS
def test_a_declared_sign_type_is_signed_like_any_field(sign_type):
    fields = {**FIELDS, "sign_type": sign_type}
    assert verify(signed(fields, KEY, sign_type), KEY)["sign_type"] == sign_type
    assert code_of(verify, {**signed(FIELDS, KEY, sign_type), "sign_type": sign_type}, KEY) == "bad_signature"


def test_an_empty_sign_type_is_an_absent_one():
    assert verify({**signed(FIELDS, KEY, "HMAC-SHA256"), "sign_type": ""}, KEY).sign_type == "HMAC-SHA256"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_position_of_the_key_that_matched_is_told(index):
    keys = [KEY[::-1], Key(OLD), KEY]
    texts = [KEY[::-1], OLD, KEY]
    assert verify(signed(FIELDS, texts[index]), keys).key_index == index


@pytest.mark.parametrize(
    "keys",
    [(KEY,), [KEY], iter([KEY]), {KEY}, {KEY: 1}, Key(KEY), [Key(KEY)]],
    ids=lambda k: type(k).__name__,
)
def test_keys_come_as_one_or_as_any_iterable(keys):
    assert verify(signed(FIELDS), keys)["mch_id"] == FIELDS["mch_id"]


def test_a_message_without_return_code_can_be_verified():
    # Papay contract notices of some years have none; each kind says what it must have.
    fields = {"mch_id": "19", "contract_id": "1"}
    assert dict(verify(signed(fields), KEY)) == fields


# --- what does not -------------------------------------------------------------


@pytest.mark.parametrize("fields", [b"<xml/>", "sign", None, [("sign", "A" * 32)], 5])
def test_anything_but_a_mapping_is_a_type_error(fields):
    with pytest.raises(TypeError, match="parse"):
        verify(fields, KEY)


@pytest.mark.parametrize("return_code", ["FAIL", "", "success", "SUCCESS ", "OK", None, 1])
def test_a_message_that_does_not_say_success_is_refused_even_if_it_is_signed(return_code):
    fields = {**signed({**FIELDS, "return_code": str(return_code)}), "return_code": return_code}
    assert code_of(verify, fields, KEY) == "return_code_fail"


@pytest.mark.parametrize("change", [{"sign": ""}, {"sign": None}])
def test_a_message_without_a_signature_is_refused(change):
    assert code_of(verify, FIELDS, KEY) == "missing_signature"
    assert code_of(verify, {**FIELDS, **change}, KEY) == "missing_signature"


GENUINE = reference_sign(FIELDS)


@pytest.mark.parametrize(
    "signature",
    [
        GENUINE.lower(),
        GENUINE[:-1],
        GENUINE + "0",
        GENUINE + "\n",
        " " + GENUINE,
        GENUINE[:-1] + "G",
        GENUINE[:16] + "é" + GENUINE[17:],
        "é" * 32,
        "\ud800" * 32,
        "Ａ" * 32,
        "٣" * 32,
        GENUINE + GENUINE[:-1],
        "0x" + GENUINE[2:],
        "A" * 5_000,
        5,
        0,
        True,
        GENUINE.encode(),
        [GENUINE],
    ],
    ids=range(19),
)
def test_a_signature_of_another_shape_is_malformed(signature):
    assert code_of(verify, {**FIELDS, "sign": signature}, KEY) == "malformed_signature"


@pytest.mark.parametrize("sign_type", ["md5", "HMAC", "SHA256", "NONE", "RSA", "HMAC-SHA256", " MD5", 5])
def test_a_sign_type_that_is_unknown_or_disagrees_with_the_length_is_refused(sign_type):
    assert code_of(verify, {**signed(FIELDS), "sign_type": sign_type}, KEY) == "bad_sign_type"


def test_a_long_signature_does_not_pass_as_md5():
    fields = {**FIELDS, "sign_type": "MD5"}
    assert code_of(verify, signed(fields, KEY, "HMAC-SHA256"), KEY) == "bad_sign_type"


@pytest.mark.parametrize(("sign_type", "allowed"), [("MD5", "HMAC-SHA256"), ("HMAC-SHA256", "MD5")])
def test_an_algorithm_can_be_refused(sign_type, allowed):
    fields = signed(FIELDS, KEY, sign_type)
    assert code_of(verify, fields, KEY, sign_types=(allowed,)) == "bad_sign_type"
    assert verify(fields, KEY, sign_types=(sign_type,)).sign_type == sign_type


@ALGORITHMS
@pytest.mark.parametrize("keys", [OLD, [OLD, KEY[::-1]]])
def test_another_key_does_not_match(sign_type, keys):
    assert code_of(verify, signed(FIELDS, KEY, sign_type), keys) == "bad_signature"


def test_a_refusal_says_the_algorithm_and_how_many_keys_were_tried():
    with pytest.raises(BadSignature, match=r"MD5, 2 keys"):
        verify(signed(FIELDS), [OLD, KEY[::-1]])
    with pytest.raises(BadSignature, match=r"HMAC-SHA256, 1 key "):
        verify(signed(FIELDS, KEY, "HMAC-SHA256"), OLD)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_changed_removed_or_renamed_is_refused(name):
    genuine = signed(FIELDS)
    changed = {**genuine, name: FIELDS[name] + "0"}
    removed = {n: v for n, v in genuine.items() if n != name}
    renamed = {**removed, name + "_": FIELDS[name]}
    expected = "return_code_fail" if name == "return_code" else "bad_signature"
    assert code_of(verify, changed, KEY) == expected
    assert code_of(verify, removed, KEY) == "bad_signature"
    assert code_of(verify, renamed, KEY) == "bad_signature"


@pytest.mark.parametrize(
    ("name", "code"),
    [("a b", "bad_field_name"), ("a=b", "bad_field_name"), ("a&b", "bad_field_name"), ("é", "bad_field_name"),
     ("\ud800", "bad_field_name"), (5, "bad_field"), (None, "bad_field"), (b"a", "bad_field")],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_parse_would_not_give_is_refused(name, code):
    assert code_of(verify, {**FIELDS, name: "1", "sign": "A" * 32}, KEY) == code
    assert code_of(sign, {**FIELDS, name: "1"}, KEY) == code


@pytest.mark.parametrize("value", [None, 100, 1.0, b"100", ["100"], {}, True, "\ud800"], ids=ascii)
def test_a_value_that_is_not_text_is_refused(value):
    assert code_of(verify, {**FIELDS, "total_fee": value, "sign": "A" * 32}, KEY) == "bad_field"
    assert code_of(sign, {**FIELDS, "total_fee": value}, KEY) == "bad_field"


@pytest.mark.parametrize("name", ["return_code", "sign_type", "sign", "total_fee", "mch_id"])
def test_a_number_too_long_to_print_is_refused_like_any_other(name):
    fields = {**signed(FIELDS), name: 10**5000}
    assert code_of(verify, fields, KEY) in (
        "return_code_fail",
        "bad_sign_type",
        "malformed_signature",
        "bad_field",
    )


def test_no_fields_have_a_signature_too():
    assert len(verify(signed({}), KEY)) == 0


# --- one field swallowed by another --------------------------------------------

SWALLOWED = (
    "appid", "mch_id", "sub_mch_id", "sub_appid", "nonce_str", "openid", "bank_type", "cash_fee",
    "fee_type", "is_subscribe", "result_code", "return_code", "time_end", "trade_type", "transaction_id",
)  # fmt: skip


@ALGORITHMS
@pytest.mark.parametrize("name", SWALLOWED)
def test_a_value_that_swallows_a_field_wechat_pay_makes_is_ambiguous(sign_type, name):
    fields = {**FIELDS, "attach": f"x&{name}=y"}
    assert code_of(verify, signed(fields, KEY, sign_type), KEY) == "ambiguous_signature"


@pytest.mark.parametrize("name", ["attach", "tp", "zzz", "out_trade_no"])
def test_it_is_ambiguous_in_whatever_field_it_hides(name):
    assert code_of(verify, signed({**FIELDS, name: "&nonce_str="}), KEY) == "ambiguous_signature"


def test_a_forged_message_is_refused_as_forged_before_it_is_ambiguous():
    fields = {**signed(FIELDS), "attach": "x&bank_type=y"}
    assert code_of(verify, fields, KEY) == "bad_signature"


@pytest.mark.parametrize(
    "attach",
    ["a&b", "a=b", "&", "&&&&", "=", "a=1&b=2&c=3", "bank_type=x", "&total_fee=1&out_trade_no=x", "&sign=y",
     "&bank_typ=",
     "& bank_type=", "&Bank_type=", "&bank_type", "x&cash_fees=1", "https://shop.example/?a=1&key=2"],
)  # fmt: skip
def test_other_text_with_ampersands_and_equals_signs_is_genuine(attach):
    assert verify(signed({**FIELDS, "attach": attach}), KEY)["attach"] == attach


# --- the result ----------------------------------------------------------------


def test_verified_is_made_by_verify_alone():
    with pytest.raises(TypeError, match="verify"):
        Verified()


def test_verified_reads_like_a_dict_and_cannot_be_changed():
    verified = verify(signed(FIELDS), KEY)
    assert verified == FIELDS
    assert "total_fee" in verified
    assert verified.get("nothing", "x") == "x"
    assert list(verified) == list(FIELDS)
    assert len(verified) == len(FIELDS)
    with pytest.raises(TypeError):
        verified["total_fee"] = "1"
    with pytest.raises(TypeError):
        del verified["total_fee"]
    with pytest.raises(AttributeError):
        verified.anything = 1
    for name in ("key_index", "sign_type"):
        with pytest.raises(AttributeError):
            setattr(verified, name, 1)


def test_verified_keeps_its_values_when_the_fields_it_was_made_of_change():
    fields = signed(FIELDS)
    verified = verify(fields, KEY)
    fields["total_fee"] = "1"
    assert verified["total_fee"] == FIELDS["total_fee"]


def test_the_repr_of_verified_names_fields_and_shows_no_value():
    text = repr(verify(signed(FIELDS), KEY))
    assert "total_fee" in text
    assert not any(value in text for value in (FIELDS["openid"], FIELDS["transaction_id"], FIELDS["attach"]))


def test_what_wechat_pay_says_with_a_fail_is_passed_on_as_unsigned():
    with pytest.raises(NotifyError, match="return_msg, unsigned, is '签名错误'"):
        verify({"return_code": "FAIL", "return_msg": "签名错误"}, KEY)
