"""What SQLAlchemyStore does beyond the contract: its tables, its engine, and every driver."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import MetaData, NullPool, create_engine, event, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores import _sqlalchemy_connections as connections
from wxnotify.stores import _sqlalchemy_sqlite
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, claim_tables

from . import alchemy
from .alchemy import KEEP, ON_SERVERS, PSYCOPG, PYMYSQL, PYSQLITE, SYNC, asked, new_key, proxied, refused

databases, open_engine, open_store = alchemy.databases, alchemy.open_engine, alchemy.open_store


# --- a claim's life, by every driver


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_a_claim_lives_by_every_driver(driver, open_store):
    store, key = open_store(driver), new_key()
    claim = store.claim(key, **asked(order_no="订单 1"))
    assert claim.outcome is ClaimOutcome.ACQUIRED
    assert store.claim(key, **asked()).outcome is ClaimOutcome.IN_PROGRESS
    assert store.claim(key, **asked(fingerprint=b"d" * 32)).outcome is ClaimOutcome.MISMATCH
    assert store.extend(claim, 60)
    assert store.release(claim, error="it's 100 % \\ :bad 😀") is ReleaseOutcome.RELEASED
    record = store.find(key)
    assert (record.order_no, record.state, record.last_error) == (
        "订单 1",
        State.RELEASED,
        "it's 100 % \\ :bad 😀",
    )
    claim = store.claim(key, **asked())
    assert (claim.outcome, claim.generation) == (ClaimOutcome.ACQUIRED, 2)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
    assert [record.key for record in store.records(order_no="订单 1")].count(key) == 1
    assert store.purge(KEEP, 10) == 0


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_the_inbox_lives_by_every_driver(driver, open_store):
    store, key = open_store(driver), new_key()
    claim = store.claim(key, **asked())
    with store.transaction() as connection:
        bound = store.bind(connection)
        bound.put(key, b"<\0'\\>", again_in=-1.0)
        bound.put(key, b"another", again_in=-1.0)  # what is there stays
        bound.complete(claim, retain=KEEP)
    assert store.fetch(key) == b"<\0'\\>"
    assert (key, 0) in store.due(1_000)
    store.handed(key, again_in=60.0)
    assert key not in dict(store.due(1_000))
    store.remove(key)
    assert store.fetch(key) is None


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_keys_are_compared_byte_for_byte(driver, open_store):
    store, key = open_store(driver), new_key()
    ends = ["abc", "Abc", "abc ", "\u00e1bc", "a\u0301bc", "\uff41bc", "😀", "😁", "%", "\\", "'", ""]
    keys = [key + end for end in ends]
    for one in keys:
        assert store.claim(one, **asked()).outcome is ClaimOutcome.ACQUIRED, one
    assert {record.key for record in store.records() if record.key.startswith(key)} == set(keys)


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_order_numbers_are_compared_byte_for_byte(driver, open_store):
    store, order = open_store(driver), new_key()[-40:]
    for order_no in (order + "A", order + "a"):
        store.claim(new_key(), **asked(order_no=order_no))
    assert [record.order_no for record in store.records(order_no=order + "a")] == [order + "a"]


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_of_64_claims_at_once_one_is_acquired_and_none_fails(driver, open_store):
    store, key = open_store(driver, timeout=20), new_key()
    start = threading.Barrier(64)

    def claim(_):
        start.wait()
        return store.claim(key, **asked()).outcome

    with ThreadPoolExecutor(64) as threads:
        outcomes = list(threads.map(claim, range(64)))
    assert outcomes.count(ClaimOutcome.ACQUIRED) == 1
    assert outcomes.count(ClaimOutcome.IN_PROGRESS) == 63


# --- what it is made with


def test_without_sqlalchemy_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "wxnotify.stores.sqlalchemy")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=re.escape('pip install "wxpay-notify[sqlalchemy]"')):
        importlib.import_module("wxnotify.stores.sqlalchemy")


def test_another_database_is_refused():
    with refused("SQLite, not mssql"):
        SQLAlchemyStore(create_engine("mssql+pymssql://h/d", module=_driver("pymssql")))


def test_a_driver_whose_waits_cannot_be_ended_is_refused():
    with refused("pg8000 waits for, nor keep a deadline; take psycopg,"):
        SQLAlchemyStore(create_engine("postgresql+pg8000://h/d", module=_driver("pg8000")))


def _driver(name):
    return types.SimpleNamespace(__name__=name, paramstyle="format", __version__="9.0", Binary=bytes)


def test_an_asynchronous_engine_is_refused_where_it_blocks(databases):
    pytest.importorskip("aiosqlite")
    with refused("AsyncSQLAlchemyStore"):
        SQLAlchemyStore(create_async_engine("sqlite+aiosqlite:///x.db"))
    with refused("create_async_engine"):
        SQLAlchemyStore(create_engine("sqlite+aiosqlite:///x.db"))


def test_a_blocking_engine_is_refused_on_an_event_loop():
    with refused("create_async_engine"):
        AsyncSQLAlchemyStore(create_engine("sqlite:///x.db"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url):
    with refused("MemoryStore"):
        SQLAlchemyStore(create_engine(url, poolclass=NullPool))


@pytest.mark.parametrize("timeout", [0, -1, 61, float("nan"), True, "1"])
def test_a_timeout_without_bounds_is_refused(timeout):
    with refused("more than 0, at most 60"):
        SQLAlchemyStore(create_engine("sqlite:///x.db"), timeout=timeout)


@pytest.mark.parametrize("name", [" ", "a b", 'a"b', "1a", "sqlite_claims", "支付", "a\n", "x" * 49])
@pytest.mark.parametrize("argument", ["claims", "inbox", "schema"])
def test_a_table_name_that_is_no_identifier_is_refused(argument, name):
    with refused("ASCII identifier"):
        claim_tables(MetaData(), **{argument: name})


# --- the tables


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_without_tables_a_claim_says_what_to_do(driver, databases, open_engine):
    with SQLAlchemyStore(open_engine(driver, databases.another(driver))) as store:
        with refused(r"with your migrations, or with create_all\(\)"):
            store.claim(new_key(), **asked())
        with refused("is this the store's database"), store.transaction() as connection:
            store.bind(connection).put(new_key(), b"", again_in=1)


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_tables_can_be_made_by_many_at_once(driver, databases, open_engine):
    stores = [SQLAlchemyStore(open_engine(driver, databases.another(driver)))] * 6
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda store: store.create_all(), stores))
    assert stores[0].claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
    stores[0].close()


def test_tables_that_cannot_be_made_are_an_unavailable_store(tmp_path, open_engine):
    (tmp_path / "here").mkdir()
    store = SQLAlchemyStore(open_engine(PYSQLITE, f"sqlite:///{tmp_path / 'here'}"))
    with refused("cannot be made: OperationalError: unable to open", StoreUnavailable):
        store.create_all()


def test_tables_are_the_callers_to_name(open_engine, databases):
    metadata = MetaData()
    tables = claim_tables(metadata, claims="Select", inbox="notify_inbox", schema="pay")
    assert set(metadata.tables) == {"pay.Select", "pay.notify_inbox"}
    engine = open_engine(PSYCOPG, databases.another(PSYCOPG))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA pay"))
    with SQLAlchemyStore(engine, tables=tables) as store:
        store.create_all()
        claim = store.claim(new_key(), **asked())
        with store.transaction() as connection:
            assert store.bind(connection).complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert inspect(engine).get_table_names("pay") == ["Select", "notify_inbox"]


def test_in_mysql_the_tables_are_whatever_the_database_is(databases, open_store):
    engine = open_store(PYMYSQL).bind.__self__._database.engine
    with engine.connect() as connection:
        for table in ("wxnotify_claims", "wxnotify_inbox"):
            ((_, definition),) = connection.execute(text(f"SHOW CREATE TABLE {table}")).fetchall()
            assert "ENGINE=InnoDB" in definition
            assert "CHARSET=utf8mb4 COLLATE=utf8mb4_bin" in definition


# --- the engine is the caller's, the connections are the store's


@pytest.mark.parametrize("driver", SYNC, ids=str)
@pytest.mark.parametrize(
    "options",
    [{"isolation_level": "AUTOCOMMIT"}, {"isolation_level": "SERIALIZABLE"}, {"poolclass": NullPool}],
)
def test_the_engines_own_settings_do_not_matter(driver, options, open_store):
    store, key = open_store(driver, options=options), new_key()
    claim = store.claim(key, **asked())
    assert store.claim(key, **asked()).outcome is ClaimOutcome.IN_PROGRESS
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_an_engine_whose_pool_is_used_up_does_not_matter(driver, open_store):
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 60}
    store, key = open_store(driver, options=options, timeout=10), new_key()
    store.close()
    with store.transaction():
        pass  # the connection is there now
    with store._database.engine.connect():
        assert store.find(key) is None


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str)
def test_listeners_of_the_engine_make_the_connections_too(driver, databases, open_engine):
    engine = open_engine(driver, databases.address(driver).replace("@127.0.0.1", "@192.0.2.1"))
    seen = []

    @event.listens_for(engine, "do_connect")
    def route(dialect, record, arguments, parameters):
        parameters["host"] = "127.0.0.1"

    @event.listens_for(engine, "connect")
    def prepare(dbapi, record):
        cursor = dbapi.cursor()
        cursor.execute("SELECT 1")  # leaves a transaction open
        cursor.close()
        seen.append(dbapi)

    with SQLAlchemyStore(engine, timeout=10) as store:
        store.create_all()
        assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
    assert len(seen) == 2  # one of the engine's, one of the store's


def test_a_listeners_search_path_is_the_stores_too(databases, open_engine):
    address = databases.another(PSYCOPG)
    with open_engine(PSYCOPG, address).begin() as connection:
        connection.execute(text("CREATE SCHEMA shop"))
    engine = open_engine(PSYCOPG, address)

    @event.listens_for(engine, "connect")
    def prepare(dbapi, record):
        dbapi.execute("SET search_path = shop")  # in a transaction, not committed

    with SQLAlchemyStore(engine) as store:
        with open_engine(PSYCOPG, address, "?options=-csearch_path%3Dshop").begin() as connection:
            store._database.tables.claims.metadata.create_all(connection)
        assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
    assert inspect(engine).get_table_names("shop") == ["wxnotify_claims", "wxnotify_inbox"]


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str)
def test_a_verb_is_one_statement_and_nothing_else(driver, databases, open_store):
    with proxied(driver, databases.address(driver)) as (address, proxy):
        store, key = open_store(driver, address, timeout=10), new_key()
        store.find(key)
        for _ in range(8):  # psycopg prepares what it has seen often
            store.claim(new_key(), **asked())
        before = proxy.requests
        claim = store.claim(key, **asked())
        assert proxy.requests == before + 1
        store.complete(claim, retain=KEEP)
        assert proxy.requests == before + 2


def test_a_commit_reaches_the_disk_where_postgresql_would_not_wait(databases, open_store):
    store = open_store(PSYCOPG, databases.another(PSYCOPG))
    engine = store._database.engine
    with engine.begin() as connection:
        # What was set, as whoever changes the table sees it.
        connection.execute(text("CREATE TABLE seen (setting text)"))
        connection.execute(
            text(
                "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON wxnotify_claims "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see()"
            )
        )
        connection.execute(text(f"ALTER DATABASE {engine.url.database} SET synchronous_commit = off"))
    engine.dispose()
    claim = store.claim(new_key(), **asked())
    with store.transaction() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "off"
        store.bind(connection).complete(claim, retain=KEEP)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT setting FROM seen")).scalars().all() == ["on", "on"]
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "off"


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str)
def test_without_session_settings_nothing_is_set(driver, databases, open_store):
    requests = {}
    for settings in (True, False):
        with proxied(driver, databases.address(driver)) as (address, proxy):
            store = open_store(driver, address, session_settings=settings, timeout=10)
            before = proxy.requests
            assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
            requests[settings] = proxy.requests - before
            store.close()
    assert requests[True] == requests[False] + 1


@pytest.mark.parametrize("query", ["?charset=utf8", "?charset=latin1", "?charset=gbk"])
def test_the_connections_charset_does_not_matter(query, open_store):
    store, key = open_store(PYMYSQL, query=query), new_key()
    claim = store.claim(key, **asked(order_no="订单"))
    store.release(claim, error="😀")
    assert store.claim(key, **asked(owner=b"'\\\"\0\x1a\xff" + bytes(10))).outcome is ClaimOutcome.ACQUIRED
    record = open_store(PYMYSQL).find(key)
    assert (record.order_no, record.last_error) == ("订单", "😀")


def test_bytes_are_safe_where_backslashes_escape_nothing(open_store):
    options = {"connect_args": {"init_command": "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'"}}
    store, key = open_store(PYMYSQL, options=options), new_key()
    claim = store.claim(key, **asked(owner=b"'\\\"\0\x1a\xff" + bytes(10), order_no="'\\"))
    with store.transaction() as connection:
        assert store.bind(connection).complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.find(key).order_no == "'\\"


def test_sqlite_begun_by_python_itself_does_not_matter(open_store):
    # Python 3.12 can begin by itself; an older one has only the usual ways.
    begun = {"autocommit": False} if sys.version_info >= (3, 12) else {}
    store, key = open_store(PYSQLITE, options={"connect_args": begun}), new_key()
    claim = store.claim(key, **asked())
    assert open_store(PYSQLITE).find(key).state is State.PENDING
    with store.transaction() as connection:
        assert store.bind(connection).complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert open_store(PYSQLITE).find(key).state is State.DONE


def test_a_wal_file_that_this_sqlite_may_corrupt_is_warned_of(databases, open_engine, monkeypatch):
    address = databases.another(PYSQLITE)
    with open_engine(PYSQLITE, address).connect() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))
    store = SQLAlchemyStore(open_engine(PYSQLITE, address))
    monkeypatch.setattr(_sqlalchemy_sqlite, "_WAL_SAFE_SINCE", (99, 0, 0))
    store.create_all()
    with pytest.warns(RuntimeWarning, match="may corrupt"):
        store.find(new_key())
    store.close()
    monkeypatch.setattr(_sqlalchemy_sqlite, "_WAL_SAFE_SINCE", (3, 7, 0))
    store.find(new_key())
    store.close()


# --- connections come and go


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_a_connection_that_lay_idle_too_long_is_replaced(driver, open_store, monkeypatch):
    store = open_store(driver)
    made = []
    event.listen(store._database.engine, "connect", lambda dbapi, record: made.append(dbapi))
    for expected in (1, 1):
        store.find(new_key())
        assert len(made) == expected
    monkeypatch.setattr(connections, "_IDLE_SECONDS", 0.0)
    store.find(new_key())
    assert len(made) == 2


def test_a_store_that_is_dropped_leaves_no_connection_open(open_engine, databases):
    store = SQLAlchemyStore(open_engine(PSYCOPG))
    store.create_all()
    store.find(new_key())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del store
        gc.collect()


@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_a_closed_store_opens_again(driver, open_store):
    store = open_store(driver)
    store.close()
    store.close()
    assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("driver", SYNC, ids=str)
def test_a_child_has_connections_of_its_own(driver, open_store):
    store, key = open_store(driver, timeout=10), new_key()
    made = []
    event.listen(store._database.engine, "connect", lambda dbapi, record: made.append(dbapi))
    claim = store.claim(key, **asked())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
        child = os.fork()
    if child == 0:
        status = 1
        try:
            busy = store.claim(key, **asked()).outcome is ClaimOutcome.IN_PROGRESS
            store.close()
            gc.collect()
            status = 0 if busy and len(made) == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    # On SQLite the parent closed its own before it forked.
    assert len(made) == (2 if driver is PYSQLITE else 1)
