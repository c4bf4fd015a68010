"""
Signed notifications to test your own handler with, without paying.

Everything here carries :data:`KEY`, a key of this library's own making; no
merchant has it. Pass your own where you test a receiver with your configuration.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._keys import AnyKey, SignType
from .._payments import Payment
from .._signature import verify
from .._wire import parse
from ._apiv2 import combined, contract, deduction, plate_state, scan
from ._encrypted import pay_after_notification, refund_notification
from ._signed import APPID, KEY, MCH_ID, PAYMENT, changed, signed

__all__ = [
    "APPID",
    "KEY",
    "MCH_ID",
    "combined",
    "contract",
    "deduction",
    "notification",
    "pay_after_notification",
    "payment",
    "payment_fields",
    "plate_state",
    "query_answer",
    "refund_notification",
    "scan",
]


def payment_fields(**changes: str | None) -> dict[str, str]:
    """
    Give the fields of a paid order, unsigned.

    Args:
        **changes: Wire names to other values, or to None to leave a field out.

    Returns:
        Order A-1001, paid with 100 fen, with the changes made.
    """
    return changed(PAYMENT, changes)


def notification(
    fields: Mapping[str, str] | None = None,
    *,
    key: AnyKey = KEY,
    sign_type: SignType = "MD5",
    **changes: str | None,
) -> bytes:
    """
    Build the body of a signed payment notification.

    Args:
        fields: All of its fields but ``sign``; those of :func:`payment_fields`
            if left out.

        key: The key to sign with.

        sign_type: The algorithm; WeChat Pay does not always add the field of that name.

        **changes: As for :func:`payment_fields`.

    Returns:
        The XML.

    Example:
        >>> from wxnotify import parse, verify
        >>> verify(parse(notification(total_fee="8800")), KEY)["total_fee"]
        '8800'
    """
    return signed(changed(PAYMENT if fields is None else fields, changes), key, sign_type)


def query_answer(*, key: AnyKey = KEY, sign_type: SignType = "MD5", **changes: str | None) -> bytes:
    """
    Build the signed answer to an order query, of the payment :func:`notification` tells about.

    Args:
        key: The key to sign with.

        sign_type: The algorithm.

        **changes: As for :func:`payment_fields`; ``trade_state`` is SUCCESS if left out.

    Returns:
        The XML.
    """
    answer = {**PAYMENT, "trade_state": "SUCCESS", "return_msg": "OK", "nonce_str": "2f0e51a0c2e94b5b"}
    return notification(answer, key=key, sign_type=sign_type, **changes)


def payment(**changes: str | None) -> Payment:
    """
    Make a payment to call your handler with.

    Args:
        **changes: As for :func:`payment_fields`.

    Example:
        >>> payment(total_fee="8800").total_fee
        8800
    """
    return Payment.from_verified(verify(parse(notification(payment_fields(**changes))), KEY))
