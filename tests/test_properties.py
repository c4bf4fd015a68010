"""What holds for every input, searched for by Hypothesis."""

from __future__ import annotations

import re
from typing import Any

import defusedxml.ElementTree
from hypothesis import assume, given
from hypothesis import strategies as st

from wxnotify import Payment, Verified, build_reply, parse, sign, verify, write
from wxnotify.errors import NotifyError
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment_fields

from .support import code_of, either, reference_sign, signed

SIGN_TYPES = st.sampled_from(["MD5", "HMAC-SHA256"])
NAMES = st.from_regex("[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True) | st.sampled_from(
    [
        *payment_fields(),
        "sub_mch_id",
        "coupon_fee_0",
        "coupon_id_12",
        "trade_state",
        "sign_type",
        "key",
        "self",
    ]
)
# XML 1.0 characters: what write() takes.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
        lambda character: character >= " " or character in "\t\r\n"
    )
) | st.sampled_from(
    ["]]>", "a]]>b", "\r", "\r\n", "&amp;", "<!DOCTYPE a>", "\U0001f600", "&", "=", " ", "0", ""]
)
WRITABLE = st.dictionaries(NAMES, TEXT, max_size=12)
ANY_TEXT = st.text(st.characters()) | st.sampled_from(["\ud800", "\udfff\ud800", "\0", "\ufffe", "é" * 32])
# More digits than Python prints.
HUGE = st.integers(4_301, 6_000).map(lambda digits: 10**digits)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    ANY_TEXT, st.none(), st.booleans(), st.integers(), HUGE, st.floats(), st.binary(),
    st.lists(st.integers()), st.dictionaries(st.text(), st.text(), max_size=1), st.builds(object),
)  # fmt: skip
ANY_NAME: st.SearchStrategy[Any] = st.one_of(
    NAMES, ANY_TEXT, st.none(), st.integers(), HUGE, st.binary(), st.tuples(st.text())
)
SIGNATURES = st.sampled_from(["A" * 32, "0" * 64, "", "a" * 32, "A" * 31, "é" * 32]) | ANYTHING
FRAGMENTS = st.sampled_from(
    ["<xml>", "</xml>", "<xml/>", "<a>", "</a>", "<a/>", "<b>", "</b>", "<a b='1'>", "<n:a>", "</n:a>", "<_>",
     "</_>", "<![CDATA[", "]]>", "<!--", "-->", "<?xml version='1.0'?>",
     "<?xml version='1.0' encoding='gbk'?>", "<?p d?>", "<!DOCTYPE xml>", "<!DOCTYPE xml [<!ENTITY e 'x'>]>",
     "&e;", "&amp;", "&#13;", "&#60;", "<",
     ">", "&", "1", " ", "\n", "\r\n", "\t", "\ufeff", "\0", "\u3000", "支付", "\U0001f600"]
)  # fmt: skip


def read_by_defusedxml(body: bytes) -> list[tuple[str, str]]:
    root = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    assert root.tag == "xml"
    assert not root.attrib
    assert not (root.text or "").strip()
    for element in root:
        assert not element.attrib
        assert not len(element)
        assert not (element.tail or "").strip()
    return [(element.tag, element.text or "") for element in root]


def agrees(body: bytes) -> None:
    fields = either(parse, body)
    if isinstance(fields, dict):
        assert list(fields.items()) == read_by_defusedxml(body)
    else:
        assert isinstance(fields, NotifyError)


# --- any input gets an answer --------------------------------------------------


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(body):
    agrees(body)


@given(st.lists(FRAGMENTS, max_size=12))
def test_any_pieces_of_xml_read_as_defusedxml_reads_them_or_are_refused(pieces):
    agrees("".join(pieces).encode())


@given(st.lists(FRAGMENTS, max_size=8))
def test_any_pieces_of_xml_between_fields_read_as_defusedxml_reads_them_or_are_refused(pieces):
    agrees(f"<xml><c>1</c>{''.join(pieces)}</xml>".encode())


@given(st.lists(FRAGMENTS, max_size=8))
def test_any_pieces_of_xml_in_a_field_read_as_defusedxml_reads_them_or_are_refused(pieces):
    agrees(f"<xml><c>{''.join(pieces)}</c></xml>".encode())


