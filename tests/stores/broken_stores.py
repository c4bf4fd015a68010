"""Stores with one rule left out, each as somebody has written it, and the test of the suite that finds it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from wxnotify.errors import ClaimLost
from wxnotify.idempotency import CompleteOutcome, State
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore


class Broken(NamedTuple):
    """A store with one rule left out."""

    store: type[Any]
    #: The test that finds it.
    found_by: str


BROKEN: dict[str, Broken] = {}
#: Nothing is to be found in these.
SOUND: dict[str, type[Any]] = {"sound_memory": MemoryStore, "sound_sqlite": SQLiteStore}


class Clock:
    """A clock that is moved by hand."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def broken(found_by: str) -> Callable[[type[Any]], type[Any]]:
    def note(store: type[Any]) -> type[Any]:
        BROKEN[store.__name__] = Broken(store, found_by)
        return store

    return note


class Kept(MemoryStore):
    """A memory store, with a way to get at what it keeps."""

    def current(self, claim, *, owner=None, generation=None):
        """Give *claim* with the row's own owner and generation, unless they are given."""
        kept = self._kept.get(claim.key)
        if kept is None:
            return claim
        return claim._replace(owner=owner or kept.row.owner, generation=generation or kept.row.generation)

    def change(self, key, **row):
        kept = self._kept.get(key)
        if kept:
            kept.row = kept.row._replace(**row)


# --- the fence


@broken("test_a_stale_holder_leaves_its_successor_untouched")
class CompleteByKey(Kept):
    def complete(self, claim, *, retain, result=""):
        return super().complete(self.current(claim), retain=retain, result=result)


@broken("test_a_stale_holder_leaves_its_successor_untouched")
class ReleaseByKey(Kept):
    def release(self, claim, *, error):
        return super().release(self.current(claim), error=error)


@broken("test_a_stale_holder_leaves_its_successor_untouched")
class ExtendByKey(Kept):
    def extend(self, claim, lease):
        return super().extend(self.current(claim), lease)


@broken("test_one_owner_is_told_from_its_own_earlier_claim")
class FenceByOwnerAlone(Kept):
    def complete(self, claim, *, retain, result=""):
        return super().complete(self.current(claim, owner=claim.owner), retain=retain, result=result)


@broken("test_owner_generation_and_key_must_all_agree")
class FenceByGenerationAlone(Kept):
    def complete(self, claim, *, retain, result=""):
        return super().complete(
            self.current(claim, generation=claim.generation), retain=retain, result=result
        )


@broken("test_a_released_claim_is_acquired_at_once")
class GenerationStays(Kept):
    def claim(self, key, **named):
        claim = super().claim(key, **named)
        self.change(key, generation=1)
        return claim._replace(generation=1)


@broken("test_what_is_done_cannot_be_released_or_extended")
class DoneIsNotFinal(Kept):
    def release(self, claim, *, error):
        kept = self._held_by(claim)
        if kept:
            self.change(claim.key, state=State.PENDING)
        return super().release(claim, error=error)


# --- the claim


@broken("test_of_many_claims_at_once_exactly_one_is_acquired")
class LookThenWrite(Kept):
    def claim(self, key, **named):
        if self.find(key):
            return super().claim(key, **named)
        time.sleep(0.01)
        self._kept.pop(key, None)
        return super().claim(key, **named)


@broken("test_a_claim_is_taken_over_once_its_lease_ran_out")
class LeaseWithoutEnd(Kept):
    def claim(self, key, **named):
        return super().claim(key, **{**named, "lease": 86_399})


@broken("test_a_second_delivery_finds_the_first_in_progress")
class NoLease(Kept):
    def claim(self, key, **named):
        self.change(key, lease_until=float("-inf"))
        return super().claim(key, **named)


@broken("test_an_owner_that_never_saw_the_answer_gets_it_again")
class OwnerOfItsOwnMaking(Kept):
    def claim(self, key, **named):
        kept = self._kept.get(key)
        if kept and kept.row.state is State.PENDING and kept.row.owner == named["owner"]:
            return super().claim(key, **{**named, "owner": bytes(16)})
        return super().claim(key, **named)


@broken("test_an_overrun_lease_that_nobody_took_can_still_be_completed")
class LostAtTheEndOfTheLease(Kept):
    def complete(self, claim, *, retain, result=""):
        kept = self._held_by(claim)
        if kept and kept.row.lease_until <= self._clock():
            return CompleteOutcome.LOST
        return super().complete(claim, retain=retain, result=result)


