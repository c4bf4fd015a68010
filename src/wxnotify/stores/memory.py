"""
A store in this process's memory, for tests and development.

It forgets at restart and no other process sees it, so of two server workers
each would act on its own copy of a notification. In production take a store on
disk or on a server. Of the guarantees in ``docs/stores.md`` it keeps the ones
of a lease store, inside one process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..errors import ConfigurationError, StoreUnavailable
from ..idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    Row,
    State,
    check_key,
    check_lease,
    check_purge,
    check_result,
    check_retain,
    cut_error,
    cut_order_no,
    judge,
)

__all__ = ["MemoryStore"]


@dataclass
class _Kept:
    """What is kept of one key; times are readings of the store's clock."""

    row: Row
    order_no: str
    first_seen: float
    updated: float
    last_error: str = ""
    done_at: float = 0.0
    retain_until: float = 0.0


class MemoryStore:
    """
    Keep claims in a dictionary, under one lock.

    One process, and everything is forgotten at restart: for tests and development.
    It is bounded by refusing. A live or retained claim is never dropped to make
    room, because a claim forgotten too soon is a payment handled twice.

    Args:
        max_claims: How many keys are kept at most. Past it a new key is refused
            with :class:`~wxnotify.errors.StoreUnavailable`.

        clock: Gives seconds; only differences count. Pass your own to move time
            by hand.

        wall: Gives the present as an aware datetime. Asked once, to date what
            :meth:`find` shows.
    """

    def __init__(
        self,
        *,
        max_claims: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        if max_claims < 1:
            raise ConfigurationError("max_claims is the number of keys to keep, at least 1")
        self._max_claims = max_claims
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        # The wall's time when the clock stood at zero.
        self._epoch = wall().astimezone(timezone.utc) - timedelta(seconds=clock())

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        check_key(key)
        check_lease(lease)
        with self._lock:
            now = self._clock()
            kept = self._kept.get(key)
            claim = judge(kept.row if kept else None, key=key, fingerprint=fingerprint, owner=owner, now=now)
            if claim.outcome is not ClaimOutcome.ACQUIRED:
                return claim
            row = Row(State.PENDING, fingerprint, owner, claim.generation, claim.attempts, now + lease)
            if kept:
                kept.row, kept.updated = row, now
            else:
                self._make_room(now)
                self._kept[key] = _Kept(row, cut_order_no(order_no), first_seen=now, updated=now)
            return claim

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`."""
        check_retain(retain)
        check_result(result)
        with self._lock:
            kept = self._held_by(claim)
            if kept is None or kept.row.state is State.RELEASED:
                return CompleteOutcome.LOST
            if kept.row.state is State.DONE:
                return CompleteOutcome.ALREADY
            kept.row = kept.row._replace(state=State.DONE, result=result)
            kept.updated = kept.done_at = self._clock()
            kept.retain_until = kept.done_at + retain
            return CompleteOutcome.DONE

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        with self._lock:
            kept = self._held_by(claim)
            if kept is None or kept.row.state is State.DONE:
                return ReleaseOutcome.LOST
            if kept.row.state is State.RELEASED:
                return ReleaseOutcome.ALREADY
            kept.row = kept.row._replace(state=State.RELEASED)
            kept.updated = self._clock()
            kept.last_error = cut_error(error)
            return ReleaseOutcome.RELEASED

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        check_lease(lease)
        with self._lock:
            kept = self._held_by(claim)
            if kept is None or kept.row.state is not State.PENDING:
                return False
            kept.updated = self._clock()
            kept.row = kept.row._replace(lease_until=kept.updated + lease)
            return True

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`."""
        check_purge(older_than, limit)
        with self._lock:
            now = self._clock()
            return self._forget(now, done_before=now - older_than, limit=limit)

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        check_key(key)
        with self._lock:
            kept = self._kept.get(key)
            return self._record(key, kept) if kept else None

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """See :meth:`wxnotify.idempotency.Store.records`; those longest unchanged come first."""
        if order_no is not None:
            order_no = cut_order_no(order_no)
        with self._lock:
            until = self._clock() - older_than
            chosen = [
                self._record(key, kept)
                for key, kept in sorted(self._kept.items(), key=lambda item: item[1].updated)
                if kept.updated <= until
                and state in (None, kept.row.state)
                and order_no in (None, kept.order_no)
            ]
        return iter(chosen)

    def _record(self, key: str, kept: _Kept) -> Record:
        row = kept.row
        return Record(
            key=key,
            order_no=kept.order_no,
            state=row.state,
            generation=row.generation,
            attempts=row.attempts,
            first_seen=self._date(kept.first_seen),
            updated=self._date(kept.updated),
            lease_until=self._date(row.lease_until),
            last_error=kept.last_error,
            fingerprint=row.fingerprint,
            result=row.result,
        )

    def _held_by(self, claim: Claim) -> _Kept | None:
        """Return what *claim* holds, or held last; None if it has had a successor."""
        kept = self._kept.get(claim.key)
        if kept and (kept.row.owner, kept.row.generation) == (claim.owner, claim.generation):
            return kept
        return None

    def _make_room(self, now: float) -> None:
        if len(self._kept) < self._max_claims:
            return
        if not self._forget(now, done_before=now, limit=self._max_claims):
            raise StoreUnavailable(
                f"the memory store is full: it keeps {self._max_claims} claims and may forget none yet; "
                "raise max_claims, or take a store on disk"
            )

    def _forget(self, now: float, *, done_before: float, limit: int) -> int:
        over = [
            key
            for key, kept in self._kept.items()
            if kept.row.state is State.DONE and kept.done_at < done_before and kept.retain_until < now
        ]
        for key in over[:limit]:
            del self._kept[key]
        return len(over[:limit])

    def _date(self, reading: float) -> datetime:
        return self._epoch + timedelta(seconds=reading)
