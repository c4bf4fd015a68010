"""
How the connections of a SQLAlchemy store are lent, ended, replaced and left behind.

It is blocking code. On an event loop the same code runs in SQLAlchemy's greenlets
(:class:`AsyncConnections`), where a driver's wait lets other tasks go on.

The rules, each with what happens otherwise:

- Every wait ends: for one of a few connections, for a new one, for an answer.
- A connection is closed after any error but those that say it is good.
- When one turns out to be broken, so are probably those that lie idle: they are
  closed. And none is used that lay idle for long: firewalls and load balancers
  drop such connections without a word, and the next verb would wait in vain.
- No connection crosses a fork: two processes would talk on one socket.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

from ..errors import NotifyError, StoreUnavailable
from ._deadline import Breaker, Calls
from ._sql import Ask, Steps, run
from ._sql_errors import GOOD_AFTER, Attempt, Pause, Trouble, attempts, classify, describe
from ._sqlalchemy_database import Database

_Result = TypeVar("_Result")
_Verb = Callable[[], Steps[_Result]]

#: Connections of a process or of an event loop, at most.
_CONNECTIONS: Final = 8
#: Seconds after which an idle one is not trusted any more.
_IDLE_SECONDS: Final = 30.0
#: Attempts to connect that may hang at once.
_HANGING: Final = 16
#: The part of its time that a verb on an event loop has to end by itself.
_BY_ITSELF: Final = 0.95


class Connection:
    """One of the store's own, used by one thread or task at a time."""

    def __init__(self, database: Database, made: tuple[Any, Breaker]) -> None:
        self._database = database
        self._dbapi, self.breaker = made
        self.idle_since = 0.0

    def execute(self, asked: Ask) -> Any:
        """Execute one statement, and give its answer."""
        statement, parameters = self._database.compile(asked)
        cursor = self._dbapi.cursor()
        try:
            cursor.execute(statement, parameters)
        except Exception as error:
            if asked.answer == "inserted" and classify(error) is Trouble.TAKEN:
                return 0
            raise
        answer = cursor.fetchall() if asked.answer == "rows" else cursor.rowcount
        cursor.close()
        return answer

    def close(self) -> None:
        """Close it, whatever its state."""
        self._database.close(self._dbapi, self.breaker)


class _Lender:
    """The connections of one process, or of one event loop."""

    def __init__(self, database: Database, slots: Any) -> None:
        self.slots = slots
        self.pool = database.pool()
        self.calls = Calls(_HANGING)
        # Lists change in single steps, so there is no lock a fork could catch held.
        self.idle: list[Connection] = []


class Connections:
    """
    The connections of a blocking store, and the way to run a verb on one.

    Args:
        database: What to connect to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # What a child should inherit stays under its parent's number, where it is
        # neither used nor closed: to close it would end the parent's session.
        self._lenders: MutableMapping[Any, _Lender] = {}
        weakref.finalize(self, _close_all, self._lenders)
        if database.is_sqlite and not database.dialect.is_async:
            # What a loop opened is closed on that loop, and not before a fork somewhere else.
            _ON_FILES.add(self)

    def run(self, verb: _Verb[_Result], if_held: _Verb[_Result | None] | None = None) -> _Result:
        """
        Carry *verb* out within the store's timeout; see :func:`~wxnotify.stores._sql_errors.attempts`.

        Raises:
            StoreUnavailable: If it could not be done in time.
        """
        policy = attempts(verb, timeout=self._part * self._database.timeout, if_held=if_held)
        try:
            command = next(policy)
            while True:
                if isinstance(command, Pause):
                    self.sleep(command.seconds)
                    command = next(policy)
                    continue
                try:
                    result = self._attempt(command)
                except Exception as error:
                    command = policy.throw(error)
                else:
                    command = policy.send(result)
        except StopIteration as stop:
            value: _Result = stop.value
            return value

    def close(self) -> None:
        """Close this process's idle connections."""
        lender = self._lenders.get(self._key())
        while lender and lender.idle:
            self._dispose(lender.idle.pop())

    def _attempt(self, attempt: Attempt) -> Any:
        lender = self._lender()
        if not self._acquire(lender, attempt.until):
            raise TimeoutError(f"all {_CONNECTIONS} connections were in use")
        try:
            connection = self._take(lender) or self._new(lender, attempt.until)
            connection.breaker.arm(attempt.until)
            try:
                result = run(attempt.verb(), connection.execute)
            except BaseException as error:
                if self._put_back(lender, connection, error):
                    raise TimeoutError("no answer in time") from error
                raise
            self._put_back(lender, connection, None)
            return result
        finally:
            lender.slots.release()

    def _take(self, lender: _Lender) -> Connection | None:
        while lender.idle:
            connection = lender.idle.pop()
            if time.monotonic() - connection.idle_since < _IDLE_SECONDS:
                return connection
            self._dispose(connection)
        return None

    def _put_back(self, lender: _Lender, connection: Connection, error: BaseException | None) -> bool:
        """Keep a connection or close it; True if its time had run out."""
        late = connection.breaker.disarm()
        # An error of this library's own was raised between two statements.
        trouble = classify(error) if error and not isinstance(error, NotifyError) else None
        if late or trouble is Trouble.GONE:
            self.close()
        if late or not (trouble is None or trouble in GOOD_AFTER):
            self._dispose(connection)
        else:
            connection.idle_since = time.monotonic()
            lender.idle.append(connection)
        return late

    def _new(self, lender: _Lender, until: float) -> Connection:
        try:
            return Connection(self._database, self._connect(lender, until))
        except Exception as error:
            if classify(error) in (Trouble.AGAIN, Trouble.LATE, Trouble.BUSY):
                raise
            raise StoreUnavailable(f"the database cannot be reached: {describe(error)}") from error

    # --- what is different on an event loop

    _part = 1.0
    sleep: Callable[[float], object] = staticmethod(time.sleep)

    def _key(self) -> object:
        return os.getpid()

    def _lender(self) -> _Lender:
        key = self._key()
        found = self._lenders.get(key)
        return found or self._lenders.setdefault(key, _Lender(self._database, self._slots()))

    def _slots(self) -> Any:
        return threading.BoundedSemaphore(_CONNECTIONS)

    def _acquire(self, lender: _Lender, until: float) -> bool:
        return bool(lender.slots.acquire(timeout=max(0.0, until - time.monotonic())))

    def _connect(self, lender: _Lender, until: float) -> tuple[Any, Breaker]:
        if self._database.is_sqlite:
            return self._database.connect(lender.pool)
        return lender.calls.call(
            lambda: self._database.connect(lender.pool),
            seconds=max(0.0, until - time.monotonic()),
            discard=lambda late: self._database.close(*late),
        )

    def _dispose(self, connection: Connection) -> None:
        connection.close()


