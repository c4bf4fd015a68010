"""
Read a body that the library refuses, to show what is in it.

Whatever was done to a notification on its way is peeled off, one layer at a
time, until XML, JSON or another set of fields comes out. Every layer is certain:
it was there, or it could not have been peeled off. A new one is one more row.

Only for looking at: nothing read here is ever trusted.
"""

from __future__ import annotations

import ast
import html
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qs, unquote_plus

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as Tree

from .. import NotifyError, parse

_MOST_LAYERS: Final = 6
_MOST_BYTES: Final = 1 << 20


class Finding(NamedTuple):
    """Something about a notification that explains why it is refused."""

    code: str
    #: What is the matter.
    says: str
    #: What to do about it.
    advice: str
    #: Which fields it shows in.
    details: tuple[str, ...] = ()


class Reading(NamedTuple):
    """What could be read, and what was in the way."""

    #: Empty where nothing could be read.
    fields: dict[str, str]
    #: What it was read as: XML, JSON, ...
    form: str
    #: The library's own refusal; None if it accepts the bytes.
    refusal: NotifyError | None
    findings: tuple[Finding, ...]


class _Layer(NamedTuple):
    finding: Finding
    #: Gives what is below, or None if there is no such layer.
    peel: Callable[[bytes], bytes | None]


class _Form(NamedTuple):
    name: str
    #: None for what is nothing to mend.
    finding: Finding | None
    #: Gives the fields, or None if it has another form.
    read: Callable[[bytes], dict[str, str] | None]


def read(body: bytes) -> Reading:
    """Read *body* strictly, and if that fails, by all means."""
    try:
        return Reading(parse(body), "XML", None, ())
    except NotifyError as error:
        refusal = error
    findings: list[Finding] = []
    if len(body) > _MOST_BYTES:
        return Reading({}, "", refusal, ())
    for _ in range(_MOST_LAYERS):
        for form in _FORMS:
            fields = form.read(body)
            if fields is not None:
                found = [*findings, *([form.finding] if form.finding else [])]
                return Reading(fields, form.name, refusal, tuple(found))
        for layer in _LAYERS:
            below = layer.peel(body)
            if below is not None and below != body:
                findings.append(layer.finding)
                body = below
                break
        else:
            break
    return Reading({}, "", refusal, tuple(findings))


# --- forms: bytes to fields -------------------------------------------------------


def _strict_xml(body: bytes) -> dict[str, str] | None:
    try:
        return parse(body)
    except NotifyError:
        return None


