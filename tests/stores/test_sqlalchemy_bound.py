"""What completes inside a transaction of the caller's, and what is refused to."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from contextlib import closing, suppress

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Integer, String, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from wxnotify import Expected, Merchant, Receiver
from wxnotify.errors import ClaimLost, ConfigurationError, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores.sqlalchemy import SQLAlchemyStore
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment

from . import alchemy
from .alchemy import KEEP, ON_SERVERS, PSYCOPG, PYMYSQL, PYSQLITE, SYNC, asked, new_key, proxied, refused

databases, open_engine, open_store = alchemy.databases, alchemy.open_engine, alchemy.open_store


class Base(DeclarativeBase):
    pass


class Order(Base):
    """An order of the merchant's, in the same database."""

    __tablename__ = "orders"
    number: Mapped[str] = mapped_column(String(64), primary_key=True)
    paid: Mapped[int] = mapped_column(Integer)


class Shop:
    """A store, a claim on it, and an unpaid order beside it."""

    def __init__(self, store: SQLAlchemyStore) -> None:
        self.store, self.engine = store, store._database.engine
        self.key = new_key()
        Base.metadata.create_all(self.engine)
        with Session(self.engine) as session, session.begin():
            session.add(Order(number=self.key, paid=0))
        self.claim = store.claim(self.key, **asked())
        self.begin = sessionmaker(self.engine).begin if self.engine.name != "sqlite" else self._begin

    def _begin(self):
        return Session(self.engine).begin()

    def pay(self, given) -> None:
        given.execute(text("UPDATE orders SET paid = paid + 1 WHERE number = :key"), {"key": self.key})

    @property
    def paid(self) -> int:
        with self.engine.connect() as connection:
            return connection.execute(
                text("SELECT paid FROM orders WHERE number = :key"), {"key": self.key}
            ).scalar_one()

    @property
    def state(self) -> State:
        return self.store.find(self.key).state


@pytest.fixture(params=SYNC, ids=str)
def driver(request):
    return request.param


@pytest.fixture
def shop(driver, open_store):
    return Shop(open_store(driver, timeout=10))


def immediate(engine):
    """Let a SQLite engine begin as a merchant's should."""
    if engine.name == "sqlite":
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


# --- both or neither


def test_the_completion_commits_with_the_change(shop):
    with shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        shop.pay(connection)
        assert bound.complete(shop.claim, retain=KEEP) is CompleteOutcome.DONE
        assert shop.state is State.PENDING  # not committed, so nobody sees it
        assert bound.complete(shop.claim, retain=KEEP) is CompleteOutcome.ALREADY
    assert (shop.paid, shop.state) == (1, State.DONE)


def test_the_completion_rolls_back_with_the_change(shop):
    with suppress(ZeroDivisionError), shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        shop.pay(connection)
        bound.complete(shop.claim, retain=KEEP)
        1 / 0  # noqa: B018
    assert (shop.paid, shop.state) == (0, State.PENDING)
    assert shop.store.release(shop.claim, error="") is ReleaseOutcome.RELEASED


@pytest.mark.parametrize("scoped", [False, True])
def test_a_session_is_bound_and_not_flushed(shop, scoped):
    immediate(shop.engine)
    make = sessionmaker(shop.engine)
    session = scoped_session(make) if scoped else make()
    with closing(session), session.begin():
        bound = shop.store.bind(session)
        session.get(Order, shop.key).paid = 7
        bound.complete(shop.claim, retain=KEEP)
        assert session.dirty
    assert (shop.paid, shop.state) == (7, State.DONE)


def test_a_savepoint_of_the_handlers_is_its_own_affair(shop):
    immediate(shop.engine)
    with Session(shop.engine) as session, session.begin():
        bound = shop.store.bind(session)
        with suppress(ZeroDivisionError), session.begin_nested():
            shop.pay(session)
            1 / 0  # noqa: B018
        with session.begin_nested():
            shop.pay(session)
        bound.complete(shop.claim, retain=KEEP)
    assert (shop.paid, shop.state) == (1, State.DONE)


@pytest.mark.parametrize("how", ["store", "sessions"])
def test_a_receiver_handles_a_payment_once_in_either_transaction(driver, how, open_store):
    store = open_store(driver, timeout=10)
    engine = immediate(store._database.engine)
    Base.metadata.create_all(engine)
    codes, told = [], payment(transaction_id=new_key()[-28:].replace(":", "0"))
    begin = store.transaction if how == "store" else sessionmaker(engine).begin
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        store,
        expect=lambda payment: Expected(100),
        on_event=lambda event: codes.append(event.code),
    )

    @receiver.on("payment", transaction=begin)
    def settle(payment, given):
        given.execute(text("INSERT INTO orders VALUES (:key, 1)"), {"key": payment.transaction_id})

    for _ in range(2):
        receiver.receive(notification(transaction_id=told.transaction_id))
    assert codes == ["handled", "duplicate"]
    assert store.find(told.key).order_no == told.out_trade_no
    with engine.connect() as connection:
        count = text("SELECT count(*) FROM orders WHERE number = :key")
        assert connection.execute(count, {"key": told.transaction_id}).scalar_one() == 1


