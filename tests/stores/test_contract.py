"""What every store does alike, run over each of them."""

from __future__ import annotations

import itertools
import math
import sqlite3
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify.errors import ConfigurationError, StoreError
from wxnotify.idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    ReleaseOutcome,
    State,
)
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore

HOUR = 3_600.0
KEEP = 48 * HOUR
LEASE = 30.0
KEY = "payment:1900000109:4200000001"
CONTENT, OTHER_CONTENT = b"c" * 32, b"d" * 32
START = datetime(2024, 5, 1, tzinfo=timezone.utc)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START.timestamp()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "sqlite-wal"])
def store(request, clock, tmp_path):
    if request.param == "memory":
        yield MemoryStore(clock=clock, wall=lambda: START)
        return
    path = tmp_path / "claims.db"
    if request.param == "sqlite-wal":
        make_wal(path)
    with open_sqlite(path, clock) as store:
        yield store


def make_wal(path):
    """Put the file in WAL, as an application might have done before."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def open_sqlite(path, clock):
    with warnings.catch_warnings():
        # Below SQLite 3.51.3 it warns of WAL, which is tested elsewhere.
        warnings.simplefilter("ignore", RuntimeWarning)
        return SQLiteStore(path, clock=clock, timeout=10)


_owners = itertools.count(1)


def claim_key(store, key=KEY, *, fingerprint=CONTENT, owner=None, lease=LEASE) -> Claim:
    """Claim as a new delivery, unless *owner* says which."""
    owner = owner or next(_owners).to_bytes(16, "big")
    return store.claim(key, fingerprint=fingerprint, owner=owner, lease=lease)


def take_over(store, clock) -> tuple[Claim, Claim]:
    """Give the claim of a holder that overran its lease, and its successor's."""
    stale = claim_key(store)
    clock.advance(LEASE)
    return stale, claim_key(store)


# --- claim ----------------------------------------------------------------------


def test_a_new_key_is_acquired(store):
    owner = b"o" * 16
    claim = claim_key(store, owner=owner)
    assert claim == Claim(KEY, owner, ClaimOutcome.ACQUIRED, generation=1, attempts=1)


def test_a_second_delivery_finds_the_first_in_progress(store, clock):
    claim_key(store)
    clock.advance(LEASE - 1)
    claim = claim_key(store)
    assert claim[2:] == (ClaimOutcome.IN_PROGRESS, 1, 1)


def test_keys_are_claimed_independently(store):
    assert claim_key(store, "a").outcome is ClaimOutcome.ACQUIRED
    assert claim_key(store, "b").outcome is ClaimOutcome.ACQUIRED


def test_an_owner_that_never_saw_the_answer_gets_it_again(store):
    claim = claim_key(store)
    assert claim_key(store, owner=claim.owner) == claim


def test_an_owner_that_asks_again_has_its_lease_anew(store, clock):
    claim = claim_key(store)
    clock.advance(LEASE - 1)
    claim_key(store, owner=claim.owner)
    clock.advance(LEASE - 1)
    assert claim_key(store).outcome is ClaimOutcome.IN_PROGRESS


def test_a_claim_is_taken_over_once_its_lease_ran_out(store, clock):
    stale, successor = take_over(store, clock)
    assert successor[2:] == (ClaimOutcome.ACQUIRED, 2, 2)
    assert successor.owner != stale.owner


def test_the_holder_that_was_taken_over_finds_its_successor_in_progress(store, clock):
    stale, _ = take_over(store, clock)
    assert claim_key(store, owner=stale.owner)[2:] == (ClaimOutcome.IN_PROGRESS, 2, 2)


def test_a_released_claim_is_acquired_at_once(store):
    store.release(claim_key(store), error="boom")
    assert claim_key(store)[2:] == (ClaimOutcome.ACQUIRED, 2, 2)


def test_the_same_owner_can_claim_again_what_it_released(store):
    claim = claim_key(store)
    store.release(claim, error="boom")
    assert claim_key(store, owner=claim.owner) == claim._replace(generation=2, attempts=2)


