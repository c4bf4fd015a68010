"""
Read the ``Wechatpay-*`` headers that sign an APIv3 message.

What is signed is ``timestamp\\nnonce\\nbody\\n``: three values and a line feed
behind each, so a line feed inside one would be another way to split the same
bytes. And a header that is there twice is read by one program as its first value
and by another as its last. So each is there once, in one spelling and of one
shape, or the message is refused before anything is computed.

Source: WeChat Pay APIv3, "verify signatures" (chapter 4_1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ._fields import ALPHANUMERIC
from .errors import BadHeader, MissingSignature, shown

#: A mapping, pairs of text or of bytes as in an ASGI scope, or a WSGI environ.
Headers = Mapping[str, Any] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]

SIGNATURE: Final = "Wechatpay-Signature"
TIMESTAMP: Final = "Wechatpay-Timestamp"
NONCE: Final = "Wechatpay-Nonce"
SERIAL: Final = "Wechatpay-Serial"
SIGNATURE_TYPE: Final = "Wechatpay-Signature-Type"

RSA: Final = "WECHATPAY2-SHA256-RSA2048"
_PROBE: Final = "WECHATPAY/SIGNTEST/"

_SPELLED: Final = {name.lower(): name for name in (SIGNATURE, TIMESTAMP, NONCE, SERIAL, SIGNATURE_TYPE)}
_ENVIRON: Final = {f"HTTP_{name.upper().replace('-', '_')}": name for name in _SPELLED.values()}

#: What serials are made of.
WORD: Final = ALPHANUMERIC | {"_"}
_VISIBLE: Final = frozenset(map(chr, range(0x21, 0x7F)))
# Several headers of one name come joined by commas where a server has no other way.
_ONE: Final = _VISIBLE - {","}
# Characters and greatest length. A signature of RSA-4096 has 684; what is wrong
# with its base64 is a bad signature and no bad header.
_SHAPES: Final = {
    SIGNATURE: (_ONE | {" "}, 2048),
    TIMESTAMP: (frozenset("0123456789"), 11),
    NONCE: (_ONE, 128),
    SERIAL: (WORD, 64),
    SIGNATURE_TYPE: (_ONE, 64),
}


class SignatureHeaders(NamedTuple):
    """The headers that sign a message: shaped, and nothing more. Its ``repr`` shows no signature."""

    #: Seconds since 1970.
    timestamp: int
    #: The same as it was signed.
    timestamp_text: str
    nonce: str
    #: Base64, if it is genuine.
    signature: str
    #: Of a platform certificate, or a ``PUB_KEY_ID_...``.
    serial: str
    #: ``WECHATPAY2-SHA256-RSA2048`` where the header is absent.
    signature_type: str

    @property
    def is_probe(self) -> bool:
        """Whether WeChat Pay only tries if signatures are checked; the signature is wrong then."""
        return self.signature.startswith(_PROBE)

    def __repr__(self) -> str:
        return f"<SignatureHeaders {shown(self.serial)} {self.timestamp}>"


def read_signature_headers(headers: Headers) -> SignatureHeaders:
    """
    Read the headers that sign an APIv3 message.

    Args:
        headers: All headers of the request, or the answer: a mapping in any case of
            letters; pairs of text or bytes; a WSGI environ or Django's ``META``.

    Returns:
        Their values. Nothing is verified yet.

    Raises:
        MissingSignature: If there is no ``Wechatpay-Signature``.

        BadHeader: If another of them is absent; if one is empty, there twice
            (with equal values, too), spelled with underscores, too long, or has
            characters WeChat Pay does not use.

    Example:
        >>> read_signature_headers({"Wechatpay-Signature": "c2ln", "Wechatpay-Serial": "5157F09EFDC0",
        ...                         "Wechatpay-Timestamp": "1795000000", "Wechatpay-Nonce": "abc"})
        <SignatureHeaders '5157F09EFDC0' 1795000000>
    """
    found, problem = _found(headers)
    unsigned = not found.get(SIGNATURE)
    del headers
    if problem or unsigned:
        found.clear()  # a traceback that shows locals must not show a signature
    if problem:
        raise BadHeader(problem)
    if unsigned:
        raise MissingSignature(f"{SIGNATURE} is absent or empty: nobody signed this")
    return SignatureHeaders(
        int(found[TIMESTAMP]),
        found[TIMESTAMP],
        found[NONCE],
        found[SIGNATURE],
        found[SERIAL],
        found.get(SIGNATURE_TYPE, RSA),
    )


def has_signature_headers(headers: Headers) -> bool:
    """
    Say whether one of the headers that sign an APIv3 message is there, in whatever spelling.

    It decides the dialect of a message and nothing else. Whatever it is given, it raises nothing.
    """
    return any(True for _ in _ours(headers))


def _found(headers: object) -> tuple[dict[str, str], str]:
    """Give the values of the headers named here, and what is wrong with the first that is wrong."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for name, value, odd in _ours(headers):
        if odd:
            problems.append(f"{name} comes with underscores in its name, as WeChat Pay's does not")
        elif name in found:
            problems.append(f"{name} comes more than once")
        else:
            found[name] = _text(value)
            problems += _problems_with(name, found[name])
    if found.get(SIGNATURE):
        problems += [f"{name} is absent" for name in (TIMESTAMP, NONCE, SERIAL) if name not in found]
    return found, problems[0] if problems else ""


def _ours(headers: Any) -> Iterator[tuple[str, object, bool]]:
    """Give those headers that are named here, and whether the name is oddly spelled."""
    named = callable(getattr(headers, "items", None))
    pairs: Iterable[tuple[object, object]] = headers.items() if named else headers
    try:
        for name, value in pairs:
            if named and isinstance(name, str) and name in _ENVIRON:
                yield _ENVIRON[name], value, False
                continue
            spelled = _text(name).lower()
            dashed = spelled.removeprefix("http_").replace("_", "-")
            if dashed in _SPELLED:
                yield _SPELLED[dashed], value, dashed != spelled
    except (TypeError, ValueError):
        return  # these are no headers


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _problems_with(name: str, text: str) -> Iterator[str]:
    characters, longest = _SHAPES[name]
    if not text and name != SIGNATURE:
        yield f"{name} is empty, or no text"
    if len(text) > longest:
        yield f"{name} has {len(text)} characters, at most {longest} are expected"
    if not characters.issuperset(text):
        yield f"{name} has a character that WeChat Pay does not use there"
    if name == TIMESTAMP and text.startswith("0"):
        yield f"{name} begins with 0, so it is no time"
