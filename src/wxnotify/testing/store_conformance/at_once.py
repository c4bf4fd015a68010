"""Many deliveries at the same moment: threads, or tasks of one loop where the store is awaited."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

from collections import Counter

import pytest

from ...idempotency import Claim, ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from .deliveries import HOUR, KEEP, KEY, LEASE, answered, at_once, claim_key, new_owner
from .subject import Subject

__all__ = ["TestAtOnce"]


def claim_somehow(subject: Subject, key: str = KEY, owner: bytes | None = None) -> Claim:
    """Claim as one delivery, that is sent again while the store has too much to do."""
    owner = owner or new_owner()
    return answered(lambda: claim_key(subject, key, owner=owner))


class TestAtOnce:
    """Exactly one has the claim, however many ask."""

    @pytest.mark.parametrize("count", [2, 16, 64])
    def test_of_many_claims_at_once_exactly_one_is_acquired(self, subject: Subject, count: int) -> None:
        claims = at_once(subject, count, lambda _: claim_somehow(subject))
        assert Counter(claim.outcome.value for claim in claims) == {"acquired": 1, "in_progress": count - 1}
        assert {claim.generation for claim in claims} == {1}

    @pytest.mark.parametrize("count", [2, 16, 64])
    def test_of_many_take_overs_at_once_exactly_one_is_acquired(self, subject: Subject, count: int) -> None:
        claim_key(subject)
        subject.advance(LEASE)
        claims = at_once(subject, count, lambda _: claim_somehow(subject))
        assert Counter(claim.outcome.value for claim in claims) == {"acquired": 1, "in_progress": count - 1}
        assert {claim.generation for claim in claims} == {2}

    def test_of_many_claims_on_what_was_released_exactly_one_is_acquired(self, subject: Subject) -> None:
        subject.release(claim_key(subject), error="boom")
        claims = at_once(subject, 16, lambda _: claim_somehow(subject))
        assert Counter(claim.outcome.value for claim in claims) == {"acquired": 1, "in_progress": 15}
        assert {claim.generation for claim in claims} == {2}

    def test_one_owner_that_asks_many_times_at_once_has_one_claim(self, subject: Subject) -> None:
        claims = at_once(subject, 8, lambda _: claim_somehow(subject, owner=b"o" * 16))
        assert set(claims) == {Claim(KEY, b"o" * 16, ClaimOutcome.ACQUIRED, 1, 1)}

    def test_of_many_completions_at_once_one_is_the_first(self, subject: Subject) -> None:
        claim = claim_key(subject)
        outcomes = at_once(subject, 8, lambda _: answered(lambda: subject.complete(claim, retain=KEEP)))
        assert set(outcomes) <= {CompleteOutcome.DONE, CompleteOutcome.ALREADY}
        # One at most: its acknowledgement may have been lost, and the completion repeated.
        assert outcomes.count(CompleteOutcome.DONE) <= 1
        record = subject.find(KEY)
        assert record is not None
        assert record.state is State.DONE

    @pytest.mark.parametrize("verb", ["complete", "release"])
    def test_a_late_holder_and_its_successors_are_never_both_right(self, subject: Subject, verb: str) -> None:
        for number in range(5):
            key = f"{KEY}/{number}"
            stale = claim_key(subject, key)
            subject.advance(LEASE)

            def act(actor: int, key: str = key, stale: Claim = stale) -> str:
                if actor:
                    return claim_somehow(subject, key).outcome.value
                if verb == "complete":
                    return answered(lambda: subject.complete(stale, retain=KEEP)).value
                return answered(lambda: subject.release(stale, error="boom")).value

            told, *claimed = at_once(subject, 4, act)
            was_done = verb == "complete" and told in ("done", "already")
            assert claimed.count("acquired") == (0 if was_done else 1), (told, claimed)
            record = subject.find(key)
            assert record is not None
            assert record[2:5] == ((State.DONE, 1, 1) if was_done else (State.PENDING, 2, 2))

    def test_many_keys_at_once_lose_nothing(self, subject: Subject) -> None:
        def settle(number: int) -> CompleteOutcome | ReleaseOutcome:
            claim = claim_somehow(subject, f"key {number}")
            assert claim.outcome is ClaimOutcome.ACQUIRED
            if number % 2:
                return answered(lambda: subject.release(claim, error=f"boom {number}"))
            return answered(lambda: subject.complete(claim, retain=KEEP))

        settled = at_once(subject, 32, settle)
        # Told again, where the acknowledgement was lost, it is "already".
        assert {outcome.value for outcome in settled[::2]} <= {"done", "already"}
        assert {outcome.value for outcome in settled[1::2]} <= {"released", "already"}
        for number in range(32):
            record = subject.find(f"key {number}")
            assert record is not None
            assert record.state is (State.RELEASED if number % 2 else State.DONE)
            assert record.last_error == (f"boom {number}" if number % 2 else "")

    def test_of_many_purges_at_once_none_counts_what_another_forgot(self, subject: Subject) -> None:
        names = [f"key {number}" for number in range(20)]
        for name in names:
            subject.complete(claim_key(subject, name), retain=KEEP)
        subject.advance(KEEP + HOUR)
        claim_key(subject, "pending")
        left = sum(subject.find(name) is not None for name in names)
        purged = at_once(subject, 4, lambda _: answered(lambda: subject.purge(KEEP, limit=7)))
        assert sum(purged) <= left
        for _ in range(3):
            subject.purge(KEEP, limit=7)
        assert [name for name in names if subject.find(name)] == []
        assert subject.find("pending") is not None