def test_a_completed_key_is_completed_for_everybody_and_for_good(store, clock):
    claim = claim_key(store)
    store.complete(claim, retain=KEEP)
    clock.advance(1_000 * HOUR)
    assert claim_key(store)[2:] == (ClaimOutcome.COMPLETED, 1, 1)
    assert claim_key(store, owner=claim.owner)[2:] == (ClaimOutcome.COMPLETED, 1, 1)


@pytest.mark.parametrize("situation", ["pending", "expired", "released", "done", "taken over"])
def test_other_content_is_a_mismatch_and_changes_nothing(store, clock, situation):
    claim = claim_key(store)
    if situation == "expired":
        clock.advance(LEASE)
    elif situation == "released":
        store.release(claim, error="boom")
    elif situation == "done":
        store.complete(claim, retain=KEEP)
    elif situation == "taken over":
        clock.advance(LEASE)
        claim_key(store)
    before = store.find(KEY)
    assert claim_key(store, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
    assert claim_key(store, fingerprint=OTHER_CONTENT, owner=claim.owner).outcome is ClaimOutcome.MISMATCH
    assert store.find(KEY) == before


def test_the_fingerprint_of_the_first_claim_stays(store):
    store.release(claim_key(store), error="boom")
    claim_key(store, fingerprint=OTHER_CONTENT)
    assert claim_key(store, fingerprint=CONTENT).outcome is ClaimOutcome.ACQUIRED


# --- complete, release, extend ---------------------------------------------------


def test_a_completion_can_be_repeated(store):
    claim = claim_key(store)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY


def test_an_overrun_lease_that_nobody_took_can_still_be_completed(store, clock):
    claim = claim_key(store)
    clock.advance(10 * LEASE)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE


def test_a_release_can_be_repeated_and_the_first_error_stays(store):
    claim = claim_key(store)
    assert store.release(claim, error="first") is ReleaseOutcome.RELEASED
    assert store.release(claim, error="second") is ReleaseOutcome.ALREADY
    assert store.find(KEY).last_error == "first"


def test_what_was_released_cannot_be_completed_or_extended(store):
    claim = claim_key(store)
    store.release(claim, error="boom")
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.LOST
    assert store.extend(claim, LEASE) is False
    assert store.find(KEY).state is State.RELEASED


def test_what_is_done_cannot_be_released_or_extended(store):
    claim = claim_key(store)
    store.complete(claim, retain=KEEP)
    before = store.find(KEY)
    assert store.release(claim, error="boom") is ReleaseOutcome.LOST
    assert store.extend(claim, LEASE) is False
    assert store.find(KEY) == before


@pytest.mark.parametrize("situation", ["pending", "released", "done"])
def test_a_stale_holder_leaves_its_successor_untouched(store, clock, situation):
    stale, successor = take_over(store, clock)
    if situation == "released":
        store.release(successor, error="the successor's")
    elif situation == "done":
        store.complete(successor, retain=KEEP)
    before = store.find(KEY)
    assert store.complete(stale, retain=KEEP) is CompleteOutcome.LOST
    assert store.release(stale, error="the stale one's") is ReleaseOutcome.LOST
    assert store.extend(stale, LEASE) is False
    assert store.find(KEY) == before


@pytest.mark.parametrize(
    "forged", [{"owner": b"x" * 16}, {"generation": 2}, {"generation": 0}, {"key": "other"}]
)
def test_owner_generation_and_key_must_all_agree(store, forged):
    claim = claim_key(store)
    before = store.find(KEY)
    assert store.complete(claim._replace(**forged), retain=KEEP) is CompleteOutcome.LOST
    assert store.release(claim._replace(**forged), error="boom") is ReleaseOutcome.LOST
    assert store.extend(claim._replace(**forged), LEASE) is False
    assert store.find(KEY) == before


def test_one_owner_is_told_from_its_own_earlier_claim(store):
    early = claim_key(store)
    store.release(early, error="boom")
    claim_key(store, owner=early.owner)
    assert store.complete(early, retain=KEEP) is CompleteOutcome.LOST
    assert store.release(early, error="again") is ReleaseOutcome.LOST
    assert store.extend(early, LEASE) is False
    assert store.find(KEY).state is State.PENDING


def test_a_claim_that_was_not_acquired_settles_nothing(store):
    claim_key(store)
    turned_away = claim_key(store)
    assert store.complete(turned_away, retain=KEEP) is CompleteOutcome.LOST
    assert store.release(turned_away, error="boom") is ReleaseOutcome.LOST
    assert store.find(KEY).state is State.PENDING


def test_an_extended_lease_runs_from_now(store, clock):
    claim = claim_key(store)
    clock.advance(LEASE - 1)
    assert store.extend(claim, LEASE) is True
    clock.advance(LEASE - 1)
    assert claim_key(store).outcome is ClaimOutcome.IN_PROGRESS
    clock.advance(1)
    assert claim_key(store).outcome is ClaimOutcome.ACQUIRED


def test_attempts_and_the_last_error_survive_release_and_take_over(store, clock):
    for attempt in (1, 2, 3):
        claim = claim_key(store)
        assert claim.attempts == attempt
        store.release(claim, error=f"failure {attempt}")
    claim_key(store)
    clock.advance(LEASE)
    claim = claim_key(store)
    assert (claim.generation, claim.attempts) == (5, 5)
    store.complete(claim, retain=KEEP)
    assert store.find(KEY)[1:4] == (State.DONE, 5, 5)
    assert store.find(KEY).last_error == "failure 3"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("x" * 600, "x" * 512),
        ("支付" * 300, "支付" * 256),
        ("a\ud800b", "a?b"),
        ("nul\0 and 💥", "nul\0 and 💥"),
        ("", ""),
    ],
)
def test_an_error_is_cut_and_made_storable(store, error, kept):
    store.release(claim_key(store), error=error)
    assert store.find(KEY).last_error == kept


