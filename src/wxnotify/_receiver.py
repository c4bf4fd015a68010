"""
The whole road: bytes in, one handler call, reply out.

The order of checks is the order of trust. Nothing after a failed check is done,
looked up or logged: bytes, fields, signature, merchant, order, amount, claim,
handler. What each refusal is told is its own ``status`` and ``code``
(``errors.py``), what each outcome is told is in ``_events.py``.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ._checks import Expected, check_amount, check_payment, check_transaction
from ._drivers import Handler, Setup, in_thread, is_async, run, run_async, run_in_threads
from ._events import Event, Outcome, log
from ._flow import Flow, Settled, settle
from ._merchants import Merchant, Ring
from ._notifications import Payment
from ._reply import Reply, build_reply, fail_reply, status_of
from ._signature import check_signed, verify
from ._wire import MAX_BODY_BYTES, parse
from .errors import ConfigurationError, ExpectationFailed, NoHandler, NotifyError, UnknownOrder
from .idempotency import (
    LEASE_SECONDS,
    RETAIN_SECONDS,
    check_lease,
    check_retain,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ._drivers import Expectation, Transaction
    from .idempotency import AsyncStore, Store

_Function = TypeVar("_Function", bound=Callable[..., object])
_Result = TypeVar("_Result")

#: Seconds WeChat Pay waits for the reply.
REPLY_SECONDS: Final = 5.0
#: Seconds to wait for another delivery of the same payment; leaves time to answer.
WAIT_SECONDS: Final = 3.5
_VERBS: Final = ("claim", "complete", "release", "extend", "purge", "find")
_KINDS: Final = (Payment.kind,)


def WAIVE_EXPECTATION(payment: Payment) -> Expected | None:
    """
    Accept whatever amount was paid, for whatever order.

    Pass it as *expect* only where something downstream compares the amount with
    the order. It is never called: the receiver knows it by name.
    """
    raise AssertionError("the receiver knows a waived expectation by name")


class Receiver:
    """
    Settle each payment exactly as often as your store can promise: once.

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

        retain: Seconds a settled payment is remembered, at least 48 hours.

        wait: Seconds a delivery waits while another one of the same payment is
            being handled. 5 s less the time your own answer needs.

        threads: How many worker threads :meth:`receive_async` runs blocking code in.

        max_bytes: Refuse a longer body; the adapters do not read it to its end.

        clock: Seconds, monotonic; what durations are measured with.

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
        retain: float = RETAIN_SECONDS,
        wait: float = WAIT_SECONDS,
        threads: int = 32,
        max_bytes: int = MAX_BODY_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        import logging

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
        self._ring = Ring(merchants)
        self._waived = expect is WAIVE_EXPECTATION
        self._setup = Setup(
            store, _nothing if self._waived else expect, {}, check_lease(lease), check_retain(retain)
        )
        self._async = is_async(store.claim) or is_async(expect)
        self._on_event = on_event
        self._wait = wait
        self._clock = clock
        self._sleep = sleep
        self._logger = logging.getLogger("wxnotify")
        self._running: set[Any] = set()
        self._max_threads = threads
        self._executors: dict[int, Executor] = {}
        #: Bytes; a longer body is refused.
        self.max_bytes = max_bytes

    def on(self, kind: str, *, transaction: Transaction | None = None) -> Callable[[_Function], _Function]:
        """
        Register the handler of a kind of notification.

        It is called as ``handler(payment)``; what it returns is not looked at,
        and whatever it raises means "not settled, send again". **It is also
        called with payments that failed**: look at ``payment.paid``.

        Args:
            kind: ``"payment"``.

            transaction: A function that opens a transaction on the store's own
                database and gives its connection, as a context manager that
                commits at its end and rolls back at an exception. The handler
                is then called as ``handler(payment, connection)``, and the
                completion is the transaction's last statement, so that the
                order's change and the completion happen both or not at all.

        Returns:
            A decorator that gives the handler back.

        Raises:
            ConfigurationError: If the kind is unknown or has a handler already,
                or the store or the handler cannot work in a transaction.
        """
        if kind not in _KINDS:
            raise ConfigurationError(f"there is no kind {kind!r}; there is {', '.join(map(repr, _KINDS))}")

        if transaction is not None and (not callable(transaction) or hasattr(transaction, "__enter__")):
            raise ConfigurationError(
                "transaction is a function that gives a context manager: store.transaction, not called yet"
            )

        def register(function: _Function) -> _Function:
            if not callable(function):
                raise ConfigurationError("a handler is a function of a payment")
            if kind in self._setup.handlers:
                raise ConfigurationError(f"{kind!r} has a handler already")
            if transaction is not None:
                store = self._setup.store
                if not hasattr(store, "bind"):
                    raise ConfigurationError(
                        f"{type(store).__name__} has no bind(): it cannot complete inside your transaction"
                    )
                if is_async(function):
                    raise ConfigurationError(
                        "a handler with transaction= is a plain function: a transaction stays in one thread"
                    )
            self._setup.handlers[kind] = Handler(function, transaction)
            self._async = self._async or is_async(function)
            return function

        return register

    def receive(self, body: bytes, *, started: float | None = None) -> Reply:
        """
        Take one notification and answer it. Never raises for what came in.

        Args:
            body: The raw request body.

            started: When the request came, on the receiver's clock; now if left
                out. The 5 s count from here.

        Returns:
            The reply to send, as it is.

        Raises:
            TypeError: If *body* is not ``bytes``: that is a mistake in your code.

            ConfigurationError: If the store, the expectation or the handler is
                asynchronous; :meth:`receive_async` is for them.
        """
        self._check_blocking()
        started = self._clock() if started is None else started
        try:
            payment = self._authenticate(body)
        except NotifyError as error:
            return self.refuse(error, body, started=started)
        return _told(self._settle(payment, started))

    async def receive_async(self, body: bytes, *, started: float | None = None) -> Reply:
        """
        Take one notification and answer it, on an event loop.

        Coroutine functions are awaited. If store, expectation and handlers are
        all blocking, they run whole in one worker thread. A caller that is
        cancelled, because the client hung up, leaves the work going on: it will
        be settled, and the resend finds it so.

        Args:
            body: As for :meth:`receive`.

            started: As for :meth:`receive`.

        Returns:
            The reply to send, as it is.

        Raises:
            TypeError: If *body* is not ``bytes``.
        """
        started = self._clock() if started is None else started
        return await self._kept(self._receive_async(body, started))

    def settle(self, payment: Payment) -> Event:
        """
        Settle a payment that an order query told about, by the same road.

        Args:
            payment: What :func:`parse_order_query` returned.

        Returns:
            The event, as it was reported; ``event.outcome.success`` tells
            whether it is settled.

        Raises:
            TypeError: If *payment* is not a Payment.

            ConfigurationError: As for :meth:`receive`.
        """
        check_payment(payment)
        self._check_blocking()
        return self._settle(payment, self._clock())

    async def settle_async(self, payment: Payment) -> Event:
        """Settle as :meth:`settle` does, on an event loop, as :meth:`receive_async` does."""
        check_payment(payment)
        return await self._kept(self._settle_async(payment, self._clock()))

    def refuse(self, error: NotifyError, body: bytes | None = None, *, started: float) -> Reply:
        """
        Answer and report a request that got no further.

        For adapters, which find out before there is a body that it is too long,
        or no POST.

        Args:
            error: Why.

            body: What came, if it was read whole.

            started: When the request came, on the receiver's clock.

        Returns:
            The FAIL reply, with the error's status.
        """
        seconds = self._clock() - started
        event = Event(
            Outcome.REJECTED,
            error.code,
            status_of(error),
            _said(error),
            seconds=seconds,
            over_budget=seconds > REPLY_SECONDS,
            body_bytes=None if body is None else len(body),
            body_sha256="" if body is None else hashlib.sha256(body).hexdigest(),
        )
        self._emit(event, None)
        return fail_reply(error)

    def now(self) -> float:
        """Read the receiver's clock, in seconds: what *started* is measured with."""
        return self._clock()

    def _authenticate(self, body: bytes) -> Payment:
        fields = parse(body, max_bytes=self.max_bytes)
        check_signed(fields)
        merchant = self._ring.find(fields)
        verified = verify(fields, merchant.keys, sign_types=merchant.sign_types)
        merchant.check(verified)
        return Payment.from_verified(verified)

    def _flow(self, payment: Payment, started: float) -> Flow:
        return settle(
            payment,
            self._check_owner,
            self._check_order,
            now=self._clock,
            deadline=started + self._wait,
        )

    def _check_owner(self, payment: Payment) -> None:
        if payment.kind not in self._setup.handlers:
            raise NoHandler(f"no handler is registered for {payment.kind!r}")
        self._ring.find(payment.fields).check(payment.fields)

    def _check_order(self, payment: Payment, expected: Expected | None) -> None:
        merchant = self._ring.find(payment.fields)
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

    def _settle(self, payment: Payment, started: float) -> Event:
        settled = run(self._flow(payment, started), self._setup, self._sleep)
        return self._report(payment, settled, started)

    async def _receive_async(self, body: bytes, started: float) -> Reply:
        try:
            payment = self._authenticate(body)
        except NotifyError as error:
            return self.refuse(error, body, started=started)
        return _told(await self._settle_async(payment, started))

    async def _settle_async(self, payment: Payment, started: float) -> Event:
        flow, threads = self._flow(payment, started), self._threads()
        if self._async:
            return self._report(payment, await run_async(flow, self._setup, threads), started)
        settled = await run_in_threads(flow, self._setup, threads)
        return await in_thread(partial(self._report, payment, settled, started), threads)

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
                "the store, the expectation or the handler is asynchronous: "
                "await receive_async() or settle_async()"
            )

    def _report(self, payment: Payment, settled: Settled, started: float) -> Event:
        error = settled.error
        seconds = self._clock() - started
        event = Event(
            settled.outcome,
            settled.code,
            status_of(error) if settled.outcome is Outcome.REJECTED else settled.outcome.status,
            _said(error),
            kind=payment.kind,
            mch_id=payment.mch_id,
            out_trade_no=payment.out_trade_no,
            transaction_id=payment.transaction_id,
            paid=payment.paid,
            key_index=payment.fields.key_index,
            attempts=settled.attempts,
            seconds=seconds,
            handler_seconds=settled.handler_seconds,
            over_budget=seconds > REPLY_SECONDS,
        )
        # A refusal explains itself; what the merchant's own code raised needs its traceback.
        explained = isinstance(error, NotifyError) and settled.outcome is not Outcome.HANDLER_FAILED
        self._emit(event, error.__cause__ if error is not None and explained else error)
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


def _nothing(payment: Payment) -> None:
    return None


def _told(event: Event) -> Reply:
    if event.outcome.success:
        return build_reply()
    return build_reply("FAIL", event.code, status=event.status)
