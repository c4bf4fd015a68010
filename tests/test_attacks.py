"""Attacks of our own making: what each would gain, and the refusal it meets."""

from __future__ import annotations

import codecs
import encodings
import hashlib
import hmac
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from wxnotify import Payment, Verified, parse, sign, verify, write
from wxnotify._wire import MAX_BODY_BYTES
from wxnotify.errors import Malformed
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment_fields, query_answer

from .support import code_of, either, received, reference_sign, signed, string_to_sign

PAID = {name: value for name, value in payment_fields().items() if value}
ALGORITHMS = pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])


def doubled(count: int) -> str:
    """A chain of entities, each ten of the one before."""
    entities = ['<!ENTITY e0 "lol">']
    entities += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, count)]
    return f"<!DOCTYPE xml [{''.join(entities)}]><xml><attach>&e{count - 1};</attach></xml>"


# --- DTDs and entities ---------------------------------------------------------

DTDS = {
    "xxe_file": '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xml><attach>&x;</attach></xml>',
    "xxe_http": '<!DOCTYPE xml [<!ENTITY x SYSTEM "http://127.0.0.1:9/">]><xml><attach>&x;</attach></xml>',
    "xxe_public": '<!DOCTYPE xml [<!ENTITY x PUBLIC "-//x" "file:///etc/passwd">]><xml><attach>&x;</attach></xml>',
    "external_subset": '<!DOCTYPE xml SYSTEM "http://127.0.0.1:9/x.dtd"><xml/>',
    "public_subset": '<!DOCTYPE xml PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/x.dtd"><xml/>',
    "parameter_entity": '<!DOCTYPE xml [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]><xml/>',
    "billion_laughs": doubled(10),
    "quadratic": f'<!DOCTYPE xml [<!ENTITY a "{"a" * 30_000}">]><xml><attach>{"&a;" * 10_000}</attach></xml>',
    "entity_never_used": '<!DOCTYPE xml [<!ENTITY a "1">]><xml/>',
    "recursive": '<!DOCTYPE xml [<!ENTITY a "&b;"><!ENTITY b "&a;">]><xml><attach>&a;</attach></xml>',
    "default_attribute": '<!DOCTYPE xml [<!ATTLIST xml a CDATA "1">]><xml/>',
    "attlists": f"<!DOCTYPE xml [{'<!ATTLIST a b CDATA #IMPLIED>' * 1_900}]><xml/>",
    "notation": '<!DOCTYPE xml [<!NOTATION n SYSTEM "x">]><xml/>',
    "empty": "<!DOCTYPE xml><xml/>",
    "empty_subset": "<!DOCTYPE xml []><xml/>",
    "of_another_root": "<!DOCTYPE html><xml/>",
    "after_a_declaration": '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xml><xml/>',
    "after_a_byte_order_mark": "\ufeff<!DOCTYPE xml><xml/>",
    "over_several_lines": "<!DOCTYPE\n\txml\n[\n]\n>\n<xml/>",
    "subset_that_looks_like_an_end": "<!DOCTYPE xml [<!ENTITY a ']>'>]><xml/>",
}


@pytest.mark.parametrize("body", DTDS.values(), ids=DTDS)
def test_a_document_with_a_dtd_is_refused(body):
    assert code_of(parse, body.encode()) == "dtd_forbidden"


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037", "utf-7"]
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_dtd_is_not_hidden_by_an_encoding(encoding, mark):
    body = (mark + DTDS["xxe_file"]).encode(encoding, "ignore")
    with pytest.raises(Malformed):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        "<!-- <![CDATA[ --><!DOCTYPE xml><!-- ]]> --><xml/>",
        "<?p <![CDATA[ ?><!DOCTYPE xml><?p ]]> ?><xml/>",
        "<!-- --><!DOCTYPE xml><xml/>",
        "<xml><!DOCTYPE xml></xml>",
        "<xml/><!DOCTYPE xml>",
        "<xml><attach><!DOCTYPE xml></attach></xml>",
        "<!doctype xml><xml/>",
        "<! DOCTYPE xml><xml/>",
        "<!DOCTYPE><xml/>",
        "<!DOCTYPE xml",
        '<!ENTITY a "1"><xml/>',
        "<xml><attach>&lol;</attach></xml>",
        "<xml><attach>%p;&x;</attach></xml>",
        "<xml><![IGNORE[<a/>]]></xml>",
    ],
)
def test_a_dtd_hidden_or_misplaced_is_refused(body):
    with pytest.raises(Malformed):
        parse(body.encode())


