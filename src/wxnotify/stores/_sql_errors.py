"""
What a database driver's error means, and what a store does about it.

It needs no driver: the codes are read from the exceptions, also from those that
SQLAlchemy or Django have wrapped. Every verb of a store may be repeated, so the
rule is simple: what was the moment's fault is tried again until the deadline,
everything else is :class:`~wxnotify.errors.StoreUnavailable`.

A claim is special. A row that stays locked is one that another delivery is just
completing, inside its own transaction; and a duplicate is better told "somebody
is at it" than "the store is down". So a claim leaves itself time for a plain read.
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from ..errors import ConfigurationError, NotifyError, StoreUnavailable
from . import _sqlite_waiting
from ._sql import Steps

_Result = TypeVar("_Result")


class Trouble(Enum):
    """What an error means for the statement, and for the connection."""

    #: The database gave the statement up, for another's sake. The connection is good.
    AGAIN = "again"
    #: The connection is no more; another one may work.
    GONE = "gone"
    #: A row stayed locked as long as the session waits. The connection is good.
    LOCKED = "locked"
    #: No answer in time. The connection is no good.
    LATE = "late"
    #: SQLite did not wait at all for a lock. The connection is good.
    BUSY = "busy"
    #: The key is there already. The connection is good.
    TAKEN = "taken"
    #: The table is not there.
    MISSING = "missing"
    #: Anything else.
    DOWN = "down"


# PostgreSQL's, https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES: Final = {
    "40001": Trouble.AGAIN,  # could not serialize
    "40P01": Trouble.AGAIN,  # deadlock
    "53300": Trouble.AGAIN,  # too many connections
    "57P03": Trouble.AGAIN,  # starting up
    "55P03": Trouble.LOCKED,
    "23505": Trouble.TAKEN,
    "42P01": Trouble.MISSING,
    "3F000": Trouble.MISSING,  # the schema
    "57P01": Trouble.GONE,  # terminated by the administrator
    "57P02": Trouble.GONE,  # crash of another session
    "57P05": Trouble.GONE,  # idle too long
    "25P03": Trouble.GONE,  # idle in a transaction too long
}
# MySQL's and MariaDB's, https://mariadb.com/kb/en/mariadb-error-code-reference/
_NUMBERS: Final = {
    1213: Trouble.AGAIN,  # deadlock
    1020: Trouble.AGAIN,  # changed since the snapshot (MariaDB, innodb_snapshot_isolation)
    1317: Trouble.AGAIN,  # KILL QUERY
    1040: Trouble.AGAIN,  # too many connections
    1203: Trouble.AGAIN,  # of this user
    1205: Trouble.LOCKED,
    1062: Trouble.TAKEN,
    1146: Trouble.MISSING,
    0: Trouble.GONE,  # PyMySQL: closed
    1053: Trouble.GONE,  # shutdown
    1927: Trouble.GONE,  # KILL (MariaDB)
    2006: Trouble.GONE,
    2013: Trouble.GONE,
    2014: Trouble.GONE,  # out of step
    2055: Trouble.GONE,
    4031: Trouble.GONE,  # idle too long (MySQL 8)
}

#: A connection that has met one of these can go on.
GOOD_AFTER: Final = frozenset({Trouble.AGAIN, Trouble.LOCKED, Trouble.BUSY, Trouble.TAKEN})

# What drivers call an error without a code, where the connection broke.
_BROKEN: Final = {"OperationalError", "InterfaceError", "InternalError", "OSError", "EOFError"}
_SHOWN: Final = 300


def classify(error: BaseException) -> Trouble:
    """
    Tell what *error* means.

    Args:
        error: A driver's, or what SQLAlchemy (``orig``) or Django
            (``__cause__``) made of it.
    """
    if "TimeoutError" in _names(error):  # by its name: asyncio has its own in Python 3.10
        return Trouble.LATE
    driver = _drivers_own(error)
    code = _code(driver)
    if isinstance(code, int):
        return _NUMBERS.get(code, Trouble.DOWN)
    if code is not None:
        return Trouble.GONE if code.startswith("08") else _SQLSTATES.get(code, Trouble.DOWN)
    if isinstance(driver, sqlite3.Error):
        text = str(driver)  # Python 3.10 does not give the code
        if "is locked" in text:
            return Trouble.BUSY
        return Trouble.MISSING if "no such table" in text else Trouble.DOWN
    return Trouble.GONE if _names(driver) & _BROKEN else Trouble.DOWN


def describe(error: BaseException) -> str:
    """Say what the driver said: one line, without passwords and without the statement."""
    driver = _drivers_own(error)
    text = " ".join(str(driver).split("\n")[0].split())
    text = re.sub(r"://[^\s/]*@", "://***@", text)
    text = re.sub(r"(?i)\b(password|passwd|pwd)=\S+", r"\1=***", text)
    return f"{type(driver).__name__}: {text[:_SHOWN]}" if text else type(driver).__name__


def _drivers_own(error: BaseException) -> BaseException:
    """Return the innermost exception that is certainly a driver's; *error* itself if none is."""
    found, outer = error, error
    while isinstance(inner := getattr(outer, "orig", None) or outer.__cause__, BaseException):
        wrapped = hasattr(outer, "orig") and _code(found) is None
        if wrapped or isinstance(inner, sqlite3.Error) or _code(inner) is not None:
            found = inner
        outer = inner
    return found