@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 4), st.binary(max_size=4) | FRAGMENTS.map(str.encode)),
        min_size=1,
        max_size=4,
    )
)
def test_a_mutated_notification_reads_as_defusedxml_reads_it_or_is_refused(mutations):
    body = notification(attach="a<b")
    for at, length, piece in mutations:
        body = body[:at] + piece + body[at + length :]
    agrees(body)


@given(
    st.dictionaries(ANY_NAME, ANYTHING, max_size=6),
    st.fixed_dictionaries(
        {}, optional={"sign": SIGNATURES, "sign_type": ANYTHING, "return_code": ANYTHING | st.just("SUCCESS")}
    ),
)
def test_any_dict_is_verified_or_refused(fields, special):
    assert isinstance(either(verify, {**fields, **special}, KEY), NotifyError)


@given(st.dictionaries(ANY_NAME, ANYTHING, max_size=6), SIGN_TYPES)
def test_any_dict_is_signed_or_refused(fields, sign_type):
    assert isinstance(either(sign, fields, KEY, sign_type), (str, NotifyError))


@given(st.dictionaries(ANY_NAME, ANYTHING, max_size=6))
def test_any_dict_is_written_or_refused(fields):
    written = either(write, fields)
    if isinstance(written, bytes):
        assert parse(written) == fields
    else:
        assert isinstance(written, NotifyError)


@given(ANYTHING)
def test_anything_is_a_key_or_refused(key):
    assume(not isinstance(key, str) or len(key) != 32)
    assert code_of(verify, signed(payment_fields()), key) == "configuration"


@given(st.dictionaries(NAMES.filter(lambda name: name != "return_code"), TEXT, max_size=8))
def test_any_signed_fields_are_a_payment_or_refused(changes):
    fields = payment_fields(**changes)
    verified = either(verify, signed(fields), KEY)
    if isinstance(verified, NotifyError):
        assert verified.code in ("bad_sign_type", "ambiguous_signature")
    else:
        assert isinstance(either(Payment.from_verified, verified), (Payment, NotifyError))


# --- writing and signing -------------------------------------------------------


@given(WRITABLE)
def test_what_is_written_is_read_back(fields):
    assert list(parse(write(fields)).items()) == list(fields.items())


@given(WRITABLE, SIGN_TYPES)
def test_what_is_signed_is_verified(fields, sign_type):
    fields = {
        name: value for name, value in fields.items() if name not in ("sign", "sign_type", "return_code")
    }
    verified = either(verify, {**fields, "sign": sign(fields, KEY, sign_type)}, KEY)
    if isinstance(verified, Verified):
        assert dict(verified) == {name: value for name, value in fields.items() if value}
        assert verified.sign_type == sign_type
    else:
        assert verified.code == "ambiguous_signature"


@given(WRITABLE, SIGN_TYPES)
def test_the_signature_is_that_of_the_rule_written_out(fields, sign_type):
    assert sign(fields, KEY, sign_type) == reference_sign(fields, KEY, sign_type)


@given(WRITABLE.flatmap(lambda fields: st.tuples(st.just(fields), st.permutations(list(fields)))), SIGN_TYPES)
def test_the_order_of_fields_does_not_matter(both, sign_type):
    fields, order = both
    assert sign({name: fields[name] for name in order}, KEY, sign_type) == sign(fields, KEY, sign_type)


@given(st.sampled_from(sorted(payment_fields(attach="note"))), st.data(), SIGN_TYPES)
def test_one_character_changed_anywhere_is_refused(name, data, sign_type):
    fields = signed(payment_fields(attach="note"), KEY, sign_type)
    at = data.draw(st.integers(0, len(fields[name]) - 1))
    other = data.draw(
        st.characters(exclude_categories=["Cs"]).filter(lambda character: character != fields[name][at])
    )
    changed = {**fields, name: fields[name][:at] + other + fields[name][at + 1 :]}
    assert code_of(verify, changed, KEY) == ("return_code_fail" if name == "return_code" else "bad_signature")