@pytest.mark.parametrize(
    "attach",
    [
        "<!DOCTYPE html>",
        '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>&x;',
        "<!-- note -->",
        "<?php ?>",
        "<xml/>",
    ],
)
def test_the_payment_whose_attach_quotes_markup_in_cdata_passes(attach):
    fields = signed(payment_fields(attach=attach))
    inner = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
    paid = Payment.from_verified(verify(parse(f"<xml>{inner}</xml>".encode()), KEY))
    assert (paid.paid, paid.attach) == (True, attach)


def test_xinclude_is_a_prefixed_name_and_fetches_nothing():
    body = b'<xml><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/></xml>'
    assert code_of(parse, body) == "attribute_forbidden"


# --- encodings -----------------------------------------------------------------

UNKNOWN = [
    "x-evil-1", "x" * 60_000, "rot_13", "zlib", "hex", "idna", "punycode", "undefined", "unicode_escape",
    "gbk", "utf-7", "latin-1", "koi8-r", "iso-8859-1", "utf-16", "utf-32", "big5", "mbcs", "os", "../x",
]  # fmt: skip


@pytest.fixture
def looked_up() -> Iterator[list[str]]:
    """The names of encodings that anybody asks Python for."""
    names: list[str] = []

    def search(name: str) -> None:
        names.append(name)

    codecs.register(search)
    yield names
    codecs.unregister(search)


@pytest.mark.parametrize("encoding", UNKNOWN, ids=lambda name: name[:20])
def test_the_name_of_an_encoding_never_reaches_pythons_codecs(encoding, looked_up, monkeypatch):
    asked: list[str] = []
    search = encodings.search_function
    monkeypatch.setattr(encodings, "search_function", lambda name: asked.append(name) or search(name))
    cache = dict(encodings._cache)
    for version in ('version="1.0" ', "version='1.0' ", ""):
        with pytest.raises(Malformed):
            parse(f"<?xml {version}encoding='{encoding}'?><xml><a>1</a></xml>".encode())
    assert encodings._cache == cache
    assert looked_up == asked == []


def test_the_probe_of_the_test_above_sees_a_lookup(looked_up):
    with pytest.raises(LookupError):
        codecs.lookup("x-evil-probe")
    assert len(looked_up) == 1


# --- one document, two readings ------------------------------------------------


def with_text(name: str, markup: str) -> bytes:
    """A genuine notification in whose bytes *markup* stands instead of the field's text."""
    body = notification()
    value = payment_fields()[name]
    assert body.count(f"<{name}>{value}<".encode()) == 1
    return body.replace(f"<{name}>{value}<".encode(), f"<{name}>{markup}<".encode())


@pytest.mark.parametrize(
    ("markup", "code"),
    [
        ("1<!-- -->00", "comment_forbidden"),
        ("<!-- -->100", "comment_forbidden"),
        ("100<!---->", "comment_forbidden"),
        ("1<?p?>00", "instruction_forbidden"),
        ("100<?p?>", "instruction_forbidden"),
        ("<v>100</v>", "nested_element"),
        ("100<v/>", "nested_element"),
        ("1<v>0</v>0", "nested_element"),
        ("100</total_fee><total_fee>1", "duplicate_field"),
        ("100</total_fee><total_fee>100", "duplicate_field"),
        ("</total_fee><total_fee>100", "duplicate_field"),
        ("100</total_fee><n:total_fee xmlns:n='u'>1</n:total_fee><x>", "attribute_forbidden"),
        ("100</total_fee><n:total_fee>1</n:total_fee><x>", "malformed"),
        ("100</total_fee>1<x>", "malformed"),
        ("1&e;00", "malformed"),
        ("100]]>", "malformed"),
    ],
)
def test_an_amount_that_two_readers_read_differently_is_refused(markup, code):
    assert code_of(parse, with_text("total_fee", markup)) == code


@pytest.mark.parametrize("name", ["total_fee", "out_trade_no", "transaction_id"])
def test_sections_of_cdata_that_touch_are_one_text(name):
    value = payment_fields()[name]
    markup = f"<![CDATA[{value[:1]}]]><![CDATA[{value[1:]}]]>"
    assert Payment.from_verified(verify(parse(with_text(name, markup)), KEY)).paid


