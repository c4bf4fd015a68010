from __future__ import annotations

import math

import pytest

from wxnotify.errors import ConfigurationError
from wxnotify.idempotency import (
    LEASE_SECONDS,
    MIN_RETAIN_SECONDS,
    RETAIN_SECONDS,
    Claim,
    ClaimOutcome,
    Row,
    State,
    check_lease,
    check_retain,
    judge,
)

KEY = "payment:1900000109:4200000001"
OWNER, OTHER = b"a" * 16, b"b" * 16
CONTENT, OTHER_CONTENT = b"c" * 32, b"d" * 32
NOW = 1_000.0

#: The whole of judge(), but for the fingerprint: state, whose claim it is, whether its
#: lease has run out; then the outcome and the generation and attempts that come with it.
SITUATIONS = [
    (State.PENDING, OTHER, False, ClaimOutcome.IN_PROGRESS, 3, 5),
    (State.PENDING, OTHER, True, ClaimOutcome.ACQUIRED, 4, 6),
    (State.PENDING, OWNER, False, ClaimOutcome.ACQUIRED, 3, 5),
    (State.PENDING, OWNER, True, ClaimOutcome.ACQUIRED, 3, 5),
    (State.RELEASED, OTHER, False, ClaimOutcome.ACQUIRED, 4, 6),
    (State.RELEASED, OTHER, True, ClaimOutcome.ACQUIRED, 4, 6),
    (State.RELEASED, OWNER, False, ClaimOutcome.ACQUIRED, 4, 6),
    (State.RELEASED, OWNER, True, ClaimOutcome.ACQUIRED, 4, 6),
    (State.DONE, OTHER, False, ClaimOutcome.COMPLETED, 3, 5),
    (State.DONE, OTHER, True, ClaimOutcome.COMPLETED, 3, 5),
    (State.DONE, OWNER, False, ClaimOutcome.COMPLETED, 3, 5),
    (State.DONE, OWNER, True, ClaimOutcome.COMPLETED, 3, 5),
]


def row(state: State, owner: bytes, expired: bool) -> Row:
    return Row(state, CONTENT, owner, generation=3, attempts=5, lease_until=NOW if expired else NOW + 1)


def test_an_unknown_key_is_acquired_for_the_first_time():
    claim = judge(None, key=KEY, fingerprint=CONTENT, owner=OWNER, now=NOW)
    assert claim == Claim(KEY, OWNER, ClaimOutcome.ACQUIRED, generation=1, attempts=1)


@pytest.mark.parametrize(("state", "holder", "expired", "outcome", "generation", "attempts"), SITUATIONS)
def test_each_situation_has_its_outcome(state, holder, expired, outcome, generation, attempts):
    claim = judge(row(state, holder, expired), key=KEY, fingerprint=CONTENT, owner=OWNER, now=NOW)
    assert claim == Claim(KEY, OWNER, outcome, generation, attempts)


@pytest.mark.parametrize(("state", "holder", "expired"), [situation[:3] for situation in SITUATIONS])
def test_other_content_is_a_mismatch_in_each_situation(state, holder, expired):
    claim = judge(row(state, holder, expired), key=KEY, fingerprint=OTHER_CONTENT, owner=OWNER, now=NOW)
    assert claim == Claim(KEY, OWNER, ClaimOutcome.MISMATCH, 3, 5)


def test_the_defaults_fit_the_times_at_which_wechat_pay_resends():
    assert LEASE_SECONDS < 15 + 30 + 60
    assert 24 * 3_600 + 4 * 60 < MIN_RETAIN_SECONDS < RETAIN_SECONDS
    assert check_lease(LEASE_SECONDS) == LEASE_SECONDS
    assert check_retain(MIN_RETAIN_SECONDS) == MIN_RETAIN_SECONDS


@pytest.mark.parametrize("lease", [0, -1, 86_400, math.inf, math.nan, True, "30", None])
def test_a_lease_that_is_not_a_number_of_seconds_below_a_day_is_refused(lease):
    with pytest.raises(ConfigurationError, match="a lease is a number of seconds") as refusal:
        check_lease(lease)
    assert refusal.value.code == "configuration"


@pytest.mark.parametrize(
    "retain", [0, -1, MIN_RETAIN_SECONDS - 1, -math.inf, 10**400, math.nan, True, "172800", None]
)
def test_a_retention_below_48_hours_is_refused(retain):
    with pytest.raises(ConfigurationError, match="at least 48 h") as refusal:
        check_retain(retain)
    assert refusal.value.code == "configuration"
