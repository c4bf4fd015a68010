"""Which keys and numbers a store takes, and which it must refuse."""

# ruff: noqa: S101, D102 - asserts are what tests are made of, and their names say what each is about

from __future__ import annotations

import math
from typing import Any

import pytest

from ...errors import ConfigurationError, StoreError
from ...idempotency import ClaimOutcome, State
from .deliveries import KEEP, KEY, LEASE, claim_key, like
from .subject import Subject

__all__ = ["HOSTILE_KEYS", "TestArguments", "TestKeys"]

#: Each is a key of its own, whatever a database makes of case, blanks, accents and wild cards.
HOSTILE_KEYS = [
    "a", "A", "a ", "a  ", " a", "a\t", "a\n", "a\r\n", "á", "ａ",
    "é", "e\u0301", "ß", "ss", "ı", "i", "I", "İ",
    "支付", "💰", "💰💰", "\u200b", "\ufeff", "\x7f", "\x01",
    "'", "''", '"', "`", "\\", "\\\\", "\\n", "%", "%s", "%(key)s", "_", "?", ":key", "$1", "{key}",
    "{0}", "*",
    "'; DROP TABLE wxnotify_claims; --",
    "0", "00", "0.0", "1e1", "10", "null", "NULL", "None", "true",
    "a:b", "a/b", "a/b/", "{a}b", "work/a",
    "x" * 1023, "x" * 1024, "x" * 1023 + "X", "💰" * 256,
]  # fmt: skip

_NOT_WHOLE = ["", "x" * 1025, "💰" * 257, "x" * 10_240, "a\ud800", "\udc80", "\0", "a\0", "a\0b"]
_NO_LEASE: list[Any] = [0, -1, 86_400, math.inf, math.nan, True, "30"]
_NO_RETENTION: list[Any] = [0, KEEP - 1, -math.inf, math.nan, True, "172800"]


class TestKeys:
    """A key is kept whole and compared byte for byte, or refused."""

    def test_hostile_keys_are_all_different_keys(self, subject: Subject) -> None:
        for key in HOSTILE_KEYS:
            assert claim_key(subject, key)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1), key
        for key in HOSTILE_KEYS:
            assert claim_key(subject, key).outcome is ClaimOutcome.IN_PROGRESS, key
            record = subject.find(key)
            assert record is not None, key
            assert record.key == key
        assert sorted(record.key for record in subject.records()) == sorted(HOSTILE_KEYS)

    def test_a_hostile_key_goes_through_its_whole_life(self, subject: Subject) -> None:
        for key in HOSTILE_KEYS:
            subject.release(claim_key(subject, key), error="boom")
            claim = claim_key(subject, key)
            assert subject.extend(claim, LEASE) is True, key
            subject.complete(claim, retain=KEEP)
            assert claim_key(subject, key)[2:5] == (ClaimOutcome.COMPLETED, 2, 2), key

    @pytest.mark.parametrize("key", _NOT_WHOLE)
    def test_a_key_that_cannot_be_kept_whole_is_refused(self, subject: Subject, key: str) -> None:
        with pytest.raises(StoreError, match="1 to 1024 bytes"):
            claim_key(subject, key)
        with pytest.raises(StoreError, match="1 to 1024 bytes"):
            subject.find(key)
        assert list(subject.records()) == []


class TestArguments:
    """What would make the promise hollow is refused, and changes nothing."""

    @pytest.mark.parametrize("lease", _NO_LEASE)
    def test_a_bad_lease_is_refused_by_claim_and_extend(self, subject: Subject, lease: Any) -> None:
        with pytest.raises(ConfigurationError, match="lease"):
            claim_key(subject, lease=lease)
        assert subject.find(KEY) is None
        claim = claim_key(subject)
        before = subject.find(KEY)
        with pytest.raises(ConfigurationError, match="lease"):
            subject.extend(claim, lease)
        assert like(subject.find(KEY), before) == before

    @pytest.mark.parametrize("retain", _NO_RETENTION)
    def test_a_bad_retention_is_refused_and_the_claim_stays_open(self, subject: Subject, retain: Any) -> None:
        claim = claim_key(subject)
        with pytest.raises(ConfigurationError, match="48 h"):
            subject.complete(claim, retain=retain)
        record = subject.find(KEY)
        assert record is not None
        assert record.state is State.PENDING

    @pytest.mark.parametrize("older_than", _NO_RETENTION)
    def test_purge_refuses_to_forget_what_may_still_be_sent(self, subject: Subject, older_than: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"older_than .* 48 h"):
            subject.purge(older_than, limit=1)

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, None])
    def test_purge_refuses_a_limit_that_is_none(self, subject: Subject, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match="limit"):
            subject.purge(KEEP, limit=limit)
