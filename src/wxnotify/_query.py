"""
The order query: how to ask when no notification came.

No notification is guaranteed to come, and what the payer's browser or app brings
back to the shop proves nothing. WeChat Pay answers a query under the same
signature, and the answer is the same :class:`Payment` with the same key, so
whichever of the two comes first settles the order and the other is a duplicate.

Bytes in, bytes out: how they travel is yours.

Source: WeChat Pay APIv2, "order query" (chapter 9.2; global 4013634899).
"""

from __future__ import annotations

import os
from typing import Final

from ._keys import SignType
from ._merchants import Merchant
from ._payments import Payment
from ._signature import sign, verify
from ._wire import parse, write
from .errors import ConfigurationError, MissingField, QueryFailed

#: Where the query is posted.
ORDER_QUERY_URL: Final = "https://api.mch.weixin.qq.com/pay/orderquery"


def build_order_query(
    merchant: Merchant,
    *,
    out_trade_no: str = "",
    transaction_id: str = "",
    appid: str | None = None,
    sub_mch_id: str = "",
    sub_appid: str = "",
    sign_type: SignType | None = None,
    nonce_str: str | None = None,
) -> bytes:
    """
    Build the signed body of an order query.

    Args:
        merchant: Whose order it is. Its first key signs.

        out_trade_no: Your order number. Give this or *transaction_id*.

        transaction_id: WeChat Pay's number; preferred where you have it.

        appid: The app it was ordered with; the merchant's first if left out.

        sub_mch_id: In service-provider mode, the sub-merchant.

        sub_appid: In service-provider mode, the sub-merchant's app.

        sign_type: The algorithm; the merchant's first if left out.

        nonce_str: At most 32 characters; random if left out.

    Returns:
        XML to post to :data:`ORDER_QUERY_URL`. No client certificate is needed.

    Raises:
        ConfigurationError: If not exactly one of the two numbers is given, or
            the merchant does not use *sign_type* or has no APIv2 key.

        BadField: If one of the texts holds a character XML cannot carry.

    Example:
        >>> from wxnotify import Merchant, build_order_query
        >>> shop = Merchant("1900000109", "wx8888888888888888", "0123456789abcdefghijklmnopqrstuv")
        >>> b"<out_trade_no>A-1001</out_trade_no>" in build_order_query(shop, out_trade_no="A-1001")
        True
    """
    if not merchant.keys:
        raise ConfigurationError("the merchant has no APIv2 key to sign an order query with")
    if bool(out_trade_no) == bool(transaction_id):
        raise ConfigurationError("an order query takes out_trade_no or transaction_id, and not both")
    sign_type = sign_type or merchant.sign_types[0]
    if sign_type not in merchant.sign_types:
        raise ConfigurationError("the merchant does not use this sign_type, so the answer would be refused")
    fields = {
        "appid": appid or merchant.appids[0],
        "mch_id": merchant.mch_id,
        "sub_appid": sub_appid,
        "sub_mch_id": sub_mch_id,
        "transaction_id": transaction_id,
        "out_trade_no": out_trade_no,
        "nonce_str": nonce_str or os.urandom(16).hex(),
        "sign_type": sign_type,
    }
    fields = {name: value for name, value in fields.items() if value}
    return write({**fields, "sign": sign(fields, merchant.keys[0], sign_type)})


def parse_order_query(body: bytes, merchant: Merchant, *, allow_sandbox: bool = False) -> Payment:
    """
    Read and verify the answer to an order query.

    Args:
        body: The raw answer.

        merchant: Whose order it is; any of its keys may have signed.

        allow_sandbox: Whether a key of the sandbox may have.

    Returns:
        The payment, with the key and fingerprint a notification of it has. Give
        it to :meth:`Receiver.settle`. It is paid only if ``trade_state`` is
        SUCCESS; REFUND means that it was paid and a refund has begun.

    Raises:
        NotifyError: Whatever :func:`parse`, :func:`verify` and
            :meth:`Payment.from_verified` raise.

        QueryFailed: If WeChat Pay says, signed, that it cannot tell. Its
            ``err_code`` is ORDERNOTEXIST or SYSTEMERROR.

        MissingField: If the answer has no ``trade_state``.

        MerchantMismatch: If it is about another merchant's order.
    """
    verified = verify(parse(body), merchant.keys, sign_types=merchant.sign_types, allow_sandbox=allow_sandbox)
    if verified.get("result_code") != "SUCCESS":
        raise QueryFailed(verified.get("err_code", ""), verified.get("err_code_des", ""))
    if "trade_state" not in verified:
        raise MissingField("trade_state absent or empty: this is not the answer to an order query")
    payment = Payment.from_verified(verified)
    merchant.check(payment)
    return payment