def _loose_xml(body: bytes) -> dict[str, str] | None:
    try:
        root = Tree.fromstring(body.decode("utf-8"), forbid_dtd=True)
    except (Tree.ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    fields = {_local(child.tag): "".join(child.itertext()) for child in root}
    return fields if len(root) > 1 else None


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _json(body: bytes) -> dict[str, str] | None:
    try:
        return _flat(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _python_dict(body: bytes) -> dict[str, str] | None:
    return _flat(_literal(body))


def _form_fields(body: bytes) -> dict[str, str] | None:
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=600)
    except ValueError:
        return None
    if "sign" not in found and "out_trade_no" not in found:
        return None
    return {name: values[0] for name, values in found.items()}


def _flat(data: Any) -> dict[str, str] | None:
    if not isinstance(data, dict) or not data:
        return None
    fields = cast("dict[object, object]", data)
    if len(fields) == 1:
        (inner,) = fields.values()
        if isinstance(inner, dict):
            return _flat(inner)  # {"xml": {...}}
    return {str(name): _text(value) for name, value in fields.items()}


def _text(value: object) -> str:
    if isinstance(value, list):
        values = cast("list[object]", value)
        if len(values) == 1:
            return _text(values[0])  # some XML readers make a list of everything
    if value is None or value in ({}, []):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _literal(body: bytes) -> Any:
    try:
        return ast.literal_eval(body.decode("utf-8").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


#: Advice for most of them.
RAW_BODY: Final = (
    "verify the raw bytes of the request, before any framework, middleware or gateway parses them "
    "(Flask request.get_data(), Django request.body, FastAPI await request.body())"
)

_FORMS: Final = (
    _Form("XML", None, _strict_xml),
    _Form(
        "JSON",
        Finding("json_body", "the body is JSON: somebody has parsed the XML and written it anew", RAW_BODY),
        _json,
    ),
    _Form(
        "a Python dict",
        Finding("python_dict_body", "the body is a printed Python dict, not what came in", RAW_BODY),
        _python_dict,
    ),
    _Form(
        "form fields",
        Finding("form_body", "the fields are form-encoded: somebody has posted them anew", RAW_BODY),
        _form_fields,
    ),
    _Form(
        "XML that is not WeChat Pay's",
        Finding(
            "loose_xml",
            "the XML has more than one level of plain fields (attributes, nesting, a second field of a name, "
            "another root): WeChat Pay does not send that",
            RAW_BODY,
        ),
        _loose_xml,
    ),
)


# --- layers: bytes to the bytes below --------------------------------------------


def _without_mark(body: bytes) -> bytes | None:
    if not body.startswith((b"\xef\xbb\xbf", b" ", b"\t", b"\r", b"\n")):
        return None
    stripped = body.strip(b" \t\r\n")
    while stripped.startswith(b"\xef\xbb\xbf"):
        stripped = stripped[3:].lstrip(b" \t\r\n")
    return stripped


def _from_utf16(body: bytes) -> bytes | None:
    if not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    return body.decode("utf-16", "replace").encode("utf-8")


def _from_gbk(body: bytes) -> bytes | None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return None
    try:
        text = body.decode("gb18030")
    except UnicodeDecodeError:
        return None
    for name in ("GBK", "gbk", "GB2312", "gb2312", "GB18030", "gb18030"):
        text = text.replace(f'encoding="{name}"', "").replace(f"encoding='{name}'", "")
    return text.encode("utf-8")


def _from_bytes_literal(body: bytes) -> bytes | None:
    data = _literal(body) if body[:2].lower() in (b"b'", b'b"') or body[:1] in (b"'", b'"') else None
    if isinstance(data, str):
        return data.encode("utf-8", "replace")
    return data if isinstance(data, bytes) else None


def _from_form(body: bytes) -> bytes | None:
    if b"%3C" not in body.upper()[:200]:
        return None
    name, equals, value = body.partition(b"=")
    encoded = value if equals and name.isalnum() else body
    return unquote_plus(encoded.decode("ascii", "replace")).encode("utf-8")


def _from_form_plain(body: bytes) -> bytes | None:
    name, equals, value = body.partition(b"=")
    return value if equals and name.isalnum() and value.lstrip().startswith(b"<") else None


def _from_entities(body: bytes) -> bytes | None:
    if not body.lstrip().startswith(b"&lt;"):
        return None
    return html.unescape(body.decode("utf-8", "replace")).encode("utf-8")


def _from_surroundings(body: bytes) -> bytes | None:
    begin, end = body.find(b"<xml>"), body.rfind(b"</xml>")
    if begin < 0 or end < begin:
        return None
    return body[begin : end + len(b"</xml>")]


_LAYERS: Final = (
    _Layer(Finding("utf16", "the body is UTF-16; WeChat Pay sends UTF-8", RAW_BODY), _from_utf16),
    _Layer(
        Finding("byte_order_mark", "white space or a byte order mark stands before the document", RAW_BODY),
        _without_mark,
    ),
    _Layer(Finding("gbk_body", "the body is GBK; WeChat Pay sends UTF-8", RAW_BODY), _from_gbk),
    _Layer(
        Finding("printed_bytes", "the body is printed bytes or a quoted string, with its quotes", RAW_BODY),
        _from_bytes_literal,
    ),
    _Layer(Finding("form_xml", "the XML is form-encoded, as in xml=%3Cxml%3E", RAW_BODY), _from_form),
    _Layer(Finding("form_xml", "the XML is the value of a form field", RAW_BODY), _from_form_plain),
    _Layer(Finding("escaped_xml", "the document is escaped for HTML: &lt;xml&gt;", RAW_BODY), _from_entities),
    _Layer(
        Finding("surroundings", "there is something before or after the <xml> document", RAW_BODY),
        _from_surroundings,
    ),
)
