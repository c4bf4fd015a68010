"""
Whatever can happen to a few keys, in any order, played to each store beside the memory store.

The memory store is the model, the store the subject: every answer must be the same, and after every step what
is known of every key. Besides, whatever the model says: what is done stays done until it is purged, a
generation never falls, nobody gets a claim while another's lease runs, and in a same-transaction store the
order has its effect exactly as often as it is done.

Whole hours pass, and every lease, retention and age ends at half past. So the time that the test itself takes
decides nothing, on clocks that cannot be stopped.

An ordinary run plays few sequences to each store. A nightly one plays as many as it is told, say
``WXNOTIFY_EXAMPLES=10000 pytest tests/stores/test_state_machine.py``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from wxnotify.errors import ClaimLost, ConfigurationError, NotifyError, StoreUnavailable
from wxnotify.idempotency import Claim, ClaimOutcome, CompleteOutcome, Record, ReleaseOutcome, State
from wxnotify.stores import _sql_statements as sql
from wxnotify.stores.memory import MemoryStore

from .subjects import SUBJECTS, Entry, Trial

#: How many sequences are played to each store, and of how many steps; more where it costs little.
EXAMPLES = int(os.environ.get("WXNOTIFY_EXAMPLES", "0"))
ORDINARY, ORDINARY_SQLITE, STEPS = 20, 60, 25

HOUR = 3_600.0
LEASES = st.sampled_from([1.5 * HOUR, 3.5 * HOUR])
LONGEST_LEASE = 4 * HOUR
KEEP = 48.5 * HOUR
#: What is not done is kept for so long after it last changed; the Redis stores forget it after a week.
KEPT_ANYWAY = 100 * HOUR
START = datetime(2024, 5, 1, tzinfo=timezone.utc)
CONTENT, OTHER_CONTENT = b"c" * 32, b"C" * 32
#: A database that does not compare bytes takes some of these for one.
KEYS = ("payment/ab", "payment/AB", "payment/ab ", "payment/áb")
ORDERS = st.sampled_from(["", "A-1", "a-1"])
RESULTS = st.sampled_from(["", "wx2014", "已售罄"])

_numbers = itertools.count(1)


class Held(NamedTuple):
    """A claim, and what it was asked with."""

    claim: Claim
    fingerprint: bytes
    lease: float


class OutOfStock(Exception):
    """What a handler raises."""


class Deliveries(RuleBasedStateMachine):
    """
    Deliveries of a few payments, to the model and to the subject.

    Args:
        trial: The subject. What an earlier sequence left in it is purged.

        transactional: Whether the order is completed in the transaction that has the effect.
    """

    held: Bundle[Held] = Bundle("held")
    turned_away: Bundle[Held] = Bundle("turned away")

    def __init__(self, trial: Trial, transactional: bool) -> None:
        super().__init__()
        self.trial = trial
        self.transactional = transactional
        self.now = 0.0
        self.model = MemoryStore(clock=lambda: self.now, wall=lambda: START)
        number = next(_numbers)
        self.keys = [f"{number}/{key}" for key in KEYS]
        #: By key: the order that it has its effect on, under a name that any table tells apart.
        self.orders = {key: f"{number}-{n}" for n, key in enumerate(self.keys)}
        #: By key: who may be at it, and until when.
        self.leases: dict[str, tuple[bytes, float]] = {}
        #: By key: the record after the last step.
        self.known: dict[str, Record | None] = dict.fromkeys(self.keys)
        #: By key: how often it was done, in all its lives.
        self.done = dict.fromkeys(self.keys, 0)
        trial.advance(49 * HOUR)
        trial.purge(KEEP, limit=1_000)

    # --- claims

    @rule(target=held, key=st.integers(0, len(KEYS) - 1), lease=LEASES, order_no=ORDERS)
    def deliver(self, key: int, lease: float, order_no: str) -> Any:
        return self._deliver(self.keys[key], CONTENT, lease, order_no)

    @rule(target=held, key=st.integers(0, len(KEYS) - 1), lease=LEASES, order_no=ORDERS)
    def deliver_other_content(self, key: int, lease: float, order_no: str) -> Any:
        return self._deliver(self.keys[key], OTHER_CONTENT, lease, order_no)

    @rule(target=turned_away, held=held, lease=LEASES)
    def deliver_at_the_same_time(self, held: Held, lease: float) -> Any:
        claim = self._claim(held.claim.key, held.fingerprint, new_owner(), lease)
        return multiple() if claim.outcome is ClaimOutcome.ACQUIRED else Held(claim, held.fingerprint, lease)

    @rule(target=held, repeated=held)
    def claim_again_for_want_of_an_answer(self, repeated: Held) -> Any:
        claim = self._claim(repeated.claim.key, repeated.fingerprint, repeated.claim.owner, repeated.lease)
        return repeated._replace(claim=claim) if claim.outcome is ClaimOutcome.ACQUIRED else multiple()

    def _deliver(self, key: str, fingerprint: bytes, lease: float, order_no: str = "") -> Any:
        claim = self._claim(key, fingerprint, new_owner(), lease, order_no)
        return Held(claim, fingerprint, lease) if claim.outcome is ClaimOutcome.ACQUIRED else multiple()

    def _claim(self, key: str, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        asked: dict[str, Any] = {
            "fingerprint": fingerprint,
            "owner": owner,
            "lease": lease,
            "order_no": order_no,
        }
        claim = self.trial.claim(key, **asked)
        assert claim == self.model.claim(key, **asked)
        if claim.outcome is ClaimOutcome.ACQUIRED:
            holder, until = self.leases.get(key, (owner, 0.0))
            assert holder == owner or until <= self.now, "a holder lost its claim while its lease ran"
            self.leases[key] = (owner, self.now + lease)
        return claim

    # --- what becomes of them

    @rule(held=held, result=RESULTS)
    def finish(self, held: Held, result: str) -> None:
        if self.transactional:
            self._finish_in_a_transaction(held.claim, result)
        else:
            self._finish(held.claim, result)

    @rule(held=held, error=st.sampled_from(["", "out of stock", "支付"]))
    def fail(self, held: Held, error: str) -> None:
        self._release(held.claim, error)

    @rule(held=held, lease=LEASES)
    def extend(self, held: Held, lease: float) -> None:
        self._extend(held.claim, lease)

    @rule(held=consumes(held))
    def crash(self, held: Held) -> None:
        """Nothing more is heard of that delivery."""

    @precondition(lambda self: self.transactional)
    @rule(held=held)
    def fail_after_all(self, held: Held) -> None:
        """The handler had its effect and completed, and something else in its transaction fails."""
        with self._lost_it(held.claim), suppress(OutOfStock), self.trial.transaction() as connection:
            bound = self.trial.bind(connection)
            self.trial.effect(connection, self.orders[held.claim.key])
            bound.complete(held.claim, retain=KEEP, result="rolled back")
            raise OutOfStock
        self._check_effects(held.claim)

    @precondition(lambda self: self.may_pass(LONGEST_LEASE))
    @rule(target=held, slow=held, verb=st.sampled_from(["finish", "fail", "extend"]), lease=LEASES)
    def finish_too_late(self, slow: Held, verb: str, lease: float) -> Any:
        """The lease runs out, another delivery takes over, and then the first one comes to its end."""
        self._pass(LONGEST_LEASE)
        successor = self._deliver(slow.claim.key, slow.fingerprint, lease)
        if verb == "finish":
            self.finish(slow, "too late")
        elif verb == "fail":
            self._release(slow.claim, "too late")
        else:
            self._extend(slow.claim, lease)
        return successor

    @rule(refused=turned_away)
    def act_on_what_was_not_acquired(self, refused: Held) -> None:
        self._act_without_holding(refused.claim)

    @rule(held=held, wrong=st.sampled_from([{"owner": b"x" * 16}, {"generation": 0}, {"generation": 99}]))
    def act_on_what_was_never_given(self, held: Held, wrong: dict[str, Any]) -> None:
        self._act_without_holding(held.claim._replace(**wrong))

    def _act_without_holding(self, claim: Claim) -> None:
        if self.transactional:
            self._finish_in_a_transaction(claim, "not mine")
        else:
            self._finish(claim, "not mine")
        self._release(claim, "not mine")
        self._extend(claim, LONGEST_LEASE)

    def _finish(self, claim: Claim, result: str) -> None:
        outcome = self.trial.complete(claim, retain=KEEP, result=result)
        assert outcome is self.model.complete(claim, retain=KEEP, result=result)
        self._finished(claim, outcome)

    def _finish_in_a_transaction(self, claim: Claim, result: str) -> None:
        outcome = CompleteOutcome.LOST
        with self._lost_it(claim), self.trial.transaction() as connection:
            bound = self.trial.bind(connection)
            self.trial.effect(connection, self.orders[claim.key])
            outcome = bound.complete(claim, retain=KEEP, result=result)
            assert bound.complete(claim, retain=KEEP, result="again") is CompleteOutcome.ALREADY
        # What an earlier transaction completed is lost to this one, or there would be a second effect.
        modelled = self.model.complete(claim, retain=KEEP, result=result)
        assert outcome is (CompleteOutcome.DONE if modelled is CompleteOutcome.DONE else CompleteOutcome.LOST)
        self._finished(claim, outcome)
        self._check_effects(claim)

    @contextmanager
    def _lost_it(self, claim: Claim) -> Iterator[None]:
        """Take what says that *claim* is not held; it rolls the transaction back."""
        try:
            yield
        except ClaimLost:
            pass
        except ConfigurationError:
            # A store that does not find the key at all may say that this is another database.
            assert self.model.find(claim.key) is None

    def _check_effects(self, claim: Claim) -> None:
        assert self.trial.effects(self.orders[claim.key]) == self.done[claim.key]

    def _finished(self, claim: Claim, outcome: CompleteOutcome) -> None:
        if outcome is CompleteOutcome.DONE:
            self.done[claim.key] += 1
            del self.leases[claim.key]

    def _release(self, claim: Claim, error: str) -> None:
        outcome = self.trial.release(claim, error=error)
        assert outcome is self.model.release(claim, error=error)
        if outcome is ReleaseOutcome.RELEASED:
            del self.leases[claim.key]

    def _extend(self, claim: Claim, lease: float) -> None:
        extended = self.trial.extend(claim, lease)
        assert extended is self.model.extend(claim, lease)
        if extended:
            assert self.leases[claim.key][0] == claim.owner
            self.leases[claim.key] = (claim.owner, self.now + lease)

    # --- time

    @precondition(lambda self: self.may_pass(4 * HOUR))
    @rule(hours=st.integers(1, 4))
    def tick(self, hours: int) -> None:
        self._pass(hours * HOUR)

    @precondition(lambda self: self.may_pass(49 * HOUR, purge=True))
    @rule(limit=st.integers(1, 3))
    def purge(self, limit: int) -> None:
        # No retention has passed yet; see may_pass.
        assert self.trial.purge(KEEP, limit) == self.model.purge(KEEP, limit) == 0
        self._pass(49 * HOUR)
        # A store may have forgotten by itself what is past its retention.
        there = [key for key in self.keys if self.trial.find(key)]
        self._purge(self.model, limit)
        forgotten = [key for key in self.keys if not self.model.find(key)]
        assert self._purge(self.trial, limit) == len(set(there) & set(forgotten))
        for key in forgotten:
            self.known[key] = None

    @staticmethod
    def _purge(store: Any, limit: int) -> int:
        purged = [store.purge(KEEP, limit)]
        while purged[-1] == limit:
            purged.append(store.purge(KEEP, limit))
        assert max(purged) <= limit
        return sum(purged)

    def may_pass(self, seconds: float, *, purge: bool = False) -> bool:
        """Tell whether no store forgets anything by itself meanwhile, or nothing but what is purged then."""
        records = filter(None, map(self.model.find, self.keys))
        return all(
            self._age(record) + seconds < (KEEP if record.state is State.DONE else KEPT_ANYWAY)
            for record in records
            if not (purge and record.state is State.DONE)
        )

    def _age(self, record: Record) -> float:
        return (START - record.updated).total_seconds() + self.now

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.trial.advance(seconds)

    # --- what can be seen

    @rule(
        state=st.sampled_from([None, *State]),
        order_no=st.none() | ORDERS,
        older_than=st.sampled_from([0.0, 2.5 * HOUR, 24.5 * HOUR]),
    )
    def look(self, state: State | None, order_no: str | None, older_than: float) -> None:
        chosen: dict[str, Any] = {"state": state, "order_no": order_no, "older_than": older_than}
        seen = sorted(record.key for record in self.trial.records(**chosen) if record.key in self.keys)
        assert seen == sorted(record.key for record in self.model.records(**chosen))

    @invariant()
    def both_know_the_same(self) -> None:
        for key in self.keys:
            record, modelled = self.trial.find(key), self.model.find(key)
            assert (record is None) is (modelled is None), key
            if record is not None and modelled is not None:
                assert told(record) == told(modelled)
                for span, modelled_span in zip(spans(record), spans(modelled), strict=True):
                    assert abs(span - modelled_span) < timedelta(minutes=15)
            self._check(key, record)

    def _check(self, key: str, record: Record | None) -> None:
        """Check what must hold from one step to the next, whatever the model says."""
        was, self.known[key] = self.known[key], record
        if was is not None:
            assert record is not None, "it was forgotten"
            assert record.generation >= was.generation, "its generation fell"
            if was.state is State.DONE:
                assert told(record) == told(was), "it was done, and changed"

    # ---

    def teardown(self) -> None:
        """Complete what is open, so that the next sequence finds it done, and purges it before it begins."""
        self.trial.advance(LONGEST_LEASE)
        # Where this sequence found the store broken, there may be more to it.
        with suppress(NotifyError):
            there = [key for key, record in self.known.items() if record and record.state is not State.DONE]
            for key, fingerprint in itertools.product(there, [CONTENT, OTHER_CONTENT]):
                claim = self.trial.claim(key, fingerprint=fingerprint, owner=new_owner(), lease=HOUR)
                if claim.outcome is ClaimOutcome.ACQUIRED:
                    self.trial.complete(claim, retain=KEEP)


def new_owner() -> bytes:
    return next(_numbers).to_bytes(16, "big")


def told(record: Record) -> tuple[Any, ...]:
    """Give what a record says, but for times, which are on the store's own clock."""
    return (*record[:5], record.last_error, record.fingerprint, record.result)


