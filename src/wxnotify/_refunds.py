"""The result of a refund, in either dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ._decrypted import Decrypted
from ._fields import amount, amount_text, beijing, informative, inside, moment, require, shaped, text
from ._notifications import Notification, check_source, digest
from ._resources import VerifiedResource
from .errors import BadField, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_WHAT: Final = "a refund result"
_IDS: Final = ("transaction_id", "out_trade_no", "refund_id", "out_refund_no")
# APIv2's words and APIv3's, to the latter.
_RESULTS: Final = {
    "SUCCESS": "SUCCESS",
    "CHANGE": "ABNORMAL",
    "ABNORMAL": "ABNORMAL",
    "REFUNDCLOSE": "CLOSED",
    "CLOSED": "CLOSED",
}


class Refund(Notification):
    """
    The result of a refund. **Look at** :attr:`result`: an abnormal or closed refund is one too.

    From APIv3 it is verified; from APIv2 it is only decrypted (:class:`Decrypted`), and
    the type of :attr:`fields` says which. A refund that is abnormal may succeed
    later, and that is another key.
    """

    __slots__ = (
        "cash_refund_fee",
        "out_refund_no",
        "refund_account",
        "refund_fee",
        "refund_id",
        "refund_recv_accout",
        "refund_request_source",
        "refund_status",
        "settlement_refund_fee",
        "settlement_total_fee",
        "success_time",
        "total_fee",
    )

    kind = "refund"
    _shown: ClassVar = ("out_trade_no", "out_refund_no", "refund_id", "refund_fee", "result")

    # ``result`` is SUCCESS, ABNORMAL or CLOSED, in both dialects.

    fields: Decrypted | VerifiedResource
    refund_id: str
    out_refund_no: str
    #: As it came: SUCCESS, CHANGE or REFUNDCLOSE of APIv2; SUCCESS, ABNORMAL or CLOSED of APIv3.
    refund_status: str
    #: What was asked for, in fen: never more than ``total_fee``.
    refund_fee: int
    #: The order's amount, in fen.
    total_fee: int
    settlement_refund_fee: int | None
    settlement_total_fee: int | None
    cash_refund_fee: int | None
    #: Aware; None where absent or unreadable.
    success_time: datetime | None
    #: Where the money went. The wire's spelling; APIv3 calls it ``user_received_account``.
    refund_recv_accout: str
    refund_account: str
    #: API, or VENDOR_PLATFORM for a refund made in the merchant console; APIv2 only.
    refund_request_source: str

    @classmethod
    def from_decrypted(cls, decrypted: Decrypted) -> Refund:
        """
        Read an APIv2 refund result.

        Args:
            decrypted: What :func:`decrypt` returned. Its ``mch_id`` is part of the
                natural key, so tell :func:`decrypt` whose key it is.

        Returns:
            The refund.

        Raises:
            TypeError: If *decrypted* is anything else.

            MissingField: If a field every refund result has is absent.

            BadField: If an amount is not plain digits, more is refunded than was
                paid, the status is unknown, or an id has characters WeChat Pay
                does not use.

        Source:
            WeChat Pay APIv2, "refund result notification" (chapter 9_16).
        """
        check_source(decrypted, Decrypted, "Refund.from_decrypted()")
        require(decrypted, (*_IDS, "total_fee", "refund_fee", "refund_status"), _WHAT)
        get = decrypted.get
        return cls._refunded(
            decrypted,
            {
                **{name: shaped(name, decrypted[name]) for name in _IDS},
                "mch_id": decrypted.mch_id,
                "refund_status": decrypted["refund_status"],
                "refund_fee": amount_text("refund_fee", decrypted["refund_fee"]),
                "total_fee": amount_text("total_fee", decrypted["total_fee"]),
                "settlement_refund_fee": informative(get("settlement_refund_fee")),
                "settlement_total_fee": informative(get("settlement_total_fee")),
                "cash_refund_fee": informative(get("cash_refund_fee")),
                "success_time": beijing(get("success_time", "")),
                "refund_recv_accout": get("refund_recv_accout", ""),
                "refund_account": get("refund_account", ""),
                "refund_request_source": get("refund_request_source", ""),
            },
        )

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> Refund:
        """
        Read an APIv3 refund event.

        Args:
            resource: What the APIv3 dialect verified and decrypted.

        Returns:
            The refund.

        Raises:
            TypeError: If *resource* is anything else.

            MissingField, BadField: As for :meth:`from_decrypted`; and if the
                event's type says another thing than ``refund_status``.

        Source:
            WeChat Pay APIv3, "refund result notification" (chapter 3_5_11).
        """
        check_source(resource, VerifiedResource, "Refund.from_resource()")
        mch_id = "sp_mchid" if "sp_mchid" in resource else "mchid"
        require(resource, (mch_id, *_IDS, "refund_status", "amount"), _WHAT)
        refund_status = text(resource, "refund_status")
        if resource.event_type and resource.event_type != f"REFUND.{refund_status}":
            raise BadField(
                f"refund_status is {shown(refund_status)}, but the event is {shown(resource.event_type)}"
            )
        fees = {
            "refund_fee": amount("amount.refund", inside(resource, "amount", "refund")),
            "total_fee": amount("amount.total", inside(resource, "amount", "total")),
        }
        require(fees, fees, _WHAT)
        return cls._refunded(
            resource,
            {
                **fees,
                **{name: shaped(name, text(resource, name)) for name in _IDS},
                "mch_id": shaped("mch_id", text(resource, mch_id), mch_id),
                "sub_mch_id": text(resource, "sub_mchid"),
                "refund_status": refund_status,
                "settlement_refund_fee": None,
                "settlement_total_fee": None,
                "cash_refund_fee": informative(inside(resource, "amount", "payer_refund")),
                "success_time": moment(text(resource, "success_time")),
                "refund_recv_accout": text(resource, "user_received_account"),
                "refund_account": "",
                "refund_request_source": "",
                "dialect": "APIv3",
                "event_type": resource.event_type,
            },
        )

    @classmethod
    def _refunded(cls, source: Decrypted | VerifiedResource, values: Mapping[str, Any]) -> Refund:
        result = _RESULTS.get(values["refund_status"])
        if result is None:
            raise BadField(f"refund_status is {shown(values['refund_status'])}, which is none")
        refunded, total = values["refund_fee"], values["total_fee"]
        if refunded > total:
            raise BadField(f"refund_fee is {refunded} fen, more than the order's total_fee of {total} fen")
        # The merchant is the one whose key opened it. Without it, whoever has one merchant's APIv2 key, which
        # is all that a refund takes, could use up the key of another merchant's refund.
        key = f"{cls.kind}/{source.mch_id}/{values['refund_id']}/{result}"
        ids = [values[name] for name in ("transaction_id", "out_trade_no", "out_refund_no")]
        told = {"result": result, "key": key, "fingerprint": digest([*ids, str(total), str(refunded)])}
        return cls._make(source, {**values, **told})
