"""APIv3's other events: profit sharing, transfers, payscore, and whatever else WeChat Pay tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ._fields import amount, inside, moment, require, shaped, text
from ._notifications import Notification, check_source, digest
from ._resources import VerifiedResource
from .errors import BadField, MissingField

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def _owner(resource: VerifiedResource, kind: type[Notification]) -> dict[str, str]:
    check_source(resource, VerifiedResource, f"{kind.__name__}.from_resource()")

    # Each family of events has its own spelling of one name.
    def first(*names: str) -> str:
        return next((found for name in names if (found := text(resource, name))), "")

    return {
        "dialect": "APIv3",
        "event_type": shaped("event_type", resource.event_type),
        "appid": first("sp_appid", "appid"),
        # Where none of them is there: the merchant whose key opened it.
        "mch_id": shaped("mch_id", first("sp_mchid", "mchid", "mch_id") or resource.mch_id),
        "sub_mch_id": first("sub_mchid", "sub_mch_id"),
    }


class ProfitSharing(Notification):
    """
    Money of a payment was shared out to you, or went back: ``PROFITSHARING.*`` and its older spellings.

    It comes under ``TRANSACTION.SUCCESS`` too, and is no payment.
    """

    __slots__ = (
        "account",
        "amount",
        "description",
        "order_id",
        "out_order_no",
        "success_time",
        "type",
    )

    kind = "profit_sharing"
    _shown: ClassVar = ("out_order_no", "order_id", "transaction_id", "amount", "result")

    # ``result`` is SUCCESS or RETURN.

    fields: VerifiedResource
    #: WeChat Pay's number of the sharing; of the return, if it is one.
    order_id: str
    out_order_no: str
    #: MERCHANT_ID or PERSONAL_OPENID.
    type: str
    #: Of the receiver.
    account: str
    #: What moved, in fen.
    amount: int
    description: str
    success_time: datetime | None

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> ProfitSharing:
        """
        Read an APIv3 profit-sharing event.

        Raises:
            TypeError: If *resource* is not what the APIv3 dialect verified.

            MissingField, BadField: If a field it always has is absent or odd.

        Source:
            WeChat Pay APIv3, "profit sharing, change notification" (docs profit-sharing/notice-division).
        """
        owner = _owner(resource, cls)
        what = "a profit sharing"
        require(resource, ("transaction_id", "order_id", "out_order_no", "receiver"), what)
        moved = amount("receiver.amount", inside(resource, "receiver", "amount"))
        if moved is None:
            raise MissingField(f"receiver.amount absent: this is not {what}")
        account = text(resource, "receiver", "account")
        result = "RETURN" if "RETURN" in resource.event_type else "SUCCESS"
        values: dict[str, Any] = {
            **owner,
            # It names whoever shared; it is told to whoever received.
            "mch_id": resource.mch_id,
            "sub_mch_id": "",
            "transaction_id": shaped("transaction_id", text(resource, "transaction_id")),
            "order_id": shaped("order_id", text(resource, "order_id")),
            "out_order_no": text(resource, "out_order_no"),
            "type": text(resource, "receiver", "type"),
            "account": account,
            "amount": moved,
            "description": text(resource, "receiver", "description"),
            "success_time": moment(text(resource, "success_time")),
            "result": result,
        }
        # One order shares with several receivers, and each is told.
        receiver = digest([values["type"], account]).hex()[:32]
        key = f"{cls.kind}/{values['transaction_id']}/{values['order_id']}/{receiver}/{result}"
        told = digest([owner["mch_id"], owner["sub_mch_id"], values["out_order_no"], str(moved)])
        return cls._make(resource, {**values, "key": key, "fingerprint": told})


_TRANSFER: Final = ("out_bill_no", "transfer_bill_no", "state")


class Transfer(Notification):
    """
    A transfer to a payer's wallet has ended, or a batch of them: ``MCHTRANSFER.*``.

    **Look at** :attr:`result`: it may have failed.
    """

    __slots__ = (
        "fail_reason",
        "openid",
        "out_bill_no",
        "transfer_amount",
        "transfer_bill_no",
        "update_time",
    )

    kind = "transfer"
    _shown: ClassVar = ("out_bill_no", "transfer_bill_no", "transfer_amount", "result")

    # ``result`` is ``state``: SUCCESS, FAIL, CANCELLED; of a batch ``batch_status``: FINISHED, CLOSED.

    fields: VerifiedResource
    #: Yours; a batch's ``out_batch_no``.
    out_bill_no: str
    #: WeChat Pay's; a batch's ``batch_id``.
    transfer_bill_no: str
    #: In fen; a batch's ``total_amount``. What of a batch succeeded is in ``fields``.
    transfer_amount: int | None
    openid: str
    fail_reason: str
    update_time: datetime | None

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> Transfer:
        """
        Read an APIv3 transfer event.

        Raises:
            TypeError: If *resource* is not what the APIv3 dialect verified.

            MissingField, BadField: If a field it always has is absent or odd.

        Source:
            WeChat Pay APIv3, "merchant transfer, callback" (docs batch-transfer-to-balance).
        """
        owner = _owner(resource, cls)
        batch = "out_batch_no" in resource
        names = ("out_batch_no", "batch_id", "batch_status", "total_amount")
        if not batch:
            names = ("out_bill_no", "transfer_bill_no", "state", "transfer_amount")
        require(resource, names[:3], "a transfer")
        out_bill_no, transfer_bill_no, result = (
            shaped("order_id", text(resource, name), name) for name in names[:3]
        )
        moved = amount(names[3], resource.get(names[3]))
        return cls._make(
            resource,
            {
                **owner,
                "out_bill_no": out_bill_no,
                "out_trade_no": out_bill_no,
                "transfer_bill_no": transfer_bill_no,
                "transfer_amount": moved,
                "openid": text(resource, "openid"),
                "fail_reason": text(resource, "fail_reason") or text(resource, "close_reason"),
                "update_time": moment(text(resource, "update_time")),
                "result": result,
                "key": f"{cls.kind}/{owner['mch_id']}/{transfer_bill_no}/{result}",
                "fingerprint": digest([out_bill_no, str(moved)]),
            },
        )


class PayScore(Notification):
    """
    Something happened to a payscore service or order: ``PAYSCORE.*``. **Look at** :attr:`event_type`.

    An order (USER_CONFIRM, USER_PAID) has ``out_order_no``; an authorisation (USER_OPEN_SERVICE,
    USER_CLOSE_SERVICE) has none.
    """

    __slots__ = ("openid", "order_id", "out_order_no", "service_id", "state", "total_amount")

    kind = "payscore"
    _shown: ClassVar = ("event_type", "service_id", "out_order_no", "total_amount", "state")

    # ``result`` is the event's type.

    fields: VerifiedResource
    service_id: str
    out_order_no: str
    order_id: str
    #: The order's, or the authorisation's ``user_service_status``.
    state: str
    #: In fen; None where absent.
    total_amount: int | None
    openid: str

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> PayScore:
        """
        Read an APIv3 payscore event.

        Raises:
            TypeError: If *resource* is not what the APIv3 dialect verified.

            BadField: If an amount or id is odd.

        Source:
            WeChat Pay APIv3, "payscore notifications" (payscore chapters 6_1_18 to 6_1_24).
        """
        owner = _owner(resource, cls)
        out_order_no = shaped("out_order_no", text(resource, "out_order_no"))
        order_id = shaped("order_id", text(resource, "order_id"))
        told = resource.get("total_amount")
        # What has cost nothing yet says 0.
        total = None if type(told) is int and told == 0 else amount("total_amount", told)
        what = out_order_no or digest([_said(resource)]).hex()
        return cls._make(
            resource,
            {
                **owner,
                "out_order_no": out_order_no,
                "out_trade_no": out_order_no,
                "order_id": order_id,
                "service_id": text(resource, "service_id"),
                "state": text(resource, "state") or text(resource, "user_service_status"),
                "total_amount": total,
                "openid": text(resource, "openid") or text(resource, "sub_openid"),
                "result": resource.event_type,
                "key": f"{cls.kind}/{owner['mch_id']}/{what}/{resource.event_type}",
                "fingerprint": digest([owner["sub_mch_id"], order_id, str(total)]),
            },
        )


class Event(Notification):
    """
    Any other APIv3 event, with all it says in :attr:`fields`.

    Register a handler for its type, such as ``"COMPLAINT.CREATE"``, or for
    ``"event"``, which takes every event that has no handler of its own. What is
    told is one event if type, content and ``create_time`` are the same: a resend is
    taken to repeat when the event was made, which no page of WeChat Pay's says. Which
    merchant, app or sub-merchant it concerns is in ``fields``, and not compared with
    the configuration: all that is known is whose key opened it.

    Source: WeChat Pay APIv3, the page of each event.
    """

    __slots__ = ("kind", "notification_id", "summary")

    _shown: ClassVar = ("event_type", "notification_id")

    # ``result`` is the event's type.

    fields: VerifiedResource
    #: The event's type.
    kind: str
    #: The envelope's ``id``. Not the key: a resend need not have the same.
    notification_id: str
    summary: str

    @classmethod
    def from_resource(cls, resource: VerifiedResource) -> Event:
        """
        Read an APIv3 event of any type.

        Raises:
            TypeError: If *resource* is not what the APIv3 dialect verified.

            BadField: If its type has characters WeChat Pay does not use.
        """
        check_source(resource, VerifiedResource, "Event.from_resource()")
        if not resource.event_type:
            raise BadField("event_type is empty: this is the answer to a query, not an event")
        # Of some events all that is told is that it happened, as it may again: of a complaint that its state
        # changed. When it did sets them apart. The envelope's id does not: see notification_id.
        content = digest([_said(resource), resource.create_time]).hex()
        return cls._make(
            resource,
            {
                "dialect": "APIv3",
                "event_type": shaped("event_type", resource.event_type),
                "mch_id": resource.mch_id,
                "kind": resource.event_type,
                "notification_id": resource.notification_id,
                "summary": resource.summary,
                "out_trade_no": _order_no(resource),
                "result": resource.event_type,
                "key": f"{resource.event_type}/{resource.mch_id}/{content}",
                "fingerprint": digest([content]),
            },
        )


def _order_no(resource: Mapping[str, Any]) -> str:
    # For whoever searches by order; decides nothing, so an odd one is left out.
    names = ("out_trade_no", "out_order_no", "out_request_no")
    return next((value for name in names if isinstance(value := resource.get(name), str)), "")[:64]


def _said(resource: VerifiedResource) -> str:
    # What was said, and not the envelope: a resend may be one of another id, and
    # its fields may come in another order.
    import json

    return json.dumps(dict(resource), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