@broken("test_attempts_and_the_last_error_survive_release_and_take_over")
class ForgetsOnFailure(Kept):
    def release(self, claim, *, error):
        outcome = super().release(claim, error=error)
        self._kept.pop(claim.key, None)
        return outcome


# --- the fingerprint


@broken("test_the_fingerprint_of_the_first_claim_stays")
class FingerprintOfTheLastClaim(Kept):
    def claim(self, key, **named):
        kept = self._kept.get(key)
        if kept and kept.row.state is State.RELEASED:
            self.change(key, fingerprint=named["fingerprint"])
        return super().claim(key, **named)


@broken("test_other_content_is_a_mismatch_and_changes_nothing")
class FingerprintUncheckedWhenDone(Kept):
    def claim(self, key, **named):
        kept = self._kept.get(key)
        if kept and kept.row.state is State.DONE:
            named["fingerprint"] = kept.row.fingerprint
        return super().claim(key, **named)


@broken("test_the_same_content_is_never_a_mismatch")
class FingerprintDroppedWhenDone(Kept):
    def complete(self, claim, *, retain, result=""):
        outcome = super().complete(claim, retain=retain, result=result)
        self.change(claim.key, fingerprint=b"")
        return outcome


# --- the result


@broken("test_whoever_claims_a_completed_key_is_given_its_result")
class ForgetsTheResult(Kept):
    def complete(self, claim, *, retain, result=""):
        return super().complete(claim, retain=retain)


@broken("test_the_first_completion_says_what_is_kept")
class ResultOfTheLastCompletion(Kept):
    def complete(self, claim, *, retain, result=""):
        outcome = super().complete(claim, retain=retain, result=result)
        if outcome is CompleteOutcome.ALREADY:
            self.change(claim.key, result=result)
        return outcome


@broken("test_other_content_is_not_told_the_result")
class TellsStrangers(Kept):
    def claim(self, key, **named):
        claim = super().claim(key, **named)
        kept = self._kept[key]
        return claim._replace(result=kept.row.result)


@broken("test_a_stale_holder_says_nothing")
class ResultOfWhoeverCameLast(Kept):
    def complete(self, claim, *, retain, result=""):
        outcome = super().complete(claim, retain=retain, result=result)
        if outcome is CompleteOutcome.LOST:
            self.change(claim.key, result=result)
        return outcome


@broken("test_there_is_no_result_before_the_completion")
class ResultOfTheFailure(Kept):
    def release(self, claim, *, error):
        self.change(claim.key, result=error)
        return super().release(claim, error=error)


@broken("test_a_result_that_cannot_be_kept_is_refused_and_the_claim_stays_open")
class CutsTheResult(Kept):
    def complete(self, claim, *, retain, result=""):
        return super().complete(claim, retain=retain, result=result.encode("utf-8", "replace").decode()[:4])


# --- keys


class OtherKey(Kept):
    """A store that files a key under another one, and shows it as it was asked for."""

    def other(self, key):
        return key

    def claim(self, key, **named):
        return super().claim(self.other(key), **named)._replace(key=key)

    def find(self, key):
        record = super().find(self.other(key))
        return record and record._replace(key=key)

    def complete(self, claim, *, retain, result=""):
        return super().complete(claim._replace(key=self.other(claim.key)), retain=retain, result=result)


@broken("test_hostile_keys_are_all_different_keys")
class KeyWithoutCase(OtherKey):
    def other(self, key):
        return key.casefold()


@broken("test_hostile_keys_are_all_different_keys")
class KeyWithoutTrailingSpace(OtherKey):
    def other(self, key):
        return key.rstrip(" ") or key


@broken("test_hostile_keys_are_all_different_keys")
class KeyCutToFit(OtherKey):
    def other(self, key):
        return key[:255]


# --- what is kept


@broken("test_purge_never_forgets_what_is_not_done")
class PurgeOfAnything(Kept):
    def purge(self, older_than, limit):
        for key in self._kept:
            self.change(key, state=State.DONE)
        return super().purge(older_than, limit)


@broken("test_purge_forgets_only_what_is_done_old_and_past_its_retention")
class PurgeInsideTheRetention(Kept):
    def purge(self, older_than, limit):
        for kept in self._kept.values():
            kept.retain_until = 0.0
        return super().purge(older_than, limit)


@broken("test_purge_forgets_no_more_than_its_limit")
class PurgeOfAll(Kept):
    def purge(self, older_than, limit):
        return super().purge(older_than, limit * 1_000)


