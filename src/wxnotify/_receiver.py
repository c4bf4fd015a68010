"""
The whole road: bytes in, one handler call, reply out.

The order of checks is the order of trust. Nothing after a failed check is done,
looked up or logged: bytes, fields, signature, merchant, order, amount, claim,
handler. What each refusal is told is its own ``status`` and ``code``
(``errors.py``), what each outcome is told is in ``_events.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ._authentication import Authenticator, Received
from ._checks import Expected, check_amount, check_payment, check_transaction
from ._drivers import Handler, Setup, contained, in_thread, is_async, run, run_async, run_in_threads
from ._events import Event
from ._flow import Flow, settle
from ._headers import Headers, has_signature_headers
from ._kinds import KINDS, is_event_type, kind_of_event
from ._merchants import Merchant, Ring
from ._payments import Payment
from ._reply import Reply, build_reply, fail_reply
from ._report import REPLY_SECONDS, Reporter
from ._scans import Scan, reply_from_result
from ._wire import MAX_BODY_BYTES
from .errors import ConfigurationError, ExpectationFailed, NoHandler, NotifyError, UnknownOrder
from .idempotency import LEASE_SECONDS, RETAIN_SECONDS, check_lease, check_retain

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ._drivers import Expectation, Transaction
    from ._flow import Settled
    from ._notifications import Notification
    from ._reply import ReplyDialect
    from ._work import Bench
    from .idempotency import AsyncStore, Store
    from .inbox import Inbox

_Function = TypeVar("_Function", bound=Callable[..., object])
_Result = TypeVar("_Result")

#: Seconds to wait for another delivery of the same payment; leaves time to answer.
WAIT_SECONDS: Final = 3.5
_VERBS: Final = ("claim", "complete", "release", "extend", "purge", "find", "records")


def WAIVE_EXPECTATION(payment: Payment) -> Expected | None:
    """
    Accept whatever amount was paid, for whatever order.

    Pass it as *expect* only where something downstream compares the amount with
    the order. It is never called: the receiver knows it by name.
    """
    raise AssertionError("the receiver knows a waived expectation by name")


class Receiver:
    """
    Settle each notification exactly as often as your store can promise: once.

    One address takes both dialects, and each is answered in its own.

    Args:
        merchants: The merchant whose notifications come here, or several.

        store: Where claims are kept. ``docs/stores.md`` says what each promises.

        expect: Given an authentic payment, what its order expects, or None if
            there is no such order. May be a coroutine function. Pass
            :data:`WAIVE_EXPECTATION` to do without.

        on_event: Called with each :class:`Event`. What it raises is logged and
            changes nothing.

        lease: Seconds a delivery may hold a payment before another takes over.
            Longer than your slowest handler.

        retain: Seconds a settled payment is remembered, at least 48 hours; if left
            out 30 days, or what the store names as its ``retain_seconds``.

        wait: Seconds a delivery waits while another one of the same payment is
            being handled. 5 s less the time your own answer needs.

        threads: How many worker threads :meth:`receive_async` runs blocking code in.

        max_bytes: Refuse a longer body; the adapters do not read it to its end.

        allow_sandbox: Whether keys of the sandbox, ``Key(..., sandbox=True)``, may
            match. In production they must not.

        clock: Seconds, monotonic; what durations are measured with.

        wall_clock: Seconds since 1970; APIv3's timestamps may be 5 minutes away from it.

        sleep: What waits, in seconds, in :meth:`receive`; an event loop has its own.

    Raises:
        ConfigurationError: If a part is missing or cannot work; *expect* is
            never optional by accident.

    Example:
        >>> from wxnotify import Expected, Merchant, Receiver
        >>> from wxnotify.stores.memory import MemoryStore
        >>> from wxnotify.testing import APPID, KEY, MCH_ID, notification
        >>> receiver = Receiver(
        ...     Merchant(MCH_ID, APPID, KEY), MemoryStore(), expect=lambda payment: Expected(100)
        ... )
        >>> @receiver.on("payment")
        ... def ship(payment):
        ...     print("ship", payment.out_trade_no, payment.paid)
        >>> receiver.receive(notification()).status
        ship A-1001 True
        200
        >>> receiver.receive(notification()).status
        200
    """

    def __init__(
        self,
        merchants: Merchant | Iterable[Merchant],
        store: Store | AsyncStore,
        *,
        expect: Expectation | None = None,
        on_event: Callable[[Event], object] | None = None,
        lease: float = LEASE_SECONDS,
        retain: float | None = None,
        wait: float = WAIT_SECONDS,
        threads: int = 32,
        max_bytes: int = MAX_BODY_BYTES,
        allow_sandbox: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if expect is None:
            raise ConfigurationError(
                "expect is missing: a signature does not say what the order costs. Give a function "
                "from a payment to Expected(total_fee) or None, or WAIVE_EXPECTATION"
            )
        if not callable(expect):
            raise ConfigurationError("expect is a function from a payment to Expected or None")
        if on_event is not None and (not callable(on_event) or is_async(on_event)):
            raise ConfigurationError("on_event is a plain function of an event")
        if isinstance(store, type):
            raise ConfigurationError(f"{store.__name__} is a class; give the receiver one of its instances")
        lacking = [verb for verb in _VERBS if not callable(getattr(store, verb, None))]
        if lacking:
            raise ConfigurationError(f"{type(store).__name__} is no store: it has no {', '.join(lacking)}")
        if not 0 <= wait < REPLY_SECONDS:
            raise ConfigurationError("wait is a number of seconds, less than the 5 s WeChat Pay waits")
        if threads < 1:
            raise ConfigurationError("threads is at least 1")
        kept = getattr(store, "retain_seconds", RETAIN_SECONDS) if retain is None else retain
        self._ring = Ring(merchants)
        self._authenticator = Authenticator(self._ring, max_bytes, wall_clock, allow_sandbox)
        self._waived = expect is WAIVE_EXPECTATION
        self._setup = Setup(
            store, _nothing if self._waived else expect, {}, check_lease(lease), check_retain(kept)
        )
        self._async = is_async(store.claim) or is_async(expect)
        self._reporter = Reporter(on_event, clock)
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._running: set[Any] = set()
        self._max_threads = threads
        self._executors: dict[int, Executor] = {}
        #: Bytes; a longer body is refused.
        self.max_bytes = max_bytes

    def on(
        self, kind: str, *, transaction: Transaction | None = None, inbox: Inbox | None = None
    ) -> Callable[[_Function], _Function]:
        """
        Register the handler of a kind of notification.

        It is called as ``handler(notification)``, whichever dialect it came in; what
        it returns is not looked at, and whatever it raises means "not settled, send
        again". **It is also called with payments that failed**: look at
        ``payment.paid``. A scan's alone returns something: the ``prepay_id``.

        Args:
            kind: ``"payment"``, ``"refund"``, ``"contract"``, ``"plate"``, ``"scan"``,
                ``"pay_after"``, ``"profit_sharing"``, ``"transfer"`` or
                ``"payscore"``; the type of another APIv3 event, such as
                ``"COMPLAINT.CREATE"``; or ``"event"``, for all of these that have
                no handler of their own.

            transaction: A function that opens a transaction on the store's own
                database and gives its connection, as a context manager (an
                asynchronous one for an asynchronous store) that commits at its
                end and rolls back at an exception. The handler is then called as
                ``handler(payment, connection)``, and the completion is the
                transaction's last statement, so that the order's change and the
                completion happen both or not at all.

            inbox: How the work is handed to an engine of yours. A delivery is
                then answered once the notification is durably stored, and the
                handler is called by :meth:`work`.

        Returns:
            A decorator that gives the handler back.

        Raises:
            ConfigurationError: If the kind is unknown or has a handler already, the
                store or the handler cannot work in a transaction or with an inbox,
                or two merchants whose refunds are told have one APIv2 key.
        """
        _check_kind(kind, inbox)
        if kind == "refund":
            self._ring.check_refunds()
        store = self._setup.store
        if transaction is not None:
            if not callable(transaction) or _is_open(transaction):
                raise ConfigurationError(
                    "transaction is a function that gives a context manager: store.transaction, uncalled"
                )
            if not hasattr(store, "bind"):
                raise ConfigurationError(
                    f"{type(store).__name__} has no bind(): it cannot complete inside your transaction"
                )
        if inbox is not None:
            from ._work import check_inbox

            check_inbox(store, inbox)

        def register(function: _Function) -> _Function:
            if not callable(function):
                raise ConfigurationError("a handler is a function of a notification")
            if kind in self._setup.handlers:
                raise ConfigurationError(f"{kind!r} has a handler already")
            if transaction is not None and is_async(function) is not is_async(store.claim):
                needed = "a coroutine function" if is_async(store.claim) else "a plain function"
                raise ConfigurationError(
                    f"with transaction= and a {type(store).__name__}, a handler is {needed}: "
                    "the store, the transaction and the handler are all blocking, or none is"
                )
            self._setup.handlers[kind] = Handler(function, transaction, inbox)
            self._async = (
                self._async or is_async(function) or (inbox is not None and is_async(inbox.dispatch))
            )
            return function

        return register

    def receive(self, body: bytes, headers: Headers | None = None, *, started: float | None = None) -> Reply:
        """
        Take one notification and answer it. Never raises for what came in.

        Args:
            body: The raw request body.

            headers: The request's, as a mapping or as pairs, or a WSGI environ: APIv3
                is signed in them. APIv2 needs none.

            started: When the request came, on the receiver's clock; now if left
                out. The 5 s count from here.

        Returns:
            The reply to send, as it is.

        Raises:
            TypeError: If *body* is not ``bytes``, or *headers* are a text: that is a
                mistake in your code.

            ConfigurationError: If the store, the expectation or the handler is
                asynchronous; :meth:`receive_async` is for them.
        """
        self._check_blocking()
        started = self._clock() if started is None else started
        received = self._authenticator.read(body, headers)
        if received.error is not None:
            return self._refuse(received.error, body, started, received)
        return self._told(received, [self._settle(one, started) for one in received.notifications])

    async def receive_async(
        self, body: bytes, headers: Headers | None = None, *, started: float | None = None
    ) -> Reply:
        """
        Take one notification and answer it, on an event loop.

        Coroutine functions are awaited. If store, expectation and handlers are
        all blocking, they run whole in one worker thread. A caller that is
        cancelled, because the client hung up, leaves the work going on: it will
        be settled, and the resend finds it so.

        Args:
            body: As for :meth:`receive`.

            headers: As for :meth:`receive`.

            started: As for :meth:`receive`.

        Returns:
            The reply to send, as it is.

        Raises:
            TypeError: If *body* is not ``bytes``.
        """
        started = self._clock() if started is None else started
        return await self._kept(self._receive_async(body, headers, started))

    def settle(self, payment: Payment) -> Event:
        """
        Settle a payment that an order query told about, by the same road.

        Args:
            payment: What :func:`parse_order_query` returned, of either dialect.

        Returns:
            The event, as it was reported; ``event.outcome.success`` tells
            whether it is settled.

        Raises:
            TypeError: If *payment* is not a Payment.

            ConfigurationError: As for :meth:`receive`.
        """
        check_payment(payment)
        self._check_blocking()
        return self._settle(payment, self._clock())[0]

    async def settle_async(self, payment: Payment) -> Event:
        """Settle as :meth:`settle` does, on an event loop, as :meth:`receive_async` does."""
        check_payment(payment)
        return (await self._kept(self._settle_async(payment, self._clock())))[0]

    def work(self, ref: str) -> Event:
        """
        Do the work on a queued notification: what your engine's task calls.

        Safe to call twice, at once or later: the work has a claim of its own.

        Args:
            ref: What the inbox's ``dispatch`` was called with.

        Returns:
            The event, as it was reported: HANDLED now, or DUPLICATE if it was before.

        Raises:
            NotSettled: If it is not done; let your engine try again. What is still
                in the inbox is also dispatched again by :meth:`sweep`.

            UnknownWork: If there is no such notification.

            StoreError: If the store did not answer.

            ConfigurationError: As for :meth:`receive`.
        """
        self._check_blocking()
        return self._bench().work(ref)

    async def work_async(self, ref: str) -> Event:
        """Do the work as :meth:`work` does, on an event loop, as :meth:`receive_async` does."""
        if self._async:
            return await self._kept(self._bench().work_async(ref))
        work = partial(contained, partial(self.work, ref))
        return await self._kept(in_thread(work, self._threads(), self._setup.store))

    def sweep(self, limit: int = 100) -> int:
        """
        Dispatch again what is still in the inbox: what a crash kept from your engine, or your engine lost.

        Run it every minute, from a schedule of your engine or cron.

        Args:
            limit: How many at most.

        Returns:
            How many.

        Raises:
            StoreError: If the store did not answer. What ``dispatch`` raised first is
                raised at the end. What could not be handed over is put off for a
                minute, and ten times are enough for one sweep.

            ConfigurationError: As for :meth:`receive`.
        """
        self._check_blocking()
        return self._bench().sweep(limit)

    async def sweep_async(self, limit: int = 100) -> int:
        """Dispatch again as :meth:`sweep` does, on an event loop."""
        return await self._bench().sweep_async(limit)

    def refuse(
        self,
        error: NotifyError,
        body: bytes | None = None,
        *,
        started: float,
        headers: Headers | None = None,
    ) -> Reply:
        """
        Answer and report a request that got no further.

        For adapters, which find out before there is a body that it is too long,
        or no POST.

        Args:
            error: Why.

            body: What came, if it was read whole.

            started: When the request came, on the receiver's clock.

            headers: The request's; where they are APIv3's, so is the reply.

        Returns:
            The FAIL reply, with the error's status.
        """
        dialect: ReplyDialect = "APIv3" if has_signature_headers(headers or ()) else "APIv2"
        return self._refuse(error, body, started, Received(dialect))

    def now(self) -> float:
        """Read the receiver's clock, in seconds: what *started* is measured with."""
        return self._clock()

    def _flow(self, notification: Notification, started: float) -> Flow:
        return settle(
            notification,
            self._check_owner,
            self._check_order,
            now=self._clock,
            deadline=started + self._wait,
            queue=self._queues(notification),
        )

    def _queues(self, notification: Notification) -> bool:
        handler = self._setup.handler(notification.kind)
        return handler is not None and handler.inbox is not None

    def _bench(self) -> Bench:
        from ._work import Bench

        return Bench(self._setup, self._reporter, self._clock, self._sleep, self._threads)

    def _check_owner(self, notification: Notification) -> None:
        if self._setup.handler(notification.kind) is None:
            raise NoHandler(f"no handler is registered for {notification.kind!r}")
        self._ring.find(notification.fields.mch_id).check(notification)

    def _check_order(self, payment: Payment, expected: Expected | None) -> None:
        merchant = self._ring.find(payment.fields.mch_id)
        if self._waived:
            merchant.check_order(payment, None)
            return
        if expected is None:
            raise UnknownOrder(f"out_trade_no {payment.out_trade_no!r}: the expectation knows no such order")
        if not isinstance(expected, Expected):
            raise ExpectationFailed(f"the expectation gave {type(expected).__name__}, not Expected or None")
        try:
            merchant.check_order(payment, expected)
            check_transaction(payment, expected.transaction_id)
            if payment.total_fee is None and not payment.paid:
                return  # an order that was never paid has no amount to compare
            check_amount(payment, expected.total_fee, expected.fee_type)
        except (TypeError, ValueError) as error:
            raise ExpectationFailed(f"what the order expects cannot be compared: {error}") from error

    def _settle(self, notification: Notification, started: float) -> tuple[Event, Settled]:
        settled = run(self._flow(notification, started), self._setup, self._sleep)
        return self._reporter.settled(notification, settled, started), settled

    async def _receive_async(self, body: bytes, headers: Headers | None, started: float) -> Reply:
        received = self._authenticator.read(body, headers)
        if received.error is not None:
            return self._refuse(received.error, body, started, received)
        return self._told(
            received, [await self._settle_async(one, started) for one in received.notifications]
        )

    async def _settle_async(self, notification: Notification, started: float) -> tuple[Event, Settled]:
        flow, threads = self._flow(notification, started), self._threads()
        if self._async:
            settled = await run_async(flow, self._setup, threads)
            return self._reporter.settled(notification, settled, started), settled
        settled = await run_in_threads(flow, self._setup, threads)
        report = partial(self._reporter.settled, notification, settled, started)
        return await in_thread(report, threads, self._setup.store), settled

    def _refuse(self, error: NotifyError, body: bytes | None, started: float, received: Received) -> Reply:
        self._reporter.refused(error, body, started, received)
        return fail_reply(error, dialect=received.dialect)

    def _told(self, received: Received, settled: list[tuple[Event, Settled]]) -> Reply:
        # One that is not settled brings all of them again; the others are duplicates then.
        for event, _ in settled:
            if not event.outcome.success:
                return build_reply("FAIL", event.code, status=event.status, dialect=received.dialect)
        (notification, *_), merchant = received.notifications, received.merchant
        if isinstance(notification, Scan) and merchant is not None:
            return reply_from_result(notification, merchant.keys, settled[0][1].result)
        return build_reply(dialect=received.dialect)

    async def _kept(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        # Work that has begun goes on when the caller is cancelled; the set keeps
        # the loop from forgetting it.
        import asyncio

        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def _threads(self) -> Executor:
        # Not the event loop's own, which on a small machine has six threads. By
        # process, because threads do not survive a fork.
        pid = os.getpid()
        if pid not in self._executors:
            from concurrent.futures import ThreadPoolExecutor

            self._executors.setdefault(pid, ThreadPoolExecutor(self._max_threads, "wxnotify"))
        return self._executors[pid]

    def _check_blocking(self) -> None:
        if self._async:
            raise ConfigurationError(
                "the store, the expectation, the handler or the inbox's dispatch is asynchronous: "
                "await receive_async(), settle_async(), work_async() or sweep_async()"
            )


def _is_open(transaction: object) -> bool:
    # What contextlib makes is callable too, as a decorator.
    return hasattr(transaction, "__enter__") or hasattr(transaction, "__aenter__")


def _nothing(payment: Payment) -> None:
    return None


def _check_kind(kind: str, inbox: Inbox | None) -> None:
    if kind not in KINDS:
        if not isinstance(kind, str) or not is_event_type(kind):
            raise ConfigurationError(
                f"there is no kind {kind!r}; there is {', '.join(map(repr, KINDS))}, "
                "and the type of each of APIv3's other events"
            )
        if kind_of_event(kind) != kind:
            raise ConfigurationError(
                f"{kind!r} arrives as the kind {kind_of_event(kind)!r}: register for that"
            )
    if kind == "scan" and inbox is not None:
        raise ConfigurationError("a scan is answered with what its handler returns, so it cannot be queued")
