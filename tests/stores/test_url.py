"""A store named by one URL."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback

import pytest

from wxnotify.errors import ConfigurationError, StoreUnavailable
from wxnotify.idempotency import RETAIN_SECONDS, ClaimOutcome
from wxnotify.stores.redis import AsyncRedisStore, RedisStore
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.stores.url import open_async_store, open_store

from .. import servers

PASSWORD = "hunter2-do-not-show"
ASKED = {"fingerprint": bytes(32), "owner": b"o" * 16, "lease": 30.0}


def settle(store):
    """Claim and complete one key; give what a second claim finds."""
    claim = store.claim("payment:1", **ASKED)
    assert claim.outcome is ClaimOutcome.ACQUIRED
    store.complete(claim, retain=RETAIN_SECONDS)
    return store.claim("payment:1", **{**ASKED, "owner": b"p" * 16}).outcome


async def settle_async(store):
    claim = await store.claim("payment:1", **ASKED)
    assert claim.outcome is ClaimOutcome.ACQUIRED
    await store.complete(claim, retain=RETAIN_SECONDS)
    return (await store.claim("payment:1", **{**ASKED, "owner": b"p" * 16})).outcome


def test_a_sqlite_url_opens_the_file_relative_or_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///shop.db") as store:
        assert isinstance(store, SQLiteStore)
        assert settle(store) is ClaimOutcome.COMPLETED
    with open_store(f"sqlite:///{tmp_path}/shop.db") as store:
        assert store.find("payment:1") is not None


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://shop.db", "sqlite:///shop.db?mode=ro"])
def test_a_sqlite_url_without_a_file_or_with_options_is_refused(url):
    with pytest.raises(ConfigurationError, match="sqlite:///FILE"):
        open_store(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_postgresql_url_opens_a_store_there(scheme):
    with servers.postgresql_database() as url, open_store(url.replace("postgresql", scheme, 1)) as store:
        assert isinstance(store, SQLAlchemyStore)
        store.create_all()
        assert settle(store) is ClaimOutcome.COMPLETED


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_a_mysql_or_mariadb_url_opens_a_store_there(scheme):
    with servers.mariadb_database() as url, open_store(url.replace("mysql", scheme, 1)) as store:
        assert isinstance(store, SQLAlchemyStore)
        store.create_all()
        assert settle(store) is ClaimOutcome.COMPLETED


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_a_postgresql_url_opens_an_asynchronous_store(scheme):
    async def main(url):
        async with open_async_store(url) as store:
            assert isinstance(store, AsyncSQLAlchemyStore)
            await store.create_all()
            return await settle_async(store)

    with servers.postgresql_database() as url:
        assert asyncio.run(main(url.replace("postgresql", scheme, 1))) is ClaimOutcome.COMPLETED


def test_an_asynchronous_store_can_be_used_on_one_loop_after_the_other():
    async def settled(store):
        async with store.transaction() as connection:
            assert connection is not None
        found = await store.find("payment:1")
        await store.close()
        return found

    with servers.postgresql_database() as url:
        store = open_async_store(url)
        asyncio.run(store.create_all())
        # A connection of the first loop would fail on the second.
        assert asyncio.run(settled(store)) is None
        assert asyncio.run(settled(store)) is None


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_redis_or_valkey_url_opens_a_redis_store(scheme):
    url = servers.REDIS.need().replace("redis", scheme, 1)
    with open_store(url) as store:
        assert isinstance(store, RedisStore)
        assert store.find(f"wxnotify-test-{os.urandom(8).hex()}") is None


def test_a_redis_url_opens_an_asynchronous_store():
    async def main(url):
        async with open_async_store(url) as store:
            assert isinstance(store, AsyncRedisStore)
            return await store.find(f"wxnotify-test-{os.urandom(8).hex()}")

    assert asyncio.run(main(servers.REDIS.need())) is None


@pytest.mark.parametrize("open_it", [open_store, open_async_store])
@pytest.mark.parametrize(
    "url",
    [
        f"oracle://shop:{PASSWORD}@db/shop",
        f"shop:{PASSWORD}@db/shop",
        f"postgresql:/shop:{PASSWORD}@db/shop",
        f"postgresql+nosuchdriver://shop:{PASSWORD}@db/shop",
        f"postgresql://shop:{PASSWORD}@db:port/shop",
        f"redis://:{PASSWORD}@db:port/0",
        "",
    ],
)
def test_a_url_that_names_no_store_is_refused_and_its_password_not_shown(open_it, url):
    with pytest.raises(ConfigurationError) as refusal:
        open_it(url)
    assert PASSWORD not in "".join(traceback.format_exception(refusal.value))


def test_the_refusal_of_an_unknown_scheme_lists_what_there_is():
    with pytest.raises(ConfigurationError, match=r"sqlite:///FILE.*postgresql.*mysql.*redis") as refusal:
        open_store("oracle://db/shop")
    assert "'oracle'" in str(refusal.value)


@pytest.mark.parametrize(
    ("open_it", "url"),
    [
        (open_store, f"postgresql+asyncpg://shop:{PASSWORD}@db/shop"),
        (open_async_store, f"mysql+pymysql://shop:{PASSWORD}@db/shop"),
        (open_async_store, "sqlite:///shop.db"),
    ],
)
def test_a_driver_of_the_other_kind_is_refused(open_it, url):
    with pytest.raises(ConfigurationError, match=r"blocking|blocks|asynchronous"):
        open_it(url)


def test_a_missing_driver_is_an_import_error_that_names_its_package():
    with pytest.raises(ImportError, match="pip install pg8000"):
        open_store("postgresql+pg8000://db/shop")


def test_without_sqlalchemy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=r"pip install .wxpay-notify\[sqlalchemy\]"):
        open_store("postgresql://db/shop")


def test_a_server_that_is_not_there_is_found_out_at_the_first_use():
    store = open_store("postgresql://shop@127.0.0.1:1/shop", timeout=0.2)
    with pytest.raises(StoreUnavailable):
        store.find("payment:1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_after_a_fork_parent_and_child_do_not_share_a_transactions_connection():
    with servers.postgresql_database() as url, open_store(url) as store:
        # So that one lies idle in the engine's pool.
        mine = backend_of(store)
        answer, question = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.write(question, str(backend_of(store)).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert int(os.read(answer, 100)) != mine
        # And the child's end has not ended the parent's session.
        assert backend_of(store) == mine
        os.close(answer)
        os.close(question)


def backend_of(store):
    """Give the number of the server's process that a transaction is on."""
    from sqlalchemy import text

    with store.transaction() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar()
