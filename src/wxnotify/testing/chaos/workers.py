"""
A process that delivers until it is killed.

It delivers from several threads, or tasks on an event loop, through a receiver
of its own. Which payment is next is left to chance: one that is still open, so
that many processes are at the same one at once; or one that was told SUCCESS
before. Every fourth is never sent again once it was told SUCCESS, as WeChat Pay
would not: a later delivery would heal the loss that is looked for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import threading
import time
import traceback
from typing import Final, NoReturn

from ... import Receiver, Reply, build_reply
from .orphans import end_with_parent, wake_orphans
from .plan import Plan
from .points import Delivery, current
from .shop import Ground, body_of, open_shop
from .tally import Tally

_SUCCESS: Final = build_reply()
#: Which share of deliveries go to payments that are open, and how many of the newest count as a crowd.
_OPEN: Final = 0.12
_CROWD: Final = 8
#: How far back duplicates go on average, most of the time.
_BACK: Final = 200
_QUIET: Final = 4
#: Seconds until a payment that was told FAIL is sent again.
_RESEND: Final = 0.25
#: Seconds until somebody who was told that the store is down, or has nothing to deliver, goes on.
_PAUSE: Final = 0.02


class Worker:
    """
    One process.

    Args:
        ground: What it shares with the others.

        plan: The run's settings.

        tally: The shared memory.

        slot: Its place in that.

        process: Its own number.

        parent: The supervisor's process id, which may be dead by the time this one runs.
    """

    def __init__(
        self, ground: Ground, plan: Plan, tally: Tally, *, slot: int, process: int, parent: int
    ) -> None:
        self._ground = ground
        self._plan = plan
        self._tally = tally
        self._slot = slot
        self._process = process
        self._parent = parent

    def run(self) -> NoReturn:
        """Deliver until the end, and end the process; to be called right after the fork."""
        end_with_parent()
        self._tally.stoppable[self._slot] = 1  # before that, it could outlive the supervisor
        logging.getLogger("wxnotify").disabled = True
        code = 1
        try:
            receiver = open_shop(self._ground, self._plan, self._tally, self._slot, self._process)
            if self._plan.asynchronous:
                asyncio.run(self._deliver_in_tasks(receiver))
            else:
                self._deliver_in_threads(receiver)
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)  # nothing of the supervisor's is to be cleaned up here

    def _deliver_in_threads(self, receiver: Receiver) -> None:
        others = [
            threading.Thread(target=self._deliver_or_end, args=(receiver, thread))
            for thread in range(1, self._plan.threads)
        ]
        for other in others:
            other.start()
        self._deliver(receiver, 0)
        for other in others:
            other.join()

    def _deliver_or_end(self, receiver: Receiver, thread: int) -> None:
        try:
            self._deliver(receiver, thread)
        except BaseException:  # a mistake in this file: not to be lost with its thread
            traceback.print_exc()
            os._exit(1)

    def _deliver(self, receiver: Receiver, thread: int) -> None:
        row, rng = self._tally.row(self._slot, thread), self._rng(thread)
        while not self._over():
            payment = self._choose(rng)
            if payment is None:
                time.sleep(_PAUSE)
                continue
            body, delivery = body_of(payment, self._plan), Delivery(payment)
            current.set(delivery)
            row.start()
            try:
                reply: Reply | None = receiver.receive(body)
            except Exception:
                traceback.print_exc()
                reply = None
            row.end(self._judge(delivery, reply))
            if delivery.code == "store_down":
                time.sleep(_PAUSE)

    async def _deliver_in_tasks(self, receiver: Receiver) -> None:
        await asyncio.gather(*[self._deliver_async(receiver, task) for task in range(self._plan.threads)])

    async def _deliver_async(self, receiver: Receiver, task: int) -> None:
        row, rng = self._tally.row(self._slot, task), self._rng(task)
        while not self._over():
            payment = self._choose(rng)
            if payment is None:
                await asyncio.sleep(_PAUSE)
                continue
            body, delivery = body_of(payment, self._plan), Delivery(payment)
            current.set(delivery)
            row.start()
            try:
                reply: Reply | None = await receiver.receive_async(body)
            except Exception:
                traceback.print_exc()
                reply = None
            row.end(self._judge(delivery, reply))
            if delivery.code == "store_down":
                await asyncio.sleep(_PAUSE)

    def _judge(self, delivery: Delivery, reply: Reply | None) -> str:
        """Note who was told SUCCESS, and give the code to count."""
        if reply is None:
            return "escaped"
        told_success = reply == _SUCCESS
        if told_success:
            self._tally.told[delivery.payment] = 1
        else:
            self._tally.not_before[delivery.payment] = time.monotonic() + _RESEND
        if told_success is not (delivery.code in ("handled", "duplicate")):
            return "other"
        return delivery.code

    def _choose(self, rng: random.Random) -> int | None:
        tally = self._tally
        told, low, front = tally.told, tally.low, tally.front
        calm = tally.calm
        if calm or rng.random() < _OPEN:
            newest = max(low, front - _CROWD)
            open_one = self._find_open(newest if rng.random() < 0.5 else rng.randint(low, newest), front)
            if open_one is not None or calm:
                return open_one
        far = rng.random() < 0.1
        payment = rng.randrange(front) if far else max(front - 1 - int(rng.expovariate(1 / _BACK)), 0)
        if payment % _QUIET == 0 and told[payment]:
            payment += 1 if payment + 1 < front else -1
        return payment if payment >= 0 else None

    def _find_open(self, start: int, front: int) -> int | None:
        now = time.monotonic()
        while (payment := self._tally.told.find(b"\0", start, front)) >= 0:
            if self._tally.not_before[payment] <= now:
                return payment
            start = payment + 1
        return None

    def _over(self) -> bool:
        if os.getppid() == self._parent:
            return self._tally.calm == 2
        wake_orphans()  # the supervisor is gone
        return True

    def _rng(self, thread: int) -> random.Random:
        return random.Random(f"{self._plan.seed}/{self._process}/{thread}")  # noqa: S311 - the run's own dice
