from __future__ import annotations

import pytest

from wxnotify import _wire, parse, write
from wxnotify._wire import MAX_BODY_BYTES, MAX_FIELDS
from wxnotify.errors import BadFieldName

from .support import code_of


def xml(inner: str) -> bytes:
    return f"<xml>{inner}</xml>".encode()


def many(count: int, form: str = "<f{}>1</f{}>") -> bytes:
    return xml("".join(form.format(n, n) for n in range(count)))


# --- what is read --------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        ("<a>1</a>", "1"),
        ("<a><![CDATA[1]]></a>", "1"),
        ("<a></a>", ""),
        ("<a/>", ""),
        ("<a />", ""),
        ("<a ></a >", ""),
        ("<a><![CDATA[]]></a>", ""),
        ("<a> x </a>", " x "),
        ("<a>\n</a>", "\n"),
        ("<a>x&amp;y&lt;&gt;&quot;&apos;</a>", "x&y<>\"'"),
        ("<a>&#65;&#x42;</a>", "AB"),
        ("<a><![CDATA[&amp;]]></a>", "&amp;"),
        ("<a><![CDATA[a]]]]><![CDATA[>b]]></a>", "a]]>b"),
        ("<a>x<![CDATA[y]]>z</a>", "xyz"),
        ("<a><![CDATA[<!DOCTYPE html><!-- c --><?p?></a>]]></a>", "<!DOCTYPE html><!-- c --><?p?></a>"),
        ("<a>支付测试\U0001f600</a>", "支付测试\U0001f600"),
        ("<a>x\r\ny\rz</a>", "x\ny\nz"),  # XML 1.0 section 2.11
        ("<a>x&#13;y</a>", "x\ry"),
        ("<a>" + "x" * 60_000 + "</a>", "x" * 60_000),
        ("<a>" + "&amp;" * 9_000 + "</a>", "&" * 9_000),
    ],
)
def test_a_value_is_read_verbatim(inner, value):
    assert parse(xml(inner)) == {"a": value}


def test_fields_come_in_the_order_they_were_sent():
    assert list(parse(xml("<b>1</b><a>2</a><c>3</c>"))) == ["b", "a", "c"]


def test_xml_white_space_between_fields_is_nothing():
    assert parse(b" <xml>\n\t<a>1</a>\r\n <b>2</b> </xml>\n"[1:]) == {"a": "1", "b": "2"}


def test_a_document_without_fields_is_an_empty_dict():
    assert parse(b"<xml/>") == {}


@pytest.mark.parametrize(
    "prologue",
    [
        b'<?xml version="1.0"?>',
        b"<?xml version='1.0' encoding='UTF-8'?>",
        b'<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n',
        b"\xef\xbb\xbf",
        b'\xef\xbb\xbf<?xml version="1.0" encoding="Utf-8"?>',
        b"\n\n",
    ],
)
def test_a_declaration_of_utf8_and_one_byte_order_mark_are_accepted(prologue):
    assert parse(prologue + xml("<a>1</a>")) == {"a": "1"}


@pytest.mark.parametrize("name", ["a", "A", "coupon_fee_0", "self", "key", "x__proto__", "a" * 64])
def test_a_name_of_letters_digits_and_underscores_is_accepted(name):
    assert parse(xml(f"<{name}>1</{name}>")) == {name: "1"}


# --- what is refused -----------------------------------------------------------


@pytest.mark.parametrize("body", ["<xml/>", bytearray(b"<xml/>"), memoryview(b"<xml/>"), None, {"a": "1"}, 5])
def test_anything_but_bytes_is_a_type_error_that_says_where_the_raw_body_is(body):
    with pytest.raises(TypeError, match=r"get_data.*request\.body"):
        parse(body)


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t "])
def test_a_body_of_nothing_is_empty(body):
    assert code_of(parse, body) == "empty_body"


