"""What becomes of a claim: completed, released, prolonged, or lost."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

from typing import Any

import pytest

from ...idempotency import Claim, ClaimOutcome, CompleteOutcome, Record, ReleaseOutcome, State
from .deliveries import KEEP, KEY, LEASE, NEARLY, claim_key, like, take_over
from .subject import Subject

__all__ = ["TestComplete", "TestExtend", "TestFencing", "TestRelease"]


def found(subject: Subject, key: str = KEY) -> Record:
    """Look up what must be there."""
    record = subject.find(key)
    assert record is not None, f"{key} is gone"
    return record


def assert_lost(subject: Subject, claim: Claim) -> None:
    """Show that nothing can be done with *claim*, and that trying changes nothing."""
    before = subject.find(KEY)
    assert subject.complete(claim, retain=KEEP) is CompleteOutcome.LOST
    assert subject.release(claim, error="from one that has lost it") is ReleaseOutcome.LOST
    assert subject.extend(claim, LEASE) is False
    assert like(subject.find(KEY), before) == before


class TestComplete:
    """Done is final."""

    def test_a_claim_is_completed(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert found(subject).state is State.PENDING
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.DONE
        assert found(subject).state is State.DONE

    def test_a_completion_can_be_repeated(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.DONE
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY

    def test_an_overrun_lease_that_nobody_took_can_still_be_completed(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(2 * LEASE)
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.DONE

    def test_what_is_done_cannot_be_released_or_extended(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.complete(claim, retain=KEEP)
        before = subject.find(KEY)
        assert subject.release(claim, error="boom") is ReleaseOutcome.LOST
        assert subject.extend(claim, LEASE) is False
        assert like(subject.find(KEY), before) == before


class TestRelease:
    """A failure frees the key, and leaves what is known of it."""

    def test_a_release_can_be_repeated_and_the_first_error_stays(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert subject.release(claim, error="first") is ReleaseOutcome.RELEASED
        assert subject.release(claim, error="second") is ReleaseOutcome.ALREADY
        assert found(subject).last_error == "first"

    def test_an_overrun_lease_that_nobody_took_can_still_be_released(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(2 * LEASE)
        assert subject.release(claim, error="boom") is ReleaseOutcome.RELEASED

    def test_what_was_released_cannot_be_completed_or_extended(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.release(claim, error="boom")
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.LOST
        assert subject.extend(claim, LEASE) is False
        assert found(subject).state is State.RELEASED

    def test_attempts_and_the_last_error_survive_release_and_take_over(self, subject: Subject) -> None:
        for attempt in (1, 2, 3):
            claim = claim_key(subject)
            assert claim.attempts == attempt
            subject.release(claim, error=f"failure {attempt}")
        claim_key(subject)
        assert found(subject).last_error == "failure 3"
        subject.advance(LEASE)
        claim = claim_key(subject)
        assert (claim.generation, claim.attempts) == (5, 5)
        subject.complete(claim, retain=KEEP)
        record = found(subject)
        assert (record.state, record.generation, record.attempts) == (State.DONE, 5, 5)
        assert record.last_error == "failure 3"

    @pytest.mark.parametrize(
        ("error", "kept"),
        [
            ("", ""),
            ("支付 and 💥", "支付 and 💥"),
            ("100 % {of} :it's \\ \" $1", "100 % {of} :it's \\ \" $1"),
            ("x" * 600, "x" * 512),
            ("支付" * 300, "支付" * 256),
            ("💥" * 600, "💥" * 512),
            ("a\ud800b", "a?b"),
            ("a\0b", "a?b"),
        ],
    )
    def test_an_error_is_cut_and_made_storable(self, subject: Subject, error: str, kept: str) -> None:
        assert subject.release(claim_key(subject), error=error) is ReleaseOutcome.RELEASED
        assert found(subject).last_error == kept


class TestExtend:
    """A lease can be prolonged by its holder."""

    def test_an_extended_lease_runs_from_now(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(NEARLY)
        assert subject.extend(claim, LEASE) is True
        subject.advance(NEARLY)
        assert claim_key(subject).outcome is ClaimOutcome.IN_PROGRESS
        subject.advance(LEASE - NEARLY)
        assert claim_key(subject).outcome is ClaimOutcome.ACQUIRED

    def test_an_overrun_lease_that_nobody_took_can_be_extended(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(2 * LEASE)
        assert subject.extend(claim, LEASE) is True
        assert claim_key(subject).outcome is ClaimOutcome.IN_PROGRESS

    def test_a_lease_can_be_shortened(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert subject.extend(claim, 1) is True
        subject.advance(NEARLY)
        assert claim_key(subject).outcome is ClaimOutcome.ACQUIRED


class TestFencing:
    """Whoever lost its lease can neither complete nor free what its successor holds."""

    @pytest.mark.parametrize("situation", ["pending", "expired", "released", "done"])
    def test_a_stale_holder_leaves_its_successor_untouched(self, subject: Subject, situation: str) -> None:
        stale, successor = take_over(subject)
        if situation == "expired":
            subject.advance(LEASE)
        elif situation == "released":
            subject.release(successor, error="the successor's")
        elif situation == "done":
            subject.complete(successor, retain=KEEP)
        assert_lost(subject, stale)

    def test_the_successor_of_a_stale_holder_completes(self, subject: Subject) -> None:
        stale, successor = take_over(subject)
        assert_lost(subject, stale)
        assert subject.complete(successor, retain=KEEP) is CompleteOutcome.DONE

    def test_a_completion_that_is_repeated_too_late_is_lost(self, subject: Subject) -> None:
        stale, successor = take_over(subject)
        subject.complete(successor, retain=KEEP)
        assert subject.complete(stale, retain=KEEP) is CompleteOutcome.LOST
        assert subject.complete(successor, retain=KEEP) is CompleteOutcome.ALREADY

    @pytest.mark.parametrize(
        "forged", [{"owner": b"x" * 16}, {"generation": 2}, {"generation": 0}, {"key": "other"}]
    )
    def test_owner_generation_and_key_must_all_agree(self, subject: Subject, forged: dict[str, Any]) -> None:
        claim = claim_key(subject)
        assert_lost(subject, claim._replace(**forged))
        assert subject.find("other") is None

    def test_one_owner_is_told_from_its_own_earlier_claim(self, subject: Subject) -> None:
        early = claim_key(subject)
        subject.release(early, error="boom")
        claim_key(subject, owner=early.owner)
        assert_lost(subject, early)
        assert found(subject).state is State.PENDING

    def test_a_claim_that_was_not_acquired_settles_nothing(self, subject: Subject) -> None:
        claim_key(subject)
        assert_lost(subject, claim_key(subject))
        assert found(subject).state is State.PENDING

    def test_a_key_that_was_never_claimed_is_lost(self, subject: Subject) -> None:
        assert_lost(subject, Claim(KEY, b"o" * 16, ClaimOutcome.ACQUIRED, generation=1, attempts=1))
        assert subject.find(KEY) is None
