"""The recipes of docs/inbox.md, as they stand there, on the engines and servers they are for."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from wxnotify.testing import payment

from .inbox_engines.processes import PATIENCE, environment, kill, wait_until
from .servers import RABBITMQ, REDIS, postgresql_database

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"```python\n(# (\w+\.py)\n.*?)```", re.DOTALL)
PAID = [(payment().transaction_id,)]

DELIVER = "from {engine}_shop import receiver; from wxnotify.testing import notification; "
BLOCKING = DELIVER + "print(receiver.receive(notification()).status, receiver.sweep())"
AWAITED = DELIVER + (
    "import asyncio; deliver = lambda: receiver.receive_async(notification()); "
    "print(asyncio.run(deliver()).status, 0)"
)


class Recipe(NamedTuple):
    """An engine, where it runs, and what its page says to type."""

    engine: str
    server: Callable[[str, ExitStack], dict[str, str]]
    worker: tuple[str, ...]
    deliver: str = BLOCKING
    sweep: str = "from {engine}_shop import receiver; print(receiver.sweep())"


def rabbitmq(queue: str, stack: ExitStack) -> dict[str, str]:
    """Say what to write instead, for a queue of the test's own."""
    address = RABBITMQ.need()

    def tidy() -> None:
        from kombu import Connection

        with Connection(address) as connection, connection.channel() as channel:
            channel.queue_delete(queue)
            channel.exchange_delete(queue)

    stack.callback(tidy)
    return {"amqp://guest:guest@localhost:5672//": address, "payments": queue}


def redis(queue: str, stack: ExitStack) -> dict[str, str]:
    """Say what to write instead, for a queue of the test's own."""
    address = REDIS.need()

    def tidy() -> None:
        from redis import Redis

        with Redis.from_url(address) as client:
            for key in client.scan_iter(f"*{queue}*"):
                client.delete(key)
            client.srem("rq:queues", f"rq:queue:{queue}")

    stack.callback(tidy)
    host, port = REDIS.port
    return {'host="localhost"': f'host="{host}", port={port}', "payments": queue, "URL": address}


def postgresql(queue: str, stack: ExitStack) -> dict[str, str]:
    """Say what to write instead, for a database of the test's own."""
    address = stack.enter_context(postgresql_database())
    return {
        "postgresql+psycopg://localhost/shop": address.replace("postgresql:", "postgresql+psycopg:"),
        "postgresql://localhost/shop": address,
    }


RECIPES = [
    Recipe("celery", rabbitmq, ("celery", "-A", "celery_shop", "worker", "--pool=solo", "--beat")),
    Recipe("dramatiq", redis, ("dramatiq", "dramatiq_shop", "--processes=1", "--threads=1")),
    Recipe("rq", redis, ("rq.cli", "worker", "--with-scheduler", "--burst", "--url=URL", "payments")),
    Recipe(
        "procrastinate",
        postgresql,
        ("procrastinate", "-a", "procrastinate_shop.app", "worker"),
        sweep="from procrastinate_shop import app, receiver\nwith app.open(): print(receiver.sweep())",
    ),
    Recipe(
        "arq",
        redis,
        ("arq", "arq_shop.WorkerSettings", "--burst"),
        deliver=AWAITED,
        sweep="import asyncio; from arq_shop import receiver; print(asyncio.run(receiver.sweep_async()))",
    ),
]


class Kitchen:
    """A directory with the files of a recipe, and what happens in it."""

    def __init__(self, recipe: Recipe, directory: Path, stack: ExitStack) -> None:
        self.recipe = recipe
        self.directory = directory
        self.instead = recipe.server(f"wxnotify-test-{uuid.uuid4().hex[:12]}", stack)
        for page in ("README.md", "docs/inbox.md"):
            for source, name in NAMED.findall((ROOT / page).read_text(encoding="utf-8")):
                if name == "shop.py" or name.startswith(recipe.engine):
                    (directory / name).write_text(self._here(source), encoding="utf-8")
        self.database = self.instead.get("postgresql://localhost/shop")
        if self.database:
            self.run(
                "from procrastinate_shop import app, store; store.create_all()\n"
                "with app.open(): app.schema_manager.apply_schema()"
            )
            self.asked("CREATE TABLE orders (out_trade_no text, fen integer, transaction_id text)")
            self.asked("INSERT INTO orders VALUES ('A-1001', 100, NULL)")

    def _here(self, text: str) -> str:
        for there, here in self.instead.items():
            text = text.replace(there, here)
        return text

    def run(self, code: str) -> str:
        """Run Python in a process of its own."""
        code = code.replace("{engine}", self.recipe.engine)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def asked(self, statement: Any) -> list[Any]:
        """Ask the orders' database."""
        if self.database:
            with psycopg.connect(self.database, autocommit=True) as postgresql:
                cursor = postgresql.execute(statement)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.directory / "shop.db", timeout=20)) as sqlite, sqlite:
            return sqlite.execute(statement).fetchall()

    def log(self) -> str:
        """Read what the worker said."""
        return (self.directory / "worker.log").read_text()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run the worker."""
        with (self.directory / "worker.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(self._here, self.recipe.worker)],
                cwd=self.directory,
                env=environment(PYTHONPATH=str(self.directory)),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield
                if "--burst" in self.recipe.worker:
                    process.wait(PATIENCE)  # it ends when there is nothing left
            finally:
                kill(process)


@pytest.fixture(params=RECIPES, ids=[recipe.engine for recipe in RECIPES])
def kitchen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kitchen]:
    with ExitStack() as stack:
        yield Kitchen(request.param, tmp_path, stack)


def test_a_recipe_works_what_it_queued_and_swept_once(kitchen: Kitchen) -> None:
    assert kitchen.run(kitchen.recipe.deliver) == "200 0"
    kitchen.asked("UPDATE wxnotify_inbox SET due = 0")
    assert kitchen.run(kitchen.recipe.sweep) == "1"
    assert kitchen.asked("SELECT transaction_id FROM orders") == [(None,)]
    with kitchen.worker():
        wait_until(lambda: kitchen.asked("SELECT count(*) FROM wxnotify_inbox") == [(0,)], kitchen.log)
    assert kitchen.asked("SELECT transaction_id FROM orders") == PAID
    assert kitchen.run(kitchen.recipe.sweep) == "0"
