"""
Work on what was queued, and sweep up what no engine was told of.

Here is what :meth:`Receiver.work` and :meth:`Receiver.sweep` do; how a
notification comes into the inbox is the flow's and its drivers' business.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ._drivers import Setup, finished, in_thread, is_async, run, run_async
from ._events import Event, Outcome
from ._flow import Settled, carry_out
from .errors import ConfigurationError, NotifyError, NotSettled, UnknownWork, shown
from .idempotency import Record, State
from .inbox import AGAIN_AFTER_SECONDS, Inbox, kind_of, unpack, work_key

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ._notifications import Notification
    from ._report import Reporter

_VERBS: Final = ("bind", "transaction", "fetch", "due", "handed", "remove")
#: How often a sweep is refused before it ends; each time may have taken as long as the engine's client waits.
_MOST_REFUSED: Final = 10
_DONE_BEFORE: Final = Settled(Outcome.DUPLICATE, Outcome.DUPLICATE.value)


def check_inbox(store: Any, inbox: Inbox) -> None:
    """Raise ``ConfigurationError`` if notifications cannot be queued in *store* or handed over by *inbox*."""
    if not isinstance(inbox, Inbox):
        raise ConfigurationError(f"inbox is an Inbox(dispatch), not {type(inbox).__name__}")
    lacking = [verb for verb in _VERBS if not callable(getattr(store, verb, None))]
    if lacking:
        raise ConfigurationError(
            f"{type(store).__name__} has no inbox: it lacks {', '.join(lacking)}; a SQL store has one"
        )
    if not callable(inbox.dispatch) or not (inbox.within is None or callable(inbox.within)):
        raise ConfigurationError("dispatch and within are functions")
    if inbox.within is not None and is_async(inbox.within) and not is_async(store.claim):
        raise ConfigurationError(f"within is a plain function, as {type(store).__name__} is a blocking store")
    again = inbox.again_after
    if isinstance(again, bool) or not isinstance(again, (int, float)) or not 0 < again < 86_400:
        raise ConfigurationError("again_after is a number of seconds, more than 0 and less than a day")


class Bench:
    """
    Where queued notifications are worked.

    Args:
        setup: The receiver's.

        reporter: The receiver's.

        clock: The receiver's.

        sleep: The receiver's.

        threads: Gives the threads that blocking code runs in.
    """

    def __init__(
        self,
        setup: Setup,
        reporter: Reporter,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        threads: Callable[[], Executor],
    ) -> None:
        self._setup = setup._replace(working=True)
        self._reporter = reporter
        self._clock = clock
        self._sleep = sleep
        self._threads = threads

    def work(self, ref: str) -> Event:
        """See :meth:`wxnotify.Receiver.work`."""
        started, store = self._clock(), self._setup.store
        notification = _queued(ref, store.fetch(ref))
        if notification is None:
            return self._worked_before(ref, store.find(work_key(ref)), started)
        settled = run(self._flow(notification, ref, started), self._setup, self._sleep)
        event = self._worked(ref, notification, settled, started)
        with suppress(NotifyError):  # it will be swept up, and found done
            store.remove(ref)
        return event

    async def work_async(self, ref: str) -> Event:
        """See :meth:`wxnotify.Receiver.work_async`."""
        started = self._clock()
        notification = _queued(ref, await self._call("fetch", ref))
        if notification is None:
            return self._worked_before(ref, await self._call("find", work_key(ref)), started)
        settled = await run_async(self._flow(notification, ref, started), self._setup, self._threads())
        event = self._worked(ref, notification, settled, started)
        with suppress(NotifyError):
            await self._call("remove", ref)
        return event

    def sweep(self, limit: int) -> int:
        """See :meth:`wxnotify.Receiver.sweep`."""
        store, swept = self._setup.store, _Swept()
        for ref, hand_overs in store.due(limit):
            try:
                inbox = self._inbox(ref)
                finished(inbox.dispatch(ref))
            except Exception as error:
                store.handed(ref, again_in=swept.refused(error))
            else:
                store.handed(ref, again_in=swept.handed(inbox, hand_overs))
            if swept.enough:
                break
        return swept.count()

    async def sweep_async(self, limit: int) -> int:
        """See :meth:`wxnotify.Receiver.sweep_async`."""
        swept = _Swept()
        for ref, hand_overs in await self._call("due", limit):
            try:
                inbox = self._inbox(ref)
                finished(await self._either(inbox.dispatch, ref))
            except Exception as error:
                await self._call("handed", ref, again_in=swept.refused(error))
            else:
                await self._call("handed", ref, again_in=swept.handed(inbox, hand_overs))
            if swept.enough:
                break
        return swept.count()

    def _flow(self, notification: Notification, ref: str, started: float) -> Any:
        if self._setup.handler(notification.kind) is None:
            raise ConfigurationError(
                f"ref {shown(ref)}: no handler is registered for {notification.kind!r} in this process; "
                "import the module that does"
            )
        # Whoever is at it already needs no second to wait for it.
        return carry_out(notification, work_key(ref), now=self._clock, deadline=started)

    def _worked(self, ref: str, notification: Notification, settled: Settled, started: float) -> Event:
        event = self._reporter.settled(notification, settled, started, work=True)
        if not event.outcome.success:
            raise NotSettled(f"ref {shown(ref)}: {event.code} {event.detail}".rstrip()) from settled.error
        return event

    def _worked_before(self, ref: str, record: Record | None, started: float) -> Event:
        if record is None or record.state is not State.DONE:
            raise UnknownWork(f"ref {shown(ref)}: there is no such notification in the inbox")
        return self._reporter.settled(None, _DONE_BEFORE, started, work=True)

    def _inbox(self, ref: str) -> Inbox:
        handler = self._setup.handler(kind_of(ref))
        if handler is None or handler.inbox is None:
            raise ConfigurationError(
                f"ref {shown(ref)} is in the inbox, but no handler with an inbox is registered for it"
            )
        return handler.inbox

    async def _call(self, verb: str, *arguments: Any, **named: Any) -> Any:
        return await self._either(partial(getattr(self._setup.store, verb), **named), *arguments)

    async def _either(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if is_async(function):
            return await function(*arguments)
        return await in_thread(partial(function, *arguments), self._threads(), self._setup.store)


class _Swept:
    """
    What came of a sweep.

    What could not be handed over is put off and not left where it is: the longest due
    come first, so it would keep all others from the engine, in every sweep.
    """

    def __init__(self) -> None:
        self._handed = 0
        self._errors: list[Exception] = []

    def handed(self, inbox: Inbox, hand_overs: int) -> float:
        """Count one that was handed over; give the seconds until it is due again."""
        self._handed += 1
        return inbox.again_in(hand_overs + 1)

    def refused(self, error: Exception) -> float:
        """Count one that was not; give the seconds until it is due again."""
        self._errors.append(error)
        return AGAIN_AFTER_SECONDS

    @property
    def enough(self) -> bool:
        """Whether to leave the others to the next sweep: the engine is down, as it seems."""
        return len(self._errors) == _MOST_REFUSED

    def count(self) -> int:
        """Give how many were handed over, or raise what was raised first."""
        if self._errors:
            raise self._errors[0]
        return self._handed


def _queued(ref: str, stored: bytes | None) -> Notification | None:
    return None if stored is None else unpack(ref, stored)
