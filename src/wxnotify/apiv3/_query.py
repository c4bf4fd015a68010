"""
The order query of APIv3: how to ask when no notification came.

The answer is signed as a notification is, is not encrypted, and ends in the same
:class:`Payment` with the same key, so whichever of the two comes first settles the
order and the other is a duplicate.

A request to send and an answer to read: how they travel is yours.

Source: WeChat Pay APIv3, "query an order" (direct chapter 3_5_2, partner 4_5_2,
combined 3_7_11) and "create signatures" (chapter 4_0).
"""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from .._combined import combined_from_resource
from .._fields import shaped, text
from .._headers import RSA, WORD, Headers
from .._payments import Payment
from .._resources import VerifiedResource, read_json
from ..errors import ConfigurationError, MerchantMismatch, MissingSignature, NotifyError, QueryFailed, shown
from ._opening import Holder, check_signature, without_frames
from ._ring import Account, APIv3
from ._signing import MerchantPrivateKey

_HOST: Final = "https://api.mch.weixin.qq.com"
_OK: Final = range(200, 300)


class Request(NamedTuple):
    """An HTTP request, ready to send: all four parts as they are. Its ``repr`` shows no signature."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.url}>"


def build_order_query(
    merchant: Account,
    *,
    private_key: MerchantPrivateKey | str | bytes,
    serial_no: str,
    out_trade_no: str = "",
    transaction_id: str = "",
    combine_out_trade_no: str = "",
    sub_mch_id: str = "",
    platform_serial: str = "",
    now: float,
    nonce: str | None = None,
) -> Request:
    """
    Build the signed request of an order query.

    Args:
        merchant: Whose order it is; in service-provider mode the provider.

        private_key: Of the merchant's API certificate, best as a
            :class:`MerchantPrivateKey`; else what ``apiclient_key.pem`` holds.

        serial_no: That certificate's serial number.

        out_trade_no: Your order number. Give this or *transaction_id*.

        transaction_id: WeChat Pay's number; preferred where you have it.

        combine_out_trade_no: The number of a combined order, instead of the two.

        sub_mch_id: In service-provider mode, the sub-merchant.

        platform_serial: The ``PUB_KEY_ID_...`` or serial WeChat Pay shall sign the
            answer with. A merchant that moves to the public key names it.

        now: Seconds since 1970.

        nonce: At most 32 letters and digits; random if left out.

    Returns:
        The request. It is good for 5 minutes.

    Raises:
        ConfigurationError: If not exactly one of the numbers is given, the private
            key cannot be read, or a serial or the nonce has other characters.

        BadField: If a number does not have the shape of one.
    """
    key = private_key if isinstance(private_key, MerchantPrivateKey) else None
    try:
        key = key or MerchantPrivateKey(private_key)  # type: ignore[arg-type]
    finally:
        del private_key
    if sum(map(bool, (out_trade_no, transaction_id, combine_out_trade_no))) != 1:
        raise ConfigurationError(
            "an order query takes one of out_trade_no, transaction_id and combine_out_trade_no"
        )
    nonce = nonce or os.urandom(16).hex()
    _check_word("serial_no", serial_no, 64)
    _check_word("nonce", nonce, 32)
    if platform_serial:
        _check_word("platform_serial", platform_serial, 64)
    path = _path(merchant.mch_id, out_trade_no, transaction_id, combine_out_trade_no, sub_mch_id)
    timestamp = int(now)
    signature = key._sign(f"GET\n{path}\n{timestamp}\n{nonce}\n\n".encode())
    authorization = (
        f'{RSA} mchid="{merchant.mch_id}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{serial_no}"'
    )
    # WeChat Pay refuses a request that does not say what sent it.
    headers = {"Accept": "application/json", "Authorization": authorization, "User-Agent": "wxnotify"}
    if platform_serial:
        headers["Wechatpay-Serial"] = platform_serial
    return Request("GET", _HOST + path, headers, b"")


def _path(
    mch_id: str, out_trade_no: str, transaction_id: str, combine_out_trade_no: str, sub_mch_id: str
) -> str:
    if combine_out_trade_no:
        if sub_mch_id:
            raise ConfigurationError("a combined order is queried by its number alone, without sub_mch_id")
        number = shaped("out_trade_no", combine_out_trade_no, "combine_out_trade_no")
        return f"/v3/combine-transactions/out-trade-no/{quote(number, safe='')}"
    if transaction_id:
        order = f"id/{quote(shaped('transaction_id', transaction_id), safe='')}"
    else:
        order = f"out-trade-no/{quote(shaped('out_trade_no', out_trade_no), safe='')}"
    if sub_mch_id:
        ids = urlencode({"sp_mchid": mch_id, "sub_mchid": sub_mch_id})
        return f"/v3/pay/partner/transactions/{order}?{ids}"
    return f"/v3/pay/transactions/{order}?{urlencode({'mchid': mch_id})}"


def _check_word(name: str, given: object, longest: int) -> None:
    if not isinstance(given, str) or not 0 < len(given) <= longest or not WORD.issuperset(given):
        raise ConfigurationError(f"{name} is {shown(given)}, expected at most {longest} letters and digits")


def read_order_answer(
    merchant: Account, status: int, headers: Headers, body: bytes, now: float
) -> VerifiedResource:
    """
    Verify the answer to an order query.

    Args:
        merchant: Whose order it is.

        status: The answer's HTTP status.

        headers: All of its headers.

        body: As it came, byte for byte; decompressed, if it came so.

        now: Seconds since 1970.

    Returns:
        What the answer says.

    Raises:
        MissingSignature, BadHeader, BadSignType, UnknownSerial, BadSignature,
        StaleTimestamp: If WeChat Pay did not sign this, now. Some of its errors are
            unsigned, such as that your own signature is wrong; the message tells
            the code.

        QueryFailed: If WeChat Pay says, signed, that it cannot tell. Its ``err_code``
            is ORDER_NOT_EXIST, for instance.

        BadJSON: If the answer is signed and no JSON object.

        MerchantMismatch: If it is about another merchant's order.

        ConfigurationError: If the merchant has no APIv3 keys.

        TypeError: If *body* is not ``bytes``.
    """
    try:
        return _read(merchant, status, headers, body, now)
    except NotifyError as refused:
        refusal = refused
    if isinstance(refusal, MissingSignature) and status not in _OK:
        refusal = MissingSignature(f"{refusal.detail}; status {status}{_unsigned_code(body)}")
    del headers, body
    raise without_frames(refusal)


def parse_order_query(merchant: Account, status: int, headers: Headers, body: bytes, now: float) -> Payment:
    """
    Read and verify the answer to the query of one order.

    Args:
        merchant: As for :func:`read_order_answer`, and so are the others.

        status: The answer's HTTP status.

        headers: All of its headers.

        body: As it came.

        now: Seconds since 1970.

    Returns:
        The payment, with the key and fingerprint a notification of it has. Give it
        to :meth:`Receiver.settle`. It is paid only if ``trade_state`` is SUCCESS;
        REFUND means that it was paid and a refund has begun.

    Raises:
        NotifyError: Whatever :func:`read_order_answer` and
            :meth:`Payment.from_resource` raise.
    """
    try:
        resource = read_order_answer(merchant, status, headers, body, now)
    finally:
        del headers, body
    return Payment.from_resource(resource)


def parse_combined_query(
    merchant: Account, status: int, headers: Headers, body: bytes, now: float
) -> tuple[Payment, ...]:
    """
    Read and verify the answer to the query of a combined order.

    Args:
        merchant: Who combined it; the others are as for :func:`read_order_answer`.

        status: The answer's HTTP status.

        headers: All of its headers.

        body: As it came.

        now: Seconds since 1970.

    Returns:
        The payment of each order in it. Give them to :meth:`Receiver.settle`, one
        after the other.

    Raises:
        NotifyError: Whatever :func:`read_order_answer` raises; and ``MissingField``
            or ``BadField`` if this is no combined order, or one of its orders is odd.

    Source:
        WeChat Pay APIv3, "query a combined order" (chapter 3_7_11).
    """
    try:
        resource = read_order_answer(merchant, status, headers, body, now)
    finally:
        del headers, body
    return combined_from_resource(resource)


def _read(merchant: Account, status: int, headers: Headers, body: bytes, now: float) -> VerifiedResource:
    if not isinstance(merchant.apiv3, APIv3):
        raise ConfigurationError(f"merchant {merchant.mch_id} has no APIv3 keys: Merchant(..., apiv3=...)")
    if not isinstance(body, bytes):
        raise TypeError(f"the answer's body is bytes, as it came, not {type(body).__name__}")
    serial, _ = check_signature([Holder(merchant.mch_id, merchant.apiv3)], body, headers, now)
    content = read_json(body, "the answer")
    if status not in _OK:
        raise QueryFailed(text(content, "code") or str(status), text(content, "message"))
    for field in ("mchid", "sp_mchid", "combine_mchid"):
        received = text(content, field)
        if received not in ("", merchant.mch_id):
            raise MerchantMismatch(text(content, "out_trade_no"), field, received, (merchant.mch_id,))
    return VerifiedResource._make(content, mch_id=merchant.mch_id, serial=serial)


def _unsigned_code(body: bytes) -> str:
    # For the person who reads it; nothing is decided by it.
    try:
        answer: dict[str, Any] = read_json(body)
    except NotifyError:
        return ""
    return f", whose code, unsigned, is {shown(answer['code'])}" if "code" in answer else ""
