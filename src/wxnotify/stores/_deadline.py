"""
Ends what a database driver would wait for without end: an answer, or a connection.

A delivery must be told FAIL within two seconds, whatever the server does. No
driver promises that: libpq has no time limit for an answer at all, and one a
server sets for itself does not run while the server is frozen. Two tools, for
any blocking driver:

- :class:`Breaker` shuts a connection's socket down when its deadline passes, so
  that the driver that waits on it raises. One thread of the process watches all
  deadlines. Setting one costs a lock, and no change of threads.
- :class:`Calls` makes a call that may hang, such as to connect, in a thread of
  its own, and waits no longer than it may.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, TypeVar

_Result = TypeVar("_Result")

# Where drivers keep their socket or their transport, if they have no fileno().
_SOCKET_NAMES: Final = ("_sock", "_transport", "_writer")


def fileno_of(connection: Any) -> int | None:
    """
    Give the descriptor of a driver's connection; None if there is none.

    Args:
        connection: The driver's own: psycopg's, psycopg2's, PyMySQL's,
            mysqlclient's, asyncpg's, asyncmy's or aiomysql's. One of SQLite has
            no socket.
    """
    holders = [connection] + [getattr(connection, name, None) for name in _SOCKET_NAMES]
    for holder in holders:
        with suppress(OSError):  # a closed socket
            if hasattr(holder, "get_extra_info"):
                holder = holder.get_extra_info("socket")
            if hasattr(holder, "fileno") and (fileno := holder.fileno()) >= 0:
                return int(fileno)
    return None


class Breaker:
    """
    Shut a connection's socket down when its deadline passes.

    Then whoever waits on it raises, and the connection is of no more use: close
    it. It keeps a descriptor of its own, so that it cannot hit a stranger's
    socket that got the same number.

    Args:
        connection: As for :func:`fileno_of`. Without a socket, a breaker does
            nothing.

    Example:
        breaker = Breaker(connection)
        breaker.arm(time.monotonic() + 1.5)
        try:
            connection.execute(...)
        finally:
            late = breaker.disarm()
        if late:
            connection.close()
            breaker.close()
    """

    _socket: socket.socket | None = None

    def __init__(self, connection: Any) -> None:
        fileno = fileno_of(connection)
        # The family does not matter for shutdown().
        if fileno is not None:
            self._socket = socket.fromfd(fileno, socket.AF_INET, socket.SOCK_STREAM)
        self._fired = False

    def arm(self, deadline: float) -> None:
        """Shut the socket down at *deadline*, on ``time.monotonic()``, unless disarmed before."""
        if self._socket:
            _watchdog.watch(self, deadline)

    def disarm(self) -> bool:
        """Leave the socket alone from now on; True if it has been shut down already."""
        if self._socket:
            _watchdog.forget(self)
        return self._fired

    def fire(self) -> None:
        """Shut the socket down now."""
        self._fired = True
        if self._socket:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._socket:
            self._socket.close()

    def __del__(self) -> None:
        self.close()  # without a ResourceWarning: the connection's own driver gives one, if at all


class _Watchdog:
    """The thread that fires breakers; started by the first."""

    def __init__(self) -> None:
        self._deadlines: dict[Breaker, float] = {}
        self._changed = threading.Condition(threading.Lock())
        self._wakes_at = -math.inf  # until it runs
        self._thread: threading.Thread | None = None

    def watch(self, breaker: Breaker, deadline: float) -> None:
        with self._changed:
            self._deadlines[breaker] = deadline
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wxnotify-deadlines", daemon=True)
                self._thread.start()
            # Under load it is awake soon enough anyway: deadlines are alike, and
            # it sleeps until an earlier one.
            elif deadline < self._wakes_at:
                self._changed.notify()

    def forget(self, breaker: Breaker) -> None:
        with self._changed:
            self._deadlines.pop(breaker, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for breaker in [one for one, deadline in self._deadlines.items() if deadline <= now]:
                    del self._deadlines[breaker]
                    breaker.fire()
                self._wakes_at = min(self._deadlines.values(), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)


class Calls:
    """
    Make calls that may hang, each in a daemon thread of its own.

    Args:
        limit: How many may hang at once. A call past it fails at once, so that
            a server that cannot be reached does not fill the process with threads.
    """

    def __init__(self, limit: int) -> None:
        self._slots = threading.BoundedSemaphore(limit)
        self._limit = limit

    def call(
        self, function: Callable[[], _Result], *, seconds: float, discard: Callable[[_Result], object]
    ) -> _Result:
        """
        Call *function*, and wait for it at most *seconds*.

        Args:
            function: Runs in another thread, with this one's context variables.

            seconds: From now.

            discard: Gets what came too late.

        Raises:
            TimeoutError: If it took longer, or too many calls are hanging already.

            BaseException: What *function* raised.
        """
        if not self._slots.acquire(blocking=False):
            raise TimeoutError(f"{self._limit} attempts before this one are still waiting")
        done: Future[_Result] = Future()
        run = copy_context().run

        def work() -> None:
            try:
                try:
                    result = run(function)
                except BaseException as error:
                    if done.set_running_or_notify_cancel():
                        done.set_exception(error)
                    return
                if done.set_running_or_notify_cancel():
                    done.set_result(result)
                else:
                    discard(result)
            finally:
                self._slots.release()

        try:
            threading.Thread(target=work, name="wxnotify-connecting", daemon=True).start()
        except BaseException:
            self._slots.release()
            raise
        try:
            wait([done], seconds)
        finally:
            late = done.cancel()  # not possible any more once it is done
        if late:
            raise TimeoutError("no answer in time")
        return done.result()


_watchdog = _Watchdog()


def _after_fork() -> None:  # pragma: no cover - in a child
    # Its thread stayed with the parent, and perhaps its lock was held.
    global _watchdog
    _watchdog = _Watchdog()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
