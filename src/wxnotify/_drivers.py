"""
Run the flow: do what its commands say, and answer.

Two drivers, one that blocks and one for an event loop. Neither decides
anything; what an answer means is the flow's business (``_flow.py``).

A transaction never changes threads: the merchant's transaction, the handler and
the completion inside it are one command, done in one thread.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ._checks import Expected
from ._flow import Complete, DoClaim, Expect, Find, Flow, Handle, Handled, HandOver, Release, Settled, Sleep
from ._kinds import KINDS
from ._notifications import Notification
from ._payments import Payment
from .idempotency import QUEUED, Claim

if TYPE_CHECKING:
    from asyncio import Future
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from ._flow import Command
    from .inbox import Inbox

    #: Given a payment, what its order expects; None if there is no such order.
    Expectation = Callable[[Payment], Expected | Awaitable[Expected | None] | None]
    #: A function that opens a transaction; leaving it without an exception commits.
    Transaction = Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]


_Result = TypeVar("_Result")


class Handler(NamedTuple):
    """A registered handler."""

    function: Callable[..., object]
    transaction: Transaction | None
    inbox: Inbox | None = None


class Setup(NamedTuple):
    """What the commands are carried out with."""

    store: Any
    expect: Expectation
    handlers: dict[str, Handler]
    lease: float
    retain: float
    #: Whether what is handled comes out of the inbox, and does not go into it.
    working: bool = False

    def handler(self, kind: str) -> Handler | None:
        """Give the handler of a kind; an APIv3 event that has none of its own falls to that of ``event``."""
        found = self.handlers.get(kind)
        return self.handlers.get("event") if found is None and kind not in KINDS else found


def is_async(function: object) -> bool:
    """Tell whether calling *function* gives something to await."""
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def run(flow: Flow, setup: Setup, sleep: Callable[[float], object]) -> Settled:
    """Drive *flow* to its end in this thread."""
    owner = os.urandom(16)
    while isinstance(reached := _advance(flow, setup, owner, _plainly), Sleep):
        sleep(reached.seconds)
    return reached


async def run_in_threads(flow: Flow, setup: Setup, executor: Executor) -> Settled:
    """
    Drive *flow*, all of whose parts block, beside the running event loop.

    Claim, handler and completion are done in one thread of *executor*. While
    another delivery is waited for, no thread is held.
    """
    import asyncio

    owner = os.urandom(16)
    advance = partial(_advance, flow, setup, owner, contained)
    while isinstance(reached := await in_thread(advance, executor, setup.store), Sleep):
        await asyncio.sleep(reached.seconds)
    return reached


def _advance(
    flow: Flow, setup: Setup, owner: bytes, call: Callable[[Callable[[], Any]], Any]
) -> Settled | Sleep:
    answer: Any = None
    raised: BaseException | None = None
    while True:
        try:
            command = flow.send(answer) if raised is None else flow.throw(raised)
        except StopIteration as stop:
            return _settled(stop)
        if isinstance(command, Sleep):
            return command
        raised = None
        try:
            answer = call(_job(command, setup, owner))
        except BaseException as error:
            raised = error


async def run_async(flow: Flow, setup: Setup, executor: Executor) -> Settled:
    """
    Drive *flow* to its end on the running event loop.

    Coroutine functions are awaited; everything else runs in a thread of
    *executor*, one command at a time. What runs in a thread cannot be
    cancelled, so it is waited for; and what the store is told after the handler
    reaches it even if the loop is being shut down.
    """
    import asyncio

    owner = os.urandom(16)
    answer: Any = None
    raised: BaseException | None = None
    while True:
        try:
            command = flow.send(answer) if raised is None else flow.throw(raised)
        except StopIteration as stop:
            return _settled(stop)
        raised = None
        try:
            if isinstance(command, Sleep):
                await asyncio.sleep(command.seconds)
                continue
            job = _job(command, setup, owner)
            if not is_async(job.func):
                answer = await in_thread(partial(contained, job), executor, setup.store)
            elif isinstance(command, (Complete, Release)):
                answer = await _told(job)
            else:
                answer = await job()
        except BaseException as error:
            raised = error


async def in_thread(job: Callable[[], _Result], executor: Executor, store: Any) -> _Result:
    """
    Run *job* in a thread of *executor*, to its end even if this task is cancelled meanwhile.

    A *store* that keeps something by thread, as Django does its connections, has
    an ``in_thread`` of its own that *job* is run by.
    """
    import asyncio

    tended = partial(getattr(store, "in_thread", _plainly), job)
    context = copy_context()  # a request's own context variables go with it
    return await _to_the_end(asyncio.get_running_loop().run_in_executor(executor, context.run, tended))


def _plainly(job: Callable[[], _Result]) -> _Result:
    return job()


def contained(job: Callable[[], _Result]) -> _Result:
    """Do *job* in a worker thread: what would end the loop there is a mere failure."""
    from asyncio import CancelledError

    try:
        return job()
    except (StopIteration, SystemExit, CancelledError) as error:
        # In a worker thread none of them means what it says. A Future cannot carry
        # the first, and the second would end the whole loop, from one handler.
        raise RuntimeError(f"{type(error).__name__} was raised") from error


async def _told(job: Callable[[], Awaitable[Any]]) -> Any:
    import asyncio

    try:
        return await _to_the_end(asyncio.ensure_future(job()))
    except asyncio.CancelledError:
        return await job()  # a loop that ends cancels the call itself; it can be repeated


async def _to_the_end(future: Future[_Result]) -> _Result:
    import asyncio

    while True:
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.done():
                return future.result()  # a cancel that comes too late undoes nothing


def _settled(stop: StopIteration) -> Settled:
    settled: Settled = stop.value
    return settled


def _job(command: Command, setup: Setup, owner: bytes) -> partial[Any]:
    store = setup.store
    if isinstance(command, Expect):
        return partial(setup.expect, command.payment)
    if isinstance(command, DoClaim):
        key, fingerprint, order_no = command
        return partial(
            store.claim, key, fingerprint=fingerprint, owner=owner, lease=setup.lease, order_no=order_no
        )
    if isinstance(command, Handle):
        notification, claim = command
        handler = setup.handler(notification.kind)
        assert handler is not None  # noqa: S101 - the receiver said so
        if handler.inbox is not None and not setup.working:
            queue = _queue_async if is_async(store.claim) else _queue
            return partial(queue, handler.inbox, notification, claim, setup)
        handle = _handle_async if is_async(handler.function) else _handle
        return partial(handle, handler, notification, claim, setup)
    if isinstance(command, HandOver):
        handler = setup.handler(command.notification.kind)
        assert handler is not None  # noqa: S101 - the receiver said so
        inbox = handler.inbox
        assert inbox is not None  # noqa: S101 - the same
        key = command.notification.key
        return partial(_hand_over_async if is_async(inbox.dispatch) else _hand_over, inbox, key)
    if isinstance(command, Complete):
        return partial(store.complete, command.claim, retain=setup.retain, result=command.result)
    if isinstance(command, Release):
        return partial(store.release, command.claim, error=command.error)
    if isinstance(command, Find):
        return partial(store.find, command.key)
    raise AssertionError(f"not a command: {command!r}")  # pragma: no cover


def _handle(handler: Handler, notification: Notification, claim: Claim, setup: Setup) -> Handled:
    if handler.transaction is None:
        return Handled(False, _result(notification, handler.function(notification)))
    with handler.transaction() as connection:  # type: ignore[union-attr]  # on() saw that they agree
        bound = setup.store.bind(connection)
        result = _result(notification, handler.function(notification, connection))
        bound.complete(claim, retain=setup.retain, result=result)
    return Handled(True)


async def _handle_async(handler: Handler, notification: Notification, claim: Claim, setup: Setup) -> Handled:
    import asyncio

    function: Callable[..., Any] = handler.function
    try:
        if handler.transaction is None:
            return Handled(False, _result(notification, await function(notification)))
        async with handler.transaction() as connection:  # type: ignore[union-attr]  # on() saw that they agree
            bound = setup.store.bind(connection)
            result = _result(notification, await function(notification, connection))
            await bound.complete(claim, retain=setup.retain, result=result)
        return Handled(True)
    except (asyncio.CancelledError, SystemExit) as error:
        # Nobody cancels this task for its caller's sake: it is the loop's end, or
        # something the handler awaited. Either way it has not settled anything.
        raise RuntimeError(f"the handler ended in {type(error).__name__}") from error


def _result(notification: Notification, returned: object) -> str:
    # A scan's handler gives the answer; what any other returns is not looked at.
    finished(returned)
    if notification.kind != "scan":
        return ""
    from ._scans import scan_result

    return scan_result(returned)


def _queue(inbox: Inbox, notification: Notification, claim: Claim, setup: Setup) -> Handled:
    with setup.store.transaction() as connection:
        bound = setup.store.bind(connection)
        bound.put(notification.key, _packed(notification), again_in=inbox.again_after)
        if inbox.within is not None:
            finished(inbox.within(notification.key, connection))
        bound.complete(claim, retain=setup.retain, result=QUEUED)
    return Handled(True)


async def _queue_async(inbox: Inbox, notification: Notification, claim: Claim, setup: Setup) -> Handled:
    async with setup.store.transaction() as connection:
        bound = setup.store.bind(connection)
        await bound.put(notification.key, _packed(notification), again_in=inbox.again_after)
        if inbox.within is not None:
            queued = inbox.within(notification.key, connection)
            if isinstance(queued, Awaitable):
                await queued
        await bound.complete(claim, retain=setup.retain, result=QUEUED)
    return Handled(True)


def _packed(notification: Notification) -> bytes:
    from .inbox import pack

    return pack(notification)


def _hand_over(inbox: Inbox, key: str) -> None:
    if inbox.within is None:  # else it was queued inside the transaction
        finished(inbox.dispatch(key))


async def _hand_over_async(inbox: Inbox, key: str) -> None:
    dispatch: Callable[..., Any] = inbox.dispatch
    if inbox.within is None:
        await dispatch(key)


def finished(result: object) -> None:
    """Raise ``TypeError`` if *result* is what somebody should have awaited or iterated."""
    if isinstance(result, (Coroutine, Generator)):
        result.close()
    if isinstance(result, (Awaitable, Generator, AsyncGenerator)):
        raise TypeError(
            "a function returned something that nobody awaits or iterates, so it has done nothing: "
            "declare it with async def, and without yield"
        )
