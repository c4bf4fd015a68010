"""SQLiteStore between processes: claims that race, and processes that are killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, State
from wxnotify.stores.sqlite import SQLiteStore

KEY = "payment:1900000109:4200000001"
KEEP = 30 * 86_400.0
START, LEASE = 1_000.0, 30.0

#: Says that it is ready, waits for the word, and claims one key from 16 threads.
RACER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from wxnotify.stores.sqlite import SQLiteStore

def claim(_):
    return store.claim(sys.argv[2], fingerprint=bytes(32), owner=os.urandom(16), lease=30).outcome.value

print("ready", flush=True)
sys.stdin.readline()
with SQLiteStore(sys.argv[1], timeout=30) as store, ThreadPoolExecutor(16) as threads:
    print(*threads.map(claim, range(16)))
"""

#: One delivery in same-transaction mode, that kills itself at the moment it is told.
DELIVERY = """
import os, signal, sqlite3, sys
from wxnotify.stores.sqlite import SQLiteStore

path, key, moment = sys.argv[1:4]

def reached(name):
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)

store = SQLiteStore(path, clock=lambda: 1_000.0)
claim = store.claim(key, fingerprint=bytes(32), owner=os.urandom(16), lease=30)
reached("after the claim")
shop = sqlite3.connect(path, isolation_level=None)
shop.execute("BEGIN IMMEDIATE")
bound = store.bind(shop)
shop.execute("UPDATE orders SET paid = paid + 1")
reached("in the handler")
bound.complete(claim, retain=30 * 86_400)
reached("before the commit")
shop.execute("COMMIT")
reached("after the commit")
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


@pytest.fixture
def shop(path):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as shop:
        shop.execute("CREATE TABLE orders (number TEXT PRIMARY KEY, paid INTEGER NOT NULL)")
        shop.execute("INSERT INTO orders VALUES ('A-1', 0)")
        yield shop


def deliver(store, shop):
    """Deliver the notification in this process, as WeChat Pay's resend would; give its outcome."""
    claim = store.claim(KEY, fingerprint=bytes(32), owner=b"r" * 16, lease=LEASE)
    if claim.outcome is ClaimOutcome.ACQUIRED:
        shop.execute("BEGIN IMMEDIATE")
        bound = store.bind(shop)
        shop.execute("UPDATE orders SET paid = paid + 1")
        assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
        shop.execute("COMMIT")
    return claim.outcome


def test_of_many_processes_that_start_at_once_exactly_one_acquires_the_key(path):
    # None of them finds the file: they also race to create it and the table.
    racers = [start(RACER, str(path), KEY) for _ in range(4)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = " ".join(racer.communicate(timeout=60)[0] for racer in racers).split()
    assert [racer.returncode for racer in racers] == [0] * 4
    assert outcomes.count("acquired") == 1
    assert outcomes.count("in_progress") == 4 * 16 - 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "settled"),
    [
        ("after the claim", False),
        ("in the handler", False),
        ("before the commit", False),
        ("after the commit", True),
    ],
)
def test_the_order_is_settled_exactly_once_whenever_the_process_is_killed(path, shop, moment, settled):
    killed = start(DELIVERY, str(path), KEY, moment)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL

    now = [START]
    with SQLiteStore(path, clock=lambda: now[0]) as store:
        assert store.find(KEY).state is (State.DONE if settled else State.PENDING)
        # The first resend comes while the lease runs, the next after it.
        expected = ClaimOutcome.COMPLETED if settled else ClaimOutcome.IN_PROGRESS
        assert deliver(store, shop) is expected
        now[0] += LEASE
        expected = ClaimOutcome.COMPLETED if settled else ClaimOutcome.ACQUIRED
        assert deliver(store, shop) is expected
        assert deliver(store, shop) is ClaimOutcome.COMPLETED
        assert store.find(KEY).attempts == (1 if settled else 2)
    assert shop.execute("SELECT paid FROM orders").fetchall() == [(1,)]
