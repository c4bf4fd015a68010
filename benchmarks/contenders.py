"""How a store does its part of the comparison: one notification, in each of its ways."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from wxnotify.idempotency import LEASE_SECONDS, Claim, ClaimOutcome, CompleteOutcome, Store

FINGERPRINT = bytes(range(32))
RETAIN = 30 * 86_400.0
ORDER = "A-1001"


_numbers = itertools.count()


def new_key() -> str:
    """Give a key like a payment's, never the same again."""
    return f"payment:1900000109:4200002024{next(_numbers):018d}:SUCCESS"


def naive_row(key: str) -> dict[str, Any]:
    """Give the columns of a claim of *key* as the naive clients insert them."""
    now = time.time()
    return {
        "natural_key": key,
        "order_no": ORDER,
        "state": "pending",
        "fingerprint": FINGERPRINT,
        "owner": os.urandom(16),
        "generation": 1,
        "attempts": 1,
        "lease_until": now + LEASE_SECONDS,
        "first_seen": now,
        "updated": now,
        "retain_until": 0.0,
        "last_error": "",
        "result": "",
    }


def naive_insert(table: str, parameter: str) -> str:
    """Give the INSERT of such a row; *parameter* is how the database's client writes one, as ``:{}``."""
    names = list(naive_row(""))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(map(parameter.format, names))})"


def claim_of(store: Store, key: str) -> Claim:
    """Claim *key*, which must be free."""
    claim = store.claim(
        key, fingerprint=FINGERPRINT, owner=os.urandom(16), lease=LEASE_SECONDS, order_no=ORDER
    )
    if claim.outcome is not ClaimOutcome.ACQUIRED:
        raise RuntimeError(f"{claim.outcome}")
    return claim


def complete(store: Any, claim: Claim) -> None:
    """Complete *claim*, which must be held; *store* may be a bound one."""
    if store.complete(claim, retain=RETAIN) is not CompleteOutcome.DONE:
        raise RuntimeError("lost")


def lease(store: Store) -> Callable[[], None]:
    """Give a call that claims and completes."""

    def call() -> None:
        complete(store, claim_of(store, new_key()))

    return call


def same_transaction(
    store: Any, transaction: Callable[[], AbstractContextManager[Any]], change: Callable[[Any], None]
) -> Callable[[], None]:
    """Give a call that claims, and changes an order and completes in one transaction."""

    def call() -> None:
        claim = claim_of(store, new_key())
        with transaction() as connection:
            bound = store.bind(connection)
            change(connection)
            complete(bound, claim)

    return call


def duplicate(store: Store) -> Callable[[], None]:
    """Give a call that claims what is done."""
    key = new_key()
    complete(store, claim_of(store, key))

    def call() -> None:
        claim = store.claim(key, fingerprint=FINGERPRINT, owner=os.urandom(16), lease=LEASE_SECONDS)
        if claim.outcome is not ClaimOutcome.COMPLETED:
            raise RuntimeError(f"{claim.outcome}")

    return call
