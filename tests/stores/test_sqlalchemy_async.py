"""What AsyncSQLAlchemyStore does beyond the contract: every driver, event loops, outages, transactions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from wxnotify import Expected, Merchant, Receiver
from wxnotify.errors import ClaimLost, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores import _sqlalchemy_connections as connections
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment

from . import alchemy
from .alchemy import ASYNC, KEEP, PSYCOPG, PYMYSQL, PYSQLITE, asked, new_key, proxied, refused
from .test_sqlalchemy_bound import Base, Order

databases, open_engine = alchemy.databases, alchemy.open_engine
ON_SERVERS = [one for one in ASYNC if one.server]
driver = pytest.fixture(params=ASYNC, ids=str)(lambda request: request.param)
on_servers = pytest.mark.parametrize("driver", ON_SERVERS, ids=str, indirect=True)
in_savepoints = pytest.mark.parametrize(
    "driver", [one for one in ASYNC if one.server is not alchemy.POSTGRESQL], ids=str, indirect=True
)


class Loop:
    """An event loop, and what is made on it."""

    def __init__(self, databases):
        self._databases = databases
        self.loop = asyncio.new_event_loop()
        self.run = self.loop.run_until_complete
        self._made = []

    def engine(self, driver, address=None, query="", **options):
        engine = create_async_engine(
            driver.url(address or self._databases.address(driver)) + query, **options
        )
        self._made.append(engine.dispose)
        return engine

    def store(self, driver, address=None, *, options=None, **arguments):
        store = AsyncSQLAlchemyStore(self.engine(driver, address, **options or {}), **arguments)
        self._made.append(store.close)
        self.run(store.create_all())
        return store

    def close(self):
        while self._made:
            self.run(self._made.pop()())
        self.run(asyncio.sleep(0.01))  # a transport ends in the turns after it was closed
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture
def loop(databases):
    loop = Loop(databases)
    yield loop
    loop.close()


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def soon(loop, verb):
    """Call *verb* until it does what it should; a loaded machine may need more than a short timeout."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return loop.run(verb())
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


def join_aiosqlite(before):
    """Let its threads end, but for those of *before*; one that failed to connect still talks to the loop."""
    for thread in set(threading.enumerate()) - before:
        if "_connection_worker_thread" in thread.name:
            thread.join(5)


# --- a claim's life


def test_a_claim_lives_by_every_driver(driver, loop):
    store, key = loop.store(driver), new_key()

    async def live():
        claim = await store.claim(key, **asked(order_no="订单 2"))
        assert claim.outcome is ClaimOutcome.ACQUIRED
        assert (await store.claim(key, **asked())).outcome is ClaimOutcome.IN_PROGRESS
        assert (await store.claim(key, **asked(fingerprint=b"d" * 32))).outcome is ClaimOutcome.MISMATCH
        assert await store.extend(claim, 60)
        assert await store.release(claim, error="it's 100 % \\ :bad 😀") is ReleaseOutcome.RELEASED
        record = await store.find(key)
        assert (record.order_no, record.last_error) == ("订单 2", "it's 100 % \\ :bad 😀")
        claim = await store.claim(key, **asked())
        async with store.transaction() as connection:
            bound = store.bind(connection)
            await bound.put(key, b"<\0'\\>", again_in=-1.0)
            await bound.put(key, b"another", again_in=-1.0)
            assert await bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
            assert await bound.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
        assert await store.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
        assert [record.key async for record in store.records(order_no="订单 2")].count(key) == 1
        assert await store.fetch(key) == b"<\0'\\>"
        assert (key, 0) in await store.due(1_000)
        await store.handed(key, again_in=60.0)
        assert key not in dict(await store.due(1_000))
        await store.remove(key)
        assert await store.fetch(key) is None
        assert await store.purge(KEEP, 10) == 0

    loop.run(live())


def test_of_64_claims_at_once_one_is_acquired_and_none_fails(driver, loop):
    store, key = loop.store(driver, timeout=20), new_key()

    async def claim():
        return (await store.claim(key, **asked())).outcome

    async def claim_all():
        return await asyncio.gather(*(claim() for _ in range(64)))

    outcomes = loop.run(claim_all())
    assert outcomes.count(ClaimOutcome.ACQUIRED) == 1
    assert outcomes.count(ClaimOutcome.IN_PROGRESS) == 63


def test_a_store_is_its_own_context_manager(driver, loop):
    async def use():
        async with AsyncSQLAlchemyStore(loop.engine(driver)) as store:
            await store.create_all()
            assert await store.find(new_key()) is None

    loop.run(use())


