"""
SQLite's part of ``stores.py``: the naive client, and eight saturating writers.

Its files are made in the temporary directory; name one on a disk in ``TMPDIR``.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import contenders

from wxnotify.errors import StoreUnavailable
from wxnotify.stores.sqlite import SQLiteStore

WRITERS = 8
TURNS = 4
_INSERT = contenders.naive_insert("wxnotify_claims", "?")
JOURNALS = {"rollback journal": "DELETE", "WAL": "WAL"}


def new_store(directory: str, name: str, journal: str) -> SQLiteStore:
    """Make a file in that journal mode, with an order and a store in it."""
    path = os.path.join(directory, name)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {JOURNALS[journal]}")
        connection.execute("CREATE TABLE orders (number TEXT PRIMARY KEY, paid INTEGER NOT NULL)")
        connection.execute("INSERT INTO orders VALUES (?, 0)", [contenders.ORDER])
        connection.commit()
    return open_store(path)


def open_store(path: str) -> SQLiteStore:
    """Open the store; an old SQLite warns of WAL, which is measured all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return SQLiteStore(path)


class NaiveSQLite:
    """Two statements, as the manual of ``sqlite3`` has them, on a table like the store's."""

    def __init__(self, path: str, *pragmas: str) -> None:
        self.connection = sqlite3.connect(path)
        for pragma in ("synchronous = FULL", *pragmas):
            self.connection.execute(f"PRAGMA {pragma}")

    def insert(self, key: str) -> None:
        """Insert the claim, and commit."""
        self.connection.execute(_INSERT, contenders.naive_row(key))
        self.connection.commit()

    def change_order(self) -> None:
        """Change the order, and commit."""
        change_order(self.connection)
        self.connection.commit()

    def update(self, key: str) -> None:
        """Set the claim to done, and commit."""
        now = time.time()
        self.connection.execute(
            "UPDATE wxnotify_claims SET state = 'done', updated = ?, retain_until = ? WHERE natural_key = ?",
            (now, now + contenders.RETAIN, key),
        )
        self.connection.commit()

    def lease(self) -> Callable[[], None]:
        """Give a call that does one notification."""

        def call() -> None:
            key = contenders.new_key()
            self.insert(key)
            self.update(key)

        return call

    def with_order(self) -> Callable[[], None]:
        """Give a call that does one notification and its order."""

        def call() -> None:
            key = contenders.new_key()
            self.insert(key)
            self.change_order()
            self.update(key)

        return call


def change_order(connection: sqlite3.Connection) -> None:
    """Change the order, in the caller's transaction."""
    connection.execute("UPDATE orders SET paid = paid + 1 WHERE number = ?", [contenders.ORDER])


@contextmanager
def calls(journal: str) -> Iterator[dict[str, Callable[[], None]]]:
    """Give what is compared on files in that journal mode."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as at_end:

        def store(name: str) -> SQLiteStore:
            return at_end.enter_context(new_store(directory, name, journal))

        def naive(name: str, *pragmas: str) -> NaiveSQLite:
            store(name)
            client = NaiveSQLite(os.path.join(directory, name), *pragmas)
            at_end.callback(client.connection.close)
            return client

        bound = store("bound.db")
        shop = sqlite3.connect(os.path.join(directory, "bound.db"), isolation_level=None)
        at_end.callback(shop.close)
        shop.execute("PRAGMA synchronous = FULL")

        @contextmanager
        def transaction() -> Iterator[sqlite3.Connection]:
            shop.execute("BEGIN IMMEDIATE")
            yield shop
            shop.execute("COMMIT")

        opened = store("opened.db")
        found = {
            "store, lease": contenders.lease(store("lease.db")),
            "naive, lease": naive("naive.db").lease(),
            "store, transaction": contenders.same_transaction(bound, transaction, change_order),
            "store.transaction()": contenders.same_transaction(opened, opened.transaction, change_order),
            "naive, transaction": naive("order.db").with_order(),
            "duplicate": contenders.duplicate(store("duplicate.db")),
        }
        if journal != "WAL":
            found["naive PERSIST, lease"] = naive("persist.db", "journal_mode = PERSIST").lease()
        yield found


# --- eight writers


class Waits(NamedTuple):
    """How long the claims of one contender took."""

    #: In milliseconds, sorted.
    each: list[float]
    #: How many notifications were given up, because the file was locked for too long.
    refused: int
    #: Notifications done in a second, by all processes together.
    rate: float

    def at(self, share: float) -> float:
        """Give what *share* of the claims did not exceed."""
        return self.each[min(len(self.each) - 1, int(share * len(self.each)))]


def contend(journal: str, seconds: float) -> dict[str, Waits]:
    """
    Let eight processes write to one file at once, with the store and with SQLite's busy handler in turn.

    Each process claims a key of its own and completes it, and goes on to the next
    without a pause.

    Args:
        journal: The file's.

        seconds: How long each contender has, over all its turns.

    Returns:
        By contender, "store" and "stock".
    """
    each: dict[str, list[float]] = {"store": [], "stock": []}
    refused, done = dict.fromkeys(each, 0), dict.fromkeys(each, 0)
    with tempfile.TemporaryDirectory() as directory:
        for name in each:
            new_store(directory, name, journal).close()
        for turn in range(TURNS):
            for name in random.sample(list(each), len(each)):
                for found in _turn(name, os.path.join(directory, name), str(turn), seconds / TURNS):
                    each[name] += found[0]
                    refused[name] += found[1]
                    done[name] += found[2]
    return {name: Waits(sorted(each[name]), refused[name], done[name] / seconds) for name in each}


def _turn(name: str, path: str, turn: str, seconds: float) -> list[tuple[list[float], int, int]]:
    fresh = multiprocessing.get_context("spawn")
    together = fresh.Barrier(WRITERS)
    writers = []
    for number in range(WRITERS):
        mine, theirs = fresh.Pipe(duplex=False)
        arguments = (name, path, f"{turn}:{number}", seconds, together, theirs)
        writers.append((fresh.Process(target=_write, args=arguments), mine))
    for process, _ in writers:
        process.start()
    found = [answer.recv() for _, answer in writers]
    for process, _ in writers:
        process.join()
    return found


def _write(name: str, path: str, prefix: str, seconds: float, together: Barrier, answer: Connection) -> None:
    claim, complete = _store(path) if name == "store" else _stock(path)
    waits: list[float] = []
    refused = done = 0
    together.wait()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        try:
            try:
                held = claim(f"payment:{prefix}:{len(waits)}:SUCCESS")
            finally:
                waits.append(1000 * (time.perf_counter() - began))
            complete(held)
            done += 1
        except (StoreUnavailable, sqlite3.OperationalError):
            refused += 1
    answer.send((waits, refused, done))


def _store(path: str) -> tuple[Callable[[str], Any], Callable[[Any], None]]:
    store = open_store(path)
    return partial(contenders.claim_of, store), partial(contenders.complete, store)


def _stock(path: str) -> tuple[Callable[[str], Any], Callable[[Any], None]]:
    client = NaiveSQLite(path)  # waits up to 5 s by SQLite's busy handler, as Python sets it

    def claim(key: str) -> str:
        try:
            client.insert(key)
        except sqlite3.OperationalError:
            client.connection.rollback()
            raise
        return key

    return claim, client.update
