"""
What WeChat Pay tells, as typed, frozen views over verified fields.

A signature proves who wrote a message and not what it means: the merchant's own
requests, the answers to them and the parameters in every payer's browser are
signed with the same key. So a kind is known by the fields it must have, and each
is read strictly: where Python is generous with digits (``int(" 1")``,
``int("1_0")``, ``"²".isdigit()``), this file is not.

Each notification knows two things about itself. Its **key** says what happened
in the world, the same whether a notification or an order query told us, and
holds the result, so that a failed attempt never uses up the key of the payment
that follows. Its **fingerprint** is a digest of the business content, and
compares two messages that claim the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, NoReturn

from ._signature import Verified
from .errors import BadField, MissingField, shown

if TYPE_CHECKING:
    from datetime import datetime

_ALWAYS = ("return_code", "result_code", "appid", "mch_id", "nonce_str", "out_trade_no")
_WHEN_PAID = ("transaction_id", "total_fee", "openid", "trade_type", "bank_type", "time_end")

_ALPHANUMERIC: Final = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DIGITS: Final = frozenset("0123456789")
# Characters and greatest length.
_SHAPES: Final = {
    "mch_id": (_ALPHANUMERIC, 32),
    "out_trade_no": (_ALPHANUMERIC | set("_-|*@"), 32),
    "transaction_id": (_ALPHANUMERIC, 64),
    "trade_state": (_ALPHANUMERIC | {"_"}, 32),
}
_FEE_PLACES: Final = 16
_COUPON_PARTS: Final = ("coupon_id", "coupon_type", "coupon_fee")
_COUPON_PLACES: Final = 4


class Coupon(NamedTuple):
    """One coupon a payer used."""

    #: As in ``coupon_id_$n``, from 0.
    n: int
    #: ``coupon_id_$n``; empty where the message leaves it out.
    id: str
    #: ``coupon_type_$n``: CASH or NO_CASH; empty where the message leaves it out.
    type: str
    #: ``coupon_fee_$n`` in fen; None where the message leaves it out.
    fee: int | None


class Payment:
    """
    The result of a payment: a notification's, or an order query's.

    Attributes carry WeChat Pay's names. Text that is absent is an empty string;
    an amount that is absent is None. **Look at** :attr:`paid` **before you ship**:
    a failed payment is an authentic ``Payment`` as well.

    Its ``repr`` shows the order's ids and the amount, and nothing about the payer.
    Two are equal if they tell the same: one key, one fingerprint; so a notification
    equals the order query's answer, whatever else their fields hold.
    """

    __slots__ = (
        "appid",
        "attach",
        "bank_type",
        "cash_fee",
        "cash_fee_type",
        "coupon_fee",
        "coupons",
        "err_code",
        "fee_type",
        "fields",
        "fingerprint",
        "key",
        "mch_id",
        "openid",
        "out_trade_no",
        "paid",
        "result",
        "settlement_total_fee",
        "sub_appid",
        "sub_mch_id",
        "time_end",
        "total_fee",
        "trade_state",
        "trade_type",
        "transaction_id",
    )

    #: What handlers are registered by.
    kind: ClassVar[str] = "payment"

    #: Every verified field, the unknown ones too.
    fields: Verified
    #: True only if ``return_code`` and ``result_code`` are SUCCESS, and ``trade_state`` where it is present.
    paid: bool
    #: SUCCESS, FAIL, or the ``trade_state`` that says otherwise: NOTPAY, CLOSED, REFUND, USERPAYING, ...
    result: str
    #: The natural key: kind, merchant, transaction (or order, where there is none yet) and result.
    key: str
    #: 32 bytes: SHA-256 over order, amount, currency and payer.
    fingerprint: bytes
    appid: str
    #: In service-provider mode the provider's id.
    mch_id: str
    sub_appid: str
    sub_mch_id: str
    out_trade_no: str
    #: Always there when paid.
    transaction_id: str
    #: The order's amount in the smallest unit of ``fee_type`` (fen). Always there when paid. Compare this.
    total_fee: int | None
    #: ISO 4217; CNY where the message leaves it out.
    fee_type: str
    #: What the payer paid after coupons, in ``cash_fee_type``. Not for comparing.
    cash_fee: int | None
    cash_fee_type: str
    #: ``total_fee`` less non-recharge coupons, in fen. Not for comparing.
    settlement_total_fee: int | None
    #: All coupons together, in fen.
    coupon_fee: int | None
    #: Those the message has, whatever ``coupon_count`` says.
    coupons: tuple[Coupon, ...]
    #: When it was paid, at UTC+8; None where absent or unreadable (the text stays in ``fields``).
    time_end: datetime | None
    openid: str
    #: As it was sent with the order. A buyer may have written it.
    attach: str
    bank_type: str
    trade_type: str
    #: Only an order query has it.
    trade_state: str
    err_code: str

    def __init__(self) -> None:
        raise TypeError("a Payment is made by Payment.from_verified(verify(parse(body), key))")

    @classmethod
    def from_verified(cls, verified: Verified) -> Payment:
        """
        Read verified fields as a payment.

        Args:
            verified: What :func:`verify` returned.

        Returns:
            The payment. Unpaid, if ``result_code`` or ``trade_state`` says so.

        Raises:
            TypeError: If *verified* is not what :func:`verify` returned.

            MissingField: If a field every payment result has is absent.

            BadField: If ``total_fee`` is not plain ASCII digits of at most 16
                places, or an id has characters WeChat Pay does not use. An odd
                ``cash_fee`` or ``time_end`` decides nothing, and is None.

        Source:
            WeChat Pay APIv2, "payment result notification" (doc 4011937248).
        """
        if not isinstance(verified, Verified):
            raise TypeError(
                "Payment.from_verified() takes what verify() returned, "
                f"not {type(verified).__name__}: unverified fields prove nothing"
            )
        get = verified.get
        trade_state = _shaped(verified, "trade_state")
        _require(verified, _ALWAYS)
        paid = (
            get("return_code") == "SUCCESS"
            and get("result_code") == "SUCCESS"
            and trade_state in ("", "SUCCESS")
        )
        if paid:
            _require(verified, _WHEN_PAID)
        values: dict[str, Any] = {
            name: get(name, "")
            for name in (
                "appid", "attach", "bank_type", "err_code", "openid",
                "sub_appid", "sub_mch_id", "trade_type",
            )
        }  # fmt: skip
        for name in ("mch_id", "out_trade_no", "transaction_id"):
            values[name] = _shaped(verified, name)
        for name in ("cash_fee", "coupon_fee", "settlement_total_fee"):
            values[name] = _fee(verified, name)
        values["total_fee"] = _total_fee(verified)
        values["fee_type"] = get("fee_type", "CNY")
        values["cash_fee_type"] = get("cash_fee_type", "CNY")
        values["fields"] = verified
        values["trade_state"] = trade_state
        values["paid"] = paid
        values["result"] = "SUCCESS" if paid else _unpaid_result(get("result_code", ""), trade_state)
        values["coupons"] = _coupons(verified)
        values["time_end"] = _time(get("time_end", ""))
        values["key"] = _key(values)
        values["fingerprint"] = _fingerprint(values)
        payment = cls.__new__(cls)
        for name, value in values.items():
            object.__setattr__(payment, name, value)
        return payment

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Payment is what WeChat Pay said; {name} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Payment is what WeChat Pay said; {name} cannot be removed")

    def __reduce__(self) -> tuple[Any, ...]:
        return Payment.from_verified, (self.fields,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payment):
            return NotImplemented
        return self.key == other.key and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.key, self.fingerprint))

    def __repr__(self) -> str:
        return (
            f"<Payment out_trade_no={self.out_trade_no} transaction_id={self.transaction_id} "
            f"total_fee={self.total_fee} fee_type={shown(self.fee_type)[1:-1]} paid={self.paid}>"
        )


def _require(verified: Verified, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in verified]
    if missing:
        raise MissingField(f"{', '.join(missing)} absent or empty: this is not a payment result")


def _shaped(verified: Verified, name: str) -> str:
    text = verified.get(name, "")
    characters, longest = _SHAPES[name]
    if len(text) > longest or not characters.issuperset(text):
        raise BadField(f"{name} is {shown(text)}, which is not the shape of one")
    return text


def _total_fee(verified: Verified) -> int | None:
    text = verified.get("total_fee")
    if text is None:
        return None
    if not _is_number(text, _FEE_PLACES) or text == "0":
        raise BadField(f"total_fee is {shown(text)}, expected an amount in the currency's smallest unit")
    return int(text)


def _fee(verified: Verified, name: str) -> int | None:
    # For information: an odd one is not taken for a number, and costs no payment.
    text = verified.get(name, "")
    return int(text) if _is_number(text, _FEE_PLACES) else None


def _is_number(text: str, places: int) -> bool:
    return (
        0 < len(text) <= places
        and _DIGITS.issuperset(text)
        and (text[0] != "0" or text == "0")
    )  # fmt: skip


def _unpaid_result(result_code: str, trade_state: str) -> str:
    return trade_state if result_code == "SUCCESS" else "FAIL"


def _coupons(verified: Verified) -> tuple[Coupon, ...]:
    # coupon_count is not believed: it may disagree with the fields, and it must
    # not drive a loop.
    numbers: set[int] = set()
    for name in verified:
        part, _, number = name.rpartition("_")
        if part in _COUPON_PARTS and _is_number(number, _COUPON_PLACES):
            numbers.add(int(number))
    get = verified.get
    return tuple(
        Coupon(n, get(f"coupon_id_{n}", ""), get(f"coupon_type_{n}", ""), _fee(verified, f"coupon_fee_{n}"))
        for n in sorted(numbers)
    )


def _time(text: str) -> datetime | None:
    # It decides nothing, so an odd one never costs a payment.
    if len(text) != len("yyyyMMddHHmmss") or not _DIGITS.issuperset(text):
        return None
    from datetime import datetime, timedelta, timezone

    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    try:
        return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=timezone(timedelta(hours=8)))
    except ValueError:
        return None


def _key(values: Mapping[str, Any]) -> str:
    # Neither id can hold "/" or ":".
    what = values["transaction_id"] or f"out_trade_no:{values['out_trade_no']}"
    return f"{Payment.kind}/{values['mch_id']}/{what}/{values['result']}"


def _fingerprint(values: Mapping[str, Any]) -> bytes:
    # Only what a notification and an order query of one payment both have, and,
    # while it is not paid, only what stays the same from one attempt to the next.
    content = [values["sub_mch_id"], values["out_trade_no"]]
    if values["paid"]:
        content += [str(values["total_fee"]), values["fee_type"], values["openid"]]
    # Lengths first, so that no two lists of values run into one text.
    text = "".join(f"{len(part)}:{part}" for part in content)
    return hashlib.sha256(text.encode("utf-8")).digest()
