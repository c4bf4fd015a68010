"""
Every store of this library, and how each is made for a test.

One table, :data:`SUBJECTS`, for whatever is run over all of them. An entry's
``open(directory)`` is a context manager that gives a :class:`Trial`: a store that
holds nothing yet, whose time can be moved (``trial.advance``), whose verbs block
whatever its kind (``trial.claim`` ...; the store itself is ``trial.store``), and, if
its promise is "same-transaction", with ``trial.transaction()``, ``trial.effect`` and
``trial.effects``. Where the server of a store does not answer, opening skips the test.
"""

from __future__ import annotations

import atexit
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing.store_conformance import Subject, event_loop

from .. import servers

#: Seconds an operation may take: more than a loaded machine needs.
TIMEOUT = 20.0


class Trial(Subject):
    """A subject, and how another process gets at the same store."""

    #: Python source that makes the same store, on the real clock, as ``store``, and where there is one, its
    #: ``transaction`` and ``effect``. None where no other process can have it.
    elsewhere: str | None = None


class Entry(NamedTuple):
    """One way to keep claims."""

    name: str
    #: "async": ``trial.store`` is an AsyncStore, run by ``trial.run``.
    kind: Literal["sync", "async"]
    #: The stronger of what it can give. Each "same-transaction" store is a lease store too.
    promise: Literal["lease", "same-transaction"]
    open: Callable[[Path], AbstractContextManager[Trial]]


#: Move every time in a SQL database back by ``:seconds``.
SHIFTS = (
    "UPDATE wxnotify_claims SET first_seen = first_seen - :seconds, updated = updated - :seconds, "
    "lease_until = lease_until - :seconds, retain_until = retain_until - :seconds",
    "UPDATE wxnotify_inbox SET due = due - :seconds, received = received - :seconds",
)

# What is made once: databases, engines and the loop of those that are awaited.
_at_exit = ExitStack()
atexit.register(_at_exit.close)
_loop = cache(lambda: _at_exit.enter_context(event_loop()))


class Clock:
    """A clock that goes, and can be moved by hand."""

    def __init__(self) -> None:
        self.moved = 0.0

    def __call__(self) -> float:
        return time.time() + self.moved

    def advance(self, seconds: float) -> None:
        self.moved += seconds


@contextmanager
def memory(directory: Path) -> Iterator[Trial]:
    clock = Clock()
    yield Trial(MemoryStore(clock=clock), clock.advance)


def sqlite(*, wal: bool = False) -> Callable[[Path], AbstractContextManager[Trial]]:
    @contextmanager
    def open_sqlite(directory: Path) -> Iterator[Trial]:
        path, clock = directory / "shop.db", Clock()
        with closing(sqlite3.connect(path)) as shop:
            # As an application might have done before.
            shop.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
            shop.execute("CREATE TABLE effects (natural_key TEXT NOT NULL)")
            shop.commit()

        def effect(connection: Any, key: str) -> None:
            connection.execute("INSERT INTO effects VALUES (?)", [key])

        def effects(key: str) -> int:
            with closing(sqlite3.connect(path, timeout=TIMEOUT)) as shop:
                ((count,),) = shop.execute("SELECT count(*) FROM effects WHERE natural_key = ?", [key])
            return int(count)

        with warnings.catch_warnings():
            # Below SQLite 3.51.3 it warns of WAL, which is tested elsewhere.
            warnings.simplefilter("ignore", RuntimeWarning)
            store = SQLiteStore(path, clock=clock, timeout=TIMEOUT)
        with store:
            trial = Trial(store, clock.advance, transaction=store.transaction, effect=effect, effects=effects)
            trial.elsewhere = (
                "import warnings; warnings.simplefilter('ignore', RuntimeWarning)\n"
                "from wxnotify.stores.sqlite import SQLiteStore\n"
                f"store = SQLiteStore({str(path)!r}, timeout={TIMEOUT})\n"
                "transaction = store.transaction\n"
                "def effect(connection, key):\n"
                "    connection.execute('INSERT INTO effects VALUES (?)', [key])\n"
            )
            yield trial

    return open_sqlite


