"""What a person can see of the store, and what is forgotten."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta

import pytest

from ...idempotency import ClaimOutcome, CompleteOutcome, Record, State
from .deliveries import (
    CONTENT,
    HOUR,
    KEEP,
    KEY,
    LEASE,
    OTHER_CONTENT,
    about,
    claim_key,
    like,
)
from .subject import Subject

__all__ = ["TestFind", "TestPurge", "TestRecords"]


def keys(records: Iterable[Record]) -> list[str]:
    """Give the keys, sorted; each as often as it came."""
    return sorted(record.key for record in records)


def there(subject: Subject, names: Iterable[str]) -> list[str]:
    """Give those of the keys that the store knows."""
    return [name for name in names if subject.find(name) is not None]


class TestFind:
    """A record says what happened, and when."""

    def test_nothing_is_known_of_an_unknown_key(self, subject: Subject) -> None:
        assert subject.find(KEY) is None

    def test_a_record_tells_what_happened(self, subject: Subject) -> None:
        claim = claim_key(subject, order_no="A-1001")
        record = subject.find(KEY)
        assert record is not None
        assert record[:5] == (KEY, "A-1001", State.PENDING, 1, 1)
        assert record.last_error == ""
        subject.release(claim, error="boom")
        record = subject.find(KEY)
        assert record is not None
        assert record[:5] == (KEY, "A-1001", State.RELEASED, 1, 1)
        assert record.last_error == "boom"
        subject.complete(claim_key(subject), retain=KEEP)
        record = subject.find(KEY)
        assert record is not None
        assert record[:5] == (KEY, "A-1001", State.DONE, 2, 2)
        assert record.last_error == "boom"

    def test_a_record_dates_what_happened_in_utc(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(5 * HOUR)
        subject.release(claim, error="boom")
        subject.advance(5 * HOUR)
        claim = claim_key(subject)
        record = subject.find(KEY)
        assert record is not None
        assert about(record.updated - record.first_seen, 10 * HOUR)
        assert about(record.lease_until - record.updated, LEASE)
        assert {time.utcoffset() for time in record[5:8]} == {timedelta(0)}

    @pytest.mark.parametrize("change", ["claim again", "extend", "release", "complete"])
    def test_every_change_is_dated(self, subject: Subject, change: str) -> None:
        claim = claim_key(subject)
        subject.advance(HOUR)
        if change == "claim again":
            claim_key(subject, owner=claim.owner)
        elif change == "extend":
            subject.extend(claim, LEASE)
        elif change == "release":
            subject.release(claim, error="boom")
        else:
            subject.complete(claim, retain=KEEP)
        record = subject.find(KEY)
        assert record is not None
        assert about(record.updated - record.first_seen, HOUR)

    def test_the_order_is_that_of_the_first_claim(self, subject: Subject) -> None:
        subject.release(claim_key(subject, order_no="A-1001"), error="boom")
        claim_key(subject, order_no="B-2002", fingerprint=OTHER_CONTENT)
        subject.complete(claim_key(subject, order_no="C-3003"), retain=KEEP)
        claim_key(subject, order_no="D-4004")
        record = subject.find(KEY)
        assert record is not None
        assert record.order_no == "A-1001"

    @pytest.mark.parametrize(
        ("order_no", "kept"),
        [
            ("", ""),
            ("x" * 70, "x" * 64),
            ("支" * 70, "支" * 64),
            ("💥" * 70, "💥" * 64),
            ("A\0\ud800", "A??"),
        ],
    )
    def test_an_order_is_cut_and_made_storable(self, subject: Subject, order_no: str, kept: str) -> None:
        assert claim_key(subject, order_no=order_no).outcome is ClaimOutcome.ACQUIRED
        record = subject.find(KEY)
        assert record is not None
        assert record.order_no == kept


class TestRecords:
    """What is stuck or failed can be seen."""

    def test_an_empty_store_has_no_records(self, subject: Subject) -> None:
        assert list(subject.records()) == []
        assert list(subject.records(state=State.PENDING, order_no="A-1001", older_than=1)) == []

    def test_the_records_are_those_that_find_gives(self, subject: Subject) -> None:
        subject.complete(claim_key(subject, "a", order_no="A-1"), retain=KEEP)
        subject.release(claim_key(subject, "b", order_no="B-1"), error="boom")
        claim_key(subject, "c")
        found = {key: subject.find(key) for key in "abc"}
        assert {record.key: like(record, found[record.key]) for record in subject.records()} == found

    def test_records_are_chosen_by_state(self, subject: Subject) -> None:
        subject.complete(claim_key(subject, "done"), retain=KEEP)
        subject.release(claim_key(subject, "released"), error="boom")
        claim_key(subject, "pending")
        for state in State:
            assert keys(subject.records(state=state)) == [state.value]

    def test_records_are_chosen_by_order(self, subject: Subject) -> None:
        for key, order_no in [("1", "A-1"), ("2", "A-1"), ("3", "a-1"), ("4", "A-12"), ("5", "")]:
            claim_key(subject, key, order_no=order_no)
        assert keys(subject.records(order_no="A-1")) == ["1", "2"]
        assert keys(subject.records(order_no="a-1")) == ["3"]
        assert keys(subject.records(order_no="A")) == []
        assert keys(subject.records(order_no="%")) == []
        assert keys(subject.records(order_no="")) == ["5"]

    def test_a_long_order_is_found_by_its_whole_number(self, subject: Subject) -> None:
        claim_key(subject, order_no="x" * 70)
        assert keys(subject.records(order_no="x" * 70)) == [KEY]

    def test_records_are_chosen_by_age(self, subject: Subject) -> None:
        early = claim_key(subject, "early")
        claim_key(subject, "unchanged")
        subject.advance(5 * HOUR)
        claim_key(subject, "late")
        subject.release(early, error="boom")
        assert keys(subject.records(older_than=2 * HOUR)) == ["unchanged"]
        assert keys(subject.records(older_than=6 * HOUR)) == []
        assert keys(subject.records()) == ["early", "late", "unchanged"]

    def test_the_choices_go_together(self, subject: Subject) -> None:
        for key, order_no in [("old", "A-1"), ("old of another order", "B-1")]:
            claim_key(subject, key, order_no=order_no)
        subject.release(claim_key(subject, "old and released", order_no="A-1"), error="boom")
        subject.advance(5 * HOUR)
        claim_key(subject, "young", order_no="A-1")
        found = subject.records(state=State.PENDING, order_no="A-1", older_than=HOUR)
        assert keys(found) == ["old"]

    def test_many_records_are_each_given_once(self, subject: Subject) -> None:
        # More than any page, and for pages of 1, 2, 4, ... 100 or 200 a whole number of them.
        pending = sorted(f"key/{number}" for number in range(400))
        for key in pending:
            claim_key(subject, key, order_no="A-1")
        released = sorted(f"released/{number}" for number in range(3))
        for key in released:
            subject.release(claim_key(subject, key, order_no="A-1"), error="boom")
        subject.complete(claim_key(subject, "done"), retain=KEEP)
        assert keys(subject.records()) == ["done", *pending, *released]
        assert keys(subject.records(state=State.PENDING)) == pending
        assert keys(subject.records(order_no="A-1")) == [*pending, *released]
        assert keys(subject.records(state=State.RELEASED, order_no="A-1")) == released

    def test_what_changes_meanwhile_is_not_given_twice_nor_hides_the_rest(self, subject: Subject) -> None:
        unchanged = sorted(f"unchanged/{number:03}" for number in range(120))
        changing = {
            key: claim_key(subject, key) for key in (f"changing/{number:03}" for number in range(120))
        }
        for key in unchanged:
            claim_key(subject, key)
        subject.advance(HOUR)
        records = subject.records(older_than=HOUR / 2)
        seen = [next(records).key]
        for number, claim in enumerate(changing.values()):
            if number % 2:
                subject.complete(claim, retain=KEEP)
            else:
                subject.release(claim, error="boom")
        claim_key(subject, "new")
        seen += [record.key for record in records]
        assert len(seen) == len(set(seen))
        assert [key for key in sorted(seen) if key in unchanged] == unchanged
        assert set(seen) <= {*unchanged, *changing}

    def test_a_look_that_is_given_up_does_no_harm(self, subject: Subject) -> None:
        for key in "abc":
            claim_key(subject, key)
        records = subject.records()
        next(records)
        del records
        assert keys(subject.records()) == ["a", "b", "c"]


class TestPurge:
    """
    Only what is done is forgotten, and not before WeChat Pay has stopped sending.

    A store may forget what is done by itself once its retention has passed;
    ``purge`` then finds nothing to do.
    """

    def test_purge_forgets_only_what_is_done_old_and_past_its_retention(self, subject: Subject) -> None:
        subject.complete(claim_key(subject, "kept longer"), retain=100 * HOUR)
        subject.complete(claim_key(subject, "old"), retain=KEEP)
        subject.advance(2 * HOUR)
        subject.complete(claim_key(subject, "young"), retain=KEEP)
        subject.advance(KEEP - HOUR)
        left = there(subject, ["old"])
        assert subject.purge(KEEP, limit=10) == len(left)
        assert subject.find("old") is None
        assert there(subject, ["kept longer", "young"]) == ["kept longer", "young"]
        assert subject.purge(KEEP, limit=10) == 0

    def test_purge_never_forgets_what_is_not_done(self, subject: Subject) -> None:
        claim_key(subject, "pending")
        subject.release(claim_key(subject, "released"), error="boom")
        subject.advance(KEEP + HOUR)
        left = there(subject, ["pending", "released"])
        assert subject.purge(KEEP, limit=10) == 0
        assert there(subject, ["pending", "released"]) == left

    def test_purge_counts_the_age_from_the_completion(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(2 * LEASE)
        subject.complete(claim, retain=KEEP)
        subject.advance(KEEP - LEASE)
        assert subject.purge(KEEP, limit=10) == 0
        assert claim_key(subject).outcome is ClaimOutcome.COMPLETED

    def test_purge_waits_for_its_own_age_though_the_retention_has_passed(self, subject: Subject) -> None:
        subject.complete(claim_key(subject), retain=KEEP)
        subject.advance(KEEP + HOUR)
        left = there(subject, [KEY])
        assert subject.purge(KEEP + 2 * HOUR, limit=10) == 0
        assert there(subject, [KEY]) == left
        subject.advance(2 * HOUR)
        assert subject.purge(KEEP + 2 * HOUR, limit=10) == len(left)
        assert subject.find(KEY) is None

    def test_a_purged_key_is_new_again(self, subject: Subject) -> None:
        subject.complete(claim_key(subject, order_no="A-1"), retain=KEEP)
        subject.advance(KEEP + HOUR)
        subject.purge(KEEP, limit=1)
        claim = claim_key(subject, fingerprint=OTHER_CONTENT, order_no="B-1")
        assert claim[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)
        record = subject.find(KEY)
        assert record is not None
        assert record.order_no == "B-1"

    def test_the_holder_of_what_was_purged_has_lost_it(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.complete(claim, retain=KEEP)
        subject.advance(KEEP + HOUR)
        subject.purge(KEEP, limit=1)
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.LOST
        successor = claim_key(subject)
        assert successor.outcome is ClaimOutcome.ACQUIRED
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.LOST

    def test_purge_forgets_no_more_than_its_limit(self, subject: Subject) -> None:
        names = [str(number) for number in range(5)]
        for name in names:
            subject.complete(claim_key(subject, name), retain=KEEP)
        subject.advance(KEEP + HOUR)
        left = len(there(subject, names))
        for _ in range(4):
            purged = subject.purge(KEEP, limit=2)
            assert purged == min(left, 2)
            left -= purged
            assert len(there(subject, names)) == left

    def test_a_claim_can_be_kept_for_ever(self, subject: Subject) -> None:
        assert subject.complete(claim_key(subject), retain=math.inf) is CompleteOutcome.DONE
        subject.advance(50 * KEEP)
        assert subject.purge(KEEP, limit=1) == 0
        assert claim_key(subject, fingerprint=CONTENT).outcome is ClaimOutcome.COMPLETED
