"""
What the demo sends, and what must come of it: one row a delivery.

The rows build on each other, from top to bottom, on one file of orders.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, NamedTuple

from ..testing import notification, payment_fields
from .send import transaction_id_of

#: The open orders it begins with, all of 100 fen.
ORDERS: Final = tuple(f"A-100{number}" for number in range(1, 7))
TOTAL_FEE: Final = 100

#: Given the merchant's key, the body to post.
Body = Callable[[str], bytes]


class Came(NamedTuple):
    """What came of a delivery, and of its copies."""

    #: HTTP status; 0 where nothing was posted.
    status: int
    #: SUCCESS or FAIL.
    told: str
    #: One for each copy, sorted.
    codes: tuple[str, ...]
    #: Of the order, after it: paid, open or unknown.
    order: str


class Delivery(NamedTuple):
    """One row of the demo."""

    what: str
    #: None where no notification came and the shop asks instead, with an order query.
    body: Body | None
    #: Posted so many times, all at once.
    copies: int
    out_trade_no: str
    expected: Came
    #: In words.
    why: str


def _paid(out_trade_no: str, sign_type: Literal["MD5", "HMAC-SHA256"] = "MD5", **changes: str) -> Body:
    transaction_id = transaction_id_of(out_trade_no)
    fields = payment_fields(out_trade_no=out_trade_no, transaction_id=transaction_id) | changes

    def body(key: str) -> bytes:
        return notification(fields, key=key, sign_type=sign_type)

    return body


def _forged(key: str, out_trade_no: str) -> bytes:
    # A forger knows everything but the key.
    return _paid(out_trade_no)(key[::-1])


def _changed_after_signing(key: str, out_trade_no: str) -> bytes:
    honest = _paid(out_trade_no, total_fee="1", cash_fee="1")(key)
    return honest.replace(b"<total_fee>1<", b"<total_fee>100<")


def _hostile(key: str, out_trade_no: str) -> bytes:
    declaration = b'<!DOCTYPE xml [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    return declaration + _paid(out_trade_no)(key).replace(b"<attach></attach>", b"<attach>&file;</attach>")


def _came(status: int, code: str, order: str, *more: str) -> Came:
    told = "SUCCESS" if status in (0, 200) else "FAIL"
    return Came(status, told, tuple(sorted((code, *more))), order)


DELIVERIES: Final = (
    Delivery(
        "a signed notification of A-1001",
        _paid("A-1001"),
        1,
        "A-1001",
        _came(200, "handled", "paid"),
        "The order and the record that it is done were committed in one transaction.",
    ),
    Delivery(
        "the same notification once more",
        _paid("A-1001"),
        1,
        "A-1001",
        _came(200, "duplicate", "paid"),
        "Told SUCCESS so that it is not sent again; the handler was not called.",
    ),
    Delivery(
        "three copies for A-1002 at the same moment",
        _paid("A-1002"),
        3,
        "A-1002",
        _came(200, "handled", "paid", "duplicate", "duplicate"),
        "One of them settled the order; the other two were told so.",
    ),
    Delivery(
        "an HMAC-SHA256 one, without sign_type",
        _paid("A-1003", "HMAC-SHA256"),
        1,
        "A-1003",
        _came(200, "handled", "paid"),
        "The algorithm is known by the length of the sign, as WeChat Pay sends it.",
    ),
    Delivery(
        "a forged one, signed with another key",
        partial(_forged, out_trade_no="A-1004"),
        1,
        "A-1004",
        _came(401, "bad_signature", "open"),
        "No key of the merchant's gives this sign.",
    ),
    Delivery(
        "a genuine one with its amount changed after",
        partial(_changed_after_signing, out_trade_no="A-1004"),
        1,
        "A-1004",
        _came(401, "bad_signature", "open"),
        "The sign covers every field.",
    ),
    Delivery(
        "well signed, but 1 fen for an order of 100",
        _paid("A-1004", total_fee="1", cash_fee="1"),
        1,
        "A-1004",
        _came(422, "amount_mismatch", "open"),
        "Authentic is not enough: it must be what the order costs. Somebody should look.",
    ),
    Delivery(
        "well signed, for an order nobody placed",
        _paid("A-9999"),
        1,
        "A-9999",
        _came(503, "unknown_order", "unknown"),
        "Perhaps it overtook the commit that creates the order: FAIL brings it again.",
    ),
    Delivery(
        "XML that tries to read /etc/passwd (XXE)",
        partial(_hostile, out_trade_no="A-1004"),
        1,
        "A-1004",
        _came(400, "dtd_forbidden", "open"),
        "A document with a DTD is refused before anything in it is looked at.",
    ),
    Delivery(
        "a payment of A-1005 that failed",
        _paid("A-1005", result_code="FAIL", err_code="NOTENOUGH"),
        1,
        "A-1005",
        _came(200, "handled", "open"),
        "Noted and acknowledged; the order stays open.",
    ),
    Delivery(
        "A-1005 paid after all",
        _paid("A-1005"),
        1,
        "A-1005",
        _came(200, "handled", "paid"),
        "The failed attempt did not use up the key of the payment that followed.",
    ),
    Delivery(
        "A-1001 paid again, by another transaction",
        _paid("A-1001", transaction_id=transaction_id_of("A-1001 again")),
        1,
        "A-1001",
        _came(409, "transaction_mismatch", "paid"),
        "The buyer paid twice: not settled twice, and reported, because money must go back.",
    ),
    Delivery(
        "A-1006 asked for by an order query",
        None,
        1,
        "A-1006",
        _came(0, "handled", "paid"),
        "No notification came in time, so the shop asked; the answer takes the same road.",
    ),
    Delivery(
        "the late notification of A-1006",
        _paid("A-1006"),
        1,
        "A-1006",
        _came(200, "duplicate", "paid"),
        "The query and the notification tell of one payment, and have one key.",
    ),
)