@pytest.mark.parametrize(
    "body",
    [
        b"<xml><a>\xff</a></xml>",
        b"<xml><a>\xc0\xaf</a></xml>",  # overlong "/"
        b"<xml><a>\xed\xa0\x80</a></xml>",  # a surrogate
        b"<xml><a>\xf4\x90\x80\x80</a></xml>",  # over U+10FFFF
        "<xml><a>é</a></xml>".encode("latin-1"),
        "<xml><a>支付</a></xml>".encode("gbk"),
        b"<xml><a>\0</a></xml>",
        b"\0",
        b'<?xml version="1.0" encoding="GBK"?><xml/>',
        b'<?xml version="1.0" encoding="us-ascii"?><xml/>',
        b'<?xml version="1.0" encoding="utf-16"?><xml/>',
        "<xml/>".encode("utf-16"),
        "<xml/>".encode("utf-16-le"),
        "<xml/>".encode("utf-16-be"),
        "<xml/>".encode("utf-32"),
    ],
)
def test_anything_but_utf8_is_a_bad_encoding(body):
    assert code_of(parse, body) == "bad_encoding"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<!DOCTYPE xml><xml/>", "dtd_forbidden"),
        (b"<xml><!-- c --></xml>", "comment_forbidden"),
        (b"<!-- c --><xml/>", "comment_forbidden"),
        (b"<xml/><!-- c -->", "comment_forbidden"),
        (b"<xml><a>1<!-- c -->2</a></xml>", "comment_forbidden"),
        (b"<xml><?p d?></xml>", "instruction_forbidden"),
        (b"<?p d?><xml/>", "instruction_forbidden"),
        (b"<xml/><?p d?>", "instruction_forbidden"),
        (b"<xml><a>1<?p d?>2</a></xml>", "instruction_forbidden"),
        (b'<xml a="1"/>', "attribute_forbidden"),
        (b'<xml><a b="1">1</a></xml>', "attribute_forbidden"),
        (b'<xml xmlns="urn:x"/>', "attribute_forbidden"),
        (b'<xml xmlns:n="urn:x"/>', "attribute_forbidden"),
        (b"<xml><a><b>1</b></a></xml>", "nested_element"),
        (b"<xml><a>1<b/></a></xml>", "nested_element"),
        (b"<xml><xml><a>1</a></xml></xml>", "nested_element"),
        (b"<xml><a>1</a><a>1</a></xml>", "duplicate_field"),
        (b"<xml><a>1</a><a/></xml>", "duplicate_field"),
        (b"<xml><a/><b/><a>1</a></xml>", "duplicate_field"),
        (b"<xml><n:a>1</n:a></xml>", "bad_field_name"),
        (b"<xml><_a>1</_a></xml>", "bad_field_name"),
        (b"<xml><a-b>1</a-b></xml>", "bad_field_name"),
        (b"<xml><a.b>1</a.b></xml>", "bad_field_name"),
        ("<xml><é>1</é></xml>".encode(), "bad_field_name"),
        ("<xml><a１>1</a１></xml>".encode(), "malformed"),  # full-width digits are no XML 1.0 name
        (b"<xml><a>1</a><" + b"b" * 65 + b"/></xml>", "bad_field_name"),
        (b"<root><a>1</a></root>", "malformed"),
        (b"<XML/>", "malformed"),
        (b"<n:xml/>", "malformed"),
        (b"<xml>text<a>1</a></xml>", "malformed"),
        (b"<xml><a>1</a>text</xml>", "malformed"),
        (b"<xml><a>1</a><![CDATA[x]]></xml>", "malformed"),
        ("<xml><a>1</a>\u3000</xml>".encode(), "malformed"),
        ("<xml>\xa0<a>1</a></xml>".encode(), "malformed"),
        (b"<xml/>text", "malformed"),
        (b"text<xml/>", "malformed"),
        (b"<xml/><xml/>", "malformed"),
        (b"<xml>", "malformed"),
        (b"<xml><a>1</b></xml>", "malformed"),
        (b"<xml><a>&undefined;</a></xml>", "malformed"),
        (b"<xml><a>&#0;</a></xml>", "malformed"),
        (b"<xml><a>&#xD800;</a></xml>", "malformed"),
        (b"<xml><a>\x01</a></xml>", "malformed"),
        ("<xml><a>\ufffe</a></xml>".encode(), "malformed"),
        (b"<xml><a>]]></a></xml>", "malformed"),
        (b"<xml><a><![CDATA[1</a></xml>", "malformed"),
        (b"\xef\xbb\xbf\xef\xbb\xbf<xml/>", "malformed"),
        (b"\xef\xbb\xbf", "malformed"),
        (b' <?xml version="1.0"?><xml/>', "malformed"),
        (b'<?xml version="1.1"?><xml/>', "malformed"),
        (b'{"id": "EV-1"}', "malformed"),
        (b"return_code=SUCCESS", "malformed"),
    ],
)
def test_whatever_is_not_flat_xml_is_refused_by_its_name(body, code):
    assert code_of(parse, body) == code


# --- limits --------------------------------------------------------------------


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_too_large():
    body = xml("<a>" + "x" * (MAX_BODY_BYTES - len("<xml><a></a></xml>")) + "</a>")
    assert len(body) == MAX_BODY_BYTES
    assert len(parse(body)["a"]) == MAX_BODY_BYTES - len("<xml><a></a></xml>")
    assert code_of(parse, body + b" ") == "too_large"


def test_a_smaller_limit_can_be_set():
    assert parse(b"<xml/>", max_bytes=6) == {}
    assert code_of(parse, b"<xml/>", max_bytes=5) == "too_large"


@pytest.mark.parametrize("form", ["<f{}>1</f{}>", "<f{}><![CDATA[</]]></f{}>", "<f{}/>"])
def test_a_document_of_exactly_the_limit_of_fields_is_read_and_one_more_refused(form):
    assert len(parse(many(MAX_FIELDS, form))) == MAX_FIELDS
    assert code_of(parse, many(MAX_FIELDS + 1, form)) == "too_many_fields"


