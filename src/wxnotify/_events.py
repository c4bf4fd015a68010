"""
What became of a delivery: its outcome, and the one event that reports it.

An event is for the person who asks at night whether a payment came. It carries
ids, codes and durations; never a key, a signature, an openid or a body. A
refused body is named by its length and SHA-256, to be found again in a proxy's
log.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from logging import Logger


class Outcome(Enum):
    """What became of a delivery. The first three are told SUCCESS, all others FAIL."""

    #: The handler ran and its completion is recorded.
    HANDLED = "handled"
    #: It is durably in the inbox, to be handled by the merchant's own engine.
    QUEUED = "queued"
    #: It was handled before.
    DUPLICATE = "duplicate"
    #: Another delivery of it was still being handled when the time to wait ran out.
    IN_PROGRESS = "in_progress"
    #: The handler outlived its lease and another delivery has taken over.
    LOST = "lost"
    #: The same payment was told before with another amount, order or sub-merchant.
    CONFLICT = "conflict"
    #: It is malformed, forged, or not what the order says.
    REJECTED = "rejected"
    #: WeChat Pay tried, with a signature that is wrong on purpose, whether signatures are checked.
    PROBE = "probe"
    #: The handler raised, or its transaction did not commit.
    HANDLER_FAILED = "handler_failed"
    #: The idempotency store did not answer.
    STORE_DOWN = "store_down"

    @property
    def success(self) -> bool:
        """Whether WeChat Pay is told SUCCESS."""
        return self in (Outcome.HANDLED, Outcome.QUEUED, Outcome.DUPLICATE)

    @property
    def status(self) -> int:
        """The HTTP status of the reply; a REJECTED delivery has its error's instead."""
        return _STATUS[self]


_STATUS: Final = {
    Outcome.HANDLED: 200,
    Outcome.QUEUED: 200,
    Outcome.DUPLICATE: 200,
    Outcome.IN_PROGRESS: 503,
    Outcome.LOST: 503,
    Outcome.CONFLICT: 500,
    Outcome.REJECTED: 400,
    Outcome.PROBE: 401,
    Outcome.HANDLER_FAILED: 500,
    Outcome.STORE_DOWN: 503,
}

# Authentic messages that do not fit, and our own failures: somebody must look.
_ALERTS: Final = frozenset(
    {
        "ambiguous_signature",
        "amount_mismatch",
        "merchant_mismatch",
        "transaction_mismatch",
        "expectation_failed",
        "no_handler",
        "conflict",
        "handler_failed",
        "not_committed",
        "store_down",
    }
)


class Event(NamedTuple):
    """
    One delivery, reported once, after its reply is known; of a combined order, each order in it.
    """

    outcome: Outcome
    #: The outcome's name, or the error's ``code`` where it was rejected.
    code: str
    #: HTTP status of the reply.
    status: int
    #: What was wrong, in words; names no secret. Empty where nothing was.
    detail: str = ""
    #: ``payment``, ``refund``, ...; empty where it could not be read as any. The ids are there as soon as
    #: they are proven.
    kind: str = ""
    mch_id: str = ""
    out_trade_no: str = ""
    transaction_id: str = ""
    #: None for what is no payment, and where it could not be read as one.
    paid: bool | None = None
    #: Position of the key that matched among the merchant's keys of this dialect; None until one has.
    key_index: int | None = None
    #: How often this was claimed, this time included; 0 where it was not.
    attempts: int = 0
    #: From the first byte of work to the reply.
    seconds: float = 0.0
    #: In the handler and its transaction; None where it was not called.
    handler_seconds: float | None = None
    #: True if the reply took longer than WeChat Pay waits: it will send again.
    over_budget: bool = False
    #: Length of a refused body in bytes; None where it was accepted.
    body_bytes: int | None = None
    #: SHA-256 of a refused body, hex.
    body_sha256: str = ""
    #: True for the work on what was queued: it is no delivery, and nobody is told.
    work: bool = False
    #: The natural key, to be found in the store by if it was claimed.
    key: str = ""
    #: ``APIv2`` or ``APIv3``; of a refused body what it looks like.
    dialect: str = ""
    #: APIv3's ``event_type``.
    event_type: str = ""
    #: APIv3's ``id`` of the notification.
    notification_id: str = ""
    #: Of the platform key that matched; APIv3.
    serial: str = ""
    #: True if the key that matched is the sandbox's.
    sandbox: bool = False
    #: Position of the APIv3 key that decrypted a rent or hotel event, which two keys are needed for.
    apiv3_key_index: int | None = None


def log(logger: Logger, event: Event, error: BaseException | None) -> None:
    """
    Write *event* as one line.

    Args:
        logger: Where to.

        event: It travels whole as the record's ``wxnotify`` attribute.

        error: What the merchant's own code raised, for its traceback.
    """
    import logging

    if event.code in _ALERTS:
        level = logging.ERROR
    elif event.code == "method_not_allowed":
        level = logging.DEBUG
    elif (
        event.outcome in (Outcome.REJECTED, Outcome.LOST)
        or event.code == "not_handed_over"
        or (event.over_budget and not event.work)
    ):
        level = logging.WARNING
    else:
        level = logging.INFO
    shown = {
        name: value
        for name, value in event._asdict().items()
        if name != "outcome" and value is not None and value != ""
    }
    for name in ("work", "attempts", "over_budget", "sandbox"):
        if not shown[name]:
            del shown[name]
    shown["seconds"] = f"{event.seconds:.3f}"
    if event.handler_seconds is not None:
        shown["handler_seconds"] = f"{event.handler_seconds:.3f}"
    line = " ".join(f"{name}={_on_one_line(value)}" for name, value in shown.items())
    logger.log(level, "%s %s", event.outcome.value, line, extra={"wxnotify": event}, exc_info=error)


def _on_one_line(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]
