"""
What a message is, if not the notification of a payment: another one, or none at all.

A merchant's own requests, their answers and the parameters in a payer's browser
are signed with the same key, so a sign that holds does not say what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """A message that is no payment's notification, and the fields it is known by."""

    code: str
    says: str
    advice: str
    #: All of these are there.
    present: frozenset[str]
    #: None of these is there.
    absent: frozenset[str] = frozenset()
    #: Whether it is a notification, which the receiver reads.
    notification: bool = False


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WRONG_FILE: Final = "take the body that WeChat Pay posts to your notify_url"

# The first that fits counts.
KINDS: Final = (
    Kind(
        "apiv3",
        "this is an APIv3 notification: its content is encrypted in resource, and its signature is in the "
        "request's headers, which are not in the file",
        "the receiver reads it, with the request's headers, if its Merchant has apiv3=; see docs/apiv3.md",
        _names("resource"),
        _names("sign"),
        notification=True,
    ),
    Kind(
        "refund",
        "this is APIv2's refund notification: it has no signature, its content is encrypted in req_info "
        "under the APIv2 key",
        'the receiver reads it: on("refund"), with the extra crypto; see docs/notifications.md',
        _names("req_info"),
        _names("sign"),
        notification=True,
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
    # Known as the receiver knows them (_kinds.py).
    Kind(
        "combined",
        "this is the result of a combined order: several payments in one notification",
        'the receiver reads it: on("payment"), once for each order; see docs/notifications.md',
        _names("combine_out_trade_no sub_order_list"),
        notification=True,
    ),
    Kind(
        "pay_after",
        "this is a rent or hotel event: it is signed with the APIv2 key, and its content is encrypted in "
        "event_ciphertext under the APIv3 key",
        'the receiver reads it: on("pay_after"), with the extra crypto, if its Merchant has apiv3=; '
        "see docs/notifications.md",
        _names("event_ciphertext"),
        notification=True,
    ),
    Kind(
        "contract",
        "this is a contract notification of a deduction agreement",
        'the receiver reads it: on("contract"); see docs/notifications.md',
        _names("change_type"),
        notification=True,
    ),
    Kind(
        "plate",
        "this is a plate state: a car's plate can be deducted from, or cannot any more",
        'the receiver reads it: on("plate"); see docs/notifications.md',
        _names("vehicle_event_type"),
        notification=True,
    ),
    Kind(
        "scan",
        "this is the callback of a native mode 1 scan: a payer has scanned, nobody has paid",
        'it wants an order as its answer. The receiver reads it: on("scan"); see docs/notifications.md',
        _names("product_id"),
        _names("out_trade_no result_code"),
        notification=True,
    ),
    Kind(
        "reply",
        "this is a bare return_code and return_msg: a reply, or an error without a signature",
        _WRONG_FILE,
        _names("return_code"),
        _names("out_trade_no mch_id appid combine_mch_id"),
    ),
    Kind(
        "query_request",
        "this is a request of your own about an order (there is no result_code)",
        f"it proves no payment. {_WRONG_FILE}",
        _names("mch_id nonce_str"),
        _names("result_code return_code"),
    ),
    Kind(
        "query_request",
        "this is a request of your own about a combined order (there is no result_code)",
        f"it proves no payment. {_WRONG_FILE}",
        _names("combine_mch_id nonce_str"),
        _names("result_code return_code"),
    ),
)
#: Of the notifications, those that carry no ``sign``.
WITHOUT_SIGN: Final = frozenset({"apiv3", "refund"})


def kind_of(fields: Mapping[str, str]) -> Kind | None:
    """Say what the fields are; None if they may be a payment's notification."""
    names = {name for name, value in fields.items() if value}
    for kind in KINDS:
        if kind.present <= names and not kind.absent & names:
            return kind
    return None