# --- the claim must be held


def test_a_claim_that_was_taken_over_is_lost(shop):
    late = shop.store.claim(new_key(), **asked(lease=0.001))
    time.sleep(0.01)
    assert shop.store.claim(late.key, **asked()).generation == 2
    with refused("not held any more", ClaimLost), shop.store.transaction() as connection:
        shop.pay(connection)
        shop.store.bind(connection).complete(late, retain=KEEP)
    assert shop.paid == 0


def test_a_claim_that_an_earlier_transaction_completed_is_lost(shop):
    shop.store.complete(shop.claim, retain=KEEP)
    with refused("not held any more", ClaimLost), shop.store.transaction() as connection:
        shop.pay(connection)
        shop.store.bind(connection).complete(shop.claim, retain=KEEP)
    assert shop.paid == 0


def test_too_short_a_retention_is_refused(shop):
    with refused("48 h"), shop.store.transaction() as connection:
        shop.store.bind(connection).complete(shop.claim, retain=1.0)


# --- what cannot give the promise


def test_what_is_no_transaction_is_refused(shop):
    with shop.engine.connect() as connection, refused("not in a transaction"):
        shop.store.bind(connection)
    with Session(shop.engine) as session, refused("not in a transaction"):
        shop.store.bind(session)


@pytest.mark.parametrize("other", [None, "x", object(), sqlite3.connect])
def test_what_is_no_session_is_refused(shop, other):
    with refused("takes a Session or a Connection, not"):
        shop.store.bind(other)


@pytest.mark.parametrize("where", ["engine", "connection", "driver"])
def test_autocommit_is_refused(driver, where, open_store, open_engine):
    engine = open_engine(driver, **({"isolation_level": "AUTOCOMMIT"} if where == "engine" else {}))
    store = open_store(driver)
    with engine.connect() as connection:
        if where == "connection":
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        elif where == "driver" and driver is not PYSQLITE:  # for that it is the same as for the connection
            dbapi = connection.connection.dbapi_connection
            if callable(getattr(dbapi, "autocommit", None)):
                dbapi.autocommit(True)
            else:
                dbapi.autocommit = True
        connection.begin()
        with refused("has not begun" if driver is PYSQLITE else "AUTOCOMMIT"):
            store.bind(connection)
        connection.invalidate()


def test_a_session_of_several_databases_is_refused(shop, open_engine):
    other = open_engine(PYSQLITE)
    with Session(binds={Order: shop.engine, Base: other}) as session, session.begin():
        with refused("bind its connection"):
            shop.store.bind(session)
        immediate(shop.engine)
        bound = shop.store.bind(session.connection(bind_arguments={"mapper": Order}))
        session.get(Order, shop.key).paid = 3
        bound.complete(shop.claim, retain=KEEP)
    assert (shop.paid, shop.state) == (3, State.DONE)


def test_another_kind_of_database_is_refused(shop, open_engine, driver):
    other = open_engine(PSYCOPG if driver is PYSQLITE else PYSQLITE)
    with other.begin() as connection, refused(f"the store in {shop.engine.url.get_backend_name()}"):
        shop.store.bind(connection)


def test_another_database_without_the_tables_is_refused(driver, shop, databases, open_engine):
    other = immediate(open_engine(driver, databases.another(driver)))
    with refused(f"{other.url.database}; is this the store's database"), other.begin() as connection:
        shop.store.bind(connection).complete(shop.claim, retain=KEEP)


def test_another_database_with_the_tables_is_refused(driver, shop, databases, open_store):
    other = open_store(driver, databases.another(driver))
    there = other._database.engine.url.database
    with refused(f"{there}.*{shop.engine.url.database}") as _, other.transaction() as connection:
        shop.store.bind(connection).complete(shop.claim, retain=KEEP)
    assert shop.state is State.PENDING


def test_no_error_shows_a_password(open_engine, databases):
    engine = open_engine(PSYCOPG, databases.address(PSYCOPG).replace("postgres@", "postgres:s3cret@"))
    with SQLAlchemyStore(engine, timeout=10) as store:
        store.create_all()
        with open_engine(PYSQLITE).begin() as connection, pytest.raises(ConfigurationError) as refusal:
            store.bind(connection)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        ("PRAGMA synchronous = NORMAL", "may forget a commit"),
        ("PRAGMA journal_mode = MEMORY", "without a journal"),
        ("ATTACH ':memory:' AS more", "another database is attached"),
    ],
)
def test_a_sqlite_connection_that_may_lose_a_commit_is_refused(open_store, prepare, match):
    shop = Shop(open_store(PYSQLITE))
    shop.engine.dispose()
    event.listen(shop.engine, "connect", lambda dbapi, record: dbapi.execute(prepare).close())
    with refused(match), shop.store.transaction() as connection:
        shop.store.bind(connection)
    shop.engine.dispose()


