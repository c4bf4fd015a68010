"""What a completion says, and who is told."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

import pytest

from ...errors import StoreError
from ...idempotency import ClaimOutcome, CompleteOutcome, State
from .deliveries import CONTENT, KEEP, KEY, LEASE, OTHER_CONTENT, claim_key, take_over
from .subject import Subject

__all__ = ["TestResult"]

SAID = "wx201410272009395522657a690389285100"
#: What somebody's quoting might get wrong.
ODD = ["已售罄", 'a"b\\"c\\', "it's; -- {}%s :x", " ends in a space ", "🀄" * 256, "x" * 256]
#: What a store that keeps one text for all of it might take for a result.
FORGED = f'","result":"{SAID}"'


class TestResult:
    """A result is kept with the completion, or not at all."""

    def test_whoever_claims_a_completed_key_is_given_its_result(self, subject: Subject) -> None:
        subject.complete(claim_key(subject), retain=KEEP, result=SAID)
        duplicate = claim_key(subject)
        assert (duplicate.outcome, duplicate.result) == (ClaimOutcome.COMPLETED, SAID)

    @pytest.mark.parametrize("said", ODD)
    def test_a_result_comes_back_as_it_was_said(self, subject: Subject, said: str) -> None:
        subject.complete(claim_key(subject), retain=KEEP, result=said)
        record = subject.find(KEY)
        assert record is not None
        assert (claim_key(subject).result, record.result) == (said, said)
        assert [one.result for one in subject.records()] == [said]

    def test_a_completion_that_says_nothing_has_an_empty_result(self, subject: Subject) -> None:
        subject.complete(claim_key(subject), retain=KEEP)
        record = subject.find(KEY)
        assert record is not None
        assert (claim_key(subject).result, record.result) == ("", "")

    def test_there_is_no_result_before_the_completion(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert claim_key(subject).result == ""
        subject.release(claim, error="boom")
        record = subject.find(KEY)
        assert record is not None
        assert (claim_key(subject).result, record.result) == ("", "")
        subject.advance(LEASE)
        assert claim_key(subject).result == ""

    def test_nothing_else_that_is_kept_is_taken_for_the_result(self, subject: Subject) -> None:
        subject.release(claim_key(subject, order_no=FORGED), error=FORGED)
        subject.complete(claim_key(subject), retain=KEEP)
        record = subject.find(KEY)
        assert record is not None
        assert (claim_key(subject).result, record.result) == ("", "")

    def test_other_content_is_not_told_the_result(self, subject: Subject) -> None:
        subject.complete(claim_key(subject), retain=KEEP, result=SAID)
        stranger = claim_key(subject, fingerprint=OTHER_CONTENT)
        assert (stranger.outcome, stranger.result) == (ClaimOutcome.MISMATCH, "")

    def test_the_first_completion_says_what_is_kept(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.complete(claim, retain=KEEP, result=SAID)
        assert subject.complete(claim, retain=KEEP, result="another") is CompleteOutcome.ALREADY
        assert claim_key(subject).result == SAID

    def test_a_stale_holder_says_nothing(self, subject: Subject) -> None:
        stale, successor = take_over(subject)
        assert subject.complete(stale, retain=KEEP, result="stale") is CompleteOutcome.LOST
        assert subject.complete(successor, retain=KEEP, result=SAID) is CompleteOutcome.DONE
        assert subject.complete(stale, retain=KEEP, result="stale") is CompleteOutcome.LOST
        assert claim_key(subject).result == SAID

    def test_what_was_released_is_completed_by_nobody_and_says_nothing(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.release(claim, error="boom")
        assert subject.complete(claim, retain=KEEP, result="late") is CompleteOutcome.LOST
        record = subject.find(KEY)
        assert record is not None
        assert record.result == ""

    @pytest.mark.parametrize("said", ["x" * 257, "a\0b", "a\nb", "\ud800"])
    def test_a_result_that_cannot_be_kept_is_refused_and_the_claim_stays_open(
        self, subject: Subject, said: str
    ) -> None:
        claim = claim_key(subject)
        with pytest.raises(StoreError, match="result"):
            subject.complete(claim, retain=KEEP, result=said)
        record = subject.find(KEY)
        assert record is not None
        assert (record.state, record.result) == (State.PENDING, "")

    def test_a_record_has_the_fingerprint_of_the_first_claim(self, subject: Subject) -> None:
        claim_key(subject)
        record = subject.find(KEY)
        assert record is not None
        assert record.fingerprint == CONTENT
        assert [one.fingerprint for one in subject.records()] == [CONTENT]