def test_fields_are_counted_whether_their_text_holds_end_tags_or_not():
    text = "<a><![CDATA[" + "</b>" * 2_000 + "]]></a>"
    assert parse(xml(text)) == {"a": "</b>" * 2_000}
    assert parse(xml(text + "<b/>"), max_fields=2)["b"] == ""
    assert code_of(parse, xml(text + "<b/>"), max_fields=1) == "too_many_fields"


def test_an_unclosed_cdata_section_does_not_hide_that_the_document_is_broken():
    assert code_of(parse, b"<xml><a><![CDATA[" + b"</a>" * 2_000) == "malformed"


def test_fields_after_several_cdata_sections_are_counted():
    section = "<a{}><![CDATA[</x></x>]]></a{}>"
    body = xml("".join(section.format(n, n) for n in range(6)))
    assert len(parse(body, max_fields=6)) == 6
    assert code_of(parse, body, max_fields=5) == "too_many_fields"


@pytest.mark.parametrize(
    "start",
    [b"", b"<a><![CDATA[</]]></a>", b"<a><![CDATA[</]]></a>" * 3, b"<a><![CDATA[]]]]><![CDATA[>]]></a>"],
)
def test_a_document_of_very_many_fields_is_refused_before_it_is_parsed(start, expat_calls):
    body = b"<xml>" + start + many(5_000)[len("<xml>") :]
    assert code_of(parse, body, max_bytes=1_000_000) == "too_many_fields"
    assert expat_calls == []
    parse(b"<xml/>")
    assert len(expat_calls) == 1


@pytest.mark.parametrize("body", [b"", b" ", b"\xff", b"\0", "<xml/>".encode("utf-16"), b"x" * 65_537])
def test_what_is_not_utf8_or_too_large_never_reaches_the_parser(body, expat_calls):
    assert code_of(parse, body) in ("empty_body", "bad_encoding", "too_large")
    assert expat_calls == []


# --- writing -------------------------------------------------------------------


def test_fields_are_written_as_wechat_pay_writes_them():
    assert (
        write({"appid": "wx1", "body": "a<b>&c"})
        == b"<xml><appid>wx1</appid><body>a&lt;b&gt;&amp;c</body></xml>"
    )


@pytest.mark.parametrize(
    "value",
    ["", " x ", "]]>", "<!DOCTYPE a>", "a\rb", "a\r\nb", "\t\n", "支付\U0001f600", "&amp;", "\x85\u2028"],
)
def test_what_is_written_is_read_back(value):
    assert parse(write({"attach": value})) == {"attach": value}


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a ", "1a", "_a", "a-b", "a:b", "é", "a" * 65, "a\n", "a>", "\ud800", None, 5, b"a",
     ("a",)],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_parse_would_refuse_is_not_written(name):
    assert code_of(write, {name: "1"}) == "bad_field_name"


@pytest.mark.parametrize(
    "value", [None, 5, 1.5, b"1", ["1"], "\0", "a\x01", "\x1b", "\ud800", "\ufffe", "\uffff"], ids=ascii
)
def test_a_value_that_xml_cannot_carry_is_not_written(value):
    assert code_of(write, {"attach": value}) == "bad_field"


def test_a_number_too_long_to_print_is_refused_like_any_other():
    assert code_of(write, {10**5000: "1"}) == "bad_field_name"
    assert code_of(write, {"attach": 10**5000}) == "bad_field"


def test_a_refusal_names_what_is_wrong_and_quotes_it():
    with pytest.raises(BadFieldName) as refusal:
        parse(b"<xml><a/><b-c/></xml>")
    assert "'b-c'" in str(refusal.value)
    with pytest.raises(BadFieldName) as refusal:
        write({"a b": "1"})
    assert "'a b'" in str(refusal.value)


@pytest.mark.parametrize(
    "piece", ["<f{}/>", "<f{}/>\n", "<f{0}>&#9;1</f{0}>", "<f{0}><![CDATA[<a>]]></f{0}>"]
)
def test_two_thousand_fields_are_refused_without_the_parser(piece, monkeypatch):
    monkeypatch.setattr(_wire, "ParserCreate", None)  # which would raise if it were called
    body = "<xml>" + "".join(piece.format(n) for n in range(2_000)) + "</xml>"
    assert code_of(parse, body.encode()) == "too_many_fields"


def test_tags_in_cdata_are_no_fields():
    text = "<a/><b>" * 2_000
    assert parse(f"<xml><a><![CDATA[{text}]]></a></xml>".encode()) == {"a": text}


def test_end_tags_in_cdata_that_never_ends_are_not_counted():
    body = b"<xml><a><![CDATA[" + b"</a>" * 2_000
    assert code_of(parse, body) == "malformed"


def test_end_and_empty_tags_in_cdata_are_no_fields_together():
    text = "<a/>" * 2_000
    body = "<xml>" + "".join(f"<f{n}>1</f{n}>" for n in range(400)) + f"<a><![CDATA[{text}]]></a></xml>"
    assert len(parse(body.encode())) == 401