def test_a_sqlite_transaction_that_has_not_begun_is_refused(open_store):
    shop = Shop(open_store(PYSQLITE))
    with refused("has not begun a transaction.*store.transaction"), shop.engine.begin() as connection:
        shop.store.bind(connection)


# --- a handler that ends the transaction


ENDINGS = {
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.rollback(),
    "the connection's commit": lambda session: session.connection().commit(),
    "the connection's rollback": lambda session: session.connection().rollback(),
}


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("what", ["complete", "put"])
@pytest.mark.filterwarnings("ignore:transaction already")
def test_a_handler_that_ends_the_transaction_is_found_out(shop, end, what):
    immediate(shop.engine)
    with Session(shop.engine) as session:
        session.begin()
        bound = shop.store.bind(session)
        shop.pay(session)
        ENDINGS[end](session)
        session.rollback() if "rollback" in end else None
        session.connection()  # another transaction has begun
        with refused("must not commit or roll back"):
            if what == "complete":
                bound.complete(shop.claim, retain=KEEP)
            else:
                bound.put(shop.key, b"", again_in=1)
        session.rollback()
    assert shop.state is State.PENDING


def test_a_handler_that_commits_its_connection_is_found_out(shop):
    with refused("must not commit or roll back"), shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        shop.pay(connection)
        connection.commit()
        bound.complete(shop.claim, retain=KEEP)
    assert (shop.paid, shop.state) == (1, State.PENDING)


def test_a_savepoint_that_is_left_open_is_found_out(shop):
    immediate(shop.engine)
    with Session(shop.engine) as session, session.begin():
        bound = shop.store.bind(session)
        session.begin_nested()
        with refused("must not commit or roll back"):
            bound.complete(shop.claim, retain=KEEP)


@pytest.mark.parametrize("driver", [PYMYSQL, PYSQLITE], ids=str, indirect=True)
def test_a_commit_behind_sqlalchemys_back_is_found_out(shop):
    with refused("must not commit or roll back"), shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        shop.pay(connection)
        connection.connection.dbapi_connection.commit()
        bound.complete(shop.claim, retain=KEEP)
    assert (shop.paid, shop.state) == (1, State.PENDING)


def test_a_table_made_in_the_transaction_is_found_out_in_mysql(open_store):
    shop = Shop(open_store(PYMYSQL))
    with refused("must not commit or roll back"), shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        shop.pay(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS more (number INT)"))  # commits
        bound.complete(shop.claim, retain=KEEP)
    assert shop.state is State.PENDING


@pytest.mark.parametrize("driver", [PSYCOPG, PYSQLITE], ids=str, indirect=True)
def test_a_table_made_in_the_transaction_is_part_of_it_elsewhere(shop):
    with shop.store.transaction() as connection:
        bound = shop.store.bind(connection)
        connection.execute(text("CREATE TABLE IF NOT EXISTS more (number INT)"))
        bound.complete(shop.claim, retain=KEEP)
    assert shop.state is State.DONE


# --- when the database fails meanwhile


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str, indirect=True)
def test_a_server_that_dies_in_the_transaction_is_an_unavailable_store(driver, databases, open_store):
    with proxied(driver, databases.address(driver)) as (address, proxy):
        shop = Shop(open_store(driver, address, timeout=10))
        with refused("completing in your transaction", StoreUnavailable), shop.store.transaction() as given:
            bound = shop.store.bind(given)
            shop.pay(given)
            proxy.cut()
            bound.complete(shop.claim, retain=KEEP)
        assert (shop.paid, shop.state) == (0, State.PENDING)


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str, indirect=True)
@pytest.mark.parametrize("when", ["complete", "commit", "roll back"])
def test_a_server_that_freezes_in_the_transaction_is_given_up_in_time(driver, when, databases, open_store):
    def settle():
        with shop.store.transaction() as given:
            bound = shop.store.bind(given)
            shop.pay(given)
            if when == "complete":
                proxy.stall()
            bound.complete(shop.claim, retain=KEEP)
            proxy.stall()
            if when == "roll back":
                1 / 0  # noqa: B018

    with proxied(driver, databases.address(driver)) as (address, proxy):
        shop = Shop(open_store(driver, address, timeout=1.0))
        error = ZeroDivisionError if when == "roll back" else StoreUnavailable
        began = time.monotonic()
        with pytest.raises(error, match="by zero" if when == "roll back" else "no answer within 1 s"):
            settle()
        assert time.monotonic() - began < 2.5  # one wait for the statement, and one to end the transaction
        proxy.cut()
        proxy.flow()
        assert shop.paid == (1 if shop.state is State.DONE else 0)


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str, indirect=True)
def test_a_lock_on_the_row_does_not_hold_a_transaction_for_ever(driver, open_store, open_engine):
    shop = Shop(open_store(driver, timeout=1.0))
    with open_engine(driver).connect() as other:
        other.execute(
            text("UPDATE wxnotify_claims SET attempts = 9 WHERE order_no = '' AND state = 'pending'")
        )
        with refused("no answer within 1 s", StoreUnavailable), shop.store.transaction() as connection:
            shop.store.bind(connection).complete(shop.claim, retain=KEEP)
        other.rollback()
    assert shop.state is State.PENDING


