"""What programs do to values on their way, as functions of a value: a guess is one row."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote, unquote_plus

_CODECS: Final = ("gb18030", "latin-1", "cp1252", "big5")


class Rewrite(NamedTuple):
    """A guess about values; each change makes what may have been signed of what came."""

    code: str
    says: str
    advice: str
    #: May raise UnicodeError, where a value is none that this could have happened to.
    changes: tuple[Callable[[str], str], ...]


def _crlf(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def _lf(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _unescaped_twice(value: str) -> str:
    return html.unescape(html.unescape(value))


def _escaped_ampersand(value: str) -> str:
    return value.replace("&", "&amp;")


def _recoded(value: str, *, encode: str, decode: str) -> str:
    return value.encode(encode).decode(decode)


def _unquoted_form(value: str) -> str:
    return unquote_plus(value) if "%" in value else value


def _blanks_for_plus(value: str) -> str:
    return value.replace("+", " ")


def _plus_for_blanks(value: str) -> str:
    return value.replace(" ", "+")


def _json_escaped(value: str) -> str:
    return value.encode("ascii", "backslashreplace").decode()


def _without_cdata(value: str) -> str:
    return value.removeprefix("<![CDATA[").removesuffix("]]>")


_RAW: Final = "give wxnotify the raw body, and find the program on the way that rewrites it"

REWRITES: Final = (
    Rewrite(
        "trimmed",
        "values were trimmed before they were signed (the old official Java SDK does)",
        "do not put white space around attach or other fields of an order",
        (str.strip,),
    ),
    Rewrite(
        "lf_for_crlf",
        "a line break came as LF and was signed as CR LF: XML turns one into the other",
        "do not put line breaks into attach or other fields of an order",
        (_crlf,),
    ),
    Rewrite("crlf_for_lf", "a line break came as CR LF and was signed as LF", _RAW, (_lf,)),
    Rewrite(
        "entities_not_decoded",
        "values hold XML entities that should have been decoded (&amp;amp; in the body)",
        f"the body was escaped twice, or read by something that is no XML parser: {_RAW}",
        (html.unescape, _unescaped_twice),
    ),
    Rewrite(
        "entities_signed",
        "values were escaped before they were signed",
        "the sign is made of the plain text, before it is written as XML",
        (_escaped_ampersand, partial(html.escape, quote=False), html.escape),
    ),
    Rewrite("cdata_in_value", "the CDATA marks have become part of the values", _RAW, (_without_cdata,)),
    Rewrite("percent_encoded", "values are percent-encoded", _RAW, (unquote, _unquoted_form)),
    Rewrite(
        "plus_for_space",
        "blanks and plus signs were exchanged, as in a form",
        _RAW,
        (_blanks_for_plus, _plus_for_blanks),
    ),
    Rewrite(
        "percent_signed",
        "values were percent-encoded before they were signed",
        "the sign is made of the plain text",
        (quote, partial(quote, safe=""), quote_plus),
    ),
    Rewrite(
        "mojibake",
        "the body is UTF-8 and was read as something else: text is garbled",
        _RAW,
        tuple(partial(_recoded, encode=codec, decode="utf-8") for codec in _CODECS),
    ),
    Rewrite(
        "mojibake_signed",
        "garbled text was signed: the sender read UTF-8 as something else",
        "mend how the sender reads the text",
        tuple(partial(_recoded, encode="utf-8", decode=codec) for codec in _CODECS),
    ),
    Rewrite(
        "json_escapes_signed",
        "text was signed with \\u escapes, as in JSON",
        "the sign is made of the plain text",
        (_json_escaped,),
    ),
    Rewrite(
        "normalised",
        "accents were taken apart or put together (Unicode normalisation)",
        _RAW,
        (partial(unicodedata.normalize, "NFC"), partial(unicodedata.normalize, "NFD")),
    ),
    Rewrite("letter_case", "letters changed their case", _RAW, (str.lower, str.upper)),
)
