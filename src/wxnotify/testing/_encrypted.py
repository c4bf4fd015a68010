"""What APIv2 encrypts: refunds, and rent and hotel events. It needs the extra ``crypto``."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Final

from .._ciphers import aes_256_ecb_encrypt, aes_256_gcm_encrypt
from .._keys import AnyKey, SignType, as_keys
from .._wire import write
from ._signed import APPID, KEY, MCH_ID, NONCE_STR, PAYMENT, changed, signed

_REFUND: Final = {
    "transaction_id": PAYMENT["transaction_id"],
    "out_trade_no": "A-1001",
    "refund_id": "50300000002026112300000000001",
    "out_refund_no": "R-1001",
    "total_fee": "100",
    "settlement_total_fee": "100",
    "refund_fee": "100",
    "settlement_refund_fee": "100",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-23 13:00:00",
    "refund_recv_accout": "支付用户零钱",
    "refund_account": "REFUND_SOURCE_RECHARGE_FUNDS",
    "refund_request_source": "API",
}
_REFUND_OUTSIDE: Final = {
    "return_code": "SUCCESS",
    "appid": APPID,
    "mch_id": MCH_ID,
    "nonce_str": NONCE_STR,
}
_PAY_AFTER: Final = {
    "service_id": "500001",
    "out_order_no": "A-1001",
    "order_id": "15646546545165651651",
    "start_time": "20261122120000",
    "deposit_amount": "10000",
}
_OF_PAY_AFTER: Final = {
    "CHECK.SUCCESS": {"state": "USER_ACCEPTED", "finish_ticket": "T-1"},
    "CHECK.FAIL": {"state": "USER_REVOKED"},
    "TRANSACTION.SUCCESS": {
        "state": "USER_PAID",
        "total_amount": "200",
        "end_time": "20261123120000",
        "finish_transaction_id": PAYMENT["transaction_id"],
    },
    "TRANSACTION.FAIL": {"state": "USER_PAYING", "total_amount": "200"},
}


def refund_notification(
    *, key: AnyKey = KEY, outside: Mapping[str, str | None] | None = None, **changes: str | None
) -> bytes:
    """
    Build the encrypted notification that order A-1001 was refunded, all 100 fen; APIv2's is not signed.

    Args:
        key: The key to encrypt with.

        outside: Changes to what stands beside ``req_info``, where nothing is authenticated.

        **changes: As for :func:`wxnotify.testing.deduction`, of what is encrypted.

    Returns:
        The XML.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    try:
        (checked,) = as_keys(key)
    finally:
        del key
    document = write(changed(_REFUND, changes)).removeprefix(b"<xml>").removesuffix(b"</xml>")
    ciphertext = aes_256_ecb_encrypt(checked, b"<root>" + document + b"</root>")
    req_info = base64.b64encode(ciphertext).decode()
    return write(changed({**_REFUND_OUTSIDE, "req_info": req_info}, outside or {}))


def pay_after_notification(
    event_type: str = "CHECK.SUCCESS",
    *,
    key: AnyKey = KEY,
    apiv3_key: AnyKey | None = None,
    sign_type: SignType = "HMAC-SHA256",
    outside: Mapping[str, str | None] | None = None,
    **changes: str | None,
) -> bytes:
    """
    Build a rent or hotel event of order A-1001: signed with one key, encrypted with the other.

    Args:
        event_type: ``CHECK.SUCCESS``, ``CHECK.FAIL``, ``TRANSACTION.SUCCESS`` or ``TRANSACTION.FAIL``.

        key: The APIv2 key, to sign with.

        apiv3_key: To encrypt with; that of :mod:`wxnotify.testing.apiv3` if left out.

        sign_type: The algorithm of the signature.

        outside: Changes to what is signed and not encrypted.

        **changes: As for :func:`wxnotify.testing.deduction`, of what is encrypted.

    Returns:
        The XML.

    Raises:
        ExtraMissing: If the extra ``crypto`` is not installed.
    """
    try:
        (checked,) = as_keys(apiv3_key or _its_apiv3_key())
    finally:
        del apiv3_key
    content = changed({**_PAY_AFTER, **_OF_PAY_AFTER.get(event_type, {})}, changes)
    nonce, associated_data = os.urandom(6).hex(), "payscore"
    ciphertext = aes_256_gcm_encrypt(checked, nonce.encode(), associated_data.encode(), write(content))
    fields = {
        "mch_id": MCH_ID,
        "app_id": APPID,
        "event_id": "EV-2026112312000000001",
        "event_create_time": "20261123120000",
        "event_type": event_type,
        "event_algorithm": "AEAD_AES_256_GCM",
        "event_nonce": nonce,
        "event_associated_data": associated_data,
        "event_ciphertext": base64.b64encode(ciphertext).decode(),
        "algorithm": sign_type,
        "nonce_str": NONCE_STR,
    }
    return signed(changed(fields, outside or {}), key, sign_type)


def _its_apiv3_key() -> str:
    from .apiv3 import API_V3_KEY

    return API_V3_KEY
