"""
A server process that is killed: ``crashing_child.py FILE MODE HALT SECONDS`` takes one notification.

MODE is ``transaction`` or ``lease``. HALT names the step after which it prints HALT and waits for its end,
or is ``-``; then it prints the reply's status and the event's code. SECONDS is how far the store's clock is
ahead.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wxnotify import Event, Expected, Merchant, Payment, Receiver, build_reply
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification


def main(path: str, mode: str, halt: str, ahead: float) -> None:
    def after(step: str) -> None:
        if step == halt:
            print(halt, flush=True)
            sys.stdin.read()  # until it is killed

    class Store(SQLiteStore):
        def claim(self, *arguments: Any, **named: Any) -> Any:
            after("expectation")
            claim = super().claim(*arguments, **named)
            after("claim")
            return claim

        def complete(self, *arguments: Any, **named: Any) -> Any:
            outcome = super().complete(*arguments, **named)
            after("completion")
            return outcome

        def find(self, key: str) -> Any:
            record = super().find(key)
            after("look")
            return record

    @contextmanager
    def transaction() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            connection.execute("BEGIN IMMEDIATE")
            after("begin")
            yield connection
            if mode == "transaction":
                after("completion")
            connection.execute("COMMIT")
            after("commit")
        finally:
            connection.close()

    def change(payment: Payment, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE orders SET shipped = shipped + 1 WHERE out_trade_no = ?", (payment.out_trade_no,)
        )
        after("change")

    def change_and_commit(payment: Payment) -> None:
        with transaction() as connection:
            change(payment, connection)

    events: list[Event] = []

    def tell(event: Event) -> None:
        after("settled")
        events.append(event)

    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        Store(path, clock=lambda: time.time() + ahead),
        expect=lambda payment: Expected(100),
        on_event=tell,
        wait=0,
    )
    if mode == "transaction":
        receiver.on("payment", transaction=transaction)(change)
    else:
        receiver.on("payment")(change_and_commit)
    reply = receiver.receive(notification())
    assert (reply == build_reply()) is (reply.status == 200)
    print(reply.status, events[0].code)


if __name__ == "__main__":
    main(*sys.argv[1:4], ahead=float(sys.argv[4]))
