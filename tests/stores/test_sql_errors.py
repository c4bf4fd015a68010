"""What the errors of real servers are taken for."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from wxnotify.errors import ConfigurationError, StoreError, StoreUnavailable
from wxnotify.stores._sql_errors import Attempt, Pause, Trouble, attempts, classify, describe

from . import alchemy
from .alchemy import ON_SERVERS, POSTGRESQL, SYNC

databases, open_engine = alchemy.databases, alchemy.open_engine
driver = pytest.fixture(params=ON_SERVERS, ids=str)(lambda request: request.param)


@pytest.fixture
def engine(driver, open_engine):
    engine = open_engine(driver)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS things"))
        options = "" if driver.server is POSTGRESQL else "ENGINE=InnoDB"
        connection.execute(text(f"CREATE TABLE things (id INT PRIMARY KEY, n INT) {options}"))
        connection.execute(text("INSERT INTO things VALUES (1, 0), (2, 0)"))
    return engine


def raised_by(function):
    with pytest.raises(DBAPIError) as raised:
        function()
    return raised.value


def change(connection, number):
    connection.execute(text("UPDATE things SET n = n + 1 WHERE id = :id"), {"id": number})


def test_a_duplicate_key_is_taken(engine):
    def insert():
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO things VALUES (1, 0)"))

    assert classify(raised_by(insert)) is Trouble.TAKEN


def test_a_lock_that_is_waited_for_too_long_is_locked(engine):
    patience = "SET lock_timeout = '50ms'"
    if engine.name != "postgresql":
        patience = "SET SESSION innodb_lock_wait_timeout = 1"
    with engine.connect() as holder, engine.connect() as waiter:
        change(holder, 1)
        waiter.execute(text(patience))
        assert classify(raised_by(lambda: change(waiter, 1))) is Trouble.LOCKED
        waiter.invalidate()


def test_a_deadlock_is_again(engine):
    errors = []

    def both(first, second, barrier):
        with engine.connect() as connection:
            try:
                change(connection, first)
                barrier.wait(10)
                change(connection, second)
                connection.commit()
            except DBAPIError as error:
                errors.append(classify(error))

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=both, args=(*pair, barrier)) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [Trouble.AGAIN]


@pytest.mark.parametrize("driver", [one for one in SYNC if one.server is POSTGRESQL], ids=str)
def test_what_cannot_be_serialized_is_again(engine):
    with engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("SELECT * FROM things")).close()
        with engine.begin() as other:
            change(other, 1)
        assert classify(raised_by(lambda: change(connection, 1))) is Trouble.AGAIN


def test_a_missing_table_is_missing(engine):
    def ask():
        with engine.connect() as connection:
            connection.execute(text("SELECT * FROM nothing_here"))

    assert classify(raised_by(ask)) is Trouble.MISSING


def test_a_session_that_was_killed_is_gone(engine):
    with engine.connect() as victim, engine.connect() as killer:
        if engine.name == "postgresql":
            number = victim.execute(text("SELECT pg_backend_pid()")).scalar_one()
            killer.execute(text(f"SELECT pg_terminate_backend({number})"))
        else:
            number = victim.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            killer.execute(text(f"KILL {number}"))
        assert classify(raised_by(lambda: change(victim, 1))) is Trouble.GONE


def test_a_driver_that_has_closed_its_connection_is_gone(engine):
    dbapi = engine.raw_connection().dbapi_connection
    dbapi.close()
    with pytest.raises(engine.dialect.dbapi.Error) as raised:
        dbapi.cursor().execute("SELECT 1")
    assert classify(raised.value) is Trouble.GONE


def test_a_mistake_is_down(engine):
    def ask():
        with engine.connect() as connection:
            connection.execute(text("SELEKT 1"))

    assert classify(raised_by(ask)) is Trouble.DOWN


def test_sqlites_errors_by_their_text(tmp_path):
    path = tmp_path / "x.db"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with engine.connect() as one, engine.connect() as other:
        one.exec_driver_sql("BEGIN IMMEDIATE")
        assert classify(raised_by(lambda: other.exec_driver_sql("BEGIN IMMEDIATE"))) is Trouble.BUSY
        assert classify(raised_by(lambda: other.exec_driver_sql("SELECT * FROM x"))) is Trouble.MISSING
        assert classify(raised_by(lambda: other.exec_driver_sql("SELEKT 1"))) is Trouble.DOWN
    engine.dispose()


class DjangoOperationalError(Exception):
    """As ``django.db.utils.OperationalError``: not the driver's, which is its cause."""


