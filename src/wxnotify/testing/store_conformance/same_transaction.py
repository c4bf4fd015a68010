"""
The completion inside the transaction that changes the order: both, or neither.

For a store with ``bind``. Import these beside the others, and give
:class:`~wxnotify.testing.store_conformance.Subject` its *transaction*, *effect* and
*effects*::

    from wxnotify.testing.store_conformance import *
    from wxnotify.testing.store_conformance.same_transaction import *
"""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

from typing import Any

import pytest

from ...errors import ClaimLost, ConfigurationError, NotifyError, StoreError
from ...idempotency import Claim, ClaimOutcome, CompleteOutcome, Record, State
from .deliveries import KEEP, KEY, LEASE, answered, at_once, claim_key, like, new_owner, take_over, told_by
from .subject import Subject

__all__ = ["TestBind", "TestSameTransaction", "TestSameTransactionAtOnce"]


class Mine(Exception):
    """What a handler raises."""


def state(subject: Subject, key: str = KEY) -> State:
    """Tell what everybody else sees, in a thread of its own: a connection may be this thread's."""
    (record,) = at_once(subject, 1, lambda _: subject.find(key))
    assert record is not None, f"{key} is gone"
    return record.state


def found(subject: Subject, key: str = KEY) -> Record | None:
    """Look up as everybody else, likewise."""
    return at_once(subject, 1, lambda _: subject.find(key))[0]


def settle(subject: Subject, claim: Claim) -> CompleteOutcome:
    """Have the effect and complete, in one transaction."""
    with subject.transaction() as connection:
        bound = subject.bind(connection)
        subject.effect(connection, claim.key)
        return bound.complete(claim, retain=KEEP)


def deliver(subject: Subject, claim: Claim | None = None) -> str:
    """Claim, unless *claim* is given, and settle what is acquired; tell what came of it."""
    owner = new_owner()
    claim = claim or answered(lambda: claim_key(subject, owner=owner))
    return str((settle(subject, claim) if claim.outcome is ClaimOutcome.ACQUIRED else claim.outcome).value)


