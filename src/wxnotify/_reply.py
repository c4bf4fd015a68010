"""
The one answer WeChat Pay understands, byte for byte.

Anything else (an empty body, ``ok``, JSON, a page of HTML, a line feed between
the tags) counts as a failure and brings the notification again. SUCCESS goes
out with status 200 and FAIL with 4xx or 5xx, so that the document and the
status never disagree and a monitor that sees only statuses sees refusals.

Source: WeChat Pay APIv2, "notes on notifications".
"""

from __future__ import annotations

from typing import NoReturn

from ._wire import writable
from .errors import NotifyError

_MAX_MESSAGE = 128
_CONTENT_TYPE = "text/xml; charset=utf-8"


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


def build_reply(return_code: str = "SUCCESS", return_msg: str = "OK", *, status: int | None = None) -> Reply:
    """
    Build the answer to an APIv2 notification.

    Args:
        return_code: SUCCESS only once the work is durably done; else FAIL, and
            WeChat Pay sends the notification again.

        return_msg: A word for whoever reads the traffic. Escaped, stripped of
            what XML cannot carry and cut to 128 characters. Do not echo text
            from the request.

        status: 200 for SUCCESS; for FAIL 4xx or 5xx, 500 if left out.

    Returns:
        Status, headers and body.

    Raises:
        ValueError: If *return_code* is neither, or *status* says the opposite.

    Example:
        >>> build_reply().body
        b'<xml><return_code><![CDATA[SUCCESS]]></return_code><return_msg><![CDATA[OK]]></return_msg></xml>'
        >>> build_reply("FAIL", "bad_signature", status=401).status
        401

    Source:
        WeChat Pay APIv2, "payment result notification": return_code String(16),
        return_msg String(128).
    """
    if return_code not in ("SUCCESS", "FAIL"):
        raise ValueError("return_code is SUCCESS or FAIL")
    if status is None:
        status = 200 if return_code == "SUCCESS" else 500
    if not (status == 200 if return_code == "SUCCESS" else 400 <= status <= 599):
        raise ValueError(f"status {status} contradicts {return_code}: 200 for SUCCESS, 4xx or 5xx for FAIL")
    message = writable(return_msg)[:_MAX_MESSAGE].replace("]]>", "]]]]><![CDATA[>")
    body = (
        f"<xml><return_code><![CDATA[{return_code}]]></return_code>"
        f"<return_msg><![CDATA[{message}]]></return_msg></xml>"
    ).encode()
    return Reply(
        status,
        (("Content-Type", _CONTENT_TYPE), ("Content-Length", str(len(body)))),
        body,
    )


def fail_reply(error: NotifyError) -> Reply:
    """
    Build the FAIL that answers a refusal.

    Args:
        error: What refused it.

    Returns:
        The error's status, and its code as the message.

    Example:
        >>> from wxnotify.errors import BadSignature
        >>> fail_reply(BadSignature("sign does not match")).status
        401
    """
    if error.status == 405:
        return Reply(405, (("Allow", "POST"), ("Content-Type", _CONTENT_TYPE), ("Content-Length", "0")), b"")
    return build_reply("FAIL", error.code, status=status_of(error))


def status_of(error: BaseException | None) -> int:
    """Give the HTTP status of a refusal: never one that could be taken for success."""
    status = error.status if isinstance(error, NotifyError) else 500
    return status if 400 <= status <= 599 else 500
