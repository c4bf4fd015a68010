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


NAIVE_COLUMNS = (
    "natural_key", "order_no", "state", "fingerprint", "owner", "generation", "attempts", "lease_until",
    "first_seen", "updated", "retain_until", "last_error", "result",
)  # fmt: skip


def naive_row(key: str) -> tuple[Any, ...]:
    """Give a claim of *key* as the naive clients insert it."""
    now = time.time()
    return key, ORDER, "pending", FINGERPRINT, os.urandom(16), 1, 1, now + 30, now, now, 0.0, "", ""


def naive_insert(table: str, parameter: str) -> str:
    """Give the INSERT of such a row; *parameter* is how the database's client writes one."""
    places = ", ".join([parameter] * len(NAIVE_COLUMNS))
    return f"INSERT INTO {table} ({', '.join(NAIVE_COLUMNS)}) VALUES ({places})"


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
