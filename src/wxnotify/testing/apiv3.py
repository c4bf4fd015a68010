"""
Signed and encrypted APIv3 notifications to test your own handler with, without paying.

Everything here carries keys of this library's own making; no merchant has them,
and WeChat Pay trusts none. They tell the same payment as
:func:`wxnotify.testing.notification` does, and so end in the same key.

It needs the extra ``crypto``.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from .._ciphers import aes_256_gcm_encrypt, sm4_gcm_encrypt
from .._keys import AnyKey, as_keys
from ..apiv3 import APIv3, MerchantPrivateKey, PlatformKey
from . import apiv3_keys
from ._signed import changed
from .apiv3_keys import MERCHANT_PRIVATE_KEY, MERCHANT_SERIAL, PUBLIC_KEY_ID, SERIAL
from .apiv3_resources import COMBINED, PARTNER_PAYMENT, PAYMENT, REFUND

__all__ = [
    "API_V3_KEY",
    "MERCHANT_PRIVATE_KEY",
    "MERCHANT_SERIAL",
    "PUBLIC_KEY_ID",
    "SERIAL",
    "Posted",
    "apiv3",
    "combined_event",
    "event",
    "partner_payment_event",
    "payment_event",
    "platform_keys",
    "query_answer",
    "refund_event",
    "signed",
]

API_V3_KEY: Final = "wxnotify-test-apiv3-key-01234567"

_PRIVATE_KEYS: Final = {
    SERIAL: apiv3_keys.CERTIFICATE_PRIVATE_KEY,
    PUBLIC_KEY_ID: apiv3_keys.PUBLIC_KEY_PRIVATE_KEY,
}
_SIGNING: dict[str, MerchantPrivateKey] = {}
_BEIJING: Final = timezone(timedelta(hours=8))


class Posted(NamedTuple):
    """What WeChat Pay posts, or answers: headers and a raw body."""

    headers: dict[str, str]
    body: bytes


def platform_keys() -> tuple[PlatformKey, ...]:
    """Give the platform keys that everything here is signed with: a certificate's, and a public key."""
    return (
        PlatformKey.from_certificate(apiv3_keys.CERTIFICATE),
        PlatformKey.from_public_key(PUBLIC_KEY_ID, apiv3_keys.PUBLIC_KEY),
    )


def apiv3(keys: AnyKey | Iterable[AnyKey] = API_V3_KEY, **options: Any) -> APIv3:
    """
    Make the APIv3 keys of a merchant that understands what is built here.

    Args:
        keys: The APIv3 key, or several.

        **options: As for :class:`wxnotify.apiv3.APIv3`.

    Example:
        >>> from wxnotify import Merchant
        >>> from wxnotify.testing import APPID, MCH_ID
        >>> Merchant(MCH_ID, APPID, apiv3=apiv3())
        <Merchant 1900000109, 0 keys, APIv3>
    """
    try:
        return APIv3(keys, platform_keys(), **options)
    finally:
        del keys  # no frame that raises holds its text


def signed(body: bytes, *, now: float, serial: str = SERIAL, nonce: str | None = None) -> Posted:
    """
    Sign any body as WeChat Pay does.

    Args:
        body: Whatever it is; it need not be JSON.

        now: Seconds since 1970.

        serial: :data:`SERIAL` or :data:`PUBLIC_KEY_ID`.

        nonce: Random if left out.

    Returns:
        The body, with the headers that sign it.
    """
    if serial not in _SIGNING:
        _SIGNING[serial] = MerchantPrivateKey(_PRIVATE_KEYS[serial])
    timestamp, nonce = str(int(now)), nonce or os.urandom(16).hex()
    message = b"%b\n%b\n%b\n" % (timestamp.encode(), nonce.encode(), body)
    headers = {
        "Content-Type": "application/json",
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": _SIGNING[serial]._sign(message),
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }
    return Posted(headers, body)


