"""
What a message is, if not a payment notification.

A merchant's own requests, their answers and the parameters in a payer's browser
are signed with the same key, so a sign that holds does not say what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from .reading import Finding


class Kind(NamedTuple):
    """A message that is no payment notification, and the fields it is known by."""

    code: str
    says: str
    advice: str
    #: All of these are there.
    present: frozenset[str]
    #: None of these is there.
    absent: frozenset[str] = frozenset()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WRONG_FILE: Final = "take the body that WeChat Pay posts to your notify_url"

# The first that fits counts.
KINDS: Final = (
    Kind(
        "apiv3",
        "this is an APIv3 notification (JSON with an encrypted resource); APIv2 is flat XML",
        "the receiver reads it, with the request's headers, if its Merchant has apiv3=; see docs/apiv3.md",
        _names("resource"),
    ),
    Kind(
        "refund",
        "this is a refund notification: it is not signed, its content is encrypted in req_info",
        'the receiver reads it: on("refund"), with the extra crypto; see docs/notifications.md',
        _names("req_info"),
    ),
    Kind(
        "jsapi_parameters",
        "these are the parameters for the payer's browser or app (paySign), not a notification",
        f"they prove no payment. {_WRONG_FILE}",
        _names("paySign"),
    ),
    Kind(
        "jsapi_parameters",
        "these are the parameters for the payer's browser or app, not a notification",
        f"they prove no payment. {_WRONG_FILE}",
        _names("timeStamp"),
    ),
    Kind(
        "prepay_answer",
        "this is the answer to an order request (it has a prepay_id)",
        f"it proves no payment. {_WRONG_FILE}",
        _names("prepay_id"),
    ),
    Kind(
        "order_request",
        "this is an order request of your own (it has a notify_url)",
        f"it proves no payment. {_WRONG_FILE}",
        _names("notify_url"),
    ),
    Kind(
        "contract",
        "this is a contract notification of a deduction agreement",
        'the receiver reads it: on("contract"); see docs/notifications.md',
        _names("contract_id"),
        _names("out_trade_no"),
    ),
    Kind(
        "scan",
        "this is the callback of a native mode 1 scan: a payer has scanned, nobody has paid",
        'it wants an order as its answer. The receiver reads it: on("scan"); see docs/notifications.md',
        _names("product_id"),
        _names("out_trade_no"),
    ),
    Kind(
        "reply",
        "this is a bare return_code and return_msg: a reply, or an error without a signature",
        _WRONG_FILE,
        _names("return_code"),
        _names("out_trade_no mch_id appid"),
    ),
    Kind(
        "query_request",
        "this is a request of your own about an order (there is no result_code)",
        f"it proves no payment. {_WRONG_FILE}",
        _names("mch_id nonce_str"),
        _names("result_code return_code"),
    ),
)


def kind_of(fields: Mapping[str, str]) -> Finding | None:
    """Say what the fields are; None if they may be a payment notification."""
    names = {name for name, value in fields.items() if value}
    for kind in KINDS:
        if kind.present <= names and not kind.absent & names:
            return Finding(kind.code, kind.says, kind.advice)
    return None