def spans(record: Record) -> Iterator[timedelta]:
    """Go through what a record's times say that does not depend on the clock."""
    yield record.updated - record.first_seen
    if record.state is State.PENDING:
        yield record.lease_until - record.updated


def play(trial: Trial, promise: str, max_examples: int, **options: Any) -> None:
    run_state_machine_as_test(
        lambda: Deliveries(trial, promise == "same-transaction"),
        settings=settings(max_examples=max_examples, stateful_step_count=STEPS, **options),
    )


PLAYED = [
    pytest.param(entry, promise, id=f"{entry.name}-{promise}")
    for entry in SUBJECTS
    if entry.name != "memory"
    for promise in ("lease", "same-transaction")
    if promise in ("lease", entry.promise)
]


@pytest.mark.parametrize(("entry", "promise"), PLAYED)
def test_a_store_answers_as_the_memory_store_does_whatever_happens(
    entry: Entry, promise: str, tmp_path: Any
) -> None:
    ordinary = ORDINARY_SQLITE if entry.name.startswith("sqlite") else ORDINARY
    with entry.open(tmp_path) as trial:
        play(trial, promise, EXAMPLES or ordinary)


# --- it sees what it is for: a real store with one rule left out ---------------------------

FENCE = "AND owner = :owner AND generation = :generation"
LEFT_OUT = {
    "complete compares nothing": (sql.COMPLETE, FENCE),
    "complete compares no owner": (sql.COMPLETE, "AND owner = :owner"),
    "complete compares no generation": (sql.COMPLETE, "AND generation = :generation"),
    "complete compares no state": (sql.COMPLETE, "AND state = 'pending'"),
    "complete keeps no result": (sql.COMPLETE, ", result = :result"),
    "release compares nothing": (sql.RELEASE, FENCE),
    "release compares no state": (sql.RELEASE, "AND state = 'pending'"),
    "release keeps no error": (sql.RELEASE, ", last_error = :error"),
    "extend compares nothing": (sql.EXTEND, FENCE),
    "extend compares no state": (sql.EXTEND, "AND state = 'pending'"),
    "a lease never runs out": (sql.TAKE, "OR lease_until <= {now}"),
    "a lease is not renewed": (sql.TAKE, "lease_until = {now} + :lease,"),
    "purge forgets what is not done": (sql.SQLITE.purge, "state = 'done' AND", "AND state = 'done'"),
    "purge looks at no age": (sql.SQLITE.purge, "AND updated < {now} - :older_than AND retain_until < {now}"),
    "records are of any state": (sql.BY_STATE, "state = :state AND"),
}
SQLITE = next(entry for entry in SUBJECTS if entry.name == "sqlite")


@pytest.mark.parametrize(
    ("left_out", "promise"),
    [(left_out, "lease") for left_out in LEFT_OUT]
    + [(left_out, "same-transaction") for left_out in LEFT_OUT if left_out.startswith("complete")],
)
def test_a_store_with_one_rule_left_out_is_found_out(left_out: str, promise: str, tmp_path: Any) -> None:
    statement, *texts = LEFT_OUT[left_out]
    with SQLITE.open(tmp_path) as trial:
        prepared = trial.store._verbs._statements
        for text in texts:
            assert text in statement
            prepared[statement] = prepared[statement].replace(text.replace("{now}", ":now"), "")
        # A claim that is judged ready to be taken and cannot be is told as a store that contradicts itself.
        with pytest.raises((AssertionError, StoreUnavailable)) as found:
            play(trial, promise, 1_000, phases=[Phase.generate], report_multiple_bugs=False)
        print(found.traceback[-1], found.value)
