"""
Combined orders: one notification, several payments.

Each order in it is a payment of its own: compared with its own expectation,
claimed by its own key (the one an order query of it gives), handled by itself.
The notification is told SUCCESS when all of them are settled; a resend finds
those that were as duplicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from ._fields import amount, beijing, informative, inside, require, shaped, text
from ._payments import Payment
from ._resources import read_json
from .errors import BadField, MissingField

if TYPE_CHECKING:
    from ._resources import VerifiedResource
    from ._signature import Verified

_WHAT: Final = "a combined payment result"
_ALWAYS: Final = (
    "return_code", "result_code", "combine_appid", "combine_mch_id", "combine_out_trade_no", "sub_order_list",
)  # fmt: skip
_EACH: Final = ("appid", "mch_id", "out_trade_no", "transaction_id", "total_fee", "time_end")
# WeChat Pay combines 10 orders in APIv2, 50 in APIv3.
_MOST: Final = 100


def combined_from_verified(verified: Verified) -> tuple[Payment, ...]:
    """
    Read the orders of an APIv2 combined payment result.

    Raises:
        MissingField: If the message or one of its orders lacks a field it always has.

        BadJSON: If ``sub_order_list`` is no JSON object.

        BadField: If an amount is not a positive integer, an id is odd, an order is
            there twice, or ``order_num`` is not their number.

    Source:
        WeChat Pay APIv2, "combined payment notification" (combine chapter 24_4).
    """
    require(verified, _ALWAYS, _WHAT)
    listed = read_json(verified["sub_order_list"].encode())
    orders = _orders(listed.get("order_list"), "order_list")
    said = listed.get("order_num", len(orders))
    if type(said) is not int or said != len(orders):
        raise BadField(f"order_num does not say {len(orders)}, which is how many orders there are")
    return _distinct([_order_of_verified(verified, order) for order in orders])


def _order_of_verified(verified: Verified, order: Mapping[str, Any]) -> Payment:
    succeeded = verified["return_code"] == verified["result_code"] == "SUCCESS"
    # A notification has none; the answer to a query, under the same key, may.
    trade_state = shaped("trade_state", text(order, "trade_state") or verified.get("trade_state", ""))
    paid = succeeded and trade_state in ("", "SUCCESS")
    result = trade_state if succeeded else "FAIL"
    require(order, _EACH if paid else _EACH[:3], _WHAT)
    return Payment._paid(
        verified,
        {
            "appid": verified["combine_appid"],
            "sub_appid": text(order, "appid"),
            "attach": text(order, "attach"),
            "bank_type": verified.get("bank_type", ""),
            "cash_fee": informative(order.get("cash_fee")),
            "cash_fee_type": "CNY",
            "combine_mch_id": shaped("mch_id", verified["combine_mch_id"], "combine_mch_id"),
            "combine_out_trade_no": verified["combine_out_trade_no"],
            "err_code": "" if succeeded else verified.get("err_code", ""),
            "fee_type": text(order, "fee_type") or "CNY",
            "mch_id": shaped("mch_id", text(order, "mch_id")),
            "openid": text(order, "openid"),
            "out_trade_no": shaped("out_trade_no", text(order, "out_trade_no")),
            "paid": paid,
            "result": "SUCCESS" if paid else result,
            "sub_mch_id": text(order, "sub_mch_id"),
            "time_end": beijing(text(order, "time_end")),
            "total_fee": amount("total_fee", order.get("total_fee")),
            "trade_state": trade_state,
            "trade_type": verified.get("trade_type", ""),
            "transaction_id": shaped("transaction_id", text(order, "transaction_id")),
        },
    )


def combined_from_resource(resource: VerifiedResource) -> tuple[Payment, ...]:
    """
    Read the orders of an APIv3 combined transaction, an event's or a query's.

    Raises:
        MissingField, BadField: As for :func:`combined_from_verified`.

    Source:
        WeChat Pay APIv3, "combined payment notification" (combine chapter 3_7).
    """
    require(resource, ("combine_mchid", "combine_out_trade_no", "sub_orders"), _WHAT)
    orders = _orders(resource["sub_orders"], "sub_orders")
    return _distinct([_order_of_resource(resource, order) for order in orders])


def _order_of_resource(resource: VerifiedResource, order: Mapping[str, Any]) -> Payment:
    require(order, ("mchid", "out_trade_no", "trade_state"), _WHAT)
    return Payment._transaction(
        resource,
        order,
        {
            "appid": text(resource, "combine_appid"),
            "cash_fee": informative(inside(order, "amount", "payer_amount")),
            "combine_mch_id": shaped("mch_id", text(resource, "combine_mchid"), "combine_mchid"),
            "combine_out_trade_no": text(resource, "combine_out_trade_no"),
            "mch_id": shaped("mch_id", text(order, "mchid"), "mchid"),
            "openid": text(resource, "combine_payer_info", "openid"),
            "sub_appid": text(order, "sub_appid"),
            "sub_mch_id": text(order, "sub_mchid"),
            "total_fee": amount("amount.total_amount", inside(order, "amount", "total_amount")),
        },
    )


def _orders(listed: object, name: str) -> list[Mapping[str, Any]]:
    orders: list[Any] = cast(Any, listed) if isinstance(listed, list) else [None]
    if not all(isinstance(order, Mapping) for order in orders):
        raise BadField(f"{name} is not a list of orders")
    if not orders:
        raise MissingField(f"{name} is empty: this is not {_WHAT}")
    if len(orders) > _MOST:
        raise BadField(f"{name} has {len(orders)} orders, more than WeChat Pay combines")
    return orders


def _distinct(payments: list[Payment]) -> tuple[Payment, ...]:
    if len({payment.key for payment in payments}) < len(payments):
        raise BadField("two of the combined orders have one transaction_id")
    return tuple(payments)
