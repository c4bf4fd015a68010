"""
APIv3: JSON, signed by WeChat Pay's platform keys and encrypted under the merchant's APIv3 key.

It needs the package ``cryptography``: ``pip install "wxpay-notify[crypto]"``.

``APIv3`` holds the keys of one merchant and belongs in ``Merchant(apiv3=...)``;
the receiver does the rest. ``build_order_query`` and ``read_order_answer`` are
for the order of which no notification came.
"""

from __future__ import annotations

from .._ciphers import missing

try:
    import cryptography
except ImportError:
    raise missing("wxnotify.apiv3") from None

from .._events_v3 import Event
from ._platform import PlatformKey
from ._query import (
    Request,
    build_order_query,
    parse_combined_query,
    parse_order_query,
    read_order_answer,
)
from ._ring import APIv3
from ._signing import MerchantPrivateKey

del cryptography  # it was only asked whether it is there

__all__ = [
    "APIv3",
    "Event",
    "MerchantPrivateKey",
    "PlatformKey",
    "Request",
    "build_order_query",
    "parse_combined_query",
    "parse_order_query",
    "read_order_answer",
]
