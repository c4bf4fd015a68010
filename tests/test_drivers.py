"""The two drivers: what they answer a flow, in which thread, and what a cancelled task leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest

from wxnotify import Expected, Outcome, Payment
from wxnotify._drivers import Handler, Setup, _to_the_end, in_thread, is_async, run, run_async
from wxnotify._flow import Flow, Settled, settle
from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import State
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import payment

from .receiving import AwaitedStore, Clock, FaultyStore

PAYMENT = payment()


def flow(clock: Clock) -> Flow:
    return settle(
        PAYMENT, lambda payment: None, lambda payment, expected: None, now=clock, deadline=clock.now + 3.5
    )


def setup(store: Any, handler: Callable[..., object], transaction: Any = None) -> Setup:
    return Setup(
        store, lambda payment: Expected(100), {"payment": Handler(handler, transaction)}, 30.0, 30 * 86_400.0
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> FaultyStore:
    return FaultyStore(clock=clock)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


Drive = Callable[[Any, Callable[..., object]], Settled]


@pytest.fixture(params=["run", "run_async", "run_async, awaited store"])
def drive(request: pytest.FixtureRequest, clock: Clock, threads: ThreadPoolExecutor) -> Drive:
    """Settle PAYMENT with a store and a handler, by each of the drivers."""

    def driven(store: Any, handler: Callable[..., object]) -> Settled:
        if request.param == "run":
            return run(flow(clock), setup(store, handler), clock.sleep)
        if request.param == "run_async, awaited store":
            store = AwaitedStore(store)
        return asyncio.run(run_async(flow(clock), setup(store, handler), threads))

    return driven


# --- both drivers -----------------------------------------------------------------


def test_a_driver_carries_out_the_commands_and_gives_what_was_settled(
    drive: Drive, store: FaultyStore
) -> None:
    handled: list[Payment] = []
    settled = drive(store, handled.append)
    assert settled.outcome is Outcome.HANDLED
    assert handled == [PAYMENT]
    assert store.called == ["claim", "complete"]
    assert drive(store, handled.append).outcome is Outcome.DUPLICATE
    assert handled == [PAYMENT]


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration("x"), Falsy("x")], ids=repr)
def test_what_the_handler_raises_reaches_the_flow(drive: Drive, store: FaultyStore, error: Exception) -> None:
    def fail(payment: Payment) -> None:
        raise error

    settled = drive(store, fail)
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert store.called == ["claim", "release"]
    record = store.find(PAYMENT.key)
    assert record is not None
    assert record.state is State.RELEASED


@pytest.mark.parametrize("verb", ["claim", "complete"])
@pytest.mark.parametrize("error", [OSError, Falsy])
def test_what_the_store_raises_reaches_the_flow(
    drive: Drive, store: FaultyStore, verb: str, error: type[Exception]
) -> None:
    store.faults[verb] = [error(), error(), error()]
    handled: list[Payment] = []
    assert drive(store, handled.append).outcome is Outcome.STORE_DOWN
    assert len(handled) == (verb == "complete")


def test_a_completion_that_fails_once_is_made_again(drive: Drive, store: FaultyStore) -> None:
    store.faults["complete"] = [OSError()]
    assert drive(store, lambda payment: None).outcome is Outcome.HANDLED
    assert store.called == ["claim", "complete", "complete"]


def test_a_claim_somebody_holds_is_asked_for_again(clock: Clock, store: FaultyStore) -> None:
    claim = store.claim(PAYMENT.key, fingerprint=PAYMENT.fingerprint, owner=b"s" * 16, lease=30)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        store.complete(claim, retain=172_800)

    assert run(flow(clock), setup(store, lambda payment: None), sleep).outcome is Outcome.DUPLICATE
    assert clock.slept == [0.05]


def test_on_an_event_loop_waiting_leaves_the_loop_free(
    clock: Clock, store: FaultyStore, threads: ThreadPoolExecutor
) -> None:
    claim = store.claim(PAYMENT.key, fingerprint=PAYMENT.fingerprint, owner=b"s" * 16, lease=30)

    async def both() -> Settled:
        waiting = asyncio.ensure_future(run_async(flow(clock), setup(AwaitedStore(store), print), threads))
        while store.called.count("claim") < 2:
            await asyncio.sleep(0)
        store.complete(claim, retain=172_800)
        return await waiting

    assert asyncio.run(both()).outcome is Outcome.DUPLICATE


def test_a_handler_that_returns_something_to_await_has_failed(drive: Drive, store: FaultyStore) -> None:
    class Later:
        def __await__(self) -> Iterator[Any]:
            raise AssertionError("nobody awaits it")

    settled = drive(store, lambda payment: Later())
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert isinstance(settled.error, TypeError)
    assert "async def" in str(settled.error)


def test_a_coroutine_given_back_by_mistake_is_closed_and_warns_nobody(
    drive: Drive, store: FaultyStore
) -> None:
    async def ship(payment: Payment) -> None:
        raise AssertionError("nobody awaits it")

    assert drive(store, lambda payment: ship(payment)).outcome is Outcome.HANDLER_FAILED


def test_an_interrupt_goes_on_after_the_claim_is_released(store: FaultyStore, clock: Clock) -> None:
    def interrupted(payment: Payment) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(flow(clock), setup(store, interrupted), clock.sleep)
    assert store.called == ["claim", "release"]


def test_each_delivery_claims_with_a_token_of_its_own(clock: Clock) -> None:
    owners: list[bytes] = []

    class Watched(MemoryStore):
        def claim(self, key: str, *, owner: bytes, **named: Any) -> Any:
            owners.append(owner)
            return super().claim(key, owner=owner, **named)

    store = Watched(clock=clock)
    for _ in range(3):
        run(flow(clock), setup(store, lambda payment: None), clock.sleep)
    assert {len(owner) for owner in owners} == {16}
    assert len(set(owners)) == 3


# --- transactions -------------------------------------------------------------------


class BindableStore(MemoryStore):
    """Completes at once; that its completion rolls back is not what is tested here."""

    steps: list[object]

    def bind(self, connection: object) -> BindableStore:
        self.steps.append(("bind", connection))
        return self

    def complete(self, *arguments: Any, **named: Any) -> Any:
        self.steps.append("complete")
        return super().complete(*arguments, **named)


class AwaitedBindableStore(AwaitedStore):
    """The same, awaited."""

    def bind(self, connection: object) -> AwaitedBindableStore:
        self._store.bind(connection)
        return self


class Transact(NamedTuple):
    """Settle PAYMENT in a transaction, by one of the drivers; say what happened in which order."""

    awaited: bool
    clock: Clock

    def __call__(
        self, during: Callable[[], Any] = lambda: None, swallow: bool = False
    ) -> tuple[Settled, list[object]]:
        steps: list[object] = []
        store = BindableStore(clock=self.clock)
        store.steps = steps

        @contextlib.contextmanager
        def transaction() -> Iterator[str]:
            steps.append("begin")
            try:
                yield "connection"
            except Exception:
                steps.append("roll back")
                if not swallow:
                    raise
            else:
                steps.append("commit")

        @contextlib.asynccontextmanager
        async def transaction_soon() -> AsyncIterator[str]:
            with transaction() as connection:
                yield connection

        def ship(payment: Payment, connection: str) -> object:
            steps.append(("ship", connection))
            return during()

        async def ship_soon(payment: Payment, connection: str) -> object:
            await asyncio.sleep(0)
            return ship(payment, connection)

        if not self.awaited:
            return run(flow(self.clock), setup(store, ship, transaction), self.clock.sleep), steps
        with ThreadPoolExecutor(1) as threads:
            awaited = setup(AwaitedBindableStore(store), ship_soon, transaction_soon)
            return asyncio.run(run_async(flow(self.clock), awaited, threads)), steps


@pytest.fixture(params=[False, True], ids=["run", "run_async"])
def transact(request: pytest.FixtureRequest, clock: Clock) -> Transact:
    return Transact(request.param, clock)


def test_the_completion_is_the_last_statement_of_the_transaction(transact: Transact) -> None:
    settled, steps = transact()
    assert settled.outcome is Outcome.HANDLED
    assert steps == ["begin", ("bind", "connection"), ("ship", "connection"), "complete", "commit"]


def test_a_handler_that_fails_in_a_transaction_rolls_back_and_completes_nothing(transact: Transact) -> None:
    def fail() -> None:
        raise ValueError

    settled, steps = transact(fail)
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert steps[-1] == "roll back"
    assert "complete" not in steps


def test_an_awaitable_from_a_handler_in_a_transaction_rolls_back(transact: Transact) -> None:
    async def nothing() -> None: ...

    settled, steps = transact(nothing)
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert steps[-1] == "roll back"


def test_a_transaction_that_swallows_the_failure_is_not_believed(transact: Transact) -> None:
    def fail() -> None:
        raise ValueError

    settled, steps = transact(fail, swallow=True)
    assert (settled.outcome, settled.code) == (Outcome.HANDLER_FAILED, "not_committed")
    assert steps[-1] == "roll back"


def test_a_handler_that_is_cancelled_in_a_transaction_rolls_back(clock: Clock) -> None:
    def cancel() -> None:
        raise asyncio.CancelledError

    settled, steps = Transact(True, clock)(cancel)
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert "complete" not in steps
    assert steps[-1] == ("ship", "connection")  # CancelledError is no Exception: neither branch above


# --- threads, loops, cancelling --------------------------------------------------------


def test_what_blocks_runs_in_a_thread_and_what_is_async_on_the_loop(
    clock: Clock, threads: ThreadPoolExecutor
) -> None:
    where: dict[str, int] = {}

    class Watched(MemoryStore):
        def claim(self, *arguments: Any, **named: Any) -> Any:
            where["claim"] = threading.get_ident()
            return super().claim(*arguments, **named)

    async def ship(payment: Payment) -> None:
        where["handler"] = threading.get_ident()

    asyncio.run(run_async(flow(clock), setup(Watched(clock=clock), ship), threads))
    assert where["handler"] == threading.get_ident() != where["claim"]


class Asked:
    async def __call__(self) -> None: ...


async def coroutine_function() -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (coroutine_function, True),
        (partial(coroutine_function), True),
        (Asked(), True),
        (AwaitedStore(None).claim, True),
        (MemoryStore().claim, False),
        (lambda: coroutine_function(), False),
        (print, False),
        (None, False),
    ],
)
def test_is_async_sees_coroutine_functions_however_they_are_wrapped(function: object, expected: bool) -> None:
    assert is_async(function) is expected


async def cancelled_while(
    work: Coroutine[Any, Any, Settled], begun: Callable[[], bool], go_on: Callable[[], object]
) -> Settled | None:
    """Cancel *work* once it has begun, then let it go on; None if it ended in the cancellation."""
    task = asyncio.ensure_future(work)
    while not begun():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    go_on()
    try:
        return await task
    except asyncio.CancelledError:
        return None


def test_a_cancelled_coroutine_handler_releases_its_claim(
    clock: Clock, store: FaultyStore, threads: ThreadPoolExecutor
) -> None:
    begun: list[Payment] = []

    async def ship(payment: Payment) -> None:
        begun.append(payment)
        await asyncio.Event().wait()

    work = run_async(flow(clock), setup(AwaitedStore(store), ship), threads)
    settled = asyncio.run(cancelled_while(work, lambda: bool(begun), lambda: None))
    assert settled is not None
    assert settled.outcome is Outcome.HANDLER_FAILED
    assert store.called == ["claim", "release"]


def test_a_blocking_handler_is_waited_for_even_by_a_cancelled_task(
    clock: Clock, store: FaultyStore, threads: ThreadPoolExecutor
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def ship(payment: Payment) -> None:
        begun.set()
        assert go_on.wait(10)

    work = run_async(flow(clock), setup(AwaitedStore(store), ship), threads)
    settled = asyncio.run(cancelled_while(work, begun.is_set, go_on.set))
    assert settled is not None
    assert settled.outcome is Outcome.HANDLED
    assert store.called == ["claim", "complete"]


@pytest.mark.parametrize(("verb", "failing"), [("complete", False), ("release", True)])
def test_the_store_is_told_to_the_end_even_by_a_cancelled_task(
    clock: Clock, store: FaultyStore, threads: ThreadPoolExecutor, verb: str, failing: bool
) -> None:
    telling: list[str] = []

    class Slow(AwaitedStore):
        go_on: asyncio.Event

        async def complete(self, *arguments: Any, **named: Any) -> Any:
            return await self._slowly("complete", *arguments, **named)

        async def release(self, *arguments: Any, **named: Any) -> Any:
            return await self._slowly("release", *arguments, **named)

        async def _slowly(self, verb: str, *arguments: Any, **named: Any) -> Any:
            telling.append(verb)
            await self.go_on.wait()
            return getattr(store, verb)(*arguments, **named)

    async def ship(payment: Payment) -> None:
        if failing:
            raise ValueError

    async def told() -> Settled | None:
        slow = Slow(store)
        slow.go_on = asyncio.Event()
        work = run_async(flow(clock), setup(slow, ship), threads)
        return await cancelled_while(work, lambda: bool(telling), slow.go_on.set)

    settled = asyncio.run(told())
    assert telling == [verb]
    assert store.called == ["claim", verb]
    assert settled is not None
    assert settled.outcome is (Outcome.HANDLER_FAILED if failing else Outcome.HANDLED)


def test_a_cancel_in_the_moment_the_work_is_done_does_not_forget_the_work() -> None:
    async def settled() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_to_the_end(future))
        await asyncio.sleep(0)
        future.set_result("done")
        task.cancel()
        return await task

    assert asyncio.run(settled()) == "done"


def test_work_that_is_itself_cancelled_ends_in_the_cancellation() -> None:
    async def cancelled() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(_to_the_end(future))
        await asyncio.sleep(0)
        future.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())


def test_what_a_thread_raises_comes_out_of_in_thread(threads: ThreadPoolExecutor) -> None:
    def cancel() -> None:
        raise asyncio.CancelledError

    def fail() -> None:
        raise StoreUnavailable

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(in_thread(cancel, threads, None))
    with pytest.raises(StoreUnavailable):
        asyncio.run(in_thread(fail, threads, None))


def test_a_pause_on_the_loop_can_be_cancelled_before_anything_is_claimed(
    clock: Clock, store: FaultyStore, threads: ThreadPoolExecutor
) -> None:
    store.claim(PAYMENT.key, fingerprint=PAYMENT.fingerprint, owner=b"s" * 16, lease=30)
    played = flow(clock)

    async def waiting() -> Settled | None:
        work = run_async(played, setup(AwaitedStore(store), print), threads)
        return await cancelled_while(work, lambda: store.called.count("claim") > 1, lambda: None)

    assert asyncio.run(waiting()) is None
    assert set(store.called) == {"claim"}
