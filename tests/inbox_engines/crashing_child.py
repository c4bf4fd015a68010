"""
A process that is killed: ``crashing_child.py VERB HALT QUEUE``, its store's source on the standard input.

VERB is ``deliver``, ``sweep`` or ``work``. HALT names the step after which it prints HALT and waits for its
end. The engine's queue is the file QUEUE, one ref a line. The source ends with a line that holds a dot.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from wxnotify import Expected, Merchant, Payment, Receiver
from wxnotify.inbox import Inbox
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment

_, VERB, HALT, QUEUE = sys.argv


def after(step: str) -> None:
    if step == HALT:
        print(HALT, flush=True)
        sys.stdin.read()  # until it is killed


class Halting:
    """A store, or what it gives in a transaction, that halts after some of its verbs."""

    def __init__(self, store: Any, **steps: str) -> None:
        self._store = store
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        verb, step = getattr(self._store, name), self._steps.get(name)
        if step is None:
            return verb

        def call(*arguments: Any, **named: Any) -> Any:
            answer = verb(*arguments, **named)
            after(step)
            return answer

        async def call_async(*arguments: Any, **named: Any) -> Any:
            answer = await verb(*arguments, **named)
            after(step)
            return answer

        return call_async if inspect.iscoroutinefunction(verb) else call

    def bind(self, connection: Any) -> Any:
        return Halting(self._store.bind(connection), put="insert", complete="completion")

    @contextmanager
    def blocking_transaction(self) -> Iterator[Any]:
        with self._store.transaction() as connection:
            yield connection
        after("commit")

    @asynccontextmanager
    async def awaited_transaction(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as connection:
            yield connection
        after("commit")


def enqueue(ref: str) -> None:
    with open(QUEUE, "a") as file:
        file.write(f"{ref}\n")
        os.fsync(file.fileno())
    after("enqueue")


source = "".join(iter(sys.stdin.readline, ".\n"))
given: dict[str, Any] = {}
exec(source, given)
store: Any = Halting(given["store"], claim="claim", handed="mark", remove="remove")
awaited = inspect.iscoroutinefunction(store.claim)
store.transaction = store.awaited_transaction if awaited else store.blocking_transaction


def ship(payment: Payment, connection: Any) -> None:
    given["effect"](connection, payment.key)
    after("change")


async def ship_soon(payment: Payment, connection: Any) -> None:
    written = given["effect"](connection, payment.key)
    if inspect.isawaitable(written):
        await written
    after("change")


receiver = Receiver(Merchant(MCH_ID, APPID, KEY), store, expect=lambda payment: Expected(100), wait=0)
on = receiver.on("payment", transaction=store.transaction, inbox=Inbox(enqueue))
on(ship_soon if awaited else ship)
argument = {"deliver": [notification()], "sweep": [], "work": [payment().key]}[VERB]
name = {"deliver": "receive"}.get(VERB, VERB)
if awaited:
    asyncio.run(getattr(receiver, f"{name}_async")(*argument))
else:
    getattr(receiver, name)(*argument)
print("not killed")