def test_the_engines_own_settings_do_not_matter(driver, loop):
    store, key = loop.store(driver, options={"isolation_level": "SERIALIZABLE"}), new_key()
    claim = loop.run(store.claim(key, **asked()))
    assert loop.run(store.claim(key, **asked())).outcome is ClaimOutcome.IN_PROGRESS
    assert loop.run(store.complete(claim, retain=KEEP)) is CompleteOutcome.DONE


# --- event loops


def test_another_event_loop_has_connections_of_its_own(driver, loop, databases):
    store, key = loop.store(driver), new_key()
    claim = loop.run(store.claim(key, **asked()))
    loop.run(store.close())
    another = Loop(databases)
    assert another.run(store.claim(key, **asked())).outcome is ClaimOutcome.IN_PROGRESS
    another.run(store.close())
    another.close()
    assert loop.run(store.complete(claim, retain=KEEP)) is CompleteOutcome.DONE


#: A process of its own, because nobody closes what the first loops have opened, and Python complains.
FORGETFUL = """
import asyncio, sys
from sqlalchemy.ext.asyncio import create_async_engine
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore

store = AsyncSQLAlchemyStore(create_async_engine(sys.argv[1]), timeout=20)
claim = asyncio.run(store.claim(sys.argv[2], fingerprint=bytes(32), owner=bytes(16), lease=30))
asyncio.run(store.find("-"))

async def last():
    outcome = await store.complete(claim, retain=30 * 86_400)
    print(outcome.name, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await store.close()

asyncio.run(last())
"""


@contextmanager
def forgetful(driver, address, key):
    arguments = [sys.executable, "-W", "ignore", "-c", FORGETFUL, driver.url(address), key]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "DONE\n"
        yield
        child.communicate("\n", timeout=20)
        assert child.returncode == 0


def test_loops_that_ended_without_closing_do_not_harm_the_next(driver, loop, databases):
    store, key = loop.store(driver), new_key()
    with forgetful(driver, databases.address(driver), key):
        assert loop.run(store.find(key)).state is State.DONE


@on_servers
def test_loops_that_ended_without_closing_keep_no_session_on_the_server(driver, loop, databases):
    loop.store(driver)  # the tables are there
    with (
        proxied(driver, databases.address(driver)) as (address, proxy),
        forgetful(driver, address, new_key()),
    ):
        deadline = time.monotonic() + 10
        while proxy.connections > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert proxy.connections == 1


def test_the_sessions_of_a_loop_that_ended_are_told_to_end(driver, loop):
    store = AsyncSQLAlchemyStore(loop.engine(driver))
    loop._made.append(store.close)
    ended, fired = asyncio.new_event_loop(), []
    ended.close()
    idle = SimpleNamespace(breaker=SimpleNamespace(fire=lambda: fired.append("told")))
    store._connections._lenders[ended] = SimpleNamespace(idle=[idle])
    loop.run(store.create_all())
    assert loop.run(store.find(new_key())) is None
    assert fired == ["told"]
    assert ended not in store._connections._lenders


def test_a_task_that_is_cancelled_leaves_the_store_whole(driver, loop):
    store = loop.store(driver, timeout=10)

    async def cancel_some():
        tasks = [asyncio.create_task(store.claim(new_key(), **asked())) for _ in range(24)]
        await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(one, asyncio.CancelledError) for one in ended)
        return await store.claim(new_key(), **asked())

    assert loop.run(cancel_some()).outcome is ClaimOutcome.ACQUIRED


def test_a_connection_that_lay_idle_too_long_is_replaced(driver, loop, monkeypatch):
    store, made = loop.store(driver), []
    event.listen(store._engine.sync_engine, "connect", lambda dbapi, record: made.append(dbapi))
    for idle, expected in ((30.0, 1), (30.0, 1), (0.0, 2)):
        monkeypatch.setattr(connections, "_IDLE_SECONDS", idle)
        loop.run(store.find(new_key()))
        assert len(made) == expected


# --- outages


@pytest.fixture
def proxy_and_store(driver, databases, loop):
    with proxied(driver, databases.address(driver)) as (address, proxy):

        def make(timeout):
            store = loop.store(driver, address, timeout=timeout)
            with suppress(StoreUnavailable):
                loop.run(store.find("-"))
            return proxy, store

        yield make
        proxy.flow()


