"""APIv2's other signed notifications: deductions, contracts, plates, scans, combined orders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .._keys import AnyKey, SignType
from ._signed import APPID, KEY, MCH_ID, NONCE_STR, OPENID, PAYMENT, changed, signed

_CONTRACT_ID: Final = "Wx15463511252015071056489715"
_CONTRACT: Final = {
    "return_code": "SUCCESS",
    "result_code": "SUCCESS",
    "mch_id": MCH_ID,
    "contract_code": "K-1001",
    "plan_id": "12535",
    "openid": OPENID,
    "change_type": "ADD",
    "operate_time": "2026-11-23 12:00:00",
    "contract_id": _CONTRACT_ID,
    "request_serial": "9223372036854775807",
}
_OF_CHANGE_TYPE: Final = {
    "ADD": {"contract_expired_time": "2027-11-23 12:00:00"},
    "DELETE": {"contract_termination_mode": "2"},
}
_PLATE: Final = {
    "mch_id": MCH_ID,
    "appid": APPID,
    "nonce_str": NONCE_STR,
    "plate_number": "粤B88888",
    "vehicle_event_type": "NORMAL",
    "vehicle_event_createtime": "20261123120000",
}
_OF_PLATE_STATE: Final = {
    "NORMAL": {"deduct_mode": "AUTOPAY"},
    "BLOCKED": {"vehicle_event_des": "OVERDUE"},
}
_SCAN: Final = {
    "appid": APPID,
    "openid": OPENID,
    "mch_id": MCH_ID,
    "is_subscribe": "N",
    "nonce_str": NONCE_STR,
    "product_id": "P-1001",
}
_COMBINED: Final = {
    "return_code": "SUCCESS",
    "result_code": "SUCCESS",
    "combine_appid": APPID,
    "combine_mch_id": MCH_ID,
    "combine_openid": OPENID,
    "combine_out_trade_no": "C-1001",
    "nonce_str": NONCE_STR,
    "trade_type": "JSAPI",
    "bank_type": "OTHERS",
}


def deduction(*, key: AnyKey = KEY, sign_type: SignType = "MD5", **changes: str | None) -> bytes:
    """
    Build the signed result of a papay deduction, for order A-1001 with 100 fen.

    Args:
        key: The key to sign with.

        sign_type: The algorithm.

        **changes: Wire names to other values, or to None to leave a field out. A
            vehicle's or a transit's deduction has ``trade_type="PAP"`` too, and a
            vehicle's no ``contract_id``.

    Returns:
        The XML.

    Example:
        >>> from wxnotify import Payment, parse, verify
        >>> Payment.from_verified(verify(parse(deduction()), KEY)).contract_id
        'Wx15463511252015071056489715'
    """
    deducted = {**PAYMENT, "trade_state": "SUCCESS", "contract_id": _CONTRACT_ID}
    del deducted["trade_type"]
    return signed(changed(deducted, changes), key, sign_type)


def contract(*, key: AnyKey = KEY, sign_type: SignType = "MD5", **changes: str | None) -> bytes:
    """
    Build the signed notification that a papay contract, K-1001, was signed or terminated.

    Args:
        key: The key to sign with.

        sign_type: The algorithm.

        **changes: As for :func:`deduction`; ``change_type`` is ADD if left out, or DELETE.

    Returns:
        The XML. As genuine ones, it has neither ``appid`` nor ``nonce_str``.

    Example:
        >>> from wxnotify import Contract, parse, verify
        >>> Contract.from_verified(verify(parse(contract(change_type="DELETE")), KEY)).change_type
        'DELETE'
    """
    special = _OF_CHANGE_TYPE.get(changes.get("change_type", "ADD") or "", {})
    return signed(changed({**_CONTRACT, **special}, changes), key, sign_type)


def plate_state(*, key: AnyKey = KEY, sign_type: SignType = "HMAC-SHA256", **changes: str | None) -> bytes:
    """
    Build the signed notification that a parked car's plate can be deducted from, or cannot any more.

    Args:
        key: The key to sign with.

        sign_type: The algorithm. Its name is a field of the message.

        **changes: As for :func:`deduction`; ``vehicle_event_type`` is NORMAL if left out, or BLOCKED.

    Returns:
        The XML.
    """
    special = _OF_PLATE_STATE.get(changes.get("vehicle_event_type", "NORMAL") or "", {})
    return signed(changed({**_PLATE, "sign_type": sign_type, **special}, changes), key, sign_type)


def scan(*, key: AnyKey = KEY, sign_type: SignType = "MD5", **changes: str | None) -> bytes:
    """
    Build the signed notification of native mode 1: a payer scanned the code of product P-1001.

    Args:
        key: The key to sign with.

        sign_type: The algorithm.

        **changes: As for :func:`deduction`. Another scan has another ``nonce_str``.

    Returns:
        The XML.
    """
    return signed(changed(_SCAN, changes), key, sign_type)


def combined(
    orders: Iterable[Mapping[str, Any]] = ({}, {}),
    *,
    key: AnyKey = KEY,
    sign_type: SignType = "HMAC-SHA256",
    **changes: str | None,
) -> bytes:
    """
    Build the signed result of a combined order, C-1001: A-1001 with 100 fen and A-1002 with 200.

    Args:
        orders: One mapping an order, of names to other values, or to None to leave
            one out. The third is A-1003 with 300 fen, and so on.

        key: The key to sign with.

        sign_type: The algorithm. Its name is a field of the message.

        **changes: As for :func:`deduction`, of what is around the orders.

    Returns:
        The XML, with the orders in JSON.

    Example:
        >>> body = combined([{}, {"total_fee": 1}, {}])
        >>> b'"out_trade_no":"A-1003"' in body
        True
    """
    listed = [_order(n, order) for n, order in enumerate(orders, 1)]
    sub_orders = json.dumps(
        {"order_num": len(listed), "order_list": listed}, ensure_ascii=False, separators=(",", ":")
    )
    fields = {**_COMBINED, "sign_type": sign_type, "sub_order_list": sub_orders}
    return signed(changed(fields, changes), key, sign_type)


def _order(n: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    order = {
        "appid": APPID,
        "mch_id": MCH_ID,
        "openid": OPENID,
        "out_trade_no": f"A-{1000 + n}",
        "transaction_id": f"420000000020261123{n:010d}",
        "total_fee": 100 * n,
        "cash_fee": 100 * n,
        "time_end": "20261123120000",
        **changes,
    }
    return {name: value for name, value in order.items() if value is not None}
