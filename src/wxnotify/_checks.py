"""
Tie an authentic payment to an order: its amount, its currency, its merchant.

A signature says that WeChat Pay wrote the message. It does not say that the
payer paid what the order costs, or paid you. Amounts are integers of the
currency's smallest unit (fen) and are compared, never converted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ._payments import Payment
from .errors import AmountMismatch, MerchantMismatch, TransactionMismatch

if TYPE_CHECKING:
    from decimal import Decimal


# More digits than ``total_fee`` may have.
_TOO_MUCH = 10**16


class Expected(NamedTuple):
    """
    What an order expects of the payment that settles it.

    Return one from the expectation you give to :class:`Receiver`. Anything but
    ``total_fee`` may be left out.
    """

    #: The order's amount: an ``int`` of fen, or a ``Decimal`` of yuan.
    total_fee: int | Decimal
    #: ISO 4217.
    fee_type: str = "CNY"
    #: The merchant this order belongs to; needed where several share one receiver.
    mch_id: str | None = None
    #: The app it was sold in.
    appid: str | None = None
    #: The sub-merchant it belongs to, for service providers.
    sub_mch_id: str | None = None
    #: The sub-merchant's app, for service providers.
    sub_appid: str | None = None
    #: The transaction that has already settled this order. Another one is refused: the order was paid twice.
    transaction_id: str | None = None


def check_amount(payment: Payment, expected_fen: int | Decimal, currency: str = "CNY") -> None:
    """
    Compare what was ordered and paid with what the order costs.

    ``total_fee`` and ``fee_type`` are compared; never ``cash_fee`` or
    ``settlement_total_fee``, which coupons and exchange rates move.

    Args:
        payment: A payment made by :meth:`Payment.from_verified`.

        expected_fen: The order's amount in the currency's smallest unit, as
            ``int``; or in yuan, as ``Decimal`` with at most two places.

        currency: The order's currency, ISO 4217. A notification that names none
            is in CNY, whatever the order says.

    Raises:
        TypeError: If *payment* is not a Payment, or the amount is a ``float``,
            a ``bool`` or text.

        ValueError: If the amount is not positive, has a fraction of a fen, or is
            a ``Decimal`` in a currency other than CNY.

        AmountMismatch: If amount or currency differ. :attr:`Payment.paid` is
            not looked at.

    Example:
        >>> from wxnotify.testing import payment
        >>> check_amount(payment(total_fee="100"), 100)
        >>> check_amount(payment(total_fee="1", out_trade_no="A-1001"), 100)
        Traceback (most recent call last):
        wxnotify.errors.AmountMismatch: out_trade_no 'A-1001': total_fee is 1 fen, the order says 100 fen

    Source:
        WeChat Pay APIv2, "payment result notification" (doc 4011937248): verify
        the signature and that the amount is the order's.
    """
    check_payment(payment)
    expected = _fen(expected_fen, currency)
    if payment.total_fee != expected or payment.fee_type != currency:
        raise AmountMismatch(payment.out_trade_no, payment.total_fee, payment.fee_type, expected, currency)


def _fen(amount: int | Decimal, currency: str) -> int:
    if isinstance(amount, int) and not isinstance(amount, bool):
        fen = amount
    else:
        from decimal import Decimal

        if not isinstance(amount, Decimal):
            raise TypeError(f"an amount is an int of fen or a Decimal of yuan, not {type(amount).__name__}")
        if currency != "CNY":
            raise ValueError(f"give an amount in {currency} as an int of its smallest unit")
        if not amount.is_finite():
            raise ValueError("the amount is not a finite number")
        # Exactly, whatever the caller's decimal context rounds to: an integer
        # ratio knows no context.
        numerator, denominator = amount.as_integer_ratio()
        fen, fraction = divmod(numerator * 100, denominator)
        if fraction:
            raise ValueError("the amount has a fraction of a fen")
    if not 0 < fen < _TOO_MUCH:
        raise ValueError("the amount is not positive, or has more digits than any amount")
    return fen


def check_merchant(
    payment: Payment,
    *,
    mch_id: str | Collection[str],
    appid: str | Collection[str],
    sub_mch_id: str | Collection[str] = "",
    sub_appid: str | Collection[str] | None = None,
) -> None:
    """
    Compare the merchant the money went to with your own.

    Args:
        payment: A payment made by :meth:`Payment.from_verified`.

        mch_id: Your merchant id; in service-provider mode the provider's. Several
            where an order may be of another merchant than the one who combined it.

        appid: Your app id, or all of them.

        sub_mch_id: In service-provider mode, the sub-merchant the order belongs
            to, or all of them. Left out, a payment for any sub-merchant is
            refused.

        sub_appid: In service-provider mode, the sub-merchant's app. WeChat Pay
            may leave it out, so None compares nothing.

    Raises:
        TypeError: If *payment* is not a Payment.

        MerchantMismatch: If one of them differs, as exact text.

    Source:
        WeChat Pay's service-provider pages: an order of sub-merchant A handled
        as B's is named as an accident class.
    """
    check_payment(payment)
    for field, expected in (
        ("mch_id", mch_id),
        ("appid", appid),
        ("sub_mch_id", sub_mch_id),
        ("sub_appid", sub_appid),
    ):
        if expected is None:
            continue
        allowed = (expected,) if isinstance(expected, str) else tuple(expected) or ("",)
        received = getattr(payment, field)
        if received not in allowed:
            raise MerchantMismatch(payment.out_trade_no, field, received, allowed)


def check_transaction(payment: Payment, transaction_id: str | None) -> None:
    """Refuse a paid payment of an order that another transaction has already settled."""
    if transaction_id and payment.paid and payment.transaction_id != transaction_id:
        raise TransactionMismatch(
            f"out_trade_no {payment.out_trade_no!r}: paid by transaction_id "
            f"{payment.transaction_id!r}, but already settled by {transaction_id!r}"
        )


def check_payment(payment: object) -> None:
    """Raise ``TypeError`` for anything but a Payment."""
    if not isinstance(payment, Payment):
        raise TypeError(
            f"a verified Payment is needed, not {type(payment).__name__}: "
            "Payment.from_verified(verify(parse(body), key)), or what parse_order_query() returned"
        )
