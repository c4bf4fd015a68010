"""Who may handle a notification."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

import pytest

from ...idempotency import Claim, ClaimOutcome, State
from .deliveries import (
    CONTENT,
    HOUR,
    KEEP,
    KEY,
    LEASE,
    NEARLY,
    OTHER_CONTENT,
    claim_key,
    like,
    take_over,
)
from .subject import Subject

__all__ = ["TestClaim", "TestFingerprint"]


class TestClaim:
    """One delivery at a time, and none after the work is done."""

    def test_a_new_key_is_acquired(self, subject: Subject) -> None:
        owner = b"o" * 16
        claim = claim_key(subject, owner=owner)
        assert claim == Claim(KEY, owner, ClaimOutcome.ACQUIRED, generation=1, attempts=1)

    def test_a_second_delivery_finds_the_first_in_progress(self, subject: Subject) -> None:
        claim_key(subject)
        assert claim_key(subject)[2:5] == (ClaimOutcome.IN_PROGRESS, 1, 1)
        subject.advance(NEARLY)
        assert claim_key(subject)[2:5] == (ClaimOutcome.IN_PROGRESS, 1, 1)

    def test_keys_are_claimed_independently(self, subject: Subject) -> None:
        assert claim_key(subject, "a").outcome is ClaimOutcome.ACQUIRED
        assert claim_key(subject, "b").outcome is ClaimOutcome.ACQUIRED

    def test_an_owner_that_never_saw_the_answer_gets_it_again(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert claim_key(subject, owner=claim.owner) == claim

    def test_an_owner_that_asks_again_has_its_lease_anew(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(NEARLY)
        claim_key(subject, owner=claim.owner)
        subject.advance(NEARLY)
        assert claim_key(subject).outcome is ClaimOutcome.IN_PROGRESS

    def test_an_owner_that_asks_again_when_its_lease_ran_out_still_has_its_claim(
        self, subject: Subject
    ) -> None:
        claim = claim_key(subject)
        subject.advance(LEASE)
        assert claim_key(subject, owner=claim.owner) == claim

    def test_a_claim_is_taken_over_once_its_lease_ran_out(self, subject: Subject) -> None:
        stale, successor = take_over(subject)
        assert successor[2:5] == (ClaimOutcome.ACQUIRED, 2, 2)
        assert successor.owner != stale.owner

    def test_the_lease_of_a_successor_is_its_own(self, subject: Subject) -> None:
        take_over(subject)
        subject.advance(NEARLY)
        assert claim_key(subject)[2:5] == (ClaimOutcome.IN_PROGRESS, 2, 2)
        subject.advance(LEASE)
        assert claim_key(subject)[2:5] == (ClaimOutcome.ACQUIRED, 3, 3)

    def test_the_lease_is_the_holders_and_not_what_the_next_one_asks_for(self, subject: Subject) -> None:
        claim_key(subject, lease=LEASE)
        subject.advance(HOUR)
        assert claim_key(subject, lease=1).outcome is ClaimOutcome.IN_PROGRESS
        subject.advance(LEASE)
        assert claim_key(subject, lease=1).outcome is ClaimOutcome.ACQUIRED
        subject.advance(HOUR)
        assert claim_key(subject).outcome is ClaimOutcome.ACQUIRED

    def test_the_holder_that_was_taken_over_finds_its_successor_in_progress(self, subject: Subject) -> None:
        stale, _ = take_over(subject)
        assert claim_key(subject, owner=stale.owner)[2:5] == (ClaimOutcome.IN_PROGRESS, 2, 2)

    def test_a_released_claim_is_acquired_at_once(self, subject: Subject) -> None:
        subject.release(claim_key(subject), error="boom")
        assert claim_key(subject)[2:5] == (ClaimOutcome.ACQUIRED, 2, 2)

    def test_the_same_owner_can_claim_again_what_it_released(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.release(claim, error="boom")
        assert claim_key(subject, owner=claim.owner) == claim._replace(generation=2, attempts=2)

    def test_a_completed_key_is_completed_for_everybody_while_it_is_kept(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.complete(claim, retain=KEEP)
        assert claim_key(subject)[2:5] == (ClaimOutcome.COMPLETED, 1, 1)
        subject.advance(KEEP - HOUR)
        assert claim_key(subject)[2:5] == (ClaimOutcome.COMPLETED, 1, 1)
        assert claim_key(subject, owner=claim.owner)[2:5] == (ClaimOutcome.COMPLETED, 1, 1)

    @pytest.mark.parametrize("situation", ["pending", "released"])
    def test_what_was_never_completed_is_remembered_as_long_as_it_may_be_sent(
        self, subject: Subject, situation: str
    ) -> None:
        claim = claim_key(subject)
        if situation == "released":
            subject.release(claim, error="boom")
        subject.advance(KEEP - HOUR)
        record = subject.find(KEY)
        assert record is not None
        assert record.state.value == situation
        assert claim_key(subject, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
        assert claim_key(subject)[2:5] == (ClaimOutcome.ACQUIRED, 2, 2)

    def test_a_claim_that_is_turned_away_changes_nothing(self, subject: Subject) -> None:
        claim_key(subject, order_no="A-1")
        subject.advance(HOUR)
        before = subject.find(KEY)
        assert claim_key(subject, order_no="A-2").outcome is ClaimOutcome.IN_PROGRESS
        assert like(subject.find(KEY), before) == before

    @pytest.mark.parametrize(
        ("owner", "other"),
        [
            (b"a" * 16, b"A" * 16),
            (b"o" * 15 + b"\0", b"o" * 15 + b" "),
            (b"\0" * 16, b"\0" * 15 + b"\1"),
            (b"\xff" * 16, b"\xff" * 15 + b"\xfe"),
        ],
    )
    def test_owners_are_compared_byte_for_byte(self, subject: Subject, owner: bytes, other: bytes) -> None:
        claim = claim_key(subject, owner=owner)
        assert claim.owner == owner
        assert claim_key(subject, owner=other).outcome is ClaimOutcome.IN_PROGRESS
        assert claim_key(subject, owner=owner).outcome is ClaimOutcome.ACQUIRED
        assert subject.extend(claim._replace(owner=other), LEASE) is False
        assert subject.extend(claim, LEASE) is True


class TestFingerprint:
    """The same key with other content is never taken for a duplicate, and the same content always."""

    @pytest.mark.parametrize("situation", ["pending", "expired", "released", "done", "taken over"])
    def test_other_content_is_a_mismatch_and_changes_nothing(self, subject: Subject, situation: str) -> None:
        claim = claim_key(subject)
        if situation == "expired":
            subject.advance(LEASE)
        elif situation == "released":
            subject.release(claim, error="boom")
        elif situation == "done":
            subject.complete(claim, retain=KEEP)
        elif situation == "taken over":
            subject.advance(LEASE)
            claim_key(subject)
        before = subject.find(KEY)
        assert claim_key(subject, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
        assert (
            claim_key(subject, fingerprint=OTHER_CONTENT, owner=claim.owner).outcome is ClaimOutcome.MISMATCH
        )
        assert like(subject.find(KEY), before) == before

    def test_the_same_content_is_never_a_mismatch(self, subject: Subject) -> None:
        outcomes = [(claim := claim_key(subject)).outcome, claim_key(subject).outcome]
        subject.release(claim, error="boom")
        outcomes += [claim_key(subject).outcome]
        subject.advance(LEASE)
        outcomes += [(claim := claim_key(subject)).outcome]
        subject.complete(claim, retain=KEEP)
        outcomes += [claim_key(subject).outcome, claim_key(subject, owner=claim.owner).outcome]
        assert [outcome.value for outcome in outcomes] == [
            "acquired", "in_progress", "acquired", "acquired", "completed", "completed",
        ]  # fmt: skip

    def test_the_fingerprint_of_the_first_claim_stays(self, subject: Subject) -> None:
        subject.release(claim_key(subject), error="boom")
        assert claim_key(subject, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
        claim = claim_key(subject, fingerprint=CONTENT)
        assert claim.outcome is ClaimOutcome.ACQUIRED
        subject.complete(claim, retain=KEEP)
        assert claim_key(subject, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
        assert claim_key(subject, fingerprint=CONTENT).outcome is ClaimOutcome.COMPLETED

    @pytest.mark.parametrize(
        ("content", "other"),
        [
            (b"c" * 32, b"C" * 32),
            (b"c" * 31 + b"\0", b"c" * 31 + b" "),
            (b"\0" * 32, b"\0" * 31 + b"\1"),
            (bytes(range(224, 256)), bytes(range(223, 255))),
        ],
    )
    def test_fingerprints_are_compared_byte_for_byte(
        self, subject: Subject, content: bytes, other: bytes
    ) -> None:
        claim_key(subject, fingerprint=content)
        assert claim_key(subject, fingerprint=other).outcome is ClaimOutcome.MISMATCH
        assert claim_key(subject, fingerprint=content).outcome is ClaimOutcome.IN_PROGRESS
        record = subject.find(KEY)
        assert record is not None
        assert record.state is State.PENDING
