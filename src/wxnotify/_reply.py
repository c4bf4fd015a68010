"""
The one answer WeChat Pay understands, byte for byte, in the dialect that came.

Anything else (an empty body, ``ok``, a page of HTML, a line feed between the
tags) counts as a failure and brings the notification again. SUCCESS goes out
with status 200 and FAIL with 4xx or 5xx, so that the document and the status
never disagree and a monitor that sees only statuses sees refusals.

Source: WeChat Pay APIv2, "notes on notifications"; APIv3, "notes on callbacks".
"""

from __future__ import annotations

from typing import Final, Literal, NoReturn

from ._wire import writable
from .errors import NotifyError

#: How a reply is worded: APIv2's XML, APIv3's JSON, or the XML of rent and hotel events.
ReplyDialect = Literal["APIv2", "APIv3", "pay_after"]

_XML: Final = "text/xml; charset=utf-8"
_JSON: Final = "application/json; charset=utf-8"
# The names of the two parts, and how long the second may be.
_WORDING: Final[dict[str, tuple[str, str, int]]] = {
    "APIv2": ("return_code", "return_msg", 128),
    "APIv3": ("code", "message", 64),
    "pay_after": ("code", "message", 64),
}


class Reply:
    """
    An HTTP answer, ready to send: send all three parts as they are.

    Not a tuple on purpose: a framework that takes tuples for answers of its own
    would send something else.
    """

    __slots__ = ("body", "headers", "status")

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __init__(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        for name, value in (("status", status), ("headers", headers), ("body", body)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Reply is sent as it is; {name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Reply is sent as it is; {name} cannot be removed")

    def __reduce__(self) -> tuple[type[Reply], tuple[object, ...]]:
        return Reply, (self.status, self.headers, self.body)

    def __hash__(self) -> int:
        return hash((self.status, self.headers, self.body))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reply):
            return NotImplemented
        return (self.status, self.headers, self.body) == (other.status, other.headers, other.body)

    def __repr__(self) -> str:
        return f"Reply(status={self.status}, headers={self.headers}, body={self.body!r})"


def build_reply(
    return_code: str = "SUCCESS",
    return_msg: str = "OK",
    *,
    status: int | None = None,
    dialect: ReplyDialect = "APIv2",
) -> Reply:
    """
    Build the answer to a notification.

    Args:
        return_code: SUCCESS only once the work is durably done; else FAIL, and
            WeChat Pay sends the notification again.

        return_msg: A word for whoever reads the traffic. Escaped, stripped of
            what XML cannot carry and cut to 128 characters (64 in APIv3). Do not
            echo text from the request.

        status: 200 for SUCCESS, or 204 in APIv3, which has no body then; for FAIL
            4xx or 5xx, 500 if left out.

        dialect: ``"APIv2"`` for ``return_code`` and ``return_msg`` in XML;
            ``"APIv3"`` for ``code`` and ``message`` in JSON; ``"pay_after"`` for
            these in XML, which rent and hotel events want.

    Returns:
        Status, headers and body.

    Raises:
        ValueError: If *return_code* is neither, *status* says the opposite, or the dialect is unknown.

    Example:
        >>> build_reply().body
        b'<xml><return_code><![CDATA[SUCCESS]]></return_code><return_msg><![CDATA[OK]]></return_msg></xml>'
        >>> build_reply("FAIL", "bad_signature", status=401, dialect="APIv3").body
        b'{"code":"FAIL","message":"bad_signature"}'

    Source:
        WeChat Pay APIv2, "payment result notification": return_code String(16),
        return_msg String(128). APIv3, "payment notification": 200 or 204, or 4xx
        or 5xx with code and message.
    """
    if return_code not in ("SUCCESS", "FAIL"):
        raise ValueError("return_code is SUCCESS or FAIL")
    if dialect not in _WORDING:
        raise ValueError(f"dialect is one of {', '.join(_WORDING)}")
    if status is None:
        status = 200 if return_code == "SUCCESS" else 500
    allowed = (200, 204) if dialect == "APIv3" else (200,)
    if not (status in allowed if return_code == "SUCCESS" else 400 <= status <= 599):
        raise ValueError(f"status {status} contradicts {return_code}: 200 for SUCCESS, 4xx or 5xx for FAIL")
    code, message, longest = _WORDING[dialect]
    words = writable(return_msg)[:longest]
    if status == 204:
        return Reply(204, (), b"")
    if dialect == "APIv3":
        import json

        said = json.dumps({code: return_code, message: words}, ensure_ascii=False, separators=(",", ":"))
        return _reply(status, _JSON, said.encode())
    words = words.replace("]]>", "]]]]><![CDATA[>")
    said = f"<{code}><![CDATA[{return_code}]]></{code}><{message}><![CDATA[{words}]]></{message}>"
    return xml_reply(status, f"<xml>{said}</xml>".encode())


def xml_reply(status: int, body: bytes) -> Reply:
    """Make the reply that sends the document *body*."""
    return _reply(status, _XML, body)


def _reply(status: int, content_type: str, body: bytes) -> Reply:
    return Reply(status, (("Content-Type", content_type), ("Content-Length", str(len(body)))), body)


def fail_reply(error: NotifyError, *, dialect: ReplyDialect = "APIv2") -> Reply:
    """
    Build the FAIL that answers a refusal.

    Args:
        error: What refused it.

        dialect: As for :func:`build_reply`.

    Returns:
        The error's status, and its code as the message.

    Example:
        >>> from wxnotify.errors import BadSignature
        >>> fail_reply(BadSignature("sign does not match")).status
        401
    """
    if error.status == 405:
        return Reply(405, (("Allow", "POST"), ("Content-Type", _XML), ("Content-Length", "0")), b"")
    return build_reply("FAIL", error.code, status=status_of(error), dialect=dialect)


def status_of(error: BaseException | None) -> int:
    """Give the HTTP status of a refusal: never one that could be taken for success."""
    status = error.status if isinstance(error, NotifyError) else 500
    return status if 400 <= status <= 599 else 500
