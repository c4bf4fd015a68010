"""What the deliveries of the suite look like, and how many arrive at once."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeVar

from ...errors import StoreError, StoreUnavailable
from ...idempotency import Claim, Record
from .subject import Subject

_Result = TypeVar("_Result")

HOUR: Final = 3_600.0
#: The shortest retention there is.
KEEP: Final = 48 * HOUR
# So long that the time a test takes is nothing in it, on a clock that cannot be stopped.
LEASE: Final = 10 * HOUR
#: Less than the lease, by as much as a test could ever take.
NEARLY: Final = LEASE - HOUR / 2

KEY: Final = "payment/1900000109/4200000001/SUCCESS"
CONTENT: Final = b"c" * 32
OTHER_CONTENT: Final = b"d" * 32

_owners = itertools.count(1)


def new_owner() -> bytes:
    """Give the token of a delivery that is like no other."""
    return next(_owners).to_bytes(16, "big")


def claim_key(
    subject: Subject,
    key: str = KEY,
    *,
    fingerprint: bytes = CONTENT,
    owner: bytes | None = None,
    lease: float = LEASE,
    order_no: str = "",
) -> Claim:
    """Claim as a new delivery, unless *owner* says which."""
    return subject.claim(
        key, fingerprint=fingerprint, owner=owner or new_owner(), lease=lease, order_no=order_no
    )


def take_over(subject: Subject) -> tuple[Claim, Claim]:
    """Give the claim of a holder that overran its lease, and its successor's."""
    stale = claim_key(subject)
    subject.advance(LEASE)
    return stale, claim_key(subject)


def about(difference: timedelta, seconds: float) -> bool:
    """Tell whether two times differ by so much, and what the test itself took on a clock that goes."""
    return seconds - 1 <= difference.total_seconds() <= seconds + HOUR / 4


def like(record: Record | None, before: Record | None) -> Record | None:
    """
    Give *record* with the times of *before* where they are the same within a second.

    What a store computes from a time to live is not the same to the millisecond at
    each look.
    """
    if record is None or before is None:
        return record
    times = {
        name: getattr(before, name)
        for name in ("first_seen", "updated", "lease_until")
        if abs(getattr(record, name) - getattr(before, name)) < timedelta(seconds=1)
    }
    return record._replace(**times)


def at_once(subject: Subject, count: int, action: Callable[[int], _Result]) -> list[_Result]:
    """
    Run *action* in so many threads at once, and give what each returned.

    On a loop, where a store is awaited, they are so many tasks. Threads take turns
    far more often than usual, so that whatever can come between two steps does.
    """
    barrier = threading.Barrier(count)
    interval = sys.getswitchinterval()

    def run(number: int) -> _Result:
        barrier.wait()
        try:
            return action(number)
        finally:
            subject.thread_ends()

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(count) as executor:
            return list(executor.map(run, range(count)))
    finally:
        sys.setswitchinterval(interval)


def told_by(action: Callable[[], str]) -> str:
    """Give what *action* tells, or the code of its refusal."""
    try:
        return action()
    except StoreError as error:
        return error.code


def answered(action: Callable[[], _Result]) -> _Result:
    """
    Ask until the store answers.

    One that has too much to do may say so: the delivery is told FAIL and sent
    again. Every verb can be repeated as it was.
    """
    deadline = time.monotonic() + 60
    while True:
        try:
            return action()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