def test_a_transaction_that_cannot_begin_is_an_unavailable_store(driver, tmp_path, open_engine):
    address = f"sqlite:///{tmp_path}" if not driver.server else "x://127.0.0.1:1/none"
    store = SQLAlchemyStore(open_engine(driver, address))
    with refused("a transaction cannot begin", StoreUnavailable), store.transaction():
        pytest.fail("it began")


def test_what_a_handler_raises_stays_as_it_is(shop):
    with pytest.raises(ZeroDivisionError), shop.store.transaction():
        1 / 0  # noqa: B018


@pytest.mark.parametrize("driver", ON_SERVERS, ids=str, indirect=True)
def test_what_a_handler_raises_stays_as_it_is_also_where_nothing_can_be_rolled_back(
    driver, databases, open_store
):
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    with proxied(driver, databases.address(driver)) as (address, proxy):
        shop = Shop(open_store(driver, address, timeout=10, options=options))
        with pytest.raises(ZeroDivisionError), shop.store.transaction() as connection:  # noqa: PT012
            shop.pay(connection)
            proxy.cut()
            1 / 0  # noqa: B018
        assert shop.paid == 0  # and the pool has its one connection back


def test_what_a_listener_of_the_callers_raises_stays_as_it_is(driver, open_store):
    # The next look is on the same connection, which must be out of that transaction.
    shop = Shop(open_store(driver, timeout=10, options={"pool_size": 1, "max_overflow": 0}))
    event.listen(shop.engine, "commit", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError), shop.store.transaction() as connection:
        shop.pay(connection)
    assert shop.paid == 0


# --- SQLite begins in earnest


def engines(open_engine, databases, address):
    yield open_engine(PYSQLITE, address)
    yield immediate(open_engine(PYSQLITE, address))
    if sys.version_info >= (3, 12):
        yield open_engine(PYSQLITE, address, connect_args={"autocommit": False})


def test_transactions_on_a_sqlite_file_read_and_write_one_after_the_other(open_engine, databases):
    address = databases.another(PYSQLITE)
    for engine in engines(open_engine, databases, address):
        store = SQLAlchemyStore(engine, timeout=20)
        store.create_all()
        shop = Shop(store)

        def pay(_, shop=shop):
            with shop.store.transaction() as connection:
                paid = connection.execute(
                    text("SELECT paid FROM orders WHERE number = :key"), {"key": shop.key}
                ).scalar_one()
                time.sleep(0.001)
                connection.execute(
                    text("UPDATE orders SET paid = :paid WHERE number = :key"),
                    {"key": shop.key, "paid": paid + 1},
                )

        threads = [threading.Thread(target=pay, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shop.paid == 8
        store.close()


def test_a_sqlite_file_without_the_tables_says_so(open_engine, databases):
    store = SQLAlchemyStore(immediate(open_engine(PYSQLITE, databases.another(PYSQLITE))))
    with refused("is this the store's database"), store.transaction():
        pytest.fail("it began")


def test_a_locked_file_is_an_unavailable_store_in_time_and_the_connection_stays_as_it_was(
    open_engine, databases
):
    address = databases.another(PYSQLITE)
    for engine in engines(open_engine, databases, address):
        with SQLAlchemyStore(engine, timeout=0.2) as store:
            store.create_all()
            with open_engine(PYSQLITE, address).connect() as other:
                other.exec_driver_sql("BEGIN IMMEDIATE")
                began = time.monotonic()
                with refused("was locked by another", StoreUnavailable), store.transaction():
                    pytest.fail("it began")
                with refused("was locked by another", StoreUnavailable):
                    store.claim(new_key(), **asked())
                assert time.monotonic() - began < 2
                other.rollback()
            with store.transaction() as connection:
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5_000
            assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