# The only clock of a claim is its time to live.
_SHIFT_REDIS = """
local left = redis.call('PTTL', KEYS[1]) - ARGV[1]
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) else redis.call('DEL', KEYS[1]) end
"""


def redis(kind: Literal["sync", "async"]) -> Callable[[Path], AbstractContextManager[Trial]]:
    @contextmanager
    def open_redis(directory: Path) -> Iterator[Trial]:
        address, prefix = servers.REDIS.need(), servers.redis_prefix()
        from redis import Redis

        from wxnotify.stores.redis import AsyncRedisStore, RedisStore

        def advance(seconds: float) -> None:
            for key in client.scan_iter(prefix + "*", count=1_000):
                shift(keys=[key], args=[round(seconds * 1_000)])

        with ExitStack() as at_end:
            client = at_end.enter_context(Redis.from_url(address))
            shift = client.register_script(_SHIFT_REDIS)
            at_end.callback(
                lambda: [client.delete(key) for key in client.scan_iter(prefix + "*", count=1_000)]
            )
            name = "RedisStore" if kind == "sync" else "AsyncRedisStore"
            if kind == "sync":
                trial = Trial(
                    at_end.enter_context(RedisStore(address, prefix=prefix, timeout=TIMEOUT)), advance
                )
            else:
                run = at_end.enter_context(event_loop())
                store = AsyncRedisStore(address, prefix=prefix, timeout=TIMEOUT)
                at_end.callback(lambda: run(store.close()))
                trial = Trial(store, advance, run=run)
            trial.elsewhere = (
                f"from wxnotify.stores.redis import {name}\n"
                f"store = {name}({address!r}, prefix={prefix!r}, timeout={TIMEOUT})\n"
            )
            yield trial

    return open_redis


def django(alias: str) -> Callable[[Path], AbstractContextManager[Trial]]:
    def open_django(directory: Path) -> AbstractContextManager[Trial]:
        # Its settings, too, are loaded by nobody who does not need them.
        from ..django_shop.subject import open_subject

        return open_subject(alias, Trial, timeout=TIMEOUT)

    return open_django


@cache
def _database(server: str) -> str:
    """Make a database, give its address, without the part that names the driver."""
    if server == "sqlite":
        return "://" + _at_exit.enter_context(tempfile.TemporaryDirectory(prefix="wxnotify-")) + "/shop.db"
    make = {"postgresql": servers.postgresql_database, "mysql": servers.mariadb_database}[server]
    return _at_exit.enter_context(make()).removeprefix(server)


@cache
def _alchemy(server: str, driver: str, kind: Literal["sync", "async"]) -> tuple[str, Any, Any]:
    """Make an engine and a store; give the URL and both."""
    from sqlalchemy import create_engine
    from sqlalchemy.ext.asyncio import create_async_engine

    from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore

    address = _database(server)
    url = f"{server}+{driver}{address.replace('://', ':///') if server == 'sqlite' else address}"
    if kind == "sync":
        # As an application does whose server may be restarted.
        engine = create_engine(url, pool_pre_ping=True)
        _at_exit.callback(engine.dispose)
        store = _at_exit.enter_context(SQLAlchemyStore(engine, timeout=TIMEOUT))
        store.create_all()
        return url, engine, store
    run = _loop()
    async_engine = create_async_engine(url, pool_pre_ping=True)
    _at_exit.callback(lambda: run(async_engine.dispose()))
    async_store = AsyncSQLAlchemyStore(async_engine, timeout=TIMEOUT)
    _at_exit.callback(lambda: run(async_store.close()))
    run(async_store.create_all())
    return url, async_engine, async_store