def _names(error: BaseException) -> set[str]:
    return {one.__name__ for one in type(error).__mro__}


def _code(error: BaseException) -> int | str | None:
    """Return MySQL's number or PostgreSQL's SQLSTATE."""
    if isinstance(error, (OSError, sqlite3.Error)):
        return None  # errno is a number too
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return code if isinstance(code, str) else None


# --- what is done about it


class Attempt(NamedTuple):
    """Run a verb once, on one connection."""

    verb: Callable[[], Steps[Any]]
    #: On ``time.monotonic()``. Past it, end it and throw TimeoutError.
    until: float


class Pause(NamedTuple):
    """Wait a little."""

    seconds: float


#: The part of its time a claim may use before it only looks. More than the
#: second that MySQL waits for a lock, of the 1.5 it usually has.
_CLAIMING: Final = 0.75
#: The part a session waits for a lock, so that it says so before it is late.
LOCK_WAIT: Final = 0.6


def file_locked(timeout: float) -> StoreUnavailable:
    """Make the error for a SQLite file that stayed locked so long."""
    return StoreUnavailable(
        f"the SQLite file was locked by another connection for {timeout:g} s: keep transactions on it short"
    )


def attempts(
    verb: Callable[[], Steps[_Result]],
    *,
    timeout: float,
    if_held: Callable[[], Steps[_Result | None]] | None = None,
) -> Generator[Attempt | Pause, Any, _Result]:
    """
    Carry a verb out, again where that helps, for *timeout* seconds at most.

    A generator without I/O, for blocking drivers and others: do what it yields,
    send back an attempt's result or throw what was raised.

    Args:
        verb: Makes the verb's steps, anew for each attempt.

        timeout: In seconds, from now.

        if_held: Makes the steps that read what a locked row says, None if
            nothing.

    Raises:
        StoreUnavailable: If it could not be done.

        ConfigurationError: If the tables are missing.
    """
    began = time.monotonic()
    until = began + timeout * (_CLAIMING if if_held else 1)
    while True:
        try:
            result: _Result = yield Attempt(verb, until)
            return result
        except NotifyError:
            raise
        except Exception as error:
            raised, trouble = error, classify(error)
        if trouble not in (Trouble.AGAIN, Trouble.GONE, Trouble.BUSY):
            break
        pause = random.uniform(0.002, 0.03)  # noqa: S311 - jitter, not a secret
        if trouble is Trouble.BUSY:
            pause = _sqlite_waiting.pause(time.monotonic() - began)
        if time.monotonic() + pause >= until:
            break
        yield Pause(pause)
    if if_held and trouble in (Trouble.LOCKED, Trouble.LATE):
        held: _Result | None = None
        with suppress(Exception):  # what was raised first says more
            held = yield Attempt(if_held, began + timeout)
        if held is not None:
            return held
    if trouble is Trouble.MISSING:
        raise ConfigurationError(
            f"{describe(raised)}; make the store's tables: with your migrations, or with create_all()"
        ) from raised
    if trouble is Trouble.BUSY:
        raise file_locked(timeout) from raised
    said = str(raised) if trouble is Trouble.LATE else describe(raised)
    raise StoreUnavailable(f"the database: {said or 'no answer in time'}") from raised
