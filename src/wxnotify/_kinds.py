"""
Which kind of notification is this: by what it must have, once it is authentic.

The address it came to, its root element, a type somebody may have set: nothing
unauthenticated decides. And every kind asks for the fields that it alone has,
because the merchant's own requests and the payer's parameters are signed with
the same APIv2 key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ._payments import Payment
from ._resources import VerifiedResource
from ._signature import Verified

if TYPE_CHECKING:
    from ._keys import Key
    from ._notifications import Notification, Source

#: What a handler can be registered by, beside the type of an APIv3 event.
KINDS: Final = (
    "payment",
    "refund",
    "contract",
    "plate",
    "scan",
    "pay_after",
    "profit_sharing",
    "transfer",
    "payscore",
    "event",
)
_PAYMENT_EVENTS: Final = (
    "TRANSACTION.SUCCESS",
    "TRANSACTION.FAIL",
    "TRANSACTION.PAY_BACK",
    "TRANSACTION.INDUSTRY_SUCCESS",
    "TRANSACTION.INDUSTRY_FAILED",
)
_REFUND_EVENTS: Final = ("REFUND.SUCCESS", "REFUND.ABNORMAL", "REFUND.CLOSED")
_CONTRACT_EVENTS: Final = ("ENTRUST.SIGN", "ENTRUST.TERMINATE")
_TRANSFER_EVENTS: Final = (
    "MCHTRANSFER.BATCH.FINISHED",
    "MCHTRANSFER.BATCH.CLOSED",
    "MCHTRANSFER.BILL.FINISHED",
    "MCHTRANSFER.QQWALLETBILL.FINISHED",
)


def is_event_type(kind: str) -> bool:
    """Tell whether *kind* is spelled as the type of an APIv3 event is."""
    return kind.isascii() and kind.replace(".", "").replace("_", "").isalnum() and kind.upper() == kind


def read_source(source: Source, apiv3_keys: Iterable[Key] = ()) -> tuple[Notification, ...]:
    """
    Read what was proven, whichever way; several payments for a combined order, else one notification.

    Args:
        source: What :func:`verify` or :func:`decrypt` returned, or the APIv3 dialect.

        apiv3_keys: As for :func:`read_verified`.

    Raises:
        NotifyError: Whatever the kind's own reading raises.
    """
    if isinstance(source, Verified):
        return read_verified(source, apiv3_keys)
    if isinstance(source, VerifiedResource):
        return read_resource(source)
    from ._refunds import Refund

    return (Refund.from_decrypted(source),)


def read_verified(verified: Verified, apiv3_keys: Iterable[Key] = ()) -> tuple[Notification, ...]:
    """
    Read what APIv2 fields tell; several payments for a combined order, else one notification.

    Args:
        verified: What :func:`verify` returned.

        apiv3_keys: What rent and hotel events are encrypted with.

    Raises:
        NotifyError: Whatever the kind's own reading raises.
    """
    if "combine_out_trade_no" in verified:
        from ._combined import combined_from_verified

        return combined_from_verified(verified)
    if "event_ciphertext" in verified:
        from ._pay_after import PayAfter

        return (PayAfter.from_verified(verified, apiv3_keys),)
    if "change_type" in verified:
        from ._contracts import Contract

        return (Contract.from_verified(verified),)
    if "vehicle_event_type" in verified:
        from ._contracts import PlateState

        return (PlateState.from_verified(verified),)
    if "product_id" in verified and "result_code" not in verified:
        from ._scans import Scan

        return (Scan.from_verified(verified),)
    return (Payment.from_verified(verified),)


def kind_of_event(event_type: str, original_type: str = "") -> str:
    """
    Give the kind of an APIv3 event: one of :data:`KINDS`, or its own type where no class reads it.

    Args:
        event_type: The envelope's.

        original_type: The resource's. A movement of profit sharing may come as
            TRANSACTION.SUCCESS, and is told apart by it.
    """
    if event_type.startswith("PROFITSHARING") or original_type == "profitsharing":
        return "profit_sharing"
    if event_type in _PAYMENT_EVENTS:
        return "payment"
    if event_type in _REFUND_EVENTS:
        return "refund"
    if event_type in _CONTRACT_EVENTS:
        return "contract"
    if event_type in _TRANSFER_EVENTS:
        return "transfer"
    return "payscore" if event_type.startswith("PAYSCORE.") else event_type


def read_resource(resource: VerifiedResource) -> tuple[Notification, ...]:
    """
    Read what an APIv3 event tells; several payments for a combined order, else one notification.

    Args:
        resource: What the APIv3 dialect verified and decrypted.

    Raises:
        NotifyError: Whatever the kind's own reading raises.
    """
    kind = kind_of_event(resource.event_type, resource.original_type)
    if kind == "payment":
        return read_answer(resource)
    if kind == "refund":
        from ._refunds import Refund

        return (Refund.from_resource(resource),)
    if kind == "contract":
        from ._contracts import Contract

        return (Contract.from_resource(resource),)
    from ._events_v3 import Event, PayScore, ProfitSharing, Transfer

    others: dict[str, type[ProfitSharing | Transfer | PayScore]] = {
        "profit_sharing": ProfitSharing,
        "transfer": Transfer,
        "payscore": PayScore,
    }
    return (others.get(kind, Event).from_resource(resource),)


def read_answer(resource: VerifiedResource) -> tuple[Payment, ...]:
    """
    Read a transaction: an event's, or the answer to an order query; several payments if it is combined.

    Raises:
        NotifyError: As for :func:`read_resource`.
    """
    if "combine_out_trade_no" in resource:
        from ._combined import combined_from_resource

        return combined_from_resource(resource)
    return (Payment.from_resource(resource),)