class TestSameTransaction:
    """The effect and the completion stand or fall together."""

    def test_the_completion_commits_with_the_effect(self, subject: Subject) -> None:
        claim = claim_key(subject)
        assert settle(subject, claim) is CompleteOutcome.DONE
        assert state(subject) is State.DONE
        assert subject.effects(KEY) == 1
        assert claim_key(subject).outcome is ClaimOutcome.COMPLETED
        assert subject.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY

    def test_nobody_sees_the_completion_before_the_commit(self, subject: Subject) -> None:
        claim = claim_key(subject)
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            subject.effect(connection, KEY)
            assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
            assert state(subject) is State.PENDING
            assert at_once(subject, 1, lambda _: subject.effects(KEY)) == [0]
        assert state(subject) is State.DONE
        assert subject.effects(KEY) == 1

    def test_the_completion_rolls_back_with_the_effect(self, subject: Subject) -> None:
        claim = claim_key(subject)
        before = found(subject)

        def fail_after_all() -> None:
            with subject.transaction() as connection:
                bound = subject.bind(connection)
                subject.effect(connection, KEY)
                assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
                raise Mine

        with pytest.raises(Mine):
            fail_after_all()
        assert like(found(subject), before) == before
        assert subject.effects(KEY) == 0

    def test_a_completion_that_was_rolled_back_can_be_made_again(self, subject: Subject) -> None:
        self.test_the_completion_rolls_back_with_the_effect(subject)
        subject.advance(LEASE)
        assert settle(subject, claim_key(subject)) is CompleteOutcome.DONE
        assert state(subject) is State.DONE
        assert subject.effects(KEY) == 1

    def test_a_transaction_without_a_completion_leaves_the_claim_open(self, subject: Subject) -> None:
        claim_key(subject)
        with subject.transaction() as connection:
            subject.bind(connection)
            subject.effect(connection, "other")
        assert state(subject) is State.PENDING
        assert subject.effects("other") == 1

    def test_a_bound_completion_can_be_repeated(self, subject: Subject) -> None:
        claim = claim_key(subject)
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
            assert bound.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
        assert state(subject) is State.DONE

    def test_an_overrun_lease_that_nobody_took_can_still_be_completed(self, subject: Subject) -> None:
        claim = claim_key(subject)
        subject.advance(2 * LEASE)
        assert settle(subject, claim) is CompleteOutcome.DONE
        assert subject.effects(KEY) == 1

    def test_what_is_completed_is_kept(self, subject: Subject) -> None:
        settle(subject, claim_key(subject))
        subject.advance(KEEP - LEASE)
        assert subject.purge(KEEP, limit=1) == 0
        assert claim_key(subject).outcome is ClaimOutcome.COMPLETED
        subject.advance(2 * LEASE)
        subject.purge(KEEP, limit=1)
        assert subject.find(KEY) is None

    def test_two_claims_can_be_completed_in_one_transaction(self, subject: Subject) -> None:
        one, other = claim_key(subject, "one"), claim_key(subject, "other")
        with subject.transaction() as connection:
            assert subject.bind(connection).complete(one, retain=KEEP) is CompleteOutcome.DONE
            assert subject.bind(connection).complete(other, retain=KEEP) is CompleteOutcome.DONE
        assert state(subject, "one") is state(subject, "other") is State.DONE

    @pytest.mark.parametrize("situation", ["pending", "released", "done"])
    def test_a_holder_that_was_taken_over_rolls_back(self, subject: Subject, situation: str) -> None:
        stale, successor = take_over(subject)
        if situation == "released":
            subject.release(successor, error="the successor's")
        elif situation == "done":
            settle(subject, successor)
        before, effects = found(subject), subject.effects(KEY)
        with pytest.raises(ClaimLost):
            settle(subject, stale)
        assert like(found(subject), before) == before
        assert subject.effects(KEY) == effects

    def test_the_successor_of_a_stale_holder_settles(self, subject: Subject) -> None:
        stale, successor = take_over(subject)
        with pytest.raises(ClaimLost):
            settle(subject, stale)
        assert settle(subject, successor) is CompleteOutcome.DONE
        with pytest.raises(ClaimLost):
            settle(subject, stale)
        assert subject.effects(KEY) == 1

    @pytest.mark.parametrize("situation", ["released", "done", "done in a transaction"])
    def test_a_claim_that_was_given_up_rolls_back(self, subject: Subject, situation: str) -> None:
        claim = claim_key(subject)
        if situation == "released":
            subject.release(claim, error="boom")
        elif situation == "done":
            subject.complete(claim, retain=KEEP)
        else:
            settle(subject, claim)
        before, effects = found(subject), subject.effects(KEY)
        with pytest.raises(ClaimLost):
            settle(subject, claim)
        assert like(found(subject), before) == before
        assert subject.effects(KEY) == effects

    @pytest.mark.parametrize("forged", [{"owner": b"x" * 16}, {"generation": 2}, {"generation": 0}])
    def test_owner_and_generation_must_both_agree(self, subject: Subject, forged: dict[str, Any]) -> None:
        claim = claim_key(subject)
        before = found(subject)
        with pytest.raises(ClaimLost):
            settle(subject, claim._replace(**forged))
        assert like(found(subject), before) == before
        assert subject.effects(KEY) == 0
        assert settle(subject, claim) is CompleteOutcome.DONE

    def test_a_claim_of_another_key_rolls_back(self, subject: Subject) -> None:
        claim = claim_key(subject)
        before = found(subject)
        # A key that is not there may also be told as what it is in production: another database.
        with pytest.raises((ClaimLost, ConfigurationError)):
            settle(subject, claim._replace(key="other"))
        assert like(found(subject), before) == before
        assert found(subject, "other") is None
        assert subject.effects("other") == 0

    def test_a_claim_that_was_not_acquired_rolls_back(self, subject: Subject) -> None:
        claim_key(subject)
        with pytest.raises(ClaimLost):
            settle(subject, claim_key(subject))
        assert state(subject) is State.PENDING
        assert subject.effects(KEY) == 0

    def test_the_result_stands_or_falls_with_the_effect(self, subject: Subject) -> None:
        claim = claim_key(subject)

        def complete_and_fail(said: str) -> None:
            with subject.transaction() as connection:
                bound = subject.bind(connection)
                bound.complete(claim, retain=KEEP, result=said)
                raise Mine

        with pytest.raises(Mine):
            complete_and_fail("rolled back")
        record = found(subject)
        assert record is not None
        assert record.result == ""
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            bound.complete(claim, retain=KEEP, result="committed")
            assert bound.complete(claim, retain=KEEP, result="another") is CompleteOutcome.ALREADY
        assert at_once(subject, 1, lambda _: claim_key(subject))[0].result == "committed"

    def test_a_result_that_cannot_be_kept_rolls_back(self, subject: Subject) -> None:
        claim = claim_key(subject)

        def say_too_much() -> None:
            with subject.transaction() as connection:
                bound = subject.bind(connection)
                subject.effect(connection, KEY)
                bound.complete(claim, retain=KEEP, result="x" * 257)

        with pytest.raises(StoreError, match="result"):
            say_too_much()
        assert state(subject) is State.PENDING
        assert subject.effects(KEY) == 0

    def test_a_bad_retention_is_refused_and_the_claim_stays_open(self, subject: Subject) -> None:
        claim = claim_key(subject)

        def complete_too_briefly() -> None:
            with subject.transaction() as connection:
                bound = subject.bind(connection)
                subject.effect(connection, KEY)
                bound.complete(claim, retain=KEEP - 1)

        with pytest.raises(ConfigurationError, match="48 h"):
            complete_too_briefly()
        assert state(subject) is State.PENDING
        assert subject.effects(KEY) == 0