def event(
    event_type: str,
    resource: Mapping[str, Any],
    *,
    now: float,
    key: AnyKey = API_V3_KEY,
    serial: str = SERIAL,
    original_type: str = "transaction",
    associated_data: str | None = "transaction",
    algorithm: str = "AEAD_AES_256_GCM",
    **envelope: Any,
) -> Posted:
    """
    Build a signed and encrypted notification of any event.

    Args:
        event_type: As in ``TRANSACTION.SUCCESS``.

        resource: What it tells.

        now: Seconds since 1970: when it is sent.

        key: The APIv3 key to encrypt with.

        serial: :data:`SERIAL` or :data:`PUBLIC_KEY_ID`.

        original_type: The kind of object *resource* is.

        associated_data: None leaves it out.

        algorithm: Or ``AEAD_SM4_GCM``.

        **envelope: Names of the envelope to other values, or to None to leave one out. A
            resend of an event without a class of its own repeats ``create_time``,
            which is made of *now* if it is left out.

    Returns:
        Headers and body, to post.

    Example:
        >>> from wxnotify import Merchant
        >>> from wxnotify.testing import APPID, MCH_ID
        >>> shop = Merchant(MCH_ID, APPID, apiv3=apiv3())
        >>> posted = event("COMPLAINT.CREATE", {"complaint_id": "2002018202001010"}, now=1795000000)
        >>> shop.apiv3.open([shop], posted.body, posted.headers, 1795000000)["complaint_id"]
        '2002018202001010'
    """
    try:
        (checked,) = as_keys(key)
    finally:
        del key
    nonce = os.urandom(6).hex().encode()
    encrypt = {"AEAD_AES_256_GCM": aes_256_gcm_encrypt, "AEAD_SM4_GCM": sm4_gcm_encrypt}[algorithm]
    ciphertext = encrypt(checked, nonce, (associated_data or "").encode(), _json(resource))
    whole: dict[str, Any] = {
        "id": _notification_id(),
        "create_time": datetime.fromtimestamp(int(now), _BEIJING).isoformat(),
        "resource_type": "encrypt-resource",
        "event_type": event_type,
        "summary": event_type,
        "resource": {
            "original_type": original_type,
            "algorithm": algorithm,
            "ciphertext": base64.b64encode(ciphertext).decode(),
            "associated_data": associated_data,
            "nonce": nonce.decode(),
        },
    }
    if associated_data is None and "resource" not in envelope:
        del whole["resource"]["associated_data"]
    return signed(_json(changed(whole, envelope)), now=now, serial=serial)


def payment_event(
    *,
    now: float,
    event_type: str = "TRANSACTION.SUCCESS",
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Posted:
    """
    Build the notification of a paid order, A-1001 with 100 fen.

    Args:
        now: Seconds since 1970: when it is sent.

        event_type: Or ``TRANSACTION.FAIL``.

        options: Further arguments of :func:`event`.

        **changes: Names of the transaction to other values, or to None to leave one out.

    Example:
        >>> payment_event(now=1795000000, out_trade_no="A-1002").headers["Wechatpay-Timestamp"]
        '1795000000'
    """
    return event(event_type, changed(PAYMENT, changes), now=now, **(options or {}))


def partner_payment_event(*, now: float, options: Mapping[str, Any] | None = None, **changes: Any) -> Posted:
    """
    Build the notification of the same order, paid to a sub-merchant of a service provider.

    Args:
        now: As for :func:`payment_event`, and so are *options* and *changes*.

        options: Further arguments of :func:`event`.

        **changes: Names to other values, or to None.
    """
    told = changed(PARTNER_PAYMENT, changes)
    return event("TRANSACTION.SUCCESS", told, now=now, **(options or {}))


def combined_event(*, now: float, options: Mapping[str, Any] | None = None, **changes: Any) -> Posted:
    """
    Build the notification of a combined order, C-1001: A-1001 with 100 fen and A-1002 with 200.

    Args:
        now: As for :func:`payment_event`, and so are *options* and *changes*.

        options: Further arguments of :func:`event`.

        **changes: Names to other values, or to None.
    """
    return event("TRANSACTION.SUCCESS", changed(COMBINED, changes), now=now, **(options or {}))


def refund_event(
    *,
    now: float,
    event_type: str = "REFUND.SUCCESS",
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Posted:
    """
    Build the notification that order A-1001 was refunded, all 100 fen.

    Args:
        now: As for :func:`payment_event`, and so are *options* and *changes*.

        event_type: Or ``REFUND.ABNORMAL``, ``REFUND.CLOSED``; ``refund_status`` follows it.

        options: Further arguments of :func:`event`.

        **changes: Names to other values, or to None.
    """
    refunded = {**REFUND, "refund_status": event_type.rpartition(".")[2]}
    told = {"original_type": "refund", "associated_data": "refund", **(options or {})}
    return event(event_type, changed(refunded, changes), now=now, **told)


def query_answer(*, now: float, serial: str = SERIAL, **changes: Any) -> Posted:
    """
    Build the signed answer to an order query, of the payment :func:`payment_event` tells about.

    Args:
        now: Seconds since 1970.

        serial: :data:`SERIAL` or :data:`PUBLIC_KEY_ID`.

        **changes: Names to other values, or to None to leave one out.
    """
    return signed(_json(changed(PAYMENT, changes)), now=now, serial=serial)


def combined_query_answer(*, now: float, serial: str = SERIAL, **changes: Any) -> Posted:
    """
    Build the signed answer to the query of a combined order, the one :func:`combined_event` tells about.

    Args:
        now: As for :func:`query_answer`, and so are the others.

        serial: :data:`SERIAL` or :data:`PUBLIC_KEY_ID`.

        **changes: Names to other values, or to None to leave one out.
    """
    return signed(_json(changed(COMBINED, changes)), now=now, serial=serial)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _notification_id() -> str:
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
