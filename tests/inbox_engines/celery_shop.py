"""
A shop whose work Celery does, as in docs/inbox.md: ``celery -A celery_shop worker``.

The :class:`Place` is in the environment, as JSON in WXNOTIFY_SHOP. Orders, claims and inbox are in one
SQLite file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery

from wxnotify import Event, Expected, Merchant, Payment, Receiver
from wxnotify.errors import NotSettled, StoreError
from wxnotify.inbox import Inbox
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import APPID, KEY, MCH_ID


class Place(NamedTuple):
    """Where a shop is."""

    directory: str
    broker: str
    #: The name of its queue, used by no other.
    queue: str
    #: Seconds.
    lease: float = 1.0
    again_after: float = 1.0

    @property
    def database(self) -> Path:
        return Path(self.directory) / "shop.db"

    @property
    def events(self) -> Path:
        """The file with one line for each event."""
        return Path(self.directory) / "events"

    @property
    def fail(self) -> Path:
        """If it is there, the handler takes it away and fails."""
        return Path(self.directory) / "fail"

    @property
    def halt(self) -> Path:
        """If it is there, the handler takes it away and waits for its end, in its open transaction."""
        return Path(self.directory) / "halt"

    @property
    def halted(self) -> Path:
        """The file with the id of the process that waits."""
        return Path(self.directory) / "halted"


def open_shop(place: Place) -> tuple[Celery, Receiver, Any]:
    """Give the Celery application, the receiver and the task."""
    app = Celery("shop", broker=place.broker, fixups=[])  # no Django, though other tests set it up
    options: dict[str, Any] = {}
    if place.broker.startswith("redis"):
        options = {"socket_timeout": 1, "socket_connect_timeout": 1, "global_keyprefix": place.queue}
    app.conf.update(
        task_default_queue=place.queue,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        broker_connection_timeout=1,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        broker_transport_options=options,
        # Of the tests' own: no queues but the one.
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
    )
    store = SQLiteStore(place.database)
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        store,
        expect=lambda payment: Expected(100),
        on_event=lambda event: _report(place, event),
        lease=place.lease,
        wait=0,
    )

    @app.task(
        name="work",
        autoretry_for=(NotSettled, StoreError),
        retry_backoff=True,
        retry_jitter=False,
        max_retries=8,
    )
    def work(ref: str) -> None:
        receiver.work(ref)

    inbox = Inbox(work.delay, again_after=place.again_after)

    @receiver.on("payment", transaction=store.transaction, inbox=inbox)
    def ship(payment: Payment, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE orders SET shipped = shipped + 1 WHERE out_trade_no = ?", (payment.out_trade_no,)
        )
        if place.fail.exists():
            place.fail.unlink()
            raise RuntimeError("out of paper")
        if place.halt.exists():
            place.halt.unlink()
            place.halted.write_text(str(os.getpid()))
            time.sleep(60)

    return app, receiver, work


def _report(place: Place, event: Event) -> None:
    with place.events.open("a") as file:
        file.write(f"{event.code}\n")


if "WXNOTIFY_SHOP" in os.environ:
    app, _, _ = open_shop(Place(*json.loads(os.environ["WXNOTIFY_SHOP"])))