@broken("test_what_was_never_completed_is_remembered_as_long_as_it_may_be_sent")
class ForgetsPendingAfterADay(Kept):
    def claim(self, key, **named):
        kept = self._kept.get(key)
        if kept and kept.row.state is not State.DONE and kept.updated < self._clock() - 86_400:
            del self._kept[key]
        return super().claim(key, **named)


@broken("test_a_completed_key_is_completed_for_everybody_while_it_is_kept")
class ForgetsDoneAfterADay(Kept):
    def claim(self, key, **named):
        kept = self._kept.get(key)
        if kept and kept.row.state is State.DONE and kept.updated < self._clock() - 86_400:
            del self._kept[key]
        return super().claim(key, **named)


# --- what is shown


@broken("test_the_order_is_that_of_the_first_claim")
class OrderOfTheLastClaim(Kept):
    def claim(self, key, *, order_no="", **named):
        claim = super().claim(key, order_no=order_no, **named)
        self._kept[key].order_no = order_no
        return claim


@broken("test_a_record_dates_what_happened_in_utc")
class FirstSeenIsLastSeen(Kept):
    def find(self, key):
        record = super().find(key)
        return record and record._replace(first_seen=record.updated)


@broken("test_many_records_are_each_given_once")
class RecordsOfOnePage(Kept):
    def records(self, **chosen):
        return iter(list(super().records(**chosen))[:200])


@broken("test_many_records_are_each_given_once")
class RecordsTwiceAtThePagesEdge(Kept):
    def records(self, **chosen):
        records = list(super().records(**chosen))
        return iter(records[:200] + records[199:])


@broken("test_what_changes_meanwhile_is_not_given_twice_nor_hides_the_rest")
class RecordsByOffset(Kept):
    def records(self, **chosen):
        offset = 0
        while page := list(super().records(**chosen))[offset : offset + 10]:
            yield from page
            offset += 10


# --- the same transaction


class BoundStore(SQLiteStore):
    """A store whose ``bind`` gives what :meth:`complete_bound` makes of it."""

    def bind(self, connection):
        return _BrokenBound(self, connection, super().bind(connection))

    def complete_bound(self, connection, bound, claim, retain, result):
        return bound.complete(claim, retain=retain, result=result)


class _BrokenBound:
    def __init__(self, store, connection, bound):
        self._store, self._connection, self._bound = store, connection, bound

    def complete(self, claim, *, retain, result=""):
        return self._store.complete_bound(self._connection, self._bound, claim, retain, result)


@broken("test_a_holder_that_was_taken_over_rolls_back")
class LostIsAValue(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        try:
            return bound.complete(claim, retain=retain, result=result)
        except ClaimLost:
            return CompleteOutcome.LOST


@broken("test_the_completion_rolls_back_with_the_effect")
class CommitsForTheCaller(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        outcome = bound.complete(claim, retain=retain, result=result)
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        return outcome


@broken("test_the_successor_of_a_stale_holder_settles")
class DoneIsGoodEnough(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        record = self.find(claim.key)
        if record and record.state is State.DONE:
            return CompleteOutcome.ALREADY
        return bound.complete(claim, retain=retain, result=result)


@broken("test_owner_and_generation_must_both_agree")
class BoundByKey(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        row = connection.execute(
            "SELECT owner, generation FROM wxnotify_claims WHERE natural_key = ?", [claim.key]
        ).fetchone()
        forged = claim._replace(owner=row[0], generation=row[1]) if row else claim
        return bound.complete(forged, retain=retain, result=result)


@broken("test_the_result_stands_or_falls_with_the_effect")
class ForgetsTheResultInATransaction(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        return bound.complete(claim, retain=retain)


@broken("test_a_result_that_cannot_be_kept_rolls_back")
class CutsTheResultInATransaction(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        return bound.complete(claim, retain=retain, result=result[:256])


@broken("test_nothing_can_be_completed_when_the_transaction_is_over")
class CompletesWithoutItsTransaction(BoundStore):
    def complete_bound(self, connection, bound, claim, retain, result):
        try:
            connection.execute("SELECT 1")
        except Exception:
            return self.complete(claim, retain=retain, result=result)
        return bound.complete(claim, retain=retain, result=result)


_ALL = SOUND | {name: broken.store for name, broken in BROKEN.items()}
SQL_STORES = {name: store for name, store in _ALL.items() if issubclass(store, SQLiteStore)}
LEASE_STORES = {name: store for name, store in _ALL.items() if name not in SQL_STORES}
