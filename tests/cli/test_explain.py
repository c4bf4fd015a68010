"""``wxnotify explain``: every cause is found in a message that really has it, and only there."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from urllib.parse import quote, quote_plus, urlencode

import pytest

from wxnotify import parse, write
from wxnotify.cli.hypotheses import HYPOTHESES
from wxnotify.cli.kinds import KINDS
from wxnotify.cli.reading import _FORMS, _LAYERS
from wxnotify.testing import KEY, combined, contract, notification, payment_fields, plate_state, scan

from .support import APIV3_KEY, OTHER_KEY, SHOP_KEY


def text_of(fields: dict[str, str], *, empty: bool = False) -> str:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields) if empty or fields[name])


def md5(text: str | bytes) -> str:
    return hashlib.md5(text if isinstance(text, bytes) else text.encode()).hexdigest().upper()


def keyed(text: str, key: str = SHOP_KEY, digest: str = "sha256") -> str:
    return hmac.new(key.encode(), text.encode(), digest).hexdigest().upper()


def with_key(text: str, key: str = SHOP_KEY) -> str:
    return f"{text}&key={key}"


def sent(fields: dict[str, str], sign: str) -> bytes:
    return write({**fields, "sign": sign})


def signed_as(came: dict[str, str | None], signed: dict[str, str | None]) -> bytes:
    """Build a message that came with some fields and was signed with others."""
    return sent(payment_fields(**came), md5(with_key(text_of(payment_fields(**signed)))))


def signed_in(attach: str, codec: str) -> bytes:
    fields = payment_fields(attach=attach)
    return sent(fields, md5(with_key(text_of(fields)).encode(codec)))


FIELDS = payment_fields()
PLAIN = text_of(FIELDS)
GENUINE = notification(key=SHOP_KEY)
SIGNED = {**FIELDS, "sign": md5(with_key(PLAIN))}
CHINESE = "谢谢惠顾"

# A body, and the causes that must be named for it, all of them.
CASES = {
    "lower_case_sign": sent(FIELDS, md5(with_key(PLAIN)).lower()),
    "sign_padded": sent(FIELDS, f" {md5(with_key(PLAIN))}\n"),
    "sign_type_disagrees": notification(
        {**FIELDS, "sign_type": "MD5"}, key=SHOP_KEY, sign_type="HMAC-SHA256"
    ),
    "apiv3_key": sent(FIELDS, md5(with_key(PLAIN, APIV3_KEY))),
    "test_key": notification(key=KEY),
    "key_with_white_space": sent(FIELDS, md5(with_key(PLAIN, SHOP_KEY + "\n"))),
    "key_case": sent(FIELDS, md5(with_key(PLAIN, SHOP_KEY.upper()))),
    "key_not_loaded": sent(FIELDS, keyed(with_key(PLAIN, "None"), "None")),
    "sign_type_left_out": sent({**FIELDS, "sign_type": "MD5"}, md5(with_key(PLAIN))),
    "sign_type_added": sent(FIELDS, md5(with_key(text_of({**FIELDS, "sign_type": "MD5"})))),
    "empty_signed": sent(FIELDS, md5(with_key(text_of(FIELDS, empty=True)))),
    "blank_dropped": signed_as({"attach": "  "}, {"attach": ""}),
    "trimmed": signed_as({"attach": " x "}, {"attach": "x"}),
    "lf_for_crlf": signed_as({"attach": "a\nb"}, {"attach": "a\r\nb"}),
    "crlf_for_lf": signed_as({"attach": "a\r\nb"}, {"attach": "a\nb"}),
    "entities_not_decoded": signed_as({"attach": "a&amp;b"}, {"attach": "a&b"}),
    "entities_signed": signed_as({"attach": "a&<b"}, {"attach": "a&amp;&lt;b"}),
    "cdata_in_value": signed_as({"attach": "<![CDATA[x]]>"}, {"attach": "x"}),
    "percent_encoded": signed_as({"attach": quote("a/b 谢")}, {"attach": "a/b 谢"}),
    "plus_for_space": signed_as({"attach": "a+b"}, {"attach": "a b"}),
    "percent_signed": signed_as({"attach": "a/b 谢"}, {"attach": quote_plus("a/b 谢")}),
    "mojibake": signed_as({"attach": CHINESE.encode().decode("latin-1")}, {"attach": CHINESE}),
    "mojibake_signed": signed_as({"attach": CHINESE}, {"attach": CHINESE.encode().decode("latin-1")}),
    "json_escapes_signed": signed_as({"attach": "谢"}, {"attach": "\\u8c22"}),
    "normalised": signed_as({"attach": "cafe\u0301"}, {"attach": "caf\xe9"}),
    "letter_case": signed_as({"attach": "Shop"}, {"attach": "shop"}),
    "white_space_lost": signed_as({"attach": "x"}, {"attach": "x\n"}),
    "signed_as_gbk": signed_in(CHINESE, "gbk"),
    "signed_as_latin1": signed_in("é", "latin-1"),
    "field_added": signed_as({"added": "by a gateway"}, {}),
    "field_lost": signed_as({"fee_type": None}, {}),
    "hmac_without_key_suffix": sent(FIELDS, keyed(PLAIN)),
    "plain_sha256": sent(FIELDS, hashlib.sha256(with_key(PLAIN).encode()).hexdigest().upper()),
    "hmac_md5": sent(FIELDS, keyed(with_key(PLAIN), digest="md5")),
    "key_left_out": sent(FIELDS, md5(PLAIN)),
    "key_unnamed": sent(FIELDS, md5(PLAIN + SHOP_KEY)),
    "not_sorted": sent(
        dict(reversed(FIELDS.items())),
        md5(with_key("&".join(f"{name}={value}" for name, value in reversed(FIELDS.items()) if value))),
    ),
    # What the reading finds.
    "json_body": json.dumps({"xml": {**SIGNED, "total_fee": 100}}).encode(),
    "python_dict_body": str(SIGNED).encode(),
    "form_body": urlencode(SIGNED).encode(),
    "loose_xml": GENUINE.replace(b"<appid>", b'<appid type="text">'),
    "utf16": GENUINE.decode().encode("utf-16"),
    "byte_order_mark": b"\n\xef\xbb\xbf" + GENUINE,
    "gbk_body": notification(key=SHOP_KEY, attach=CHINESE).decode().encode("gbk"),
    "printed_bytes": repr(GENUINE).encode(),
    "form_xml": b"xml=" + quote_plus(GENUINE).encode(),
    "escaped_xml": GENUINE.replace(b"<", b"&lt;").replace(b">", b"&gt;"),
    "surroundings": b"POST /notify HTTP/1.1\r\nHost: shop\r\n\r\n" + GENUINE,
    # What the message is.
    "prepay_answer": notification({"return_code": "SUCCESS", "prepay_id": "wx2"}, key=SHOP_KEY),
    "order_request": notification({"mch_id": "1", "notify_url": "https://shop/"}, key=SHOP_KEY),
    "reply": b"<xml><return_code>FAIL</return_code><return_msg>no</return_msg></xml>",
    "query_request": notification({"mch_id": "1", "nonce_str": "2", "out_trade_no": "3"}, key=SHOP_KEY),
    "no_payment_result": notification(key=SHOP_KEY, transaction_id=None),
    "unlike_its_kind": contract(key=SHOP_KEY, plan_id=None),
    # What is plain to see.
    "another_key": notification(key=OTHER_KEY),
    "attack": b'<!DOCTYPE xml [<!ENTITY a "b">]>' + GENUINE,
    "body_consumed": b"",
    "not_whole": GENUINE[: len(GENUINE) // 2],
    "no_sign": write(FIELDS),
    "return_code_fail": write({**FIELDS, "return_code": "FAIL"}),
    "sign_cut": sent(FIELDS, md5(with_key(PLAIN))[:31]),
    "characters_lost": signed_as({"attach": "\ufffd\ufffd"}, {"attach": "谢"}),
    "ambiguous_signature": notification(
        payment_fields(attach="x&bank_type=OTHERS", bank_type=None), key=SHOP_KEY
    ),
}

# More of some of them: another spelling, another way to get there.
CASES_OF_ONE_CODE = {
    "jsapi_parameters": write(
        {
            **(parameters := {"appId": "wx1", "timeStamp": "1", "nonceStr": "2", "package": "prepay_id=3"}),
            "paySign": md5(with_key(text_of(parameters))),
        }
    ),
    "query_request": notification(
        {"combine_mch_id": "1", "nonce_str": "2", "combine_out_trade_no": "3"}, key=SHOP_KEY
    ),
    "no_payment_result": combined(key=SHOP_KEY, sub_order_list=None),
    "unlike_its_kind": scan(key=SHOP_KEY, time_stamp="1"),
    "no_sign": write({"mch_id": "1", "vehicle_event_type": "NORMAL"}),
    "form_xml": b"data=" + GENUINE,
    "printed_bytes": json.dumps(GENUINE.decode()).encode(),
    "entities_not_decoded": signed_as({"attach": "a&amp;amp;b"}, {"attach": "a&b"}),
    "white_space_lost": signed_as({"attach": "x"}, {"attach": " x "}),
    "field_lost": signed_as({"cash_fee": None}, {}),
    "json_body": json.dumps({name: [value] for name, value in SIGNED.items()}).encode(),
    "key_not_loaded": sent(FIELDS, md5(with_key(PLAIN, ""))),
    "loose_xml": GENUINE.replace(b"xml>", b"root>"),
}

# Authentic, and no payment's own: the body, the handler that gets it, and what it is given.
OTHERS = {
    "combined": (combined(key=SHOP_KEY), "payment", "order A-1002, transaction 42000000002026112300000"),
    "contract": (contract(key=SHOP_KEY), "contract", 'on("contract") gets <Contract contract_id=Wx'),
    "plate": (plate_state(key=SHOP_KEY), "plate", 'on("plate") gets <PlateState key=plate/'),
    "scan": (scan(key=SHOP_KEY), "scan", 'on("scan") gets <Scan product_id=P-1001'),
}
APIV3 = b'{"id": "1", "event_type": "TRANSACTION.SUCCESS", "resource": {"ciphertext": "%s"}}' % (b"x" * 600)


@pytest.mark.parametrize(("cause", "body"), [*CASES.items(), *CASES_OF_ONE_CODE.items()])
def test_a_cause_is_found_in_a_message_that_has_it(explain, cause, body):
    code, causes, _ = explain(body)
    assert code == 1
    if cause == "jsapi_parameters":
        assert causes == [cause, "pay_sign_holds"]
    else:
        assert causes == [cause]


def test_every_cause_has_a_case():
    causes = [*HYPOTHESES, *(kind for kind in KINDS if not kind.notification)]
    codes = {row.code for row in causes} | {layer.finding.code for layer in _LAYERS}
    codes |= {form.finding.code for form in _FORMS if form.finding}
    assert codes - set(CASES) - set(CASES_OF_ONE_CODE) == {"pay_sign_holds"}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_is_named_and_read(explain, kind):
    body, handler, given = OTHERS[kind]
    code, causes, printed = explain(body)
    assert (code, causes) == (0, [])
    assert f"\nkind\n  {kind}\n" in printed
    assert f'on("{handler}")' in printed
    assert "the sign holds" in printed
    assert given in printed
    assert "refused" not in printed


@pytest.mark.parametrize("kind", OTHERS)
def test_a_kind_is_no_cause_of_a_wrong_sign(explain, monkeypatch, kind):
    monkeypatch.setenv("WXNOTIFY_KEY", OTHER_KEY)
    code, causes, printed = explain(OTHERS[kind][0])
    assert (code, causes) == (1, ["another_key"])
    assert f"\nkind\n  {kind}\n" in printed


def test_apiv3_is_named_and_said_not_to_be_checked(explain):
    code, causes, printed = explain(APIV3)
    assert (code, causes) == (1, [])
    assert "\nkind\n  apiv3\n" in printed
    assert "  not checked  " in printed
    assert "refused" not in printed


def test_what_was_done_to_apiv3_is_named(explain):
    assert explain(str(json.loads(APIV3)).encode())[1] == ["python_dict_body"]


@pytest.mark.parametrize("body", [APIV3, write(FIELDS)])
def test_nothing_is_said_to_be_signed_without_a_sign(explain, body):
    assert " signed" not in explain(body)[2].partition("\nverdict\n")[0].partition("\nkind\n")[0]


def test_no_sign_is_said_to_be_signed_itself(explain):
    printed = explain(CASES_OF_ONE_CODE["jsapi_parameters"])[2]
    assert re.search(r"^  paySign +[0-9A-F]{32} +no: the sign itself$", printed, re.MULTILINE)


def test_a_long_value_is_cut_in_the_table_and_whole_in_what_is_signed(explain):
    attach = "a long note, ".ljust(126, "-") + " "
    printed = explain(notification(key=SHOP_KEY, attach=attach))[2]
    assert re.search(r"^  attach +'a long note, -+…-+ ' \(129 characters\) +yes$", printed, re.MULTILINE)
    assert f"&attach={attach}&" in printed
    assert "x" * 100 not in explain(APIV3)[2]


def test_no_part_of_a_key_is_left_where_a_value_is_cut(explain):
    printed = explain(notification(key=SHOP_KEY, attach="x" * 8 + SHOP_KEY + "x" * 60))[2]
    assert SHOP_KEY[:8] not in printed


def test_a_genuine_notification_needs_no_cause(explain):
    code, causes, printed = explain(GENUINE)
    assert (code, causes) == (0, [])
    assert "the sign holds  with key 1 of 1 (WXNOTIFY_KEY), MD5" in printed
    assert "order A-1001" in printed


def test_the_signed_string_is_shown_with_a_placeholder_for_the_key(explain):
    assert f"  {PLAIN}&key=<key>\n" in explain(GENUINE, "--show-openid")[2]


def test_fields_are_shown_with_what_was_signed_and_what_not(explain):
    printed = explain(GENUINE)[2]
    assert re.search(r"^  attach +no: empty$", printed, re.MULTILINE)
    assert re.search(r"^  total_fee +100 +yes$", printed, re.MULTILINE)
    assert re.search(r"^  sign +[0-9A-F]{32} +no: the sign itself$", printed, re.MULTILINE)


def test_payers_are_masked_unless_asked_for(explain):
    body = notification(key=SHOP_KEY, sub_openid="oSub0000000000000000000000Payer")
    for openid in ("oTest0000000000000000000000Payer", "oSub0000000000000000000000Payer"):
        assert openid not in explain(body)[2]
        assert openid in explain(body, "--show-openid")[2]


def test_payers_of_a_combined_order_are_masked_too(explain):
    body = combined(key=SHOP_KEY)
    assert "oTest0000000000000000000000Payer" not in explain(body)[2]
    assert "oTest0000000000000000000000Payer" in explain(body, "--show-openid")[2]
    orders = parse(body)["sub_order_list"]
    _, causes, printed = explain(signed_as({"sub_order_list": orders}, {"sub_order_list": orders + "\n"}))
    assert causes == ["white_space_lost"]
    assert "oTest0000000000000000000000Payer" not in printed


def test_a_key_inside_a_message_is_not_shown_either(explain):
    printed = explain(notification(key=SHOP_KEY, attach=SHOP_KEY))[2]
    assert re.search(r"^  attach +<key> +yes$", printed, re.MULTILINE)


def test_which_value_was_changed_is_said(explain):
    printed = explain(CASES["trimmed"])[2]
    assert "- attach came as ' x ', but was signed as 'x'" in printed
    assert "- fee_type was signed as 'CNY', but did not come" in explain(CASES["field_lost"])[2]
    assert "- added came, but was not signed" in explain(CASES["field_added"])[2]


def test_white_space_around_a_value_is_visible(explain):
    assert re.search(r"^  attach +' x ' +yes$", explain(CASES["trimmed"])[2], re.MULTILINE)


def test_the_second_of_two_keys_is_named(explain, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", f"{OTHER_KEY}\n{SHOP_KEY}")
    code, _, printed = explain(GENUINE)
    assert code == 0
    assert "  other_key_given\n" in printed


def test_white_space_around_the_configured_key_is_named(explain, tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text(f"{SHOP_KEY} \n")
    assert "  key_source_white_space\n" in explain(GENUINE, "--key-file", str(file))[2]
    monkeypatch.setenv("WXNOTIFY_KEY", f"{SHOP_KEY}\n\n")
    assert "  key_source_white_space\n" in explain(GENUINE)[2]
    file.write_text(f"{SHOP_KEY}\n{OTHER_KEY}\n")
    assert "key_source_white_space" not in explain(GENUINE, "--key-file", str(file))[2]


def test_hmac_without_sign_type_is_genuine_and_said_to_be(explain):
    code, causes, printed = explain(notification(key=SHOP_KEY, sign_type="HMAC-SHA256"))
    assert (code, causes) == (0, [])
    assert "  hmac_unannounced\n" in printed


def test_another_merchants_notification_is_named_if_the_own_id_is_given(explain):
    for body in (GENUINE, *(other for other, _, _ in OTHERS.values())):
        code, causes, _ = explain(body, "--mch-id", "1900000110")
        assert (code, causes) == (1, ["merchant_mismatch"])
    assert explain(combined(key=SHOP_KEY), "--appid", "wx1")[1] == ["merchant_mismatch"]
    assert explain(contract(key=SHOP_KEY), "--appid", "wx1")[0] == 0  # it names no app


def test_a_lost_field_of_the_own_ids_is_found(explain):
    body = signed_as({"mch_id": None}, {})
    assert explain(body, "--mch-id", "1900000109")[1] == ["field_lost"]
    assert explain(body)[1] == ["another_key"]


def test_damage_and_a_wrong_sign_are_both_named(explain):
    body = json.dumps({**FIELDS, "sign": md5(with_key(PLAIN)).lower()}).encode()
    assert explain(body)[1] == ["json_body", "lower_case_sign"]


def test_several_layers_are_peeled_off(explain):
    body = b"xml=" + quote(b"\xef\xbb\xbf\n" + GENUINE).encode() + b"\n"
    code, causes, printed = explain(body)
    assert code == 1
    assert "form_xml" in causes
    assert "the sign holds" in printed


@pytest.mark.parametrize(
    "body",
    [
        b"\0", b"{", b"[]", b"{}", b"[" * 100_000, b"<xml>" * 50_000, b"%3C%FF", b"xml=", b"b'", b"&lt;",
        b"\xff\xfe<", b"\xff", b"<xml></xml>", b"<xml/>", b"</xml><xml>", b"1e999", b'{"a":{"b":{}}}',
        b'{"sign": "x", "attach": "\\ud800"}', b'{"sign": 7}', b"sign=1", b"<a><sign>\xc3\xa9</sign><b/></a>",
        b"'<xml>'", b"{'sign': b'x'}", b'{"\xe2\x80\xae": "x", "sign": "y"}',
    ],
)  # fmt: skip
def test_no_bytes_make_it_fall_over(explain, body):
    code, causes, _ = explain(body)
    assert code == 1
    assert causes