@given(st.integers(0, 63), st.sampled_from("0123456789ABCDEF"), SIGN_TYPES)
def test_one_digit_of_the_signature_changed_is_refused(at, digit, sign_type):
    fields = signed(payment_fields(), KEY, sign_type)
    at %= len(fields["sign"])
    assume(fields["sign"][at] != digit)
    forged = fields["sign"][:at] + digit + fields["sign"][at + 1 :]
    assert code_of(verify, {**fields, "sign": forged}, KEY) == "bad_signature"


@given(NAMES, TEXT.filter(bool), SIGN_TYPES)
def test_a_field_added_is_refused(name, value, sign_type):
    fields = signed(payment_fields(), KEY, sign_type)
    assume(not fields.get(name) and name != "sign_type")
    assert code_of(verify, {**fields, name: value}, KEY) == "bad_signature"


@given(NAMES, SIGN_TYPES)
def test_an_empty_field_added_changes_nothing(name, sign_type):
    fields = signed(payment_fields(), KEY, sign_type)
    assume(not fields.get(name))
    assert verify({**fields, name: ""}, KEY) == verify(fields, KEY)


@given(st.sampled_from([name for name, value in payment_fields().items() if value]), SIGN_TYPES)
def test_a_field_removed_or_blanked_is_refused(name, sign_type):
    fields = signed(payment_fields(), KEY, sign_type)
    removed = {other: value for other, value in fields.items() if other != name}
    assert code_of(verify, removed, KEY) == "bad_signature"
    blank = "return_code_fail" if name == "return_code" else "bad_signature"
    assert code_of(verify, {**fields, name: ""}, KEY) == blank


# --- one signed text, split in another way -------------------------------------

SPLITTERS = [
    "&", "=", "a", "&out_trade_no=B-1", "&total_fee=8800000", "&bank_type=A", f"&mch_id={MCH_ID}",
    f"&appid={APPID}", "&nonce_str=n", "&openid=o", "&result_code=SUCCESS", "&return_code=SUCCESS",
    "&time_end=20261123120000", "&trade_type=NATIVE", "&transaction_id=42", "&tp=", "&z=", "&cash_fee=1",
    "&fee_type=CNY", "&is_subscribe=N", "&b=",
]  # fmt: skip


@given(
    st.one_of(
        st.lists(st.sampled_from(SPLITTERS), max_size=8).map("".join),
        st.lists(st.sampled_from(SPLITTERS), unique=True).map(sorted).map("".join),
    ),
    st.data(),
)
def test_no_other_split_of_a_signed_text_is_another_orders_payment(attach, data):
    genuine = {name: value for name, value in payment_fields(attach=attach).items() if value}
    sign_of_it = reference_sign(genuine)
    pieces = re.split(
        "&(?=[A-Za-z][A-Za-z0-9_]{0,63}=)", "&".join(f"{name}={genuine[name]}" for name in sorted(genuine))
    )
    # A random subset of the places where a field could begin becomes the fields.
    split = [pieces[0]]
    for piece in pieces[1:]:
        if data.draw(st.booleans()):
            split.append(piece)
        else:
            split[-1] += "&" + piece
    forged = dict(piece.split("=", 1) for piece in split)
    verified = either(verify, {**forged, "sign": sign_of_it}, KEY)
    payment = verified if isinstance(verified, NotifyError) else either(Payment.from_verified, verified)
    if isinstance(payment, Payment):
        assert (payment.out_trade_no, payment.total_fee, payment.transaction_id, payment.result) == (
            "A-1001", 100, genuine["transaction_id"], "SUCCESS",
        )  # fmt: skip


# --- replies -------------------------------------------------------------------


@given(ANY_TEXT | TEXT, st.sampled_from(["SUCCESS", "FAIL"]))
def test_any_reply_is_one_document_of_two_fields(message, return_code):
    reply = build_reply(return_code, message)
    fields = parse(reply.body)
    assert list(fields) == ["return_code", "return_msg"]
    assert fields["return_code"] == return_code
    assert len(fields["return_msg"]) <= 128
    assert [name for name, _ in read_by_defusedxml(reply.body)] == ["return_code", "return_msg"]
