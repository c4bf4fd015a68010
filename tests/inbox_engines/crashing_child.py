"""A process that delivers, sweeps or works on a store it opens itself, and is killed where it halts."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from wxnotify import Expected, Merchant, Payment, Receiver
from wxnotify.inbox import Inbox
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment


def act(line: Connection, source: str, verb: str, halt: str, queue: str) -> None:
    """
    Do one thing.

    Args:
        line: To the test, which is told when the step is reached.

        source: Python that makes ``store`` and ``effect``.

        verb: ``deliver``, ``sweep`` or ``work``.

        halt: The step after which to wait.

        queue: The file that is the engine's queue, one ref a line.
    """

    def after(step: str) -> None:
        if step == halt:
            line.send(step)
            line.recv()  # until it is killed

    made: dict[str, Any] = {}
    exec(source, made)
    store: Any = Halting(made["store"], after, claim="claim", handed="mark", remove="remove")
    awaited = inspect.iscoroutinefunction(store.claim)
    store.transaction = store.awaited_transaction if awaited else store.blocking_transaction

    def enqueue(ref: str) -> None:
        with open(queue, "a") as file:
            file.write(f"{ref}\n")
            os.fsync(file.fileno())
        after("enqueue")

    def ship(payment: Payment, connection: Any) -> None:
        made["effect"](connection, payment.key)
        after("change")

    async def ship_soon(payment: Payment, connection: Any) -> None:
        await made["effect"](connection, payment.key)
        after("change")

    receiver = Receiver(Merchant(MCH_ID, APPID, KEY), store, expect=lambda payment: Expected(100), wait=0)
    on = receiver.on("payment", transaction=store.transaction, inbox=Inbox(enqueue))
    on(ship_soon if awaited else ship)
    name, arguments = {
        "deliver": ("receive", [notification()]),
        "sweep": ("sweep", []),
        "work": ("work", [payment().key]),
    }[verb]
    if awaited:
        asyncio.run(getattr(receiver, f"{name}_async")(*arguments))
    else:
        getattr(receiver, name)(*arguments)
    line.send("not killed")


class Halting:
    """A store, or what it gives in a transaction, that halts after some of its verbs."""

    def __init__(self, store: Any, after: Callable[[str], None], **steps: str) -> None:
        self._store = store
        self._after = after
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        verb, step = getattr(self._store, name), self._steps.get(name)
        if step is None:
            return verb

        def call(*arguments: Any, **named: Any) -> Any:
            answer = verb(*arguments, **named)
            self._after(step)
            return answer

        async def call_async(*arguments: Any, **named: Any) -> Any:
            answer = await verb(*arguments, **named)
            self._after(step)
            return answer

        return call_async if inspect.iscoroutinefunction(verb) else call

    def bind(self, connection: Any) -> Any:
        return Halting(self._store.bind(connection), self._after, put="insert", complete="completion")

    @contextmanager
    def blocking_transaction(self) -> Iterator[Any]:
        with self._store.transaction() as connection:
            yield connection
        self._after("commit")

    @asynccontextmanager
    async def awaited_transaction(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as connection:
            yield connection
        self._after("commit")
