"""
Receive WeChat Pay's server notifications: no payment lost, done twice, or believed when forged.

``parse`` makes fields of bytes, ``verify`` makes them trustworthy, ``Payment``
reads them, ``check_amount`` ties them to an order, ``build_reply`` answers.
``Receiver`` does all of it and calls your handler once.

What a handler of your own needs is loaded here; the receiver and what belongs to
it are loaded when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._checks import Expected, check_amount, check_merchant
from ._keys import Key
from ._payments import Coupon, Payment
from ._reply import Reply, build_reply, fail_reply
from ._signature import Verified, sign, verify
from ._wire import parse, write
from .errors import NotifyError

if TYPE_CHECKING:
    from ._contracts import Contract, PlateState
    from ._decrypted import Decrypted, decrypt
    from ._events import Event, Outcome
    from ._events_v3 import PayScore, ProfitSharing, Transfer
    from ._merchants import Merchant
    from ._notifications import Notification
    from ._pay_after import PayAfter
    from ._query import ORDER_QUERY_URL, build_order_query, parse_order_query
    from ._receiver import WAIVE_EXPECTATION, Receiver
    from ._refunds import Refund
    from ._resources import VerifiedResource
    from ._scans import Scan, ScanRefusal, build_scan_reply

_LOADED_LATER = {
    "Contract": "_contracts",
    "Decrypted": "_decrypted",
    "Event": "_events",
    "Merchant": "_merchants",
    "Notification": "_notifications",
    "ORDER_QUERY_URL": "_query",
    "Outcome": "_events",
    "PayAfter": "_pay_after",
    "PayScore": "_events_v3",
    "PlateState": "_contracts",
    "ProfitSharing": "_events_v3",
    "Receiver": "_receiver",
    "Refund": "_refunds",
    "Scan": "_scans",
    "ScanRefusal": "_scans",
    "Transfer": "_events_v3",
    "VerifiedResource": "_resources",
    "WAIVE_EXPECTATION": "_receiver",
    "build_order_query": "_query",
    "build_scan_reply": "_scans",
    "decrypt": "_decrypted",
    "parse_order_query": "_query",
}

__all__ = [
    "ORDER_QUERY_URL",
    "WAIVE_EXPECTATION",
    "Contract",
    "Coupon",
    "Decrypted",
    "Event",
    "Expected",
    "Key",
    "Merchant",
    "Notification",
    "NotifyError",
    "Outcome",
    "PayAfter",
    "PayScore",
    "Payment",
    "PlateState",
    "ProfitSharing",
    "Receiver",
    "Refund",
    "Reply",
    "Scan",
    "ScanRefusal",
    "Transfer",
    "Verified",
    "VerifiedResource",
    "build_order_query",
    "build_reply",
    "build_scan_reply",
    "check_amount",
    "check_merchant",
    "decrypt",
    "fail_reply",
    "parse",
    "parse_order_query",
    "sign",
    "verify",
    "write",
]


def __getattr__(name: str) -> object:
    if name not in _LOADED_LATER:
        raise AttributeError(f"module 'wxnotify' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"wxnotify.{_LOADED_LATER[name]}"), name)
    globals()[name] = value  # the next look finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
