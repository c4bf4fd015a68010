"""
What a request must be before its body is read; the same for every adapter.

``Content-Type`` is not looked at: WeChat Pay's varies, and checking it loses
payments and stops nobody. Neither are ``Host``, a source address or any other
header a sender can set.
"""

from __future__ import annotations

from typing import Final

from .errors import ContentEncodingForbidden, IncompleteBody, MethodNotAllowed, TooLarge, shown

#: Seconds a body may take to arrive, all of it.
BODY_SECONDS: Final = 5.0
# More digits than any length that could be meant; int() is not asked about them.
_PLACES: Final = 16


def check_request(
    method: str, content_encoding: str | None, content_length: str | None, max_bytes: int
) -> int | None:
    """
    Check a request's line and headers.

    Args:
        method: As it came.

        content_encoding: That header's text; None if there is none.

        content_length: That header's text; None if there is none.

        max_bytes: The size limit of the body.

    Returns:
        The announced length in bytes, None if there is none.

    Raises:
        MethodNotAllowed: If it is not a POST.

        ContentEncodingForbidden: If the body is compressed.

        IncompleteBody: If the length is not a plain number.

        TooLarge: If the length is over the limit.
    """
    if method != "POST":
        raise MethodNotAllowed(f"method is {shown(method)}, expected POST")
    if content_encoding and content_encoding.strip().lower() != "identity":
        raise ContentEncodingForbidden(f"Content-Encoding is {shown(content_encoding)}")
    if not content_length:
        return None
    if not (content_length.isascii() and content_length.isdigit() and len(content_length) <= _PLACES):
        raise IncompleteBody(f"Content-Length is {shown(content_length)}, which is no length")
    length = int(content_length)
    check_size(length, max_bytes)
    return length


def check_size(length: int, max_bytes: int) -> None:
    """Raise ``TooLarge`` for a body over the limit."""
    if length > max_bytes:
        raise TooLarge(f"body is at least {length} bytes, the limit is {max_bytes}")