class Coded(Exception):
    def __init__(self, sqlstate):
        super().__init__("text")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("cause", "trouble"),
    [
        (Coded("40P01"), Trouble.AGAIN),
        (Coded("08006"), Trouble.GONE),
        (Coded("25006"), Trouble.DOWN),
        (sqlite3.OperationalError("database is locked"), Trouble.BUSY),
        (Exception(1213, "Deadlock"), Trouble.AGAIN),
        (Exception(4031, "inactive"), Trouble.GONE),
        (ConnectionResetError(104, "reset"), Trouble.DOWN),  # an unknown error, whatever caused it
    ],
)
def test_an_error_that_another_library_wrapped_is_found(cause, trouble):
    wrapped = DjangoOperationalError(*cause.args[1:])
    wrapped.__cause__ = cause
    assert classify(wrapped) is trouble


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (ConnectionResetError(104, "reset"), Trouble.GONE),
        (EOFError(), Trouble.GONE),
        (TimeoutError(), Trouble.LATE),
        (ValueError("x"), Trouble.DOWN),
    ],
)
def test_an_error_without_a_code_is_taken_for_what_it_is(error, trouble):
    assert classify(error) is trouble


def test_a_description_is_the_drivers_and_holds_no_password():
    error = DBAPIError(
        "SELECT 'secret'", {"key": "secret"}, ValueError("bad postgresql://u:secret@h/d\npassword=secret")
    )
    assert describe(error) == "ValueError: bad postgresql://***@h/d"
    assert describe(ValueError("no  password=secret x")) == "ValueError: no password=*** x"
    assert describe(ValueError()) == "ValueError"
    assert len(describe(ValueError("x" * 10_000))) < 400


# --- what is done about it


class Database:
    """Carries attempts out, each as told: a result, or an error to raise."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.attempts = []
        self.paused = 0.0

    def run(self, **options):
        policy = attempts(object, timeout=0.05, **options)
        try:
            command = next(policy)
            while True:
                if isinstance(command, Pause):
                    self.paused += command.seconds
                    command = next(policy)
                    continue
                assert isinstance(command, Attempt)
                self.attempts.append(command.verb)
                answer = self.answers.pop(0)
                failed = isinstance(answer, Exception)
                command = policy.throw(answer) if failed else policy.send(answer)
        except StopIteration as stop:
            return stop.value


def held():
    pass


def test_what_was_the_moments_fault_is_tried_again():
    database = Database(Coded("40001"), Coded("57P01"), sqlite3.OperationalError("database is locked"), 7)
    assert database.run() == 7
    assert len(database.attempts) == 4
    assert database.paused > 0


def test_not_after_the_deadline():
    def answers():
        while True:
            time.sleep(0.01)
            yield Coded("40001")

    database = Database()
    database.answers = _Endless(answers())
    with pytest.raises(StoreUnavailable, match="the database: Coded: text"):
        database.run()


class _Endless:
    def __init__(self, answers):
        self.pop = lambda _: next(answers)


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (Coded("55P03"), StoreUnavailable, "Coded: text"),
        (TimeoutError(), StoreUnavailable, "no answer in time"),
        (TimeoutError("all connections were in use"), StoreUnavailable, "all connections"),
        (Coded("42P01"), ConfigurationError, r"with create_all\(\)"),
        (ValueError("x"), StoreUnavailable, "ValueError: x"),
        (StoreError("as it is"), StoreError, "as it is"),
    ],
)
def test_anything_else_is_not_tried_again(error, expected, said):
    database = Database(error)
    with pytest.raises(expected, match=said) as raised:
        database.run()
    assert type(raised.value) is expected
    assert len(database.attempts) == 1


@pytest.mark.parametrize("error", [Coded("55P03"), TimeoutError()])
def test_a_row_that_stays_locked_is_read(error):
    database = Database(error, "held")
    assert database.run(if_held=held) == "held"
    assert database.attempts == [object, held]


@pytest.mark.parametrize("read", [None, ValueError("of the second attempt")])
def test_if_that_says_nothing_the_first_error_counts(read):
    with pytest.raises(StoreUnavailable, match="the database: Coded: text"):
        Database(Coded("55P03"), read).run(if_held=held)


def test_a_file_that_stays_locked_says_what_to_do():
    def answers():
        while True:
            time.sleep(0.01)
            yield sqlite3.OperationalError("database is locked")

    database = Database()
    database.answers = _Endless(answers())
    with pytest.raises(StoreUnavailable, match="keep transactions on it short"):
        database.run()