def sqlalchemy(
    server: str, driver: str, kind: Literal["sync", "async"]
) -> Callable[[Path], AbstractContextManager[Trial]]:
    """Make a subject; *server* is what a URL begins with."""

    @contextmanager
    def open_sqlalchemy(directory: Path) -> Iterator[Trial]:
        url, engine, store = _alchemy(server, driver, kind)
        from sqlalchemy import text

        insert = text("INSERT INTO effects VALUES (:key)")
        count = text("SELECT count(*) FROM effects WHERE natural_key = :key")
        empty = ("effects", "wxnotify_claims", "wxnotify_inbox")

        def set_up(connection: Any) -> None:
            connection.execute(text("CREATE TABLE IF NOT EXISTS effects (natural_key VARCHAR(255) NOT NULL)"))
            for table in empty:
                connection.execute(text(f"DELETE FROM {table}"))

        def shift(connection: Any, seconds: float) -> None:
            for statement in SHIFTS:
                connection.execute(text(statement), {"seconds": seconds})

        def advance(seconds: float) -> None:
            with engine.begin() as connection:
                shift(connection, seconds)

        def effect(connection: Any, key: str) -> None:
            connection.execute(insert, {"key": key})

        def effects(key: str) -> int:
            with engine.connect() as connection:
                return int(connection.execute(count, {"key": key}).scalar_one())

        async def set_up_async() -> None:
            async with engine.begin() as connection:
                await connection.run_sync(set_up)

        async def advance_async(seconds: float) -> None:
            async with engine.begin() as connection:
                await connection.run_sync(shift, seconds)

        async def effect_async(connection: Any, key: str) -> None:
            await connection.execute(insert, {"key": key})

        async def effects_async(key: str) -> int:
            async with engine.connect() as connection:
                return int((await connection.execute(count, {"key": key})).scalar_one())

        if kind == "sync":
            with engine.begin() as connection:
                set_up(connection)
            trial = Trial(store, advance, transaction=store.transaction, effect=effect, effects=effects)
            make, name, define, wait = "create_engine", "SQLAlchemyStore", "def", ""
        else:
            _loop()(set_up_async())
            trial = Trial(
                store,
                advance_async,
                run=_loop(),
                transaction=store.transaction,
                effect=effect_async,
                effects=effects_async,
            )
            make, name, define, wait = "create_async_engine", "AsyncSQLAlchemyStore", "async def", "await "
        trial.elsewhere = (
            "from sqlalchemy import create_engine, text\n"
            "from sqlalchemy.ext.asyncio import create_async_engine\n"
            f"from wxnotify.stores.sqlalchemy import {name}\n"
            f"engine = {make}({url!r})\n"
            f"store = {name}(engine, timeout={TIMEOUT})\n"
            "transaction = store.transaction\n"
            f"{define} effect(connection, key):\n"
            f"    {wait}connection.execute(text('INSERT INTO effects VALUES (:key)'), {{'key': key}})\n"
        )
        yield trial

    return open_sqlalchemy


#: What SQLAlchemy talks through: what a URL begins with, the driver, and how it waits.
DRIVERS: list[tuple[str, str, Literal["sync", "async"]]] = [
    ("postgresql", "psycopg", "sync"),
    ("mysql", "pymysql", "sync"),
    ("sqlite", "pysqlite", "sync"),
    ("postgresql", "psycopg", "async"),
    ("postgresql", "asyncpg", "async"),
    ("mysql", "asyncmy", "async"),
    ("mysql", "aiomysql", "async"),
    ("sqlite", "aiosqlite", "async"),
]
SUBJECTS = [
    Entry("memory", "sync", "lease", memory),
    Entry("sqlite", "sync", "same-transaction", sqlite()),
    Entry("sqlite-wal", "sync", "same-transaction", sqlite(wal=True)),
    Entry("redis", "sync", "lease", redis("sync")),
    Entry("redis-async", "async", "lease", redis("async")),
    *(
        Entry(f"sqlalchemy-{driver}-{kind}", kind, "same-transaction", sqlalchemy(server, driver, kind))
        for server, driver, kind in DRIVERS
    ),
    Entry("django-sqlite", "sync", "same-transaction", django("default")),
    Entry("django-postgresql", "sync", "same-transaction", django("postgresql")),
    Entry("django-mariadb", "sync", "same-transaction", django("mariadb")),
]
