"""
A process that takes one notification on a store it opens itself, and can be stopped at any step.

It says when it has reached the step it is told to halt at, waits for the word, and says at the end what it
told WeChat Pay. A fork server starts it, which has imported what the stores need: a hundred of them take
seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wxnotify import Event, Expected, Merchant, Payment, Receiver
from wxnotify.testing import APPID, KEY, MCH_ID, notification

from .shop import LEASE

# For the fork server: whatever the stores need, once for all children.
for _name in (
    "wxnotify.stores.sqlite",
    "wxnotify.stores.redis",
    "wxnotify.stores.sqlalchemy",
    "psycopg",
    "asyncpg",
    "pymysql",
    "asyncmy",
    "aiomysql",
    "aiosqlite",
):
    with suppress(ImportError):
        import_module(_name)


def deliver(line: Connection, source: str, mode: str, halt: str, log: str, ahead: float) -> None:
    """
    Take one notification.

    Args:
        line: To the test.

        source: Python that makes ``store`` and, for a transaction, ``transaction`` and ``effect``.

        mode: The promise.

        halt: The step after which to wait; empty for none.

        log: In lease mode, the file that effects are written to.

        ahead: How far the clock of a store that goes by its process's is ahead, in seconds.
    """

    def after(step: str) -> None:
        if step == halt:
            line.send(step)
            line.recv()

    made: dict[str, Any] = {}
    exec(source, made)
    store = made["store"]
    if hasattr(store, "_clock"):
        store._clock = lambda: time.time() + ahead
    events: list[Event] = []

    def tell(event: Event) -> None:
        after("settled")
        events.append(event)

    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        _watched(store, after),
        expect=lambda payment: Expected(100),
        on_event=tell,
        lease=LEASE,
        wait=0,
    )

    def ship(payment: Payment) -> None:
        after("begun")
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{payment.key}\n".encode())
        os.close(descriptor)
        after("effect")

    def ship_within(payment: Payment, connection: Any) -> None:
        after("begun")
        made["effect"](connection, payment.key)
        after("effect")

    async def ship_soon(payment: Payment) -> None:
        ship(payment)

    async def ship_within_soon(payment: Payment, connection: Any) -> None:
        after("begun")
        await made["effect"](connection, payment.key)
        after("effect")

    @contextmanager
    def transaction() -> Iterator[Any]:
        with made["transaction"]() as connection:
            yield connection
            after("completed")
        after("committed")

    @asynccontextmanager
    async def transaction_soon() -> AsyncIterator[Any]:
        async with made["transaction"]() as connection:
            yield connection
            after("completed")
        after("committed")

    awaited = asyncio.iscoroutinefunction(store.claim)
    if mode == "lease":
        receiver.on("payment")(ship_soon if awaited else ship)
    else:
        receiver.on("payment", transaction=transaction_soon if awaited else transaction)(
            ship_within_soon if awaited else ship_within
        )

    async def receive() -> None:
        await receiver.receive_async(notification())

    if awaited:
        asyncio.run(receive())
    else:
        receiver.receive(notification())
    line.send(events[0].code)
    os._exit(0)  # with what is open, as a process that is killed


def _watched(store: Any, after: Callable[[str], None]) -> Any:
    kind = type(store)

    if asyncio.iscoroutinefunction(store.claim):

        async def claim(*arguments: Any, **named: Any) -> Any:
            claimed = await kind.claim(store, *arguments, **named)
            after("claimed")
            return claimed

        async def complete(*arguments: Any, **named: Any) -> Any:
            outcome = await kind.complete(store, *arguments, **named)
            after("completed")
            return outcome

        store.claim, store.complete = claim, complete
    else:

        def claim_now(*arguments: Any, **named: Any) -> Any:
            claimed = kind.claim(store, *arguments, **named)
            after("claimed")
            return claimed

        def complete_now(*arguments: Any, **named: Any) -> Any:
            outcome = kind.complete(store, *arguments, **named)
            after("completed")
            return outcome

        store.claim, store.complete = claim_now, complete_now
    return store


def effects_in(log: Path, key: str) -> int:
    """Count the effects in a log."""
    return log.read_text().splitlines().count(key) if log.exists() else 0
