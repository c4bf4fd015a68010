"""The merchant of the tests, its order A-1001, and how what is told about it is signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from .._keys import AnyKey, SignType
from .._signature import sign
from .._wire import write

_Value = TypeVar("_Value")

APPID: Final = "wx8888888888888888"
MCH_ID: Final = "1900000109"
KEY: Final = "wxnotify-test-key-0123456789abcd"
OPENID: Final = "oTest0000000000000000000000Payer"
NONCE_STR: Final = "5K8264ILTKCH16CQ2502SI8ZNMTM67VS"

#: Order A-1001, paid with 100 fen.
PAYMENT: Final = {
    "appid": APPID,
    "attach": "",
    "bank_type": "OTHERS",
    "cash_fee": "100",
    "fee_type": "CNY",
    "is_subscribe": "N",
    "mch_id": MCH_ID,
    "nonce_str": NONCE_STR,
    "openid": OPENID,
    "out_trade_no": "A-1001",
    "result_code": "SUCCESS",
    "return_code": "SUCCESS",
    "time_end": "20261123120000",
    "total_fee": "100",
    "trade_type": "JSAPI",
    "transaction_id": "4200000000202611230000000001",
}


def changed(fields: Mapping[str, _Value], changes: Mapping[str, _Value | None]) -> dict[str, _Value]:
    """Give *fields* with the changes made: another value, or None to leave one out."""
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def signed(fields: Mapping[str, str], key: AnyKey, sign_type: SignType) -> bytes:
    """Write *fields* as XML, with their ``sign``."""
    try:
        signature = sign(fields, key, sign_type)
    finally:
        del key
    return write({**fields, "sign": signature})