INNER = notification()[len("<xml>") : -len("</xml>")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<xml><xml>" + INNER + b"</xml></xml>", "nested_element"),
        (b"<soap><xml>" + INNER + b"</xml></soap>", "malformed"),
        (b"<root>" + INNER + b"</root>", "malformed"),
        (b"<xml><data>" + INNER + b"</data></xml>", "nested_element"),
        (b"<xml>" + INNER + b"</xml><xml>" + INNER + b"</xml>", "malformed"),
        (b"<xml/><xml>" + INNER + b"</xml>", "malformed"),
        (b'<xml xmlns="urn:x">' + INNER + b"</xml>", "attribute_forbidden"),
        (b'<n:xml xmlns:n="urn:x">' + INNER + b"</n:xml>", "attribute_forbidden"),
        (b"<xml id='1'>" + INNER + b"</xml>", "attribute_forbidden"),
        (b"<xml xml:space='preserve'>" + INNER + b"</xml>", "attribute_forbidden"),
        (b"<xml xsi:nil='true'>" + INNER + b"</xml>", "attribute_forbidden"),
        (b"<xml>" + INNER + b"stray</xml>", "malformed"),
        (b"<xml>&#49;" + INNER + b"</xml>", "malformed"),
        (b"<xml>" + INNER + b"</xml>stray", "malformed"),
        (b"<xml>" + INNER, "malformed"),
        (INNER, "malformed"),
        (b"<xml>" + INNER.replace(b"total_fee", b"Total_fee", 1) + b"</xml>", "malformed"),
        (b"<xml>" + INNER.replace(b"total_fee>", "total_fее>".encode()) + b"</xml>", "bad_field_name"),
        (b"<xml><total_fee x='1'/>" + INNER + b"</xml>", "attribute_forbidden"),
        (b"<xml><total_fee/>" + INNER + b"</xml>", "duplicate_field"),
    ],
)
def test_a_notification_wrapped_or_decorated_is_refused(body, code):
    assert code_of(parse, body) == code


# --- size and shape ------------------------------------------------------------


def test_the_largest_genuine_message_passes():
    coupons = {
        f"coupon_{part}_{n}": value
        for n in range(40)
        for part, value in (("id", "x" * 20), ("type", "CASH"), ("fee", "1"))
    }
    paid = received(signed(payment_fields(promotion_detail='{"a":"支"}' * 500, coupon_count="40", **coupons)))
    assert len(paid.coupons) == 40


@pytest.mark.parametrize("count", [2_000, 5_000])
@pytest.mark.parametrize("field", ["<f{}>1</f{}>", "<f{}/>", "<f{}></f{}>"])
def test_thousands_of_fields_are_refused(count, field):
    body = "<xml>" + "".join(field.format(n, n) for n in range(count)) + "</xml>"
    assert code_of(parse, body.encode()) in ("too_many_fields", "too_large")
    assert code_of(parse, body.encode(), max_bytes=1_000_000) == "too_many_fields"


@pytest.mark.parametrize(("times", "code"), [(500, "duplicate_field"), (5_000, "too_many_fields")])
def test_a_name_flood_of_one_name_is_refused(times, code):
    assert code_of(parse, b"<xml>" + b"<a/>" * times + b"</xml>") == code


@pytest.mark.parametrize("depth", [3, 9_000])
def test_depth_is_refused_at_the_third_level(depth):
    assert code_of(parse, b"<xml>" + b"<a>" * depth + b"</a>" * 500 + b"</xml>") in (
        "nested_element",
        "too_many_fields",
    )
    assert code_of(parse, b"<xml>" + b"<a>" * depth) == "nested_element"


def test_a_very_long_name_is_refused():
    assert code_of(parse, b"<xml><" + b"a" * 50_000 + b"/></xml>") == "bad_field_name"
    assert code_of(parse, b"<" + b"a" * 50_000 + b"/>") == "malformed"


