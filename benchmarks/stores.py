"""
Measure the stores against naive clients of the same databases, as ratios within one run.

    python benchmarks/stores.py                       print the ratios and their limits
    python benchmarks/stores.py --only sqlite,redis   only these; "contended" is SQLite's eight writers
    python benchmarks/stores.py --check               exit 1 if one misses its limit

One notification, at the store and at the naive client:

=================  =======================================  ===============================================
lease              ``claim``; ``complete``                  INSERT, commit; UPDATE to done, commit
same transaction   ``claim``; then in one transaction       INSERT, commit; change the order, commit;
                   ``bind``, change the order, complete     UPDATE to done, commit
Redis              ``claim``; ``complete``                  SET NX PX; SET PX
=================  =======================================  ===============================================

In lease mode neither side changes an order. The naive client uses the same client
library with the same durability, on a table with the same columns and indexes: in
PostgreSQL and MariaDB with SQLAlchemy's ``engine.begin()``, in SQLite as ``sqlite3``
has it. A rollback journal is then SQLite's usual one, DELETE; beside it, without a
limit, stands a client that keeps the journal's file (PERSIST), as the store does.
The naive client compares nothing, retries nothing and keeps no deadline.

A ratio is the store's rate to the naive client's: more is better. Contenders
take turns, in a new order every round, and each ratio is the median of the
rounds' own. Rates are of one client; they say more of the disk than of the code.

The servers are those of the tests, by the same environment variables
(``tests/servers.py``); it needs what the tests need. SQLite's files are made in
the temporary directory: name one on a disk in ``TMPDIR``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import contenders
import stores_sqlite
from rounds import Figure, ratio, show, timed

from wxnotify.stores.memory import MemoryStore

ROUNDS = 25
#: Seconds a contender has for one turn, about.
TURN = 0.1

Calls = dict[str, Callable[[], None]]


@contextmanager
def memory() -> Iterator[Calls]:
    """Give the store in memory, for comparison."""
    store = MemoryStore(max_claims=10_000_000)
    yield {"store, lease": contenders.lease(store), "duplicate": contenders.duplicate(store)}


@contextmanager
def redis() -> Iterator[Calls]:
    """Give what is compared on Redis."""
    from redis import Redis
    from servers import REDIS, redis_prefix

    from wxnotify.stores.redis import RedisStore

    client, prefix = Redis.from_url(REDIS.need()), redis_prefix()
    milliseconds = int(1000 * contenders.RETAIN)

    def naive() -> None:
        key = f"{prefix}naive:{contenders.new_key()}"
        client.set(key, os.urandom(16), nx=True, px=30_000)
        client.set(key, "done", px=milliseconds)

    print(f"Redis {client.info('server')['redis_version']}")
    store = RedisStore(REDIS.address, prefix=prefix)
    try:
        yield {
            "store, lease": contenders.lease(store),
            "naive, lease": naive,
            "duplicate": contenders.duplicate(store),
        }
    finally:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)
        client.close()
        store.close()


def postgresql() -> AbstractContextManager[Calls]:
    """Give what is compared on PostgreSQL."""
    from servers import postgresql_database

    return _sqlalchemy(postgresql_database, "postgresql+psycopg")


def mariadb() -> AbstractContextManager[Calls]:
    """Give what is compared on MariaDB or MySQL."""
    from servers import mariadb_database

    return _sqlalchemy(mariadb_database, "mysql+pymysql")


@contextmanager
def _sqlalchemy(database: Callable[[], AbstractContextManager[str]], driver: str) -> Iterator[Calls]:
    import sqlalchemy as sa

    from wxnotify.stores.sqlalchemy import SQLAlchemyStore, claim_tables

    with ExitStack() as at_end:
        url = at_end.enter_context(database())
        engine = sa.create_engine(driver + url[url.index("://") :])
        at_end.callback(engine.dispose)
        tables = sa.MetaData()
        orders = sa.Table(
            "orders",
            tables,
            sa.Column("number", sa.String(32), primary_key=True),
            sa.Column("paid", sa.Integer, nullable=False),
        )
        naive, _ = claim_tables(tables, claims="naive_claims", inbox="naive_inbox")
        tables.create_all(engine)
        version = ".".join(map(str, engine.dialect.server_version_info or ()))
        print(f"{engine.dialect.name} {version}")
        store = at_end.enter_context(SQLAlchemyStore(engine))
        store.create_all()
        with engine.begin() as connection:
            connection.execute(orders.insert(), {"number": contenders.ORDER, "paid": 0})

        as_stored: Callable[[str], Any] = str.encode if engine.dialect.name == "mysql" else str
        insert = naive.insert()
        update = naive.update().where(naive.c.natural_key == sa.bindparam("key"))
        update = update.values(state="done", updated=sa.bindparam("now"), retain_until=sa.bindparam("retain"))
        pay = orders.update().where(orders.c.number == sa.bindparam("order"))
        pay = pay.values(paid=orders.c.paid + 1)

        def change(connection: sa.Connection) -> None:
            connection.execute(pay, {"order": contenders.ORDER})

        def notification(*, with_order: bool) -> None:
            key = as_stored(contenders.new_key())
            with engine.begin() as connection:
                connection.execute(
                    insert, dict(zip(contenders.NAIVE_COLUMNS, contenders.naive_row(key), strict=True))
                )
            if with_order:
                with engine.begin() as connection:
                    change(connection)
            now = time.time()
            with engine.begin() as connection:
                connection.execute(update, {"key": key, "now": now, "retain": now + contenders.RETAIN})

        calls: Calls = {
            "store, lease": contenders.lease(store),
            "naive, lease": lambda: notification(with_order=False),
            "store, transaction": contenders.same_transaction(store, engine.begin, change),
            "store.transaction()": contenders.same_transaction(store, store.transaction, change),
            "naive, transaction": lambda: notification(with_order=True),
            "duplicate": contenders.duplicate(store),
        }
        if engine.dialect.name == "postgresql":
            calls["psycopg, lease"] = at_end.enter_context(_psycopg(url))
        yield calls


@contextmanager
def _psycopg(url: str) -> Iterator[Callable[[], None]]:
    import psycopg

    insert = contenders.naive_insert("naive_claims", "%s")
    with psycopg.connect(url, autocommit=True) as connection:

        def call() -> None:
            key = contenders.new_key()
            connection.execute(insert, contenders.naive_row(key))
            now = time.time()
            connection.execute(
                "UPDATE naive_claims SET state = 'done', updated = %s, retain_until = %s "
                "WHERE natural_key = %s",
                (now, now + contenders.RETAIN, key),
            )

        yield call


# --- what is measured, and what must hold


def measure(title: str, calls: Calls, *, lease: float | None, transaction: float | None) -> Iterator[Figure]:
    """Let *calls* take turns; give their figures, with the least the ratios may be."""
    seconds = timed(calls, ROUNDS, {name: _calls_a_turn(call) for name, call in calls.items()})

    # The times of the other over the store's are the store's rate over the other's.
    for other in [name for name in calls if name.endswith(", lease") and name != "store, lease"]:
        limit = lease if other == "naive, lease" else None
        yield Figure(f"{title}: store / {other}", ratio(seconds, other, "store, lease"), at_least=limit)
    for ours in [name for name in calls if name in ("store, transaction", "store.transaction()")]:
        limit = transaction if ours == "store, transaction" else None
        yield Figure(
            f"{title}: {ours} / naive, transaction",
            ratio(seconds, "naive, transaction", ours),
            at_least=limit,
        )
    for name in calls:
        yield Figure(f"{title}: {name}, a second", 1 / statistics.median(seconds[name]))


def _calls_a_turn(call: Callable[[], None]) -> int:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < TURN:
        call()
        count += 1
    return count


def contended() -> Iterator[Figure]:
    """Measure SQLite with eight saturating writers."""
    # A rollback journal is slower: as many claims need more time.
    for journal, seconds in {"rollback journal": 48.0, "WAL": 24.0}.items():
        found = stores_sqlite.contend(journal, seconds)
        for name, waits in found.items():
            title = f"SQLite, {journal}, {stores_sqlite.WRITERS} writers, {name}: "
            limits = {"p99.9": 150.0, "max": 500.0} if name == "store" else {}
            for share, value in {
                "p50": waits.at(0.5),
                "p99": waits.at(0.99),
                "p99.9": waits.at(0.999),
            }.items():
                yield Figure(f"{title}claim {share}, ms", value, limits.get(share))
            yield Figure(f"{title}claim max, ms, of {len(waits.each)}", waits.each[-1], limits.get("max"))
            yield Figure(f"{title}notifications a second; {waits.refused} given up", waits.rate)


#: By the name for ``--only``: the title, what is compared, and the least the ratios may be.
COMPARED: dict[
    str, list[tuple[str, Callable[[], AbstractContextManager[Calls]], float | None, float | None]]
] = {
    "memory": [("memory", memory, None, None)],
    "sqlite": [
        ("SQLite, rollback journal", partial(stores_sqlite.calls, "rollback journal"), 1.0, 1.3),
        # A commit takes a tenth of a millisecond there, no longer than Python's part of it. Two bare
        # statements without any check are no faster than the naive client, so these limits only say
        # what the checks may cost.
        ("SQLite, WAL", partial(stores_sqlite.calls, "WAL"), 0.75, 0.8),
    ],
    "postgresql": [("PostgreSQL", postgresql, 1.0, 1.3)],
    "mariadb": [("MariaDB", mariadb, 1.0, 1.0)],
    "redis": [("Redis", redis, 1.0, None)],
}


def machine() -> str:
    """Say where this is measured, and with which versions."""
    found = [f"{os.cpu_count()} CPUs", platform.platform(), f"Python {platform.python_version()}"]
    found.append(f"SQLite {sqlite3.sqlite_version}")
    for package in ("SQLAlchemy", "psycopg", "PyMySQL", "redis"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def main() -> int:
    """Measure what can be, print it, and compare."""
    parser = argparse.ArgumentParser(description="Measure the stores against naive clients.")
    names = [*COMPARED, "contended"]
    parser.add_argument("--only", default=",".join(names), help=f"some of {', '.join(names)}")
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure misses its limit")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")

    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    import pytest

    print(machine())
    missed = 0
    for name in wanted:
        if name == "contended":
            missed += show(contended())
            continue
        for title, compared, lease, transaction in COMPARED[name]:
            try:
                with compared() as calls:
                    missed += show(measure(title, calls, lease=lease, transaction=transaction))
            except (ImportError, pytest.skip.Exception) as why:
                print(f"left out: {title}: {why}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
