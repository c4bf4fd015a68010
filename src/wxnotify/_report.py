"""
Report what became of each delivery: one event, logged and given to the merchant's function.

Whatever goes wrong in a report, what was settled is settled and its reply stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ._events import Event, Outcome, log
from ._fields import shaped, text
from ._reply import status_of
from .errors import NotifyError, SignatureProbe

if TYPE_CHECKING:
    from ._authentication import Received
    from ._flow import Settled
    from ._notifications import Notification, Source

#: Seconds WeChat Pay waits for the reply.
REPLY_SECONDS: Final = 5.0


class Reporter:
    """
    Make events, and emit them.

    Args:
        on_event: The merchant's function, if there is one.

        clock: Seconds, monotonic.
    """

    def __init__(self, on_event: Callable[[Event], object] | None, clock: Callable[[], float]) -> None:
        import logging

        self._on_event = on_event
        self._clock = clock
        self._logger = logging.getLogger("wxnotify")

    def refused(self, error: NotifyError, body: bytes | None, started: float, received: Received) -> None:
        """
        Report a request that got no further than *error*.

        Args:
            error: Why.

            body: What came, if it was read whole.

            started: When it came, on the clock.

            received: How far it came; what of it is proven is reported.
        """
        seconds = self._clock() - started
        event = Event(
            Outcome.PROBE if isinstance(error, SignatureProbe) else Outcome.REJECTED,
            error.code,
            status_of(error),
            _said(error),
            seconds=seconds,
            over_budget=seconds > REPLY_SECONDS,
            body_bytes=None if body is None else len(body),
            body_sha256="" if body is None else hashlib.sha256(body).hexdigest(),
            dialect="APIv3" if received.dialect == "APIv3" else "APIv2",
        )
        if received.notifications:
            event = event._replace(**_told(received.notifications[0]))
        elif received.source is not None:
            event = event._replace(**_ids(received.source), **_proof(received.source))
        self._emit(event, None)

    def settled(
        self, notification: Notification | None, settled: Settled, started: float, *, work: bool = False
    ) -> Event:
        """
        Report what came of a notification.

        Args:
            notification: None for work that was done before, and is in the inbox no more.

            settled: What came of it.

            started: When it began, on the clock.

            work: Whether it is work on what was queued. Its caller is an engine
                that is given what was raised; nobody else is, and its frames are
                let go.

        Returns:
            The event.
        """
        error = settled.error
        seconds = self._clock() - started
        event = Event(
            settled.outcome,
            settled.code,
            status_of(error) if settled.outcome is Outcome.REJECTED else settled.outcome.status,
            _said(error),
            attempts=settled.attempts,
            seconds=seconds,
            handler_seconds=settled.handler_seconds,
            over_budget=seconds > REPLY_SECONDS and not work,
            work=work,
        )
        if notification is not None:
            event = event._replace(**_told(notification))
        # A refusal explains itself; what the merchant's own code raised needs its traceback.
        explained = isinstance(error, NotifyError) and settled.outcome is not Outcome.HANDLER_FAILED
        self._emit(event, error.__cause__ if error is not None and explained else error)
        if not work:
            _forget_frames(error)
        return event

    def _emit(self, event: Event, error: BaseException | None) -> None:
        # Whatever goes wrong in a report, the payment is settled and its reply stands.
        with suppress(Exception):
            log(self._logger, event, error)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                with suppress(Exception):
                    self._logger.exception("on_event raised; the reply is not affected")


def _told(notification: Notification) -> dict[str, Any]:
    return {
        **_proof(notification.fields),
        "kind": notification.kind,
        "mch_id": notification.mch_id,
        "out_trade_no": notification.out_trade_no,
        "transaction_id": notification.transaction_id,
        "paid": getattr(notification, "paid", None),
        "apiv3_key_index": getattr(notification, "apiv3_key_index", None),
        "key": notification.key,
        "dialect": notification.dialect,
        "event_type": notification.event_type,
    }


def _proof(source: Source) -> dict[str, Any]:
    return {
        "key_index": source.key_index,
        "sandbox": source.sandbox,
        "notification_id": getattr(source, "notification_id", ""),
        "serial": getattr(source, "serial", ""),
    }


def _ids(source: Source) -> dict[str, Any]:
    # Of what could not be read as any kind.
    ids = {"mch_id": source.mch_id}
    for name in ("out_trade_no", "transaction_id"):
        with suppress(NotifyError):
            ids[name] = shaped(name, text(source, name))
    with suppress(NotifyError):
        ids["event_type"] = shaped("event_type", getattr(source, "event_type", ""))
    return ids


def _said(error: BaseException | None) -> str:
    if not isinstance(error, NotifyError):
        return "" if error is None else type(error).__name__
    try:
        return str(error)
    except Exception:  # of a class of the merchant's own
        return error.code


def _forget_frames(error: BaseException | None) -> None:
    # A traceback holds the frames of the flow, and they hold the exception: a
    # cycle, in which a handler's connection would stay open until it is collected.
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
