"""What SQLAlchemyStore does when its server is down, frozen, slow, restarted, or holds a row."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import event, text

from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores import _sqlalchemy_connections as connections
from wxnotify.stores._sql_errors import Trouble, classify

from . import alchemy
from .alchemy import KEEP, ON_SERVERS, PSYCOPG, PYMYSQL, asked, new_key, proxied, refused

databases, open_engine, open_store = alchemy.databases, alchemy.open_engine, alchemy.open_store
driver = pytest.fixture(params=ON_SERVERS, ids=str)(lambda request: request.param)


@pytest.fixture
def proxy_and_store(driver, databases, open_store):
    """Make a store behind a proxy, with the timeout a test asks for."""
    with proxied(driver, databases.address(driver)) as (address, proxy):

        def make(timeout):
            store = open_store(driver, address, timeout=timeout)
            with suppress(StoreUnavailable):
                store.find("-")  # it has a connection
            return proxy, store

        yield make
        proxy.flow()


@pytest.fixture
def patient(driver, open_store):
    """A store on the server itself, with more time than a loaded machine needs."""
    return open_store(driver, timeout=20)


def soon(verb):
    """Call *verb* until it does what it should; a loaded machine may need more than a short timeout."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return verb()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


# --- the server


@pytest.mark.parametrize("connected", [True, False])
def test_a_frozen_server_costs_a_delivery_less_than_two_seconds(proxy_and_store, connected):
    proxy, store = proxy_and_store(1.5)
    if not connected:
        store.close()
    proxy.stall()
    with within(2), refused("no answer in time", StoreUnavailable):
        store.claim(new_key(), **asked())
    proxy.flow()
    assert soon(lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


def test_every_verb_ends_while_the_server_is_frozen(proxy_and_store, patient):
    proxy, store = proxy_and_store(0.3)
    claim = patient.claim(new_key(), **asked())
    proxy.stall()
    for verb in (
        lambda: store.claim(new_key(), **asked()),
        lambda: store.complete(claim, retain=KEEP),
        lambda: store.release(claim, error=""),
        lambda: store.extend(claim, 30),
        lambda: store.find(claim.key),
        lambda: list(store.records()),
        lambda: store.purge(KEEP, 1),
        lambda: store.fetch(claim.key),
        lambda: store.handed(claim.key, again_in=1),
        lambda: store.due(1),
        lambda: store.remove(claim.key),
    ):
        with within(1), refused("no answer in time", StoreUnavailable):
            verb()
    proxy.flow()
    # What was frozen on its way may arrive now.
    assert soon(lambda: store.find(claim.key)).generation == 1


def test_a_server_that_is_down_is_said_at_once_and_found_again(proxy_and_store):
    proxy, store = proxy_and_store(1.5)
    proxy.refuse()
    for _ in range(3):
        with within(1), refused("cannot be reached", StoreUnavailable):
            store.claim(new_key(), **asked())
    proxy.flow()
    assert soon(lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


def test_a_slow_server_is_waited_for_until_the_deadline(proxy_and_store):
    proxy, store = proxy_and_store(1.5)
    proxy.delay = 0.3
    assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED
    proxy.delay = 3.0
    with within(2), refused("no answer in time", StoreUnavailable):
        store.claim(new_key(), **asked())
    proxy.delay = 0.0
    assert soon(lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


def test_connections_that_are_cut_cost_nothing(proxy_and_store):
    proxy, store = proxy_and_store(20)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.claim(new_key(), **asked()), range(64)))
    proxy.cut()
    assert store.claim(new_key(), **asked()).outcome is ClaimOutcome.ACQUIRED


def test_sessions_that_are_killed_cost_nothing(driver, open_store, open_engine):
    store = open_store(driver, timeout=10)
    killer = open_engine(driver)
    key = new_key()
    claim = store.claim(key, **asked())
    with killer.connect() as connection:
        if driver.server is alchemy.POSTGRESQL:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        else:
            mine = text("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
            own = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            for (number,) in connection.execute(mine).fetchall():
                if number != own:
                    connection.execute(text(f"KILL {number}"))
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE


def test_an_acknowledgement_that_is_lost_changes_no_answer(proxy_and_store):
    proxy, store = proxy_and_store(20)
    key = new_key()
    proxy.lose_reply()
    claim = store.claim(key, **asked())
    assert (claim.outcome, claim.generation, claim.attempts) == (ClaimOutcome.ACQUIRED, 1, 1)
    proxy.lose_reply()
    assert store.extend(claim, 60)
    proxy.lose_reply()
    assert store.release(claim, error="x") in (ReleaseOutcome.RELEASED, ReleaseOutcome.ALREADY)
    proxy.lose_reply()
    claim = store.claim(key, **asked())
    assert (claim.outcome, claim.generation, claim.attempts) == (ClaimOutcome.ACQUIRED, 2, 2)
    proxy.lose_reply()
    assert store.complete(claim, retain=KEEP) in (CompleteOutcome.DONE, CompleteOutcome.ALREADY)
    assert not proxy.losing
    assert store.find(key).state is State.DONE


def test_a_server_that_is_frozen_while_many_connect_does_not_fill_the_process_with_threads(proxy_and_store):
    proxy, store = proxy_and_store(0.2)
    store.close()
    proxy.stall()
    with ThreadPoolExecutor(24) as threads:

        def find(_):
            with pytest.raises(StoreUnavailable) as refusal:
                store.find("-")
            return str(refusal.value)

        said = list(threads.map(find, range(24 * 3)))
    assert any("16 attempts before this one are still waiting" in one for one in said)
    assert 0 < _connecting() <= 16
    proxy.flow()
    deadline = time.monotonic() + 10
    while _connecting() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert soon(lambda: store.find("-")) is None


def _connecting():
    return sum(thread.name == "wxnotify-connecting" for thread in threading.enumerate())


def test_more_at_once_than_there_are_connections_wait_for_one(driver, open_store):
    store = open_store(driver)
    slots = store._connections._lender().slots
    for _ in range(8):
        slots.acquire()
    with within(2), refused("all 8 connections were in use", StoreUnavailable):
        store.claim(new_key(), **asked())
    threading.Timer(0.1, lambda: [slots.release() for _ in range(8)]).start()
    assert soon(lambda: store.claim(new_key(), **asked())).outcome is ClaimOutcome.ACQUIRED


def test_a_connection_that_comes_too_late_is_closed(driver, databases, open_engine, open_store):
    store = open_store(driver, timeout=0.2)
    closed = threading.Event()
    engine = store._database.engine

    @event.listens_for(engine, "connect")
    def slow(dbapi, record):
        time.sleep(0.5)

    close = store._database.close
    store._database.close = lambda *made: [close(*made), closed.set()]
    store.close()
    with refused("no answer in time", StoreUnavailable):
        store.find("-")
    assert closed.wait(10)
    assert not store._connections._lender().idle


def test_an_interrupt_closes_the_connection_it_was_on(driver, open_store, monkeypatch):
    store = open_store(driver)
    store.find("-")
    lender = store._connections._lender()
    (connection,) = lender.idle

    def interrupt(asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.find("-")
    assert not lender.idle
    assert store.find("-") is None


# --- the row


@pytest.fixture
def held(open_engine, driver):
    """Hold a row's lock in another transaction."""

    @contextmanager
    def held(claim, change="attempts = attempts + 1"):
        with open_engine(driver).connect() as other:
            where = {"owner": claim.owner}
            other.execute(text(f"UPDATE wxnotify_claims SET {change} WHERE owner = :owner"), where)
            yield other
            other.rollback()

    return held


@pytest.mark.parametrize("session_settings", [True, False])
def test_a_duplicate_that_finds_the_row_locked_is_told_that_somebody_is_at_it(
    driver, open_store, patient, held, session_settings
):
    store = open_store(driver, session_settings=session_settings)
    claim = patient.claim(new_key(), **asked())
    with held(claim, "state = 'done'"), within(2):
        duplicate = store.claim(claim.key, **asked())
        assert (duplicate.outcome, duplicate.generation) == (ClaimOutcome.IN_PROGRESS, 1)
        assert store.find(claim.key).state is State.PENDING


@pytest.mark.parametrize("situation", ["released", "expired"])
def test_a_row_that_could_be_taken_over_but_is_locked_is_somebodys(
    driver, open_store, patient, held, situation
):
    store = open_store(driver, timeout=3)
    claim = patient.claim(new_key(), **asked(lease=0.001))
    if situation == "released":
        patient.release(claim, error="")
    with held(claim):
        late = store.claim(claim.key, **asked())
        assert (late.outcome, late.generation, late.attempts) == (ClaimOutcome.IN_PROGRESS, 1, 1)


def test_what_a_locked_row_says_for_certain_is_said(driver, open_store, patient, held):
    store = open_store(driver, timeout=3)
    ours = asked()
    claim = patient.claim(new_key(), **ours)
    done = patient.claim(new_key(), **asked())
    patient.complete(done, retain=KEEP)
    with held(claim):
        assert store.claim(claim.key, **asked(fingerprint=b"d" * 32)).outcome is ClaimOutcome.MISMATCH
        again = store.claim(claim.key, **ours)
        assert (again.outcome, again.generation) == (ClaimOutcome.ACQUIRED, 1)
    with held(done):
        assert store.claim(done.key, **asked()).outcome is ClaimOutcome.COMPLETED


def test_a_key_that_another_transaction_inserts_is_waited_for_and_not_guessed(
    driver, open_store, patient, held
):
    store = open_store(driver)
    claim, key = patient.claim(new_key(), **asked()), new_key()
    stored = f"'{key}'" if driver.server is alchemy.POSTGRESQL else f"x'{key.encode().hex()}'"
    with held(claim, f"natural_key = {stored}"), within(2), pytest.raises(StoreUnavailable):
        store.claim(key, **asked())
    assert patient.claim(key, **asked()).outcome is ClaimOutcome.ACQUIRED


def test_a_completion_that_finds_the_row_locked_fails_and_can_be_repeated(driver, open_store, patient, held):
    store = open_store(driver)
    claim = patient.claim(new_key(), **asked())
    with held(claim), within(2), pytest.raises(StoreUnavailable):
        store.complete(claim, retain=KEEP)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE


@pytest.fixture
def errors(monkeypatch):
    """What statements of stores' own connections have raised."""
    errors = []
    execute = connections.Connection.execute

    def recorded(connection, asked):
        try:
            return execute(connection, asked)
        except Exception as error:
            errors.append(classify(error))
            raise

    monkeypatch.setattr(connections.Connection, "execute", recorded)
    return errors


def test_a_deadlock_is_tried_again(open_store, open_engine, errors):
    store, key = open_store(PYMYSQL, timeout=20, session_settings=False), new_key()
    claim = store.claim(new_key(), **asked())
    with open_engine(PYMYSQL).connect() as other, ThreadPoolExecutor(6) as threads:
        other.execute(
            text("UPDATE wxnotify_claims SET natural_key = :key WHERE owner = :owner"),
            {"key": key.encode(), "owner": claim.owner},
        )
        claims = [threads.submit(store.claim, key, **asked()) for _ in range(6)]
        waiting = "trx_state = 'LOCK WAIT' AND trx_query LIKE '%" + key.encode().hex() + "%'"
        _wait_until(other, f"SELECT count(*) FROM information_schema.innodb_trx WHERE {waiting}", 6)
        other.rollback()  # all six have waited for it; InnoDB now finds a deadlock among them
        outcomes = [claim.result().outcome for claim in claims]
    assert Trouble.AGAIN in errors
    assert outcomes.count(ClaimOutcome.ACQUIRED) == 1
    assert outcomes.count(ClaimOutcome.IN_PROGRESS) == 5


def test_a_serialization_failure_is_tried_again(open_store, open_engine, databases, errors):
    address = databases.another(PSYCOPG)
    store = open_store(PSYCOPG, address, timeout=10, session_settings=False)
    engine = open_engine(PSYCOPG, address)
    with engine.begin() as connection:
        name = engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable"))
    store.close()
    claim = store.claim(new_key(), **asked())
    with engine.connect() as other, ThreadPoolExecutor(1) as threads:
        other.execute(
            text("UPDATE wxnotify_claims SET attempts = 7 WHERE owner = :owner"), {"owner": claim.owner}
        )
        completing = threads.submit(store.complete, claim, retain=KEEP)
        _wait_until(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", 1)
        other.commit()  # what waited for the row cannot be serialized now
        assert completing.result() is CompleteOutcome.DONE
    assert errors == [Trouble.AGAIN]
    assert store.find(claim.key).attempts == 7


def _wait_until(connection, question, answer):
    deadline = time.monotonic() + 10
    while connection.execute(text(question)).scalar_one() < answer:
        assert time.monotonic() < deadline
        time.sleep(0.2)  # InnoDB looks no more often
