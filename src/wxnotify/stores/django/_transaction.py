"""
The transaction a handler runs in: Django's ``atomic`` on the store's alias, begun and ended in time.

It is durable: never inside another block, whose rollback would undo what
WeChat Pay has been told SUCCESS for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import Error, transaction

from ...errors import StoreUnavailable
from .._sql_errors import Trouble, classify, describe, file_locked
from .._sqlite_waiting import pause
from ._connections import Alias, bounded, check_autocommit, in_test_case


@contextmanager
def open_transaction(alias: Alias, lock: str) -> Generator[Any]:
    """
    Begin, give the connection, commit; or roll back at an exception.

    Args:
        alias: Where.

        lock: A statement that changes nothing and takes SQLite's write lock.

    Raises:
        ConfigurationError: If the connection is in a transaction, or not in autocommit.

        StoreUnavailable: If it could not begin or commit.
    """
    connection = alias.connection()
    in_test = in_test_case(connection)
    until = time.monotonic() + alias.timeout
    try:
        with bounded(connection, until, busy_wait=0):
            if not in_test:
                check_autocommit(connection)
            block = _begin(connection, lock, until)
    except (Error, TimeoutError) as error:
        if classify(error) is Trouble.BUSY:
            raise file_locked(alias.timeout) from error
        raise StoreUnavailable(f"beginning a transaction: {describe(error)}") from error
    uncommitted: list[Callable[[], object]] = []
    if not in_test:
        # First of all that the handler leaves for after the commit, which has all the time it wants.
        connection.on_commit(lambda: uncommitted.pop()())
    try:
        yield connection
    except BaseException:
        with suppress(Error, TimeoutError), bounded(connection, time.monotonic() + alias.timeout):
            block.__exit__(*sys.exc_info())
        raise
    if connection.closed_in_transaction:
        # Django would leave the block as if there were nothing to commit.
        block.close()
        raise StoreUnavailable("committing: the connection was closed inside the transaction")
    try:
        with bounded(connection, time.monotonic() + alias.timeout) as lift:
            uncommitted.append(lift)
            block.close()
    except (Error, TimeoutError) as error:
        if not uncommitted:
            raise
        raise StoreUnavailable(f"committing: {describe(error)}") from error


def _begin(connection: Any, lock: str, until: float) -> ExitStack:
    began = time.monotonic()
    while True:
        try:
            with ExitStack() as block:
                block.enter_context(transaction.atomic(using=connection.alias, durable=True))
                if connection.vendor == "sqlite":
                    # A transaction that reads first and writes later fails at once if
                    # another connection wrote in between.
                    with connection.cursor() as cursor:
                        cursor.execute(lock)
                return block.pop_all()
        except Error as error:
            if classify(error) is not Trouble.BUSY or time.monotonic() >= until:
                raise
        time.sleep(pause(time.monotonic() - began))