# --- find -----------------------------------------------------------------------


def test_nothing_is_known_of_an_unknown_key(store):
    assert store.find(KEY) is None


def test_a_record_dates_what_happened_in_utc(store, clock):
    claim = claim_key(store)
    clock.advance(5)
    store.release(claim, error="boom")
    clock.advance(5)
    claim_key(store)
    record = store.find(KEY)
    assert record.key == KEY
    assert record.first_seen == START
    assert record.updated == START + timedelta(seconds=10)
    assert record.lease_until == START + timedelta(seconds=10 + LEASE)
    assert {time.tzinfo for time in record[4:7]} == {timezone.utc}


# --- purge ----------------------------------------------------------------------


def test_purge_forgets_only_what_is_done_old_and_past_its_retention(store, clock):
    claim_key(store, "pending")
    store.release(claim_key(store, "released"), error="boom")
    store.complete(claim_key(store, "kept longer"), retain=100 * HOUR)
    store.complete(claim_key(store, "old"), retain=KEEP)
    clock.advance(HOUR)
    store.complete(claim_key(store, "young"), retain=KEEP)
    clock.advance(KEEP - HOUR + 1)
    assert store.purge(KEEP, limit=10) == 1
    assert store.find("old") is None
    assert all(store.find(key) for key in ("pending", "released", "kept longer", "young"))


def test_purge_waits_for_its_own_age_though_the_retention_has_passed(store, clock):
    store.complete(claim_key(store), retain=KEEP)
    clock.advance(KEEP + 1)
    assert store.purge(KEEP + HOUR, limit=10) == 0
    clock.advance(HOUR)
    assert store.purge(KEEP + HOUR, limit=10) == 1


def test_a_purged_key_is_new_again(store, clock):
    store.complete(claim_key(store), retain=KEEP)
    clock.advance(KEEP + 1)
    store.purge(KEEP, limit=1)
    assert claim_key(store, fingerprint=OTHER_CONTENT)[2:] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_purge_forgets_no_more_than_its_limit(store, clock):
    for number in range(5):
        store.complete(claim_key(store, str(number)), retain=KEEP)
    clock.advance(KEEP + 1)
    assert [store.purge(KEEP, limit=2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("older_than", [0, KEEP - 1, math.nan, True, "172800"])
def test_purge_refuses_to_forget_what_may_still_be_sent(store, older_than):
    with pytest.raises(ConfigurationError, match=r"older_than .* 48 h") as refusal:
        store.purge(older_than, limit=1)
    assert refusal.value.code == "configuration"


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, None])
def test_purge_refuses_a_limit_that_is_none(store, limit):
    with pytest.raises(ConfigurationError, match="limit") as refusal:
        store.purge(KEEP, limit=limit)
    assert refusal.value.code == "configuration"


