"""
How a :class:`~wxnotify.stores.django.DjangoStore` uses a connection of Django's without spoiling it.

The connection is the alias's own, of the thread that asks; the merchant's code
uses it before and after. The rules, each with what happens otherwise:

- A verb is refused inside an atomic block. There its claim would be rolled back
  with the block, and a duplicate would be handled a second time. The blocks that
  Django's TestCase wraps around a test do not count, as they do not for
  ``atomic(durable=True)``.
- What is waited for ends at a deadline: answers, because the socket is shut down,
  and connecting, because another thread does it. A session's own time limits are
  left alone, as they would stay in force for the merchant's code.
- A connection that failed is closed, so that Django opens another when somebody
  asks next. Django itself does that between two requests only.
- SQLite is waited for in short random steps, because its own busy handler starves
  waiters; afterwards the connection's busy timeout is what it was.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from typing import Any, Final, TypeVar

from django.db import Error, connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from ...errors import ConfigurationError, NotifyError, shown
from .._deadline import Breaker, Calls
from .._sql import Ask, Steps, run
from .._sql_errors import GOOD_AFTER, Attempt, Trouble, attempts, classify

_Result = TypeVar("_Result")

#: How many attempts to connect may hang at once, in the whole process.
_connecting: Final = Calls(limit=16)
#: Seconds between two looks whether there is room for another.
_TURN: Final = 0.01


class Alias:
    """
    One of the project's databases.

    Args:
        using: Its alias.

        timeout: Seconds a verb may take.
    """

    def __init__(self, using: str, timeout: float) -> None:
        self.using = using
        self.timeout = timeout

    def connection(self) -> Any:
        """Give this thread's connection wrapper, connected or not."""
        try:
            return connections[self.using]
        except ConnectionDoesNotExist as error:
            raise ConfigurationError(
                f"DjangoStore(using={shown(self.using)}): DATABASES has no such alias"
            ) from error

    def run(
        self,
        verb: Callable[[], Steps[_Result]],
        if_held: Callable[[], Steps[_Result | None]] | None = None,
    ) -> _Result:
        """
        Carry a verb out in autocommit, on this thread's connection.

        Args:
            verb: As for :func:`~wxnotify.stores._sql_errors.attempts`.

            if_held: Likewise.

        Raises:
            ConfigurationError: If the connection is in an atomic block or not in autocommit.

            StoreUnavailable: If it could not be done in time.
        """
        connection = self.connection()
        in_test = in_test_case(connection)
        plan = attempts(verb, timeout=self.timeout, if_held=if_held)
        answer: Any = None
        raised: Exception | None = None
        while True:
            try:
                command = plan.send(answer) if raised is None else plan.throw(raised)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            raised = None
            if not isinstance(command, Attempt):
                time.sleep(command.seconds)
                continue
            try:
                answer = _attempt(connection, command, in_test)
            except Exception as error:
                raised = error


def in_test_case(connection: Any) -> bool:
    """Tell whether the connection is in the atomic blocks of a test; refuse it in any others."""
    if not connection.in_atomic_block:
        return False
    if all(block._from_testcase for block in connection.atomic_blocks):
        return True
    raise ConfigurationError(
        f"the connection {shown(connection.alias)} is in an atomic block, with which a claim would be "
        "rolled back: exempt the view from ATOMIC_REQUESTS, as notify_view() is, and call the store outside "
        'atomic(); what changes the order belongs in on("payment", transaction=store.transaction)'
    )


def _attempt(connection: Any, attempt: Attempt, in_test: bool) -> Any:
    with bounded(connection, attempt.until, busy_wait=0), ExitStack() as block:
        if in_test:
            # What fails must not spoil the test's own transaction.
            block.enter_context(transaction.atomic(using=connection.alias))
        else:
            check_autocommit(connection)
        with connection.cursor() as cursor:
            return run(attempt.verb(), partial(answer, cursor))


def check_autocommit(connection: Any) -> None:
    """Raise ``ConfigurationError`` if nobody would commit what is executed outside atomic blocks."""
    if not connection.get_autocommit():
        raise ConfigurationError(
            f"the connection {shown(connection.alias)} is not in autocommit, so nobody would commit a "
            "claim: leave AUTOCOMMIT on, and set_autocommit(True) after a transaction of your own"
        )


def answer(cursor: Any, asked: Ask) -> Any:
    """Execute one statement with a cursor of Django's, and give its answer."""
    texts = frozenset(name for name, value in asked.parameters.items() if isinstance(value, str))
    statement = _pyformat(asked.sql, texts if cursor.db.vendor == "mysql" else frozenset())
    try:
        cursor.execute(statement, asked.parameters)
    except Error as error:
        if asked.answer == "inserted" and classify(error) is Trouble.TAKEN:
            return 0
        raise
    return cursor.fetchall() if asked.answer == "rows" else cursor.rowcount