def filled(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    return start + unit * ((MAX_BODY_BYTES - len(start) - len(end)) // len(unit)) + end


SHAPES = {
    "one_value": filled(b"<xml><a>", b"x", b"</a></xml>"),
    "one_cdata": filled(b"<xml><a><![CDATA[", b"<", b"]]></a></xml>"),
    "cdata_sections": filled(b"<xml><a>", b"<![CDATA[x]]>", b"</a></xml>"),
    "references": filled(b"<xml><a>", b"&#65;", b"</a></xml>"),
    "ampersands": filled(b"<xml><a>", b"&amp;", b"</a></xml>"),
    "carriage_returns": filled(b"<xml><a>", b"\r", b"</a></xml>"),
    "four_byte_characters": filled(b"<xml><a>", b"\xf0\x9f\x98\x80", b"</a></xml>"),
    "spaces": filled(b"", b" "),
    "spaces_between": filled(b"<xml>", b" ", b"</xml>"),
    "spaces_in_a_tag": filled(b"<xml><a", b" ", b"/></xml>"),
    "less_than": filled(b"", b"<"),
    "open_tags": filled(b"<xml>", b"<a>"),
    "end_tags": filled(b"<xml>", b"</"),
    "end_tags_in_cdata": filled(b"<xml><a><![CDATA[", b"</", b"]]></a></xml>"),
    "end_tags_between_cdata": filled(b"<xml>", b"<a><![CDATA[</]]></a>"),
    "open_cdata": filled(b"<xml><a>", b"<![CDATA["),
    "open_comment": filled(b"<xml><!--", b"x"),
    "comments": filled(b"<xml>", b"<!---->"),
    "instructions": filled(b"<xml>", b"<?p?>"),
    "open_instruction": filled(b"<xml><?p ", b"x"),
    "doctype": filled(b"<!DOCTYPE xml [", b"<!ENTITY a 'x'>"),
    "attributes": b"<xml " + b" ".join(b"a%d='1'" % n for n in range(5_500)) + b"/>",
    "namespaces": b"<xml " + b" ".join(b"xmlns:n%d='u'" % n for n in range(3_500)) + b"/>",
    "long_attribute": filled(b"<xml a='", b"x", b"'/>"),
    "long_name": filled(b"<xml><", b"a", b"/></xml>"),
    "long_prefix": filled(b"<xml><", b"a:", b"a/></xml>"),
    "many_names": b"<xml>" + b"".join(b"<f%d/>" % n for n in range(6_000)) + b"</xml>",
    "names_of_64": b"<xml>" + b"".join(b"<%s%04d/>" % (b"a" * 60, n) for n in range(500)) + b"<-/></xml>",
    "names_of_64_and_a_dot": b"<xml>"
    + b"".join(b"<%s%04d/>" % (b"a" * 60, n) for n in range(500))
    + b"<a.b/></xml>",
    "brackets": filled(b"<xml><a>", b"]", b"</a></xml>"),
    "ascii": filled(b"", b"x"),
    "nul": filled(b"", b"\0"),
    "not_utf8": filled(b"", b"\xff"),
    "json": filled(b"", b'{"a":'),
    "undefined_entities": filled(b"<xml><a>", b"&x;"),
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_a_body_of_any_shape_takes_little_time_and_memory(body):
    assert len(body) <= MAX_BODY_BYTES
    began = time.process_time()
    tracemalloc.start()
    read = either(parse, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(read, dict) or read.status == 400
    assert peak < 4 * 2**20
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("value", ["&" * 60_000, "&a=" * 20_000, "=" * 60_000, "&bank_type" * 6_000])
def test_a_value_of_separators_takes_little_time(value):
    fields = signed(payment_fields(attach=value))
    began = time.process_time()
    assert verify(fields, KEY)["attach"] == value
    assert time.process_time() - began < 0.5


# --- the signature -------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "   ", None, b"", [], [""], [None], 0, False])
def test_an_empty_key_verifies_nothing_that_anyone_could_sign(key):
    for known in ("", "None", "key"):
        forged = {**PAID, "sign": reference_sign(PAID, known)}
        assert code_of(verify, forged, key) == "configuration"


def test_a_text_signed_without_any_key_is_refused():
    unkeyed = string_to_sign(PAID, "").removesuffix("&key=")
    for text in (unkeyed, unkeyed + "&key=", unkeyed + "&key=None"):
        forged = hashlib.md5(text.encode()).hexdigest().upper()
        assert code_of(verify, {**PAID, "sign": forged}, KEY) == "bad_signature"


def test_a_field_called_key_is_data_and_signs_nothing():
    forged = {**PAID, "key": "0123456789abcdefghijklmnopqrstuv"}
    assert code_of(verify, signed(forged, forged["key"]), KEY) == "bad_signature"
    assert verify(signed(forged), KEY)["key"] == forged["key"]


@pytest.mark.parametrize(
    "name", ["key", "api_key", "mch_key", "sign_key", "partner_key", "mch_id", "trade_type"]
)
def test_no_field_of_the_request_chooses_the_key(name):
    fields = {**PAID, name: "0123456789abcdefghijklmnopqrstuv"}
    assert code_of(verify, signed(fields, fields[name]), KEY) == "bad_signature"


@ALGORITHMS
def test_a_lower_case_signature_is_refused(sign_type):
    genuine = signed(PAID, KEY, sign_type)
    assert code_of(verify, {**genuine, "sign": genuine["sign"].lower()}, KEY) == "malformed_signature"


def test_hmac_of_the_text_without_the_key_behind_it_is_refused():
    text = string_to_sign(PAID, KEY).removesuffix("&key=" + KEY)
    half = hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest().upper()
    assert code_of(verify, {**PAID, "sign": half}, KEY) == "bad_signature"


def test_hmac_under_an_empty_key_is_refused():
    text = string_to_sign(PAID, "")
    forged = hmac.new(b"", text.encode(), hashlib.sha256).hexdigest().upper()
    assert code_of(verify, {**PAID, "sign": forged}, KEY) == "bad_signature"


def test_sha256_without_hmac_is_refused():
    plain = hashlib.sha256(string_to_sign(PAID, KEY).encode()).hexdigest().upper()
    assert code_of(verify, {**PAID, "sign": plain}, KEY) == "bad_signature"


@pytest.mark.parametrize("declared", [None, "MD5", "HMAC-SHA256"])
def test_a_downgrade_to_md5_is_refused_where_hmac_is_demanded(declared):
    fields = {**PAID, **({"sign_type": declared} if declared else {})}
    assert code_of(verify, signed(fields), KEY, sign_types=("HMAC-SHA256",)) == "bad_sign_type"


@pytest.mark.parametrize("sign_type", ["NONE", "none", "MD5 ", "md5", "HMAC-SHA1", "RSA2", "\0"])
def test_a_sign_type_of_another_kind_is_refused_even_if_it_is_signed(sign_type):
    assert code_of(verify, signed({**PAID, "sign_type": sign_type}), KEY) == "bad_sign_type"


@pytest.mark.parametrize(
    "change",
    [
        {"return_code": "FAIL"},
        {"return_code": "FAIL", "sign": ""},
        {"return_code": ""},
        {"sign": ""},
        {"return_code": "success", "sign": ""},
    ],
    ids=str,
)
def test_verification_is_never_skipped(change):
    body = write({**signed(PAID), **change})
    assert code_of(verify, parse(body), KEY) in ("return_code_fail", "missing_signature")


# --- one signed text, split anew (security.md 3.6) -----------------------------


def resplit(genuine: dict[str, str], names: list[str], sign_type: str) -> dict[str, str]:
    """Give the same signed text as other fields: those called *names*, in the text's own order."""
    text = string_to_sign(genuine, "").removesuffix("&key=")
    forged, at = {}, 0
    starts = [0, *(text.index(f"&{name}=", 1) for name in names[1:])]
    assert starts == sorted(starts)
    for name, at, end in zip(names, starts, [*starts[1:], len(text)], strict=True):
        forged[name] = text[at:end].removeprefix("&").removeprefix(f"{name}=")
    assert string_to_sign(forged, KEY) == string_to_sign(genuine, KEY), "the attack must be a good one"
    return {**forged, "sign": sign(genuine, KEY, sign_type)}


SHORT = (
    f"a&bank_type=A&mch_id={MCH_ID}&out_trade_no=B1&result_code=SUCCESS&return_code=SUCCESS"
    "&total_fee=8800000&tp="
)
FULL = (
    f"a&bank_type=A&mch_id={MCH_ID}&nonce_str=n&openid=o&out_trade_no=B1&result_code=SUCCESS&return_code=SUCCESS"
    "&time_end=20261123120000&total_fee=8800000&trade_type=JSAPI&transaction_id=4200000000202611230000000009&z="
)


@ALGORITHMS
@pytest.mark.parametrize("attach", [SHORT, FULL], ids=["109_characters", "every_field"])
def test_a_seen_notification_split_into_another_orders_payment_is_ambiguous(attach, sign_type):
    genuine = {**PAID, "attach": attach}
    names = ["appid", "attach", *(part.split("=")[0] for part in attach.split("&")[1:])]
    forged = resplit(genuine, names, sign_type)
    assert (forged["out_trade_no"], forged["total_fee"], forged["attach"]) == ("B1", "8800000", "a")
    assert forged["sign"] == reference_sign(forged, KEY, sign_type)
    assert code_of(verify, parse(write(forged)), KEY) == "ambiguous_signature"


@ALGORITHMS
def test_a_failure_hidden_in_its_neighbour_does_not_become_a_success(sign_type):
    failed = {**PAID, "result_code": "FAIL", "err_code": "NOTENOUGH"}
    names = [name for name in sorted(failed) if name != "result_code"]
    merged = resplit(failed, names, sign_type)
    assert merged["out_trade_no"] == "A-1001&result_code=FAIL"
    assert code_of(verify, merged, KEY) == "ambiguous_signature"


@pytest.mark.parametrize("state", ["REFUND", "CLOSED"])
def test_no_run_of_fields_merged_into_the_one_before_it_makes_an_unpaid_order_paid(state):
    answer = {**PAID, "trade_state": state, "sub_mch_id": "1900000110", "return_msg": "OK"}
    names = sorted(answer)
    for first in range(1, len(names)):
        for last in range(first, len(names)):
            merged = resplit(answer, names[:first] + names[last + 1 :], "MD5")
            read = either(received, merged)
            if isinstance(read, Payment):
                assert read.paid is False
            else:
                assert read.code in ("ambiguous_signature", "bad_field", "missing_field", "return_code_fail")


@pytest.mark.parametrize(
    "attach",
    ["a=1&b=2", "&", "=&=", "&total_fee=1&out_trade_no=x", "uid=5&total_fee=1", "&sign=AAAA", "q?x=1&y=2&z="],
)
def test_an_attach_with_separators_is_paid(attach):
    paid = received(signed(payment_fields(attach=attach)))
    assert (paid.paid, paid.attach, paid.total_fee, paid.out_trade_no) == (True, attach, 100, "A-1001")


# --- another signed message taken for a payment --------------------------------

REQUEST = {"appid": APPID, "mch_id": MCH_ID, "nonce_str": "n"}
ANSWER = {**REQUEST, "return_code": "SUCCESS", "return_msg": "OK", "result_code": "SUCCESS"}
IDS = {"out_trade_no": "A-1001", "transaction_id": PAID["transaction_id"]}
OTHER_MESSAGES = {
    "jsapi_pay_sign": {
        "appId": APPID, "timeStamp": "1795406400", "nonceStr": "n", "package": "prepay_id=wx1",
        "signType": "MD5",
    },
    "app_pay_sign": {
        "appid": APPID, "partnerid": MCH_ID, "prepayid": "wx1", "package": "Sign=WXPay", "noncestr": "n",
        "timestamp": "1795406400",
    },
    "unifiedorder_request": {
        **REQUEST, "body": "x", "out_trade_no": "A-1001", "total_fee": "100", "spbill_create_ip": "127.0.0.1",
        "notify_url": "https://shop.example/notify", "trade_type": "JSAPI", "openid": "o", "fee_type": "CNY",
    },
    "unifiedorder_response": {**ANSWER, "prepay_id": "wx1", "trade_type": "NATIVE", "code_url": "weixin://x"},
    "closeorder_request": {**REQUEST, "out_trade_no": "A-1001"},
    "closeorder_response": ANSWER,
    "refund_request": {**REQUEST, **IDS, "out_refund_no": "R1", "total_fee": "100", "refund_fee": "100"},
    "refund_answer": {
        **ANSWER, **IDS, "out_refund_no": "R1", "refund_id": "50", "refund_fee": "100", "total_fee": "100",
        "cash_fee": "100",
    },
    "refundquery_answer": {
        **ANSWER, **IDS, "total_fee": "100", "cash_fee": "100", "refund_count": "1", "out_refund_no_0": "R1",
        "refund_id_0": "50", "refund_fee_0": "100", "refund_status_0": "SUCCESS",
    },
    "papay_contract_notice": {
        "return_code": "SUCCESS", "result_code": "SUCCESS", "mch_id": MCH_ID, "contract_code": "c1",
        "plan_id": "1", "openid": "o", "change_type": "ADD", "operate_time": "2026-11-23 12:00:00",
        "contract_id": "201", "request_serial": "9223372036854775807",
    },
    "native_mode_1_scan": {**REQUEST, "openid": "o", "is_subscribe": "N", "product_id": "88"},
    "native_mode_1_answer": {**ANSWER, "prepay_id": "wx1"},
    "getsignkey_request": {"mch_id": MCH_ID, "nonce_str": "n"},
    "orderquery_request": {**REQUEST, "out_trade_no": "A-1001"},
    "orderquery_failed": {**ANSWER, "result_code": "FAIL", "err_code": "ORDERNOTEXIST"},
    "micropay_request": {
        **REQUEST, "body": "x", "out_trade_no": "A-1001", "total_fee": "100", "auth_code": "13",
    },
}  # fmt: skip


@ALGORITHMS
@pytest.mark.parametrize("message", OTHER_MESSAGES.values(), ids=OTHER_MESSAGES)
def test_another_message_under_the_same_key_is_authentic_and_no_payment(message, sign_type):
    fields = signed(message, KEY, sign_type)
    assert isinstance(verify(parse(write(fields)), KEY), Verified)
    assert code_of(received, fields) == "missing_field"


@pytest.mark.parametrize(
    "state", ["NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR", "REFUND", "ACCEPT"]
)
def test_an_order_query_that_says_otherwise_is_not_paid(state):
    bare = {**ANSWER, "out_trade_no": "A-1001", "trade_state": state}
    for fields in (signed(bare), parse(query_answer(trade_state=state))):
        asked = received(fields)
        assert (asked.paid, asked.result) == (False, state)


def test_the_answers_of_a_papay_deduction_that_failed_are_not_paid():
    fields = signed({**PAID, "trade_state": "PAY_FAIL", "contract_id": "201"})
    assert received(fields).paid is False


# --- where the secure answer would break real traffic (security.md section 5) ---

GENUINE = {
    "unknown_fields": {
        "a_field_of_next_year": "1",
        "promotion_detail": '{"promotion_detail":[]}',
        "rate_value": "650000000",
    },
    "empty_values": {"attach": "", "device_info": "", "sub_mch_id": ""},
    "zero_and_blank": {"attach": "   ", "cash_fee": "0"},
    "white_space_in_a_value": {"attach": " a  b\t"},
    "carriage_return_as_reference": {"attach": "a\rb"},
    "full_coupon": {
        "cash_fee": "0",
        "coupon_fee": "100",
        "coupon_count": "1",
        "coupon_id_0": "1",
        "coupon_fee_0": "100",
    },
    "settlement": {"settlement_total_fee": "90", "coupon_fee": "10", "coupon_type_0": "NO_CASH"},
    "bare_coupon_of_2014": {"coupon_type": "CASH", "coupon_id": "10000", "coupon_count": "1"},
    "foreign_cash": {"fee_type": "USD", "cash_fee_type": "CNY", "cash_fee": "700", "rate": "700000000"},
    "no_fee_type": {"fee_type": None},
    "no_cash_fee": {"cash_fee": None},
    "new_bank": {"bank_type": "BANK_OF_2031", "trade_type": "FACEPAY"},
    "text_in_chinese": {"attach": "支付测试：订单１号"},
    "service_provider": {
        "sub_mch_id": "1900000110",
        "sub_appid": "wx9",
        "sub_openid": "o2",
        "sub_is_subscribe": "Y",
    },
    "odd_time": {"time_end": "20261123"},
    "key_as_a_field": {"key": "1"},
    "emoji": {"attach": "\U0001f600"},
}


@ALGORITHMS
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("changes", GENUINE.values(), ids=GENUINE)
def test_genuine_traffic_passes(changes, declared, sign_type):
    fields = payment_fields(**changes)
    if declared:
        fields["sign_type"] = sign_type
    paid = received(signed(fields, KEY, sign_type))
    assert (paid.paid, paid.total_fee) == (True, 100)
    for name, value in fields.items():
        assert paid.fields.get(name, "") == value


def test_a_line_break_of_two_characters_is_one_line_feed_to_every_xml_reader():
    fields = signed(payment_fields(attach="a\nb"))
    body = write(fields).replace(b"a\nb", b"a\r\nb")
    assert Payment.from_verified(verify(parse(body), KEY)).attach == "a\nb"


def test_a_failed_payment_is_authentic():
    assert received(signed(payment_fields(result_code="FAIL"))).result == "FAIL"


def test_a_pretty_printed_notification_passes():
    fields = signed(PAID)
    lines = "\n".join(f"  <{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\r\n<xml>\n{lines}\n</xml>\n'
    assert Payment.from_verified(verify(parse(body.encode()), KEY)).paid