@on_servers
@pytest.mark.parametrize("connected", [True, False])
def test_a_frozen_server_costs_a_delivery_less_than_two_seconds(proxy_and_store, loop, connected):
    proxy, store = proxy_and_store(1.5)
    if not connected:
        loop.run(store.close())
    proxy.stall()
    with within(2), refused("no answer in time", StoreUnavailable):
        loop.run(store.claim(new_key(), **asked()))
    proxy.flow()
    assert soon(loop, lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


@on_servers
def test_every_verb_ends_while_the_server_is_frozen(proxy_and_store, loop, driver):
    proxy, store = proxy_and_store(0.3)
    claim = loop.run(loop.store(driver, timeout=20).claim(new_key(), **asked()))

    async def all_records():
        return [record async for record in store.records()]

    proxy.stall()
    for verb in (
        lambda: store.claim(new_key(), **asked()),
        lambda: store.complete(claim, retain=KEEP),
        lambda: store.release(claim, error=""),
        lambda: store.extend(claim, 30),
        lambda: store.find(claim.key),
        all_records,
        lambda: store.purge(KEEP, 1),
        lambda: store.fetch(claim.key),
        lambda: store.handed(claim.key, again_in=1),
        lambda: store.due(1),
        lambda: store.remove(claim.key),
    ):
        with within(1), refused("no answer in time", StoreUnavailable):
            loop.run(verb())
    proxy.flow()
    # What was frozen on its way may arrive now.
    assert soon(loop, lambda: store.find(claim.key)).generation == 1


@on_servers
def test_a_server_that_is_down_is_said_at_once_and_found_again(proxy_and_store, loop):
    proxy, store = proxy_and_store(1.5)
    proxy.refuse()
    with within(1), refused("cannot be reached", StoreUnavailable):
        loop.run(store.claim(new_key(), **asked()))
    proxy.flow()
    assert soon(loop, lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


@on_servers
def test_connections_that_are_cut_cost_nothing(proxy_and_store, loop):
    proxy, store = proxy_and_store(20)

    async def claim_many():
        await asyncio.gather(*(store.claim(new_key(), **asked()) for _ in range(64)))
        proxy.cut()
        return await store.claim(new_key(), **asked())

    assert loop.run(claim_many()).outcome is ClaimOutcome.ACQUIRED


@on_servers
def test_an_acknowledgement_that_is_lost_changes_no_answer(proxy_and_store, loop):
    proxy, store = proxy_and_store(20)
    proxy.lose_reply()
    claim = loop.run(store.claim(new_key(), **asked()))
    assert (claim.outcome, claim.generation, claim.attempts) == (ClaimOutcome.ACQUIRED, 1, 1)
    proxy.lose_reply()
    outcome = loop.run(store.complete(claim, retain=KEEP))
    assert outcome in (CompleteOutcome.DONE, CompleteOutcome.ALREADY)
    assert not proxy.losing


@on_servers
def test_a_duplicate_that_finds_the_row_locked_is_told_that_somebody_is_at_it(driver, loop, open_engine):
    store = loop.store(driver)
    claim = loop.run(store.claim(new_key(), **asked()))
    blocking = PSYCOPG if driver.server is alchemy.POSTGRESQL else PYMYSQL
    with open_engine(blocking).connect() as other, within(2):
        other.execute(
            text("UPDATE wxnotify_claims SET state = 'done' WHERE owner = :owner"), {"owner": claim.owner}
        )
        assert loop.run(store.claim(claim.key, **asked())).outcome is ClaimOutcome.IN_PROGRESS
        other.rollback()


@on_servers
def test_a_verb_is_one_statement_and_nothing_else(proxy_and_store, loop):
    proxy, store = proxy_and_store(10)
    for _ in range(8):  # drivers prepare what they have seen
        loop.run(store.complete(loop.run(store.claim(new_key(), **asked())), retain=KEEP))
    before = proxy.requests
    claim = loop.run(store.claim(new_key(), **asked()))
    loop.run(store.complete(claim, retain=KEEP))
    assert proxy.requests == before + 2


# --- transactions


class Shop:
    """A store, a claim on it, and an unpaid order beside it."""

    def __init__(self, loop, driver, address=None, **arguments):
        self.store = loop.store(driver, address, **arguments)
        self.engine = self.store._engine
        self.loop, self.key = loop, new_key()
        loop.run(self._open())
        self.claim = loop.run(self.store.claim(self.key, **asked()))

    async def _open(self):
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(self.engine) as session, session.begin():
            session.add(Order(number=self.key, paid=0))

    async def pay(self, given):
        await given.execute(text("UPDATE orders SET paid = paid + 1 WHERE number = :key"), {"key": self.key})

    @property
    def paid(self):
        async def ask():
            async with self.engine.connect() as connection:
                question = text("SELECT paid FROM orders WHERE number = :key")
                return (await connection.execute(question, {"key": self.key})).scalar_one()

        return self.loop.run(ask())

    @property
    def state(self):
        return self.loop.run(self.store.find(self.key)).state


@pytest.fixture
def shop(driver, loop):
    return Shop(loop, driver, timeout=10)


def immediate(engine):
    if engine.name == "sqlite":
        begin = lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")  # noqa: E731
        event.listen(engine.sync_engine, "begin", begin)


@pytest.mark.parametrize("ending", ["commit", "roll back"])
def test_the_completion_ends_as_the_change_does(shop, loop, ending):
    async def settle():
        async with shop.store.transaction() as connection:
            bound = shop.store.bind(connection)
            await shop.pay(connection)
            await bound.complete(shop.claim, retain=KEEP)
            if ending == "roll back":
                1 / 0  # noqa: B018

    with suppress(ZeroDivisionError):
        loop.run(settle())
    assert (shop.paid, shop.state) == ((1, State.DONE) if ending == "commit" else (0, State.PENDING))


@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("flushed", [False, True])
def test_a_session_is_bound(shop, loop, scoped, begun, flushed):
    immediate(shop.engine)

    async def settle():
        make = async_sessionmaker(shop.engine)
        session = async_scoped_session(make, asyncio.current_task) if scoped else make()
        async with session.begin():
            if begun:
                await session.connection()
            bound = shop.store.bind(session)
            (await session.get(Order, shop.key)).paid = 5
            if flushed:
                await session.flush()
            await bound.complete(shop.claim, retain=KEEP)
        await session.close()

    loop.run(settle())
    assert (shop.paid, shop.state) == (5, State.DONE)


@pytest.mark.parametrize("how", ["store", "sessions"])
def test_a_receiver_handles_a_payment_once_in_either_transaction(driver, loop, how):
    shop = Shop(loop, driver, timeout=10)
    immediate(shop.engine)
    codes, told = [], payment(transaction_id=new_key()[-28:].replace(":", "0"))
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        shop.store,
        expect=lambda payment: Expected(100),
        on_event=lambda event: codes.append(event.code),
    )
    begin = shop.store.transaction if how == "store" else async_sessionmaker(shop.engine).begin

    @receiver.on("payment", transaction=begin)
    async def settle(payment, given):
        await shop.pay(given)

    async def deliver():
        for _ in range(2):
            await receiver.receive_async(notification(transaction_id=told.transaction_id))

    loop.run(deliver())
    assert codes == ["handled", "duplicate"]
    assert shop.paid == 1


def test_a_claim_that_was_taken_over_is_lost(shop, loop):
    async def settle():
        late = await shop.store.claim(new_key(), **asked(lease=0.001))
        await asyncio.sleep(0.01)
        assert (await shop.store.claim(late.key, **asked())).generation == 2
        async with shop.store.transaction() as connection:
            await shop.pay(connection)
            await shop.store.bind(connection).complete(late, retain=KEEP)

    with refused("not held any more", ClaimLost):
        loop.run(settle())
    assert shop.paid == 0


def test_what_blocks_is_refused(shop, open_engine):
    engine = open_engine(PYSQLITE)
    with Session(engine) as session, session.begin(), refused("Session blocks; take SQLAlchemyStore"):
        shop.store.bind(session)
    with engine.begin() as connection, refused("Connection blocks; take SQLAlchemyStore"):
        shop.store.bind(connection)
    with refused("takes a Session or a Connection, not str"):
        shop.store.bind("x")


def test_what_belongs_to_an_event_loop_is_refused_by_the_blocking_store(shop, loop, open_engine):
    blocking = SQLAlchemyStore(open_engine(PYSQLITE))

    async def bind():
        async with shop.engine.begin() as connection:
            with refused("AsyncConnection belongs to an event loop"):
                blocking.bind(connection)

    loop.run(bind())


def test_what_is_no_transaction_is_refused(shop, loop):
    async def bind():
        async with AsyncSession(shop.engine) as session:
            with refused("not in a transaction"):
                shop.store.bind(session)
        async with shop.engine.connect() as connection:
            with refused("not in a transaction"):
                shop.store.bind(connection)

    loop.run(bind())


def test_autocommit_is_refused_before_anything_is_committed(shop, loop, driver):
    async def settle():
        engine = loop.engine(driver, isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine) as session, session.begin():
            await shop.store.bind(session).complete(shop.claim, retain=KEEP)

    with refused("has not begun" if driver.server is None else "AUTOCOMMIT"):
        loop.run(settle())
    assert shop.state is State.PENDING


def test_another_database_is_refused(shop, loop, driver, databases):
    other = Shop(loop, driver, databases.another(driver))

    async def settle():
        async with other.store.transaction() as connection:
            await shop.store.bind(connection).complete(shop.claim, retain=KEEP)

    with refused(f"{other.engine.url.database}.*{shop.engine.url.database}"):
        loop.run(settle())


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.filterwarnings("ignore:transaction already")
def test_a_handler_that_ends_the_transaction_is_found_out(shop, loop, end):
    immediate(shop.engine)

    async def settle():
        async with AsyncSession(shop.engine) as session:
            await session.begin()
            bound = shop.store.bind(session)
            await shop.pay(session)
            await getattr(session, end)()
            await session.connection()
            await bound.complete(shop.claim, retain=KEEP)

    with refused("must not commit or roll back"):
        loop.run(settle())
    assert shop.state is State.PENDING


@in_savepoints
@pytest.mark.parametrize("given", ["connection", "session"])
def test_a_commit_behind_sqlalchemys_back_is_found_out(shop, loop, given):
    immediate(shop.engine)

    async def settle():
        begin = shop.engine.begin if given == "connection" else async_sessionmaker(shop.engine).begin
        async with begin() as one:
            bound = shop.store.bind(one)
            await shop.pay(one)
            connection = one if given == "connection" else await one.connection()
            await connection.run_sync(lambda sync: sync.connection.dbapi_connection.commit())
            await bound.complete(shop.claim, retain=KEEP)

    with refused("must not commit or roll back"):
        loop.run(settle())
    assert (shop.paid, shop.state) == (1, State.PENDING)


@pytest.mark.parametrize("driver", [one for one in ASYNC if not one.server], ids=str, indirect=True)
def test_what_cannot_give_the_promise_is_refused_before_the_first_change(shop, loop):
    async def settle():
        async with shop.engine.begin() as connection:  # SQLite has not begun
            shop.store.bind(connection)
            await shop.pay(connection)

    with refused("has not begun"):
        loop.run(settle())
    assert shop.paid == 0


@on_servers
@pytest.mark.parametrize("when", ["complete", "commit", "roll back"])
def test_a_server_that_freezes_in_the_transaction_is_given_up_in_time(driver, when, databases, loop):
    async def settle():
        async with shop.store.transaction() as given:
            bound = shop.store.bind(given)
            await shop.pay(given)
            if when == "complete":
                proxy.stall()
            await bound.complete(shop.claim, retain=KEEP)
            proxy.stall()
            if when == "roll back":
                1 / 0  # noqa: B018

    with proxied(driver, databases.address(driver)) as (address, proxy):
        shop = Shop(loop, driver, address, timeout=1.0)
        error = ZeroDivisionError if when == "roll back" else StoreUnavailable
        with within(2.5), pytest.raises(error):
            loop.run(settle())
        proxy.cut()
        proxy.flow()
        assert shop.paid == (1 if shop.state is State.DONE else 0)


def test_a_transaction_that_is_cancelled_gives_its_connection_back(driver, loop):
    shop = Shop(loop, driver, timeout=10, options={"pool_size": 1, "max_overflow": 0, "pool_timeout": 5})
    immediate(shop.engine)

    async def settle(begun):
        async with shop.store.transaction() as connection:
            await shop.pay(connection)
            begun.set()
            await asyncio.sleep(60)

    async def cancel():
        begun = asyncio.Event()
        task = asyncio.create_task(settle(begun))
        await begun.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    loop.run(cancel())
    assert shop.paid == 0  # by the one connection there is


def test_a_transaction_that_cannot_begin_is_an_unavailable_store(driver, loop, tmp_path):
    address = f"sqlite:///{tmp_path}" if not driver.server else "x://127.0.0.1:1/none"
    store, before = AsyncSQLAlchemyStore(loop.engine(driver, address)), set(threading.enumerate())

    async def begin():
        async with store.transaction():
            pytest.fail("it began")

    with refused("a transaction cannot begin", StoreUnavailable):
        loop.run(begin())
    loop.run(asyncio.to_thread(join_aiosqlite, before))


@pytest.mark.parametrize("driver", [one for one in ASYNC if not one.server], ids=str, indirect=True)
def test_a_locked_file_is_waited_for_without_holding_up_the_loop(loop, driver, databases):
    address = databases.another(driver)
    shop, other = Shop(loop, driver, address, timeout=5), Shop(loop, driver, address, timeout=5)

    async def both():
        async with shop.store.transaction() as connection:
            waiting = asyncio.create_task(other.store.claim(new_key(), **asked()))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await shop.pay(connection)
        return await waiting

    assert loop.run(both()).outcome is ClaimOutcome.ACQUIRED