class TestBind:
    """What cannot keep the promise is refused."""

    @pytest.mark.parametrize("connection", [object(), 1, "connection"])
    def test_what_is_no_connection_is_refused(self, subject: Subject, connection: Any) -> None:
        with pytest.raises(ConfigurationError):
            subject.bind(connection)

    def test_a_connection_is_refused_when_its_transaction_is_over(self, subject: Subject) -> None:
        with subject.transaction() as connection:
            pass
        # It may be closed by now, which is no better.
        with pytest.raises(NotifyError):
            subject.bind(connection)

    def test_nothing_can_be_completed_when_the_transaction_is_over(self, subject: Subject) -> None:
        claim = claim_key(subject)
        with subject.transaction() as connection:
            bound = subject.bind(connection)
        with pytest.raises(NotifyError):
            bound.complete(claim, retain=KEEP)
        assert state(subject) is State.PENDING
        assert settle(subject, claim) is CompleteOutcome.DONE


class TestSameTransactionAtOnce:
    """The effect is had exactly once, however many have the notification."""

    @pytest.mark.parametrize("count", [2, 16])
    def test_many_deliveries_have_the_effect_once(self, subject: Subject, count: int) -> None:
        told = at_once(subject, count, lambda _: deliver(subject))
        assert told.count("done") == 1, told
        assert set(told) <= {"done", "in_progress", "completed"}
        assert subject.effects(KEY) == 1
        assert state(subject) is State.DONE

    def test_many_keys_lose_nothing(self, subject: Subject) -> None:
        def settle_key(number: int) -> CompleteOutcome:
            key = f"key {number}"
            owner = new_owner()
            claim = answered(lambda: claim_key(subject, key, owner=owner))
            return answered(lambda: settle(subject, claim))

        assert at_once(subject, 16, settle_key) == [CompleteOutcome.DONE] * 16
        assert [subject.effects(f"key {number}") for number in range(16)] == [1] * 16

    def test_who_comes_while_a_late_holder_commits_finds_it_completed(self, subject: Subject) -> None:
        stale = claim_key(subject)
        subject.advance(LEASE)
        told = at_once(
            subject, 4, lambda number: told_by(lambda: deliver(subject, None if number else stale))
        )
        assert told.count("done") <= 1, told
        subject.advance(LEASE)
        deliver(subject)
        assert subject.effects(KEY) == 1, told
        assert state(subject) is State.DONE
