"""The inbox and real engines: processes on real servers, killed in the middle of the work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from wxnotify import Reply
from wxnotify.stores.sqlalchemy import SQLAlchemyStore
from wxnotify.testing import notification, payment

from .inbox_engines import celery_shop, procrastinate_shop
from .inbox_engines.processes import environment, kill, wait_until
from .receiving import SUCCESS, Orders
from .servers import RABBITMQ, REDIS, postgresql_database

HERE = Path(__file__).with_name("inbox_engines")
REF = payment().key


# --- Celery -----------------------------------------------------------------------------------


class CeleryShop:
    """The web server's side of the shop, and its workers."""

    def __init__(self, place: celery_shop.Place, redelivers_at_once: bool = True) -> None:
        self.redelivers_at_once = redelivers_at_once
        self.place = place
        self.orders = Orders(place.database)
        self.app, self.receiver, self.task = celery_shop.open_shop(place)

    @contextmanager
    def worker(self, pool: str = "solo") -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker."""
        with (Path(self.place.directory) / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "celery_shop", "worker"),
                    *(f"--pool={pool}", "--concurrency=1", "--loglevel=INFO"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                    f"--hostname={uuid.uuid4().hex[:8]}@%h",
                ],
                cwd=HERE,
                env=environment(WXNOTIFY_SHOP=json.dumps(self.place)),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                kill(process)

    @property
    def events(self) -> list[str]:
        """The codes of all events, in all processes."""
        return self.place.events.read_text().split() if self.place.events.exists() else []

    def wait_for(self, code: str, count: int = 1) -> None:
        """Wait for the so-manieth event with this code, in any process."""
        wait_until(lambda: self.events.count(code) >= count, lambda: f"{count} {code} in {self.events}")

    def halted(self) -> int:
        """Wait until the handler has changed the order, and not yet committed; the process it is in."""
        wait_until(lambda: self.place.halted.exists() and self.place.halted.read_text(), lambda: "halted")
        return int(self.place.halted.read_text())

    @property
    def waiting(self) -> bool:
        """Whether the notification is in the inbox."""
        return self.receiver._setup.store.fetch(REF) is not None

    def wait_until_removed(self) -> None:
        """Wait for what comes after the event."""
        wait_until(lambda: not self.waiting, lambda: "removed from the inbox")


@pytest.fixture(params=[RABBITMQ, REDIS], ids=["rabbitmq", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CeleryShop]:
    broker = request.param.need()
    if request.param is REDIS:
        _need_kombu_on_redis(broker)
    place = celery_shop.Place(str(tmp_path), broker, f"wxnotify-test-{uuid.uuid4().hex[:12]}")
    shop = CeleryShop(place, redelivers_at_once=request.param is RABBITMQ)
    yield shop
    with shop.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(shop.place.queue)
        if request.param is RABBITMQ:
            channel.exchange_delete(shop.place.queue)
        else:
            import redis

            with redis.Redis.from_url(broker) as client:
                for key in client.scan_iter(f"{shop.place.queue}*"):
                    client.delete(key)
    shop.app.close()


def _need_kombu_on_redis(broker: str) -> None:
    from kombu import Connection
    from kombu.exceptions import VersionMismatch

    try:
        with Connection(broker) as connection:
            connection.default_channel  # noqa: B018
    except VersionMismatch as error:
        pytest.skip(f"this Celery does not go with this redis-py: {error}")


def test_celery_works_what_was_queued_once(shop: CeleryShop) -> None:
    with shop.worker():
        assert shop.receiver.receive(notification()) == SUCCESS
        assert shop.receiver.receive(notification()) == SUCCESS
        shop.wait_for("handled")
        shop.task.delay(REF)  # as an engine does that delivers twice
        shop.wait_for("duplicate", 2)
        shop.wait_until_removed()
    assert sorted(shop.events) == ["duplicate", "duplicate", "handled", "queued"]
    assert shop.orders.shipped == 1


def test_celery_is_killed_in_the_middle_of_the_work(shop: CeleryShop) -> None:
    assert shop.receiver.receive(notification()) == SUCCESS
    shop.place.halt.touch()
    with shop.worker() as worker:
        assert shop.halted() == worker.pid
        kill(worker)
    assert shop.orders.shipped == 0
    assert shop.waiting
    if shop.redelivers_at_once:
        swept = 0
    else:
        # Redis keeps what was not acknowledged for its visibility timeout, an hour: the sweeper is faster.
        wait_until(lambda: shop.receiver._setup.store.due(1), lambda: "due")
        swept = shop.receiver.sweep()
    with shop.worker():
        shop.wait_for("handled")
        shop.wait_until_removed()
    assert swept == (not shop.redelivers_at_once)
    assert shop.orders.shipped == 1


def test_a_process_of_celerys_pool_is_killed_in_the_middle_of_the_work(shop: CeleryShop) -> None:
    assert shop.receiver.receive(notification()) == SUCCESS
    shop.place.halt.touch()
    with shop.worker("prefork") as worker:
        child = shop.halted()
        assert child != worker.pid
        os.kill(child, signal.SIGKILL)
        shop.wait_for("handled")  # reject_on_worker_lost: by the same worker, which has a new process
        shop.wait_until_removed()
    assert shop.orders.shipped == 1


def test_celery_tries_again_what_failed(shop: CeleryShop) -> None:
    shop.place.fail.touch()
    assert shop.receiver.receive(notification()) == SUCCESS
    with shop.worker():
        shop.wait_for("handled")
        shop.wait_until_removed()
    assert shop.events == ["queued", "handler_failed", "handled"]
    assert shop.orders.shipped == 1


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_does_not_answer_costs_no_more_than_the_reply_may(scheme: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        host, port = frozen.getsockname()
        shop = CeleryShop(celery_shop.Place(str(tmp_path), f"{scheme}://{host}:{port}//", "queue"))
        replies: list[Reply] = []
        delivery = threading.Thread(
            target=lambda: replies.append(shop.receiver.receive(notification())), daemon=True
        )
        delivery.start()
        delivery.join(3)
        assert replies == [SUCCESS]
        shop.app.close()
    assert shop.events == ["not_handed_over"]
    assert shop.waiting


# --- procrastinate ---------------------------------------------------------------------------------


class ProcrastinateShop:
    """The web server's side of the shop, and its workers."""

    def __init__(self, place: procrastinate_shop.Place) -> None:
        self.place = place
        self.shop = procrastinate_shop.Shop(place)

    def asked(self, statement: Any) -> list[Any]:
        """Ask the database, over a connection of the test's own."""
        with psycopg.connect(self.place.database, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def do(self, verb: str, *arguments: Any) -> Any:
        """Let the receiver do something."""
        if not self.place.awaited:
            return getattr(self.shop.receiver, verb)(*arguments)

        async def all_on_one_loop() -> Any:
            try:
                return await getattr(self.shop.receiver, f"{verb}_async")(*arguments)
            finally:
                await self.shop.store.close()
                await self.shop.async_engine.dispose()

        return asyncio.run(all_on_one_loop())

    def deliver(self) -> bool:
        """Deliver the notification; whether it was told SUCCESS."""
        reply = self.do("receive", notification())
        assert isinstance(reply, Reply)
        return reply == SUCCESS

    @property
    def jobs(self) -> list[str]:
        """The state of each job that works REF."""
        rows = self.asked("SELECT status, args FROM procrastinate_jobs WHERE task_name = 'work' ORDER BY id")
        assert all(arguments == {"ref": REF} for _, arguments in rows)
        return [status for status, _ in rows]

    @property
    def shipped(self) -> int:
        return self.asked("SELECT shipped FROM orders")[0][0]

    @property
    def waiting(self) -> bool:
        return self.asked("SELECT count(*) FROM wxnotify_inbox")[0][0] == 1

    @property
    def events(self) -> list[str]:
        return self.place.events.read_text().split() if self.place.events.exists() else []

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker."""
        with (Path(self.place.directory) / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "procrastinate", "-a", "procrastinate_shop.app", "worker"],
                cwd=HERE,
                env=environment(WXNOTIFY_SHOP=json.dumps(self.place)),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                kill(process)


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProcrastinateShop]:
    with postgresql_database() as database:
        shop = ProcrastinateShop(procrastinate_shop.Place(str(tmp_path), database, request.param))
        shop.asked("CREATE TABLE orders (out_trade_no text PRIMARY KEY, shipped integer NOT NULL)")
        shop.asked("INSERT INTO orders VALUES ('A-1001', 0)")
        with shop.shop.app.open():
            shop.shop.app.schema_manager.apply_schema()
        engine = create_engine(shop.place.url)
        with SQLAlchemyStore(engine) as store:
            store.create_all()
        engine.dispose()
        yield shop
        if not request.param:
            shop.shop.store.close()
            shop.shop.engine.dispose()


def test_procrastinates_job_is_queued_in_the_inboxs_transaction(postgresql: ProcrastinateShop) -> None:
    seen: list[list[str]] = []
    bind = postgresql.shop.store.bind

    def bind_and_look(connection: Any) -> Any:
        bound = bind(connection)
        complete = bound.complete

        def look_and_complete(*arguments: Any, **named: Any) -> Any:
            seen.append(postgresql.jobs)  # after the job was queued, on another connection
            return complete(*arguments, **named)

        bound.complete = look_and_complete
        return bound

    postgresql.shop.store.bind = bind_and_look
    assert postgresql.deliver()
    assert seen == [[]]
    assert postgresql.jobs == ["todo"]
    assert postgresql.deliver()
    assert postgresql.jobs == ["todo"]
    assert postgresql.events == ["queued", "duplicate"]


def test_a_transaction_that_is_rolled_back_queues_no_job(postgresql: ProcrastinateShop) -> None:
    # The last statement of the transaction fails, after the job was queued.
    postgresql.asked("CREATE FUNCTION fail() RETURNS trigger AS 'BEGIN RAISE ''full''; END' LANGUAGE plpgsql")
    postgresql.asked(
        "CREATE TRIGGER fail BEFORE UPDATE ON wxnotify_claims FOR EACH ROW WHEN (NEW.state = 'done') "
        "EXECUTE FUNCTION fail()"
    )
    assert not postgresql.deliver()
    assert postgresql.jobs == []
    assert not postgresql.waiting
    postgresql.asked("DROP TRIGGER fail ON wxnotify_claims")
    assert postgresql.deliver()
    assert postgresql.jobs == ["todo"]


def test_procrastinate_works_what_was_queued_once(postgresql: ProcrastinateShop) -> None:
    with postgresql.worker():
        assert postgresql.deliver()
        wait_until(lambda: postgresql.jobs == ["succeeded"], lambda: "worked")
    assert postgresql.events == ["queued", "handled"]
    assert postgresql.shipped == 1
    assert not postgresql.waiting


def test_procrastinate_is_killed_in_the_middle_of_the_work(postgresql: ProcrastinateShop) -> None:
    assert postgresql.deliver()
    postgresql.place.halt.touch()
    with postgresql.worker() as worker:
        wait_until(postgresql.place.halted.exists, lambda: "begun")
        kill(worker)
    assert postgresql.shipped == 0
    assert postgresql.jobs == ["doing"]
    # It stays so, whatever other workers do; the sweeper, which is a job itself, queues another.
    postgresql.asked("UPDATE wxnotify_inbox SET due = 0")
    with postgresql.shop.app.open():
        postgresql.shop.app.configure_task("sweep").defer()
    with postgresql.worker():
        wait_until(lambda: postgresql.jobs == ["doing", "succeeded"], lambda: "worked")
    assert postgresql.shipped == 1
    assert not postgresql.waiting
