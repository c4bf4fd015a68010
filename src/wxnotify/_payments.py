"""
The result of a payment, in whatever dialect and by whatever road it was told.

A signature proves who wrote a message and not what it means: the merchant's own
requests, the answers to them and the parameters in every payer's browser are
signed with the same APIv2 key. So a payment is known by the fields it must have.

A deduction (papay, vehicle, transit) is a payment too, and so is each order of a
combined one (``_combined.py``): money that came in has one kind, one handler and
one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from ._fields import amount, amount_text, beijing, index, informative, inside, moment, require, shaped, text
from ._notifications import Notification, digest
from ._resources import VerifiedResource
from ._signature import Verified

if TYPE_CHECKING:
    from datetime import datetime

_WHAT: Final = "a payment result"
_ALWAYS = ("return_code", "result_code", "appid", "mch_id", "nonce_str", "out_trade_no")
_WHEN_PAID = ("transaction_id", "total_fee", "openid", "bank_type", "time_end")
_COUPON_PARTS: Final = ("coupon_id", "coupon_type", "coupon_fee")
# The event types under which a transaction may be paid; an answer to a query has none.
_PAID_EVENTS: Final = ("", "TRANSACTION.SUCCESS", "TRANSACTION.INDUSTRY_SUCCESS")


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


class Payment(Notification):
    """
    The result of a payment: a notification's of either dialect, or an order query's.

    Attributes carry APIv2's names, whichever dialect it came in. Text that is
    absent is an empty string; an amount that is absent is None. **Look at**
    :attr:`paid` **before you ship**: a failed payment is an authentic ``Payment``
    as well.

    Its ``repr`` shows the order's ids and the amount, and nothing about the payer.
    Two are equal if they tell the same: one key, one fingerprint; so an APIv2
    notification equals an APIv3 one and the order query's answer, whatever else
    their fields hold.
    """

    __slots__ = (
        "attach",
        "bank_type",
        "cash_fee",
        "cash_fee_type",
        "combine_mch_id",
        "combine_out_trade_no",
        "contract_id",
        "coupon_fee",
        "coupons",
        "err_code",
        "fee_type",
        "openid",
        "paid",
        "settlement_total_fee",
        "sub_appid",
        "time_end",
        "total_fee",
        "trade_state",
        "trade_type",
    )

    kind = "payment"
    _shown: ClassVar = ("out_trade_no", "transaction_id", "total_fee", "fee_type", "paid")

    # ``result`` is SUCCESS, FAIL, or the ``trade_state`` that says otherwise: NOTPAY, CLOSED, REFUND, ...

    fields: Verified | VerifiedResource
    #: True only if everything that could say otherwise says SUCCESS: ``return_code``, ``result_code``,
    #: ``trade_state`` where it is present, and APIv3's ``event_type``.
    paid: bool
    #: The sub-merchant's app; in a combined order of APIv2 the app of that order's merchant.
    sub_appid: str
    #: The order's amount in the smallest unit of ``fee_type`` (fen). Always there when paid. Compare this.
    total_fee: int | None
    #: ISO 4217; CNY where the message leaves it out.
    fee_type: str
    #: What the payer paid after coupons, in ``cash_fee_type``. Not for comparing.
    cash_fee: int | None
    cash_fee_type: str
    #: ``total_fee`` less non-recharge coupons, in fen. Not for comparing; APIv2 only.
    settlement_total_fee: int | None
    #: All coupons together, in fen; APIv2 only. APIv3 has ``promotion_detail`` in ``fields``.
    coupon_fee: int | None
    #: Those the message has, whatever ``coupon_count`` says; APIv2 only.
    coupons: tuple[Coupon, ...]
    #: When it was paid (APIv3: ``success_time``); None where absent or unreadable. The text is in ``fields``.
    time_end: datetime | None
    #: The payer under ``appid``; in a combined order of APIv2 under ``sub_appid``.
    openid: str
    #: As it was sent with the order. A buyer may have written it.
    attach: str
    bank_type: str
    trade_type: str
    #: An order query, a deduction and APIv3 have it.
    trade_state: str
    err_code: str
    #: The contract a deduction was made under; empty for other payments.
    contract_id: str
    #: The combined order this one belongs to; empty where it belongs to none.
    combine_out_trade_no: str
    combine_mch_id: str

    @classmethod
    def from_verified(cls, verified: Verified) -> Payment:
        """
        Read verified APIv2 fields as a payment.

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
            WeChat Pay APIv2, "payment result notification" (doc 4011937248);
            "papay deduction result" (doc 4011987465), which has ``contract_id``
            and no ``trade_type``.
        """
        if not isinstance(verified, Verified):
            raise TypeError(
                "Payment.from_verified() takes what verify() returned, "
                f"not {type(verified).__name__}: unverified fields prove nothing"
            )
        get = verified.get
        trade_state = shaped("trade_state", get("trade_state", ""))
        require(verified, _ALWAYS, _WHAT)
        paid = (
            get("return_code") == "SUCCESS"
            and get("result_code") == "SUCCESS"
            and trade_state in ("", "SUCCESS")
        )
        if paid:
            required = (*_WHEN_PAID, *(() if "contract_id" in verified else ("trade_type",)))
            require(verified, required, _WHAT)
        values: dict[str, Any] = {
            name: get(name, "")
            for name in (
                "appid", "attach", "bank_type", "contract_id", "err_code", "openid",
                "sub_appid", "sub_mch_id", "trade_type",
            )
        }  # fmt: skip
        for name in ("mch_id", "out_trade_no", "transaction_id"):
            values[name] = shaped(name, get(name, ""))
        for name in ("cash_fee", "coupon_fee", "settlement_total_fee"):
            values[name] = informative(get(name))
        return cls._paid(
            verified,
            {
                **values,
                "total_fee": amount_text("total_fee", get("total_fee")),
                "fee_type": get("fee_type", "CNY"),
                "cash_fee_type": get("cash_fee_type", "CNY"),
                "trade_state": trade_state,
                "paid": paid,
                "result": "SUCCESS" if paid else _unpaid_result(get("result_code", ""), trade_state),
                "coupons": _coupons(verified),
                "time_end": beijing(get("time_end", "")),
            },
        )

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> Payment:
        """
        Read an APIv3 transaction: an event's resource, or the answer to an order query.

        Args:
            resource: What the APIv3 dialect verified and decrypted.

        Returns:
            The payment. Unpaid, if ``trade_state`` or the event's type says so.

        Raises:
            TypeError: If *resource* is anything else.

            MissingField: If a field every transaction has is absent.

            BadField: If ``amount.total`` is not a positive integer, or a value is
                not of the type or shape it must have.

        Source:
            WeChat Pay APIv3, "payment notification", direct (chapter 3_5_5) and
            partner (chapter 4_5_5); campus payments, "deduction result" (partner
            chapter 5_3_11 of Offline), which name ``mchid`` and ``sub_mchid``.
        """
        if not isinstance(resource, VerifiedResource):
            raise TypeError(
                "Payment.from_resource() takes what the APIv3 dialect verified, "
                f"not {type(resource).__name__}: unverified content proves nothing"
            )
        partner = "sp_mchid" in resource
        mch_id, appid = ("sp_mchid", "sp_appid") if partner else ("mchid", "appid")
        require(resource, (mch_id, "out_trade_no", "trade_state"), _WHAT)
        values = {
            "mch_id": shaped("mch_id", text(resource, mch_id), mch_id),
            # A deduction by a provider calls it appid all the same.
            "appid": text(resource, appid) or text(resource, "appid"),
            "sub_mch_id": text(resource, "sub_mchid"),
            "sub_appid": text(resource, "sub_appid"),
            "openid": text(resource, "payer", "sp_openid") or text(resource, "payer", "openid"),
            "contract_id": text(resource, "contract_id"),
            "total_fee": amount("amount.total", inside(resource, "amount", "total")),
            "cash_fee": informative(inside(resource, "amount", "payer_total")),
        }
        return cls._transaction(resource, resource, values)

    @classmethod
    def _transaction(
        cls, resource: VerifiedResource, content: Mapping[str, Any], values: Mapping[str, Any]
    ) -> Payment:
        # What a transaction and an order of a combined one have under the same names.
        trade_state = shaped("trade_state", text(content, "trade_state"))
        paid = trade_state == "SUCCESS" and resource.event_type in _PAID_EVENTS
        result = trade_state
        if paid:
            require({**content, "amount": values["total_fee"]}, ("transaction_id", "amount"), _WHAT)
        elif trade_state == "SUCCESS":
            # The event says so: it failed; or it was paid before, and the payer gave back what was advanced.
            result = "PAY_BACK" if resource.event_type == "TRANSACTION.PAY_BACK" else "FAIL"
        return cls._paid(
            resource,
            {
                "attach": text(content, "attach"),
                "bank_type": text(content, "bank_type"),
                "trade_type": text(content, "trade_type"),
                "out_trade_no": shaped("out_trade_no", text(content, "out_trade_no")),
                "transaction_id": shaped("transaction_id", text(content, "transaction_id")),
                "fee_type": text(content, "amount", "currency") or "CNY",
                "cash_fee_type": text(content, "amount", "payer_currency") or "CNY",
                "time_end": moment(text(content, "success_time")),
                "trade_state": trade_state,
                "paid": paid,
                "result": result,
                "dialect": "APIv3",
                "event_type": resource.event_type,
                **values,
            },
        )

    @classmethod
    def _paid(cls, source: Verified | VerifiedResource, values: Mapping[str, Any]) -> Payment:
        given: dict[str, Any] = {
            "sub_mch_id": "",
            "sub_appid": "",
            "err_code": "",
            "contract_id": "",
            "combine_out_trade_no": "",
            "combine_mch_id": "",
            "settlement_total_fee": None,
            "coupon_fee": None,
            "coupons": (),
            **values,
        }
        names = ("mch_id", "transaction_id", "out_trade_no", "result")
        given["key"] = payment_key(*[given[name] for name in names])
        given["fingerprint"] = payment_fingerprint(
            given["sub_mch_id"],
            given["out_trade_no"],
            given["total_fee"] if given["paid"] else None,
            given["fee_type"],
        )
        return cls._make(source, given)


def payment_key(mch_id: str, transaction_id: str, out_trade_no: str, result: str) -> str:
    """Give a payment's natural key: kind, merchant, transaction (or order, if there is none) and result."""
    # None of them can hold "/" or ":".
    return f"{Payment.kind}/{mch_id}/{transaction_id or f'out_trade_no:{out_trade_no}'}/{result}"


def payment_fingerprint(sub_mch_id: str, out_trade_no: str, total_fee: int | None, fee_type: str) -> bytes:
    """
    Give the fingerprint of a payment.

    Only what every dialect and the order query tell alike, so the payer is not in
    it. While it is not paid (*total_fee* None), only what stays the same from one
    attempt to the next.
    """
    paid = [] if total_fee is None else [str(total_fee), fee_type]
    return digest([sub_mch_id, out_trade_no, *paid])


def _unpaid_result(result_code: str, trade_state: str) -> str:
    return trade_state if result_code == "SUCCESS" else "FAIL"


def _coupons(verified: Verified) -> tuple[Coupon, ...]:
    # coupon_count is not believed: it may disagree with the fields, and it must
    # not drive a loop.
    numbers: set[int] = set()
    for name in verified:
        part, _, end = name.rpartition("_")
        if part in _COUPON_PARTS and (n := index(end)) is not None:
            numbers.add(n)
    get = verified.get
    return tuple(
        Coupon(n, get(f"coupon_id_{n}", ""), get(f"coupon_type_{n}", ""), informative(get(f"coupon_fee_{n}")))
        for n in sorted(numbers)
    )