@cache
def _pyformat(statement: str, utf8mb4: frozenset[str]) -> str:
    """Write parameters as Django's cursors take them; those named are said to be in all of UTF-8."""

    def parameter(match: re.Match[str]) -> str:
        # Connections of Django 4.2 speak MySQL's "utf8", in which an emoji is an error.
        return f"_utf8mb4 %({match[1]})s" if match[1] in utf8mb4 else f"%({match[1]})s"

    return re.sub(r":(\w+)", parameter, statement.replace("%", "%%"))


@contextmanager
def bounded(
    connection: Any, until: float, *, busy_wait: float | None = None
) -> Generator[Callable[[], bool]]:
    """
    Let whatever uses *connection* meanwhile end by a deadline.

    A connection whose deadline has passed is closed at the end, as is one that
    failed outside atomic blocks. Inside, Django closes it when the block ends.

    Args:
        connection: Django's wrapper, connected or not.

        until: The deadline, on ``time.monotonic()``.

        busy_wait: Seconds SQLite shall wait for a lock in one go; if left out,
            until the deadline.

    Returns:
        A context manager that gives a function: it lifts the deadline, and tells
        whether that was too late.

    Raises:
        TimeoutError: In place of what was raised, if the deadline has passed.
    """
    limit = _Busy(busy_wait) if connection.vendor == "sqlite" else _Socket()
    failed = True
    try:
        limit.set(connection, until)
        yield limit.lift
        failed = False
    except NotifyError:
        failed = False  # it is ours, and says nothing of the connection
        raise
    except Exception as error:
        failed = classify(error) not in GOOD_AFTER
        if limit.lift():
            raise TimeoutError("no answer in time") from error
        raise
    finally:
        if limit.lift() or (failed and not connection.in_atomic_block):
            with suppress(Error):
                connection.close()


class _Socket:
    """A deadline for a connection to a server."""

    def __init__(self) -> None:
        self._breakers: list[Breaker] = []
        self._late = False
        self._lift: Callable[[], object] = lambda: None

    def set(self, connection: Any, until: float) -> None:
        connect = connection.get_new_connection

        def connect_in_time(parameters: object) -> Any:
            while True:
                try:
                    made = _connecting.call(
                        partial(connect, parameters),
                        seconds=until - time.monotonic(),
                        discard=partial(_discard, connection),
                    )
                    break
                except TimeoutError:
                    # Before the deadline, it only means that many threads connect at once.
                    if time.monotonic() + _TURN >= until:
                        raise
                time.sleep(_TURN)
            self._watch(made, until)
            return made

        # Django has no time limit of its own for this, and drivers none below 2 s.
        connection.get_new_connection = connect_in_time
        self._lift = partial(connection.__dict__.pop, "get_new_connection", None)
        if connection.connection is not None:
            with suppress(connection.Database.Error):  # closed, with no answer to wait for
                self._watch(connection.connection, until)

    def lift(self) -> bool:
        self._lift()
        while self._breakers:
            breaker = self._breakers.pop()
            self._late = breaker.disarm() or self._late
            breaker.close()
        return self._late

    def _watch(self, driver: Any, until: float) -> None:
        breaker = Breaker(driver)
        self._breakers.append(breaker)
        breaker.arm(until)


def _discard(connection: Any, driver: Any) -> None:
    """Close what was connected too late, as Django does: what comes from a pool goes back there."""
    late = connection.copy()
    late.connection = driver
    late.close()


class _Busy:
    """A deadline for a SQLite file: how long it waits for a lock."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._lift: Callable[[], object] = lambda: None

    def set(self, connection: Any, until: float) -> None:
        if not connection.in_atomic_block:
            connection.ensure_connection()
        driver = connection.connection
        seconds = until - time.monotonic() if self._seconds is None else self._seconds
        with suppress(sqlite3.Error):  # closed, with nothing to wait for
            ((before,),) = driver.execute("PRAGMA busy_timeout").fetchall()
            driver.execute(f"PRAGMA busy_timeout = {max(0, int(seconds * 1000))}")
            self._lift = partial(driver.execute, f"PRAGMA busy_timeout = {before}")

    def lift(self) -> bool:
        lift, self._lift = self._lift, lambda: None
        with suppress(sqlite3.Error):  # closed meanwhile
            lift()
        return False
