"""The store on trial, and an event loop for one that is awaited."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Protocol

from ...idempotency import (
    Claim,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    State,
)

__all__ = ["Run", "Subject", "event_loop"]


class Run(Protocol):
    """Await something on an event loop, from any thread; what :func:`event_loop` gives."""

    def __call__(self, awaitable: Awaitable[Any], /) -> Any:
        """Give what *awaitable* gives."""
        ...


@contextmanager
def event_loop() -> Generator[Run]:
    """
    Run an event loop in a thread of its own.

    Returns:
        A context manager that gives a function: it awaits its argument on the
        loop and returns the result, and may be called from many threads at once.

    Example:
        >>> async def one():
        ...     return 1
        >>> with event_loop() as run:
        ...     run(one())
        1
    """
    loop = asyncio.new_event_loop()
    executor = ThreadPoolExecutor()
    loop.set_default_executor(executor)
    thread = threading.Thread(target=loop.run_forever, name="wxnotify-conformance", daemon=True)
    thread.start()

    def run(awaitable: Awaitable[Any], /) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), loop).result()

    try:
        yield run
    finally:
        run(loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # Not by the loop, which starts a thread for it: impossible while the interpreter ends.
        executor.shutdown()
        loop.close()


class Subject:
    """
    A store on trial: its verbs, blocking whatever its kind, and its time.

    Any function given here is called from several threads, or where *run* is
    given, on its loop; then it may be a coroutine function.

    Args:
        store: A ``Store`` or an ``AsyncStore`` that holds nothing yet. Give it a
            timeout that a loaded machine does not reach.

        advance: Moves the store's time forward by so many seconds. Where the time
            is a server's, move everything stored back by as much instead: the end
            of the lease, the end of the retention, every time a record shows.

        run: For an ``AsyncStore``, and only for one: from :func:`event_loop`.

        transaction: For the tests of ``same_transaction``: opens a transaction on
            the store's database, as a context manager (or an asynchronous one)
            that gives what ``bind`` takes; commits at its end, and rolls back at
            an exception.

        effect: With *transaction*: takes its connection and a key, and writes down
            there that the key had its effect, for instance as a row of a table.

        effects: With *transaction*: how often a key had its effect, by what is
            committed.

        at_thread_end: Called in each thread the suite starts before it ends, for a
            store that keeps connections by thread.
    """

    def __init__(
        self,
        store: Any,
        advance: Callable[[float], object],
        *,
        run: Run | None = None,
        transaction: Callable[[], Any] | None = None,
        effect: Callable[[Any, str], object] | None = None,
        effects: Callable[[str], Any] | None = None,
        at_thread_end: Callable[[], object] | None = None,
    ) -> None:
        if run is None and inspect.iscoroutinefunction(store.claim):
            raise TypeError("an AsyncStore is run by a loop: `with event_loop() as run`, and give run=run")
        #: As it was given.
        self.store: Any = store
        #: Likewise; None for a store that blocks.
        self.run = run
        self._advance = advance
        self._transaction = transaction or _not_given
        self._effect = effect or _not_given
        self._effects = effects or _not_given
        self._at_thread_end = at_thread_end

    # --- time

    def advance(self, seconds: float) -> None:
        """Move the store's time forward."""
        self._call(self._advance, seconds)

    # --- the verbs of a store

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        answer: Claim = self._call(
            self.store.claim, key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no
        )
        return answer

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        answer: CompleteOutcome = self._call(self.store.complete, claim, retain=retain, result=result)
        return answer

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`."""
        answer: ReleaseOutcome = self._call(self.store.release, claim, error=error)
        return answer

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        answer: bool = self._call(self.store.extend, claim, lease)
        return answer

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        answer: int = self._call(self.store.purge, older_than, limit)
        return answer

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        answer: Record | None = self._call(self.store.find, key)
        return answer

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`."""
        found = self._call(self.store.records, state=state, order_no=order_no, older_than=older_than)
        if self.run is None:
            yield from found
            return
        end = object()
        while (record := self._call(anext, found, end)) is not end:
            yield record

    # --- in a transaction

    @contextmanager
    def transaction(self) -> Generator[Any]:
        """Open a transaction; commits at the end, and rolls back at an exception."""
        opened = self._call(self._transaction)
        if self.run is not None and hasattr(opened, "__aenter__"):
            opened = _Entered(opened, self.run)
        with opened as connection:
            yield connection

    def bind(self, connection: Any) -> BoundSubject:
        """See :meth:`wxnotify.idempotency.TransactionalStore.bind`."""
        return BoundSubject(self._call(self.store.bind, connection), self._call)

    def effect(self, connection: Any, key: str) -> None:
        """Let *key* have its effect, as part of the transaction."""
        self._call(self._effect, connection, key)

    def effects(self, key: str) -> int:
        """Tell how often *key* had its effect."""
        answer: int = self._call(self._effects, key)
        return answer

    # --- the verbs of an inbox

    def fetch(self, key: str) -> bytes | None:
        """See :meth:`wxnotify.inbox.InboxStore.fetch`."""
        answer: bytes | None = self._call(self.store.fetch, key)
        return answer

    def handed(self, key: str, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.handed`."""
        self._call(self.store.handed, key, again_in=again_in)

    def due(self, limit: int) -> list[tuple[str, int]]:
        """See :meth:`wxnotify.inbox.InboxStore.due`."""
        answer: list[tuple[str, int]] = self._call(self.store.due, limit)
        return answer

    def remove(self, key: str) -> None:
        """See :meth:`wxnotify.inbox.InboxStore.remove`."""
        self._call(self.store.remove, key)

    # ---

    def thread_ends(self) -> None:
        """Let the store give back what it keeps for this thread."""
        if self._at_thread_end is not None:
            self._at_thread_end()

    def _call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call *function*, on the loop if there is one, and await what it gives."""
        if self.run is None:
            return function(*arguments, **named)

        async def call() -> Any:
            answer = function(*arguments, **named)
            return await answer if inspect.isawaitable(answer) else answer

        return self.run(call())


def _not_given(*_: Any) -> Any:
    raise TypeError("what needs a transaction needs Subject(..., transaction=..., effect=..., effects=...)")


class BoundSubject:
    """A bound store on trial; blocking, whatever its kind."""

    def __init__(self, bound: Any, call: Callable[..., Any]) -> None:
        #: As the store gave it.
        self.bound: Any = bound
        self._call = call

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Bound.complete`."""
        answer: CompleteOutcome = self._call(self.bound.complete, claim, retain=retain, result=result)
        return answer

    def put(self, key: str, notification: bytes, *, again_in: float) -> None:
        """See :meth:`wxnotify.inbox.InboxBound.put`."""
        self._call(self.bound.put, key, notification, again_in=again_in)


class _Entered:
    """An asynchronous context manager, entered and left on the loop."""

    def __init__(self, entered: AbstractAsyncContextManager[Any], run: Run) -> None:
        self._entered = entered
        self._run = run

    def __enter__(self) -> Any:
        return self._run(self._entered.__aenter__())

    def __exit__(self, *exception: Any) -> Any:
        return self._run(self._entered.__aexit__(*exception))
