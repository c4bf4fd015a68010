from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from wxnotify.errors import ConfigurationError, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, State
from wxnotify.stores.memory import MemoryStore

KEEP = 48 * 3_600.0


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def claim_key(store, key, owner=b"o" * 16, order_no=""):
    return store.claim(key, fingerprint=bytes(32), owner=owner, lease=30, order_no=order_no)


def test_a_full_store_refuses_new_keys_and_says_what_to_do():
    store = MemoryStore(max_claims=2)
    claim_key(store, "a")
    claim_key(store, "b")
    with pytest.raises(StoreUnavailable, match=r"keeps 2 claims.*raise max_claims") as refusal:
        claim_key(store, "c")
    assert refusal.value.code == "store_unavailable"
    assert store.find("c") is None


def test_a_full_store_still_serves_the_keys_it_has():
    store = MemoryStore(max_claims=1)
    claim = claim_key(store, "a")
    assert claim_key(store, "a", b"p" * 16).outcome is ClaimOutcome.IN_PROGRESS
    store.release(claim, error="boom")
    claim = claim_key(store, "a")
    assert claim.outcome is ClaimOutcome.ACQUIRED
    store.complete(claim, retain=KEEP)
    assert claim_key(store, "a").outcome is ClaimOutcome.COMPLETED


def test_a_full_store_drops_what_is_done_and_past_its_retention(clock):
    store = MemoryStore(max_claims=2, clock=clock)
    store.complete(claim_key(store, "done"), retain=KEEP)
    claim_key(store, "pending")
    clock.now = KEEP
    with pytest.raises(StoreUnavailable):
        claim_key(store, "new")
    clock.now = KEEP + 1
    assert claim_key(store, "new").outcome is ClaimOutcome.ACQUIRED
    assert store.find("done") is None
    assert store.find("pending") is not None


def test_a_full_store_never_drops_a_live_or_released_claim(clock):
    store = MemoryStore(max_claims=2, clock=clock)
    claim_key(store, "pending")
    store.release(claim_key(store, "released"), error="boom")
    clock.now = 1_000 * KEEP
    with pytest.raises(StoreUnavailable):
        claim_key(store, "new")
    assert store.find("pending") is not None
    assert store.find("released") is not None


@pytest.mark.parametrize("max_claims", [0, -1])
def test_a_store_for_no_claims_is_refused(max_claims):
    with pytest.raises(ConfigurationError) as refusal:
        MemoryStore(max_claims=max_claims)
    assert refusal.value.code == "configuration"


def test_records_are_dated_by_the_wall_at_construction(clock):
    clock.now = 12_345.0
    wall = datetime(2024, 5, 1, 20, tzinfo=timezone(timedelta(hours=8)))
    store = MemoryStore(clock=clock, wall=lambda: wall)
    clock.now += 60
    claim_key(store, "a")
    record = store.find("a")
    assert record.first_seen == datetime(2024, 5, 1, 12, 1, tzinfo=timezone.utc)
    assert record.first_seen.tzinfo is timezone.utc


def test_a_lease_runs_to_its_end_and_no_further(clock):
    store = MemoryStore(clock=clock)
    claim_key(store, "a")
    clock.now = 29.999
    assert claim_key(store, "a", b"p" * 16).outcome is ClaimOutcome.IN_PROGRESS
    clock.now = 30.0
    assert claim_key(store, "a", b"p" * 16).outcome is ClaimOutcome.ACQUIRED


def test_every_time_of_a_record_is_the_clocks(clock):
    start = datetime(2024, 5, 1, tzinfo=timezone.utc)
    store = MemoryStore(clock=clock, wall=lambda: start)
    claim = claim_key(store, "a")
    clock.now = 5.0
    store.extend(claim, 60)
    first_seen, updated, lease_until = store.find("a")[5:8]
    assert (first_seen, updated, lease_until) == (
        start,
        start + timedelta(seconds=5),
        start + timedelta(seconds=65),
    )


def test_records_come_longest_unchanged_first(clock):
    store = MemoryStore(clock=clock)
    claims = {}
    for key in "abcd":
        claims[key] = claim_key(store, key)
        clock.now += 1
    store.release(claims["a"], error="boom")
    clock.now += 1
    store.complete(claims["c"], retain=KEEP)
    assert [record.key for record in store.records()] == ["b", "d", "a", "c"]
    assert [record.key for record in store.records(state=State.PENDING)] == ["b", "d"]


def test_what_is_exactly_as_old_as_asked_for_is_among_the_records(clock):
    store = MemoryStore(clock=clock)
    claim_key(store, "a")
    clock.now = 10.0
    assert [record.key for record in store.records(older_than=10)] == ["a"]
    assert list(store.records(older_than=10.001)) == []


def test_the_defaults_give_the_present():
    store = MemoryStore()
    before = datetime.now(timezone.utc)
    claim_key(store, "a")
    assert abs(store.find("a").first_seen - before) < timedelta(minutes=1)
