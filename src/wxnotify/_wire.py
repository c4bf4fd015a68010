"""
APIv2's flat XML: bytes to fields, and fields to bytes.

The grammar is as small as WeChat Pay's messages are: one root, one level of
fields, each with text alone. Whatever XML offers beyond that (a DTD, comments,
processing instructions, attributes, nesting, a second field of one name) lets
two readers see two documents in the same bytes, so it is refused, not ignored.

Decisions are the parser's. The bytes themselves are searched for nothing but
their encoding and the number of tags, because text such as ``<!DOCTYPE`` is
an ordinary value inside CDATA. expat is driven directly: the tree that
``defusedxml.ElementTree`` builds costs more than twice as much and hides
namespace declarations. It is told UTF-8, so a document's own idea of its
encoding never reaches Python's codecs, and it gets the body in one piece,
because a long token fed in many costs quadratic time before expat 2.6.0
(CVE-2023-52425).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pyexpat import ErrorString, ExpatError, ParserCreate

from .errors import (
    AttributeForbidden,
    BadEncoding,
    BadField,
    BadFieldName,
    CommentForbidden,
    DtdForbidden,
    DuplicateField,
    EmptyBody,
    InstructionForbidden,
    Malformed,
    NestedElement,
    NotifyError,
    TooLarge,
    TooManyFields,
    shown,
)

#: Bytes. The largest field table with 40 coupons and a full ``promotion_detail`` stays under 20 KiB.
MAX_BODY_BYTES = 65_536
#: 40 coupons alone make 120 fields.
MAX_FIELDS = 512

_NAMES = re.compile("[A-Za-z][A-Za-z0-9_]{0,63}(?: [A-Za-z][A-Za-z0-9_]{0,63})*")

_RAW_BODY_HELP = (
    "parse() takes the raw request body as bytes, not {}: "
    "Flask request.get_data(), Django request.body, "
    "Django REST framework request._request.body (before request.data is touched), "
    "FastAPI and Starlette await request.body()"
)


def parse(
    body: bytes, *, max_bytes: int = MAX_BODY_BYTES, max_fields: int = MAX_FIELDS, root: str = "xml"
) -> dict[str, str]:
    """
    Read the flat XML of an APIv2 notification into its fields.

    The result is **unverified**: anyone can post anything. Values are verbatim;
    an empty element gives an empty string.

    Args:
        body: The raw request body, exactly as it came.

        max_bytes: Refuse a longer body unread. In bytes.

        max_fields: Refuse a document with more fields.

        root: The name of the root element. What a refund's ``req_info`` decrypts
            to has ``root``, everything else ``xml``.

    Returns:
        Wire names to values, in the order they came.

    Raises:
        TypeError: If *body* is not ``bytes``; the message says how to get the
            raw body in your framework.

        TooLarge: If *body* is over *max_bytes*.

        EmptyBody: If there is nothing in it.

        BadEncoding: If it is not UTF-8 or declares another encoding.

        DtdForbidden, CommentForbidden, InstructionForbidden, AttributeForbidden,
        NestedElement, DuplicateField, TooManyFields, BadFieldName: If the
            document holds what the name says.

        Malformed: If it is not a well-formed ``<xml>`` document for any other
            reason. The base of all of the above but ``TooLarge``.

    Example:
        >>> parse(b"<xml><out_trade_no><![CDATA[A-1001]]></out_trade_no></xml>")
        {'out_trade_no': 'A-1001'}

    Source:
        WeChat Pay APIv2, "payment result notification" (2024-11-18).
    """
    if not isinstance(body, bytes):
        raise TypeError(_RAW_BODY_HELP.format(type(body).__name__))
    if len(body) > max_bytes:
        raise TooLarge(f"body is {len(body)} bytes, the limit is {max_bytes}")
    _check_encoding(body)
    _check_count(body, max_fields)
    return _read(body, root)


def _check_encoding(body: bytes) -> None:
    # expat takes UTF-16 for itself at a byte order mark or a NUL, whatever it
    # was told; strict UTF-8 excludes the first and the search the second.
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadEncoding(f"body is not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise BadEncoding(f"body has a NUL at character {text.index(chr(0))}")
    if not text or text.isspace():
        raise EmptyBody("body is empty")


def _check_count(body: bytes, max_fields: int) -> None:
    # A document of very many fields is refused before it is parsed. Outside
    # CDATA every "</" is an end tag, and every other "<" the start of an element
    # but for "<?" and "<!", so these counts are exact for what could be accepted.
    limit = max_fields + 1  # the root's own
    if len(body) < limit * len("<a/>"):
        return
    ends = body.count(b"</")
    if ends > limit and _end_tags_pass(body, limit):
        raise TooManyFields(f"more than {max_fields} fields")
    if ends + body.count(b"/>") > limit:  # "<a/>" has no end tag
        outside = _without_cdata(body)
        starts = outside.count(b"<") - outside.count(b"</") - outside.count(b"<!") - outside.count(b"<?")
        if starts > limit:
            raise TooManyFields(f"more than {max_fields} fields")


def _end_tags_pass(body: bytes, limit: int) -> bool:
    # Stops as soon as it knows, which for a value in CDATA in each field is early.
    tags = at = 0
    while tags <= limit:
        opened = body.find(b"<![CDATA[", at)
        if opened < 0:
            return tags + body.count(b"</", at) > limit
        tags += body.count(b"</", at, opened)
        closed = body.find(b"]]>", opened)
        if closed < 0:
            return False
        at = closed + len(b"]]>")
    return True


def _without_cdata(body: bytes) -> bytes:
    return b"".join([piece.partition(b"<![CDATA[")[0] for piece in body.split(b"]]>")])


def _read(body: bytes, root: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    field = value = ""  # the one being read, and its text so far
    inside = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal field, value, inside
        if attributes:
            raise AttributeForbidden(f"element {shown(name)} has an attribute")
        if field:
            raise NestedElement(f"field {shown(field)} holds an element")
        if inside:
            if name in fields:
                raise DuplicateField(f"field {shown(name)} occurs twice")
            field = name
            value = ""
        elif name == root:
            inside = True
        else:
            raise Malformed(f"the root is {shown(name)}, expected {root!r}")

    def end(name: str) -> None:
        nonlocal field
        if field:
            fields[field] = value
            field = ""

    def text(data: str) -> None:
        nonlocal value
        if field:
            value += data  # in one piece, but for text over expat's buffer of 8 KiB
        elif data.strip(" \t\n\r"):  # not isspace(), for which U+3000 is white space too
            raise Malformed("there is text between the fields")

    parser = ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.XmlDeclHandler = _refuse_declaration
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.CommentHandler = _refuse_comment
    parser.ProcessingInstructionHandler = _refuse_instruction
    try:
        parser.Parse(body, True)
    except NotifyError:
        raise
    except ExpatError as error:
        raise Malformed(
            f"not well-formed XML: {ErrorString(error.code)}, line {error.lineno}, column {error.offset}"
        ) from None
    if fields and not _NAMES.fullmatch(" ".join(fields)):
        raise BadFieldName(_bad_name(next(name for name in fields if not _NAMES.fullmatch(name))))
    return fields


def _refuse_declaration(version: str, encoding: str | None, standalone: int) -> None:
    if version != "1.0":
        raise Malformed(f"XML version {shown(version)}, expected '1.0'")
    if encoding is not None and encoding.upper() != "UTF-8":
        raise BadEncoding(f"the document declares encoding {shown(encoding)}, expected UTF-8")


def _refuse_doctype(name: str, system: str | None, public: str | None, subset: bool) -> None:
    raise DtdForbidden("the document has a DOCTYPE declaration")


def _refuse_comment(comment: str) -> None:
    raise CommentForbidden("the document has a comment")


def _refuse_instruction(target: str, data: str) -> None:
    raise InstructionForbidden("the document has a processing instruction")


def _bad_name(name: object) -> str:
    return f"field name {shown(name)} is not ASCII letters, digits and underscores, at most 64"


def write(fields: Mapping[str, str]) -> bytes:
    """
    Write fields as the flat XML of APIv2, the inverse of :func:`parse`.

    Args:
        fields: Wire names to values.

    Returns:
        UTF-8 bytes, without an XML declaration, as WeChat Pay writes them.

    Raises:
        BadFieldName: If a name is not one :func:`parse` accepts.

        BadField: If a value is not text, or holds a character XML cannot carry
            (most control characters, unpaired surrogates).

    Example:
        >>> write({"appid": "wx8888888888888888", "body": "a<b"})
        b'<xml><appid>wx8888888888888888</appid><body>a&lt;b</body></xml>'
    """
    parts = ["<xml>"]
    for name, value in fields.items():
        if not isinstance(name, str) or not _NAMES.fullmatch(name) or " " in name:
            raise BadFieldName(_bad_name(name))
        if not isinstance(value, str):
            raise BadField(f"{name} is a {type(value).__name__}, expected text")
        if writable(value) != value:
            raise BadField(f"{name} holds a character XML cannot carry")
        parts.append(f"<{name}>{_escape(value)}</{name}>")
    parts.append("</xml>")
    return "".join(parts).encode("utf-8")


def writable(text: str) -> str:
    """Drop what XML 1.0 cannot carry, not even as a reference: control characters, lone surrogates."""
    return "".join(
        [
            character
            for character in text
            if " " <= character <= "\ud7ff" or "\ue000" <= character <= "\ufffd"
            or character > "\uffff" or character in "\t\n\r"
        ]
    )  # fmt: skip


def _escape(text: str) -> str:
    # A bare carriage return would come back as a line feed, and a bare "]]>" not at all.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