class AsyncConnections(Connections):
    """
    The same on an event loop, or on one after the other.

    The blocking code above runs in a greenlet, which SQLAlchemy's asynchronous
    drivers know how to leave while they wait.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._tasks: set[asyncio.Task[Any]] = set()

    _part = _BY_ITSELF

    async def run_async(self, verb: _Verb[_Result], if_held: _Verb[_Result | None] | None = None) -> _Result:
        """See :meth:`Connections.run`."""
        task = self._start(self.run, verb, if_held)
        # A caller that is cancelled meanwhile leaves it to end by itself, so that the
        # connection is kept.
        give_up = asyncio.get_running_loop().call_later(self._database.timeout, task.cancel)
        # Not wait_for, which would wait for the end of what it cancels; with some
        # drivers that takes seconds.
        done, _ = await asyncio.wait({task}, timeout=self._database.timeout)
        if not done or task.cancelled():
            raise StoreUnavailable("the database: no answer in time")
        give_up.cancel()
        result: _Result = task.result()
        return result

    async def close_async(self) -> None:
        """Close this event loop's idle connections."""
        await self._ended()  # also verbs whose caller was cancelled
        self.close()
        await self._ended()

    async def _ended(self) -> None:
        """Wait for what is under way on this event loop."""
        if mine := [task for task in self._tasks if task.get_loop() is self._key()]:
            await asyncio.wait(mine)

    def _start(self, function: Callable[..., object], *arguments: Any) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(greenlet_spawn(function, *arguments))
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # of one that was given up, nobody else asks

    def sleep(self, seconds: float) -> object:
        return await_only(asyncio.sleep(seconds))

    def _key(self) -> object:
        return asyncio.get_running_loop()

    def _lender(self) -> _Lender:
        if self._key() not in self._lenders:
            for loop in [one for one in self._lenders if one.is_closed()]:
                # Nobody closed the store on it. No connection of its can be closed
                # any more; but the server is told, so that its sessions end.
                for connection in self._lenders.pop(loop).idle:
                    connection.breaker.fire()
        return super()._lender()

    def _slots(self) -> Any:
        return asyncio.Semaphore(_CONNECTIONS)

    def _acquire(self, lender: _Lender, until: float) -> bool:
        return bool(await_only(lender.slots.acquire()))

    def _connect(self, lender: _Lender, until: float) -> tuple[Any, Breaker]:
        return self._database.connect(lender.pool)

    def _dispose(self, connection: Connection) -> None:
        # A good-bye may take seconds too.
        self._start(connection.close)


def _close_all(lenders: MutableMapping[Any, _Lender]) -> None:
    lender = lenders.get(os.getpid())
    while lender and lender.idle:
        lender.idle.pop().close()


_ON_FILES: Final[weakref.WeakSet[Connections]] = weakref.WeakSet()


def _before_fork() -> None:
    # SQLite keeps its locks by process, and a child that believes in inherited
    # ones can corrupt the file (https://sqlite.org/howtocorrupt.html).
    for connections in list(_ON_FILES):
        connections.close()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=_before_fork)
