"""What APIv3's events tell about order A-1001, which :func:`wxnotify.testing.notification` tells in APIv2."""

from __future__ import annotations

from typing import Any, Final

from . import APPID, MCH_ID

_OPENID: Final = "oTest0000000000000000000000Payer"
_TRANSACTION: Final[dict[str, Any]] = {
    "out_trade_no": "A-1001",
    "transaction_id": "4200000000202611230000000001",
    "trade_type": "JSAPI",
    "trade_state": "SUCCESS",
    "bank_type": "OTHERS",
    "attach": "",
    "success_time": "2026-11-23T12:00:00+08:00",
}
_AMOUNT: Final = {"total": 100, "payer_total": 100, "currency": "CNY", "payer_currency": "CNY"}

#: Paid with 100 fen.
PAYMENT: Final[dict[str, Any]] = {
    "mchid": MCH_ID,
    "appid": APPID,
    **_TRANSACTION,
    "trade_state_desc": "支付成功",
    "payer": {"openid": _OPENID},
    "amount": _AMOUNT,
}

#: The same, paid to a sub-merchant of a service provider.
PARTNER_PAYMENT: Final[dict[str, Any]] = {
    "sp_mchid": MCH_ID,
    "sp_appid": APPID,
    "sub_mchid": "1900000110",
    **_TRANSACTION,
    "trade_state_desc": "支付成功",
    "payer": {"sp_openid": _OPENID},
    "amount": _AMOUNT,
}

_COMBINED_AMOUNT: Final = {"currency": "CNY", "payer_currency": "CNY"}

#: The combined order C-1001: A-1001 with 100 fen, and A-1002 with 200.
COMBINED: Final[dict[str, Any]] = {
    "combine_appid": APPID,
    "combine_mchid": MCH_ID,
    "combine_out_trade_no": "C-1001",
    "combine_payer_info": {"openid": _OPENID},
    "sub_orders": [
        {
            "mchid": MCH_ID,
            **_TRANSACTION,
            "amount": {"total_amount": 100, "payer_amount": 100, **_COMBINED_AMOUNT},
        },
        {
            "mchid": MCH_ID,
            **_TRANSACTION,
            "out_trade_no": "A-1002",
            "transaction_id": "4200000000202611230000000002",
            "amount": {"total_amount": 200, "payer_amount": 200, **_COMBINED_AMOUNT},
        },
    ],
}

#: All 100 fen went back.
REFUND: Final[dict[str, Any]] = {
    "mchid": MCH_ID,
    "out_trade_no": "A-1001",
    "transaction_id": "4200000000202611230000000001",
    "out_refund_no": "R-1001",
    "refund_id": "50300000002026112300000000001",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-23T13:00:00+08:00",
    "user_received_account": "支付用户零钱",
    "amount": {"total": 100, "refund": 100, "payer_total": 100, "payer_refund": 100},
}