# --- keys and arguments ------------------------------------------------------------

HOSTILE_KEYS = [
    "a",
    "A",
    "a ",
    " a",
    "a\t",
    "a\0",
    "a\0b",
    "a\0c",
    "\0",
    "ａ",
    "é",
    "e\u0301",
    "💰",
    "'; DROP TABLE wxnotify_claims; --",
    "%",
    "_",
    "{table}",
    "0",
    "0.0",
    "00",
    "x" * 1023,
    "x" * 1024,
    "\U0001f4b0" * 256,
]


def test_hostile_keys_are_all_different_keys(store):
    for key in HOSTILE_KEYS:
        assert claim_key(store, key)[2:] == (ClaimOutcome.ACQUIRED, 1, 1), key
    for key in HOSTILE_KEYS:
        assert claim_key(store, key).outcome is ClaimOutcome.IN_PROGRESS, key
        assert store.find(key).key == key


@pytest.mark.parametrize("key", ["", "x" * 1025, "💰" * 257, "x" * 10_240, "a\ud800", "\udc80"])
def test_a_key_that_cannot_be_kept_whole_is_refused(store, key):
    with pytest.raises(StoreError, match="1 to 1024 bytes") as refusal:
        claim_key(store, key)
    assert refusal.value.code == "store_error"
    with pytest.raises(StoreError):
        store.find(key)


@pytest.mark.parametrize("lease", [0, -1, 86_400, math.inf, math.nan, True, "30"])
def test_a_bad_lease_is_refused_by_claim_and_extend(store, lease):
    with pytest.raises(ConfigurationError) as refusal:
        claim_key(store, lease=lease)
    assert refusal.value.code == "configuration"
    assert store.find(KEY) is None
    claim = claim_key(store)
    with pytest.raises(ConfigurationError):
        store.extend(claim, lease)


@pytest.mark.parametrize("retain", [0, KEEP - 1, math.nan, True, "172800"])
def test_a_bad_retention_is_refused_and_the_claim_stays_open(store, retain):
    claim = claim_key(store)
    with pytest.raises(ConfigurationError, match="48 h") as refusal:
        store.complete(claim, retain=retain)
    assert refusal.value.code == "configuration"
    assert store.find(KEY).state is State.PENDING


def test_a_claim_can_be_kept_for_ever(store, clock):
    store.complete(claim_key(store), retain=math.inf)
    clock.advance(1_000_000 * HOUR)
    assert store.purge(KEEP, limit=1) == 0


# --- many at once ------------------------------------------------------------------


def in_threads(count, action):
    """Run *action* in so many threads at once, and give what each returned."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(count) as executor:
        return list(executor.map(run, range(count)))


def test_of_many_claims_at_once_exactly_one_is_acquired(store):
    outcomes = [claim.outcome for claim in in_threads(32, lambda _: claim_key(store))]
    assert outcomes.count(ClaimOutcome.ACQUIRED) == 1
    assert outcomes.count(ClaimOutcome.IN_PROGRESS) == 31


def test_of_many_take_overs_at_once_exactly_one_is_acquired(store, clock):
    claim_key(store)
    clock.advance(LEASE)
    claims = in_threads(32, lambda _: claim_key(store))
    assert [claim.outcome for claim in claims].count(ClaimOutcome.ACQUIRED) == 1
    assert {claim.generation for claim in claims} == {2}


def test_many_keys_at_once_lose_nothing(store):
    def settle(number):
        return store.complete(claim_key(store, f"key {number}"), retain=KEEP)

    assert in_threads(32, settle) == [CompleteOutcome.DONE] * 32
    assert {store.find(f"key {number}").state for number in range(32)} == {State.DONE}
