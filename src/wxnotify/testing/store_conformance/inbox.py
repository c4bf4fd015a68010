"""
An inbox: notifications kept until an engine has worked them.

For a store with the verbs of :class:`wxnotify.inbox.InboxStore`. Import these
beside the others, and give :class:`~wxnotify.testing.store_conformance.Subject` its
*transaction*, *effect* and *effects*; ``advance`` moves the inbox's times too::

    from wxnotify.testing.store_conformance import *
    from wxnotify.testing.store_conformance.same_transaction import *
    from wxnotify.testing.store_conformance.inbox import *
"""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

import pytest

from ...errors import NotifyError, StoreError
from ...idempotency import CompleteOutcome, State
from .arguments import HOSTILE_KEYS
from .deliveries import HOUR, KEEP, KEY, at_once, claim_key
from .subject import Subject

__all__ = ["TestInbox"]

NOTIFICATION = b'{"fields": {"out_trade_no": "A-1001"}}'


class Mine(Exception):
    """What a handler raises."""


def put(
    subject: Subject, key: str = KEY, notification: bytes = NOTIFICATION, *, again_in: float = HOUR
) -> None:
    """Insert, in a transaction of its own."""
    with subject.transaction() as connection:
        subject.bind(connection).put(key, notification, again_in=again_in)


class TestInbox:
    """What is in the inbox stays there until it is removed, and becomes due again and again."""

    def test_an_empty_inbox_has_nothing(self, subject: Subject) -> None:
        assert subject.fetch(KEY) is None
        assert subject.due(10) == []

    def test_a_notification_is_put_with_the_completion(self, subject: Subject) -> None:
        claim = claim_key(subject)
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            bound.put(KEY, NOTIFICATION, again_in=HOUR)
            assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
            assert at_once(subject, 1, lambda _: subject.fetch(KEY)) == [None]
        assert subject.fetch(KEY) == NOTIFICATION
        record = subject.find(KEY)
        assert record is not None
        assert record.state is State.DONE

    def test_a_notification_that_was_rolled_back_is_not_there(self, subject: Subject) -> None:
        def fail_after_all() -> None:
            with subject.transaction() as connection:
                subject.bind(connection).put(KEY, NOTIFICATION, again_in=0)
                raise Mine

        with pytest.raises(Mine):
            fail_after_all()
        assert subject.fetch(KEY) is None
        assert subject.due(10) == []

    @pytest.mark.parametrize("notification", [b"", bytes(range(256)), b"x" * 65_536, "支付💰".encode()])
    def test_a_notification_is_kept_byte_for_byte(self, subject: Subject, notification: bytes) -> None:
        put(subject, notification=notification)
        fetched = subject.fetch(KEY)
        assert fetched == notification
        assert type(fetched) is bytes

    def test_a_notification_that_is_there_stays_as_it_is(self, subject: Subject) -> None:
        put(subject, again_in=10 * HOUR)
        put(subject, notification=b"another", again_in=0)
        assert subject.fetch(KEY) == NOTIFICATION
        assert subject.due(10) == []

    def test_hostile_keys_are_all_different_keys(self, subject: Subject) -> None:
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            for key in HOSTILE_KEYS:
                bound.put(key, key.encode(), again_in=0)
        for key in HOSTILE_KEYS:
            assert subject.fetch(key) == key.encode()
        assert sorted(subject.due(1_000)) == sorted((key, 0) for key in HOSTILE_KEYS)
        for key in HOSTILE_KEYS:
            subject.remove(key)
            assert subject.fetch(key) is None, key
        assert subject.due(1_000) == []

    @pytest.mark.parametrize("key", ["", "x" * 1025, "a\0b", "a\ud800"])
    def test_a_key_that_cannot_be_kept_whole_is_refused(self, subject: Subject, key: str) -> None:
        with pytest.raises(StoreError, match="1 to 1024 bytes"):
            put(subject, key)
        with pytest.raises(StoreError, match="1 to 1024 bytes"):
            subject.fetch(key)
        assert subject.due(10) == []

    def test_a_notification_is_due_when_its_time_has_come(self, subject: Subject) -> None:
        put(subject, again_in=2 * HOUR)
        subject.advance(HOUR)
        assert subject.due(10) == []
        subject.advance(HOUR)
        assert subject.due(10) == [(KEY, 0)]
        subject.advance(100 * KEEP)
        assert subject.due(10) == [(KEY, 0)]
        assert subject.fetch(KEY) == NOTIFICATION

    def test_a_hand_over_is_counted_and_puts_off_the_next(self, subject: Subject) -> None:
        put(subject, again_in=0)
        subject.advance(5 * HOUR)
        subject.handed(KEY, again_in=2 * HOUR)
        assert subject.due(10) == []
        subject.advance(HOUR)
        assert subject.due(10) == []
        subject.advance(HOUR)
        assert subject.due(10) == [(KEY, 1)]
        subject.handed(KEY, again_in=0)
        assert subject.due(10) == [(KEY, 2)]

    def test_what_is_longest_due_comes_first_and_no_more_than_asked_for(self, subject: Subject) -> None:
        for number in (3, 1, 2):
            put(subject, f"key {number}", again_in=number * HOUR)
        subject.advance(10 * HOUR)
        assert subject.due(2) == [("key 1", 0), ("key 2", 0)]
        assert subject.due(3) == [("key 1", 0), ("key 2", 0), ("key 3", 0)]

    def test_a_notification_that_was_worked_is_forgotten(self, subject: Subject) -> None:
        put(subject, again_in=0)
        put(subject, "other", again_in=0)
        subject.remove(KEY)
        assert subject.fetch(KEY) is None
        assert subject.due(10) == [("other", 0)]

    def test_what_is_not_there_is_neither_handed_over_nor_removed(self, subject: Subject) -> None:
        subject.handed(KEY, again_in=0)
        subject.remove(KEY)
        assert subject.fetch(KEY) is None
        assert subject.due(10) == []

    def test_purge_leaves_the_inbox_alone(self, subject: Subject) -> None:
        claim = claim_key(subject)
        with subject.transaction() as connection:
            bound = subject.bind(connection)
            bound.put(KEY, NOTIFICATION, again_in=0)
            bound.complete(claim, retain=KEEP)
        subject.advance(KEEP + HOUR)
        subject.purge(KEEP, limit=10)
        assert subject.find(KEY) is None
        assert subject.fetch(KEY) == NOTIFICATION

    def test_nothing_can_be_put_when_the_transaction_is_over(self, subject: Subject) -> None:
        with subject.transaction() as connection:
            bound = subject.bind(connection)
        with pytest.raises(NotifyError):
            bound.put(KEY, NOTIFICATION, again_in=0)
        assert subject.fetch(KEY) is None
