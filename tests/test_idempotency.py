from __future__ import annotations

import math

import pytest

from wxnotify.errors import ConfigurationError, StoreError
from wxnotify.idempotency import (
    LEASE_SECONDS,
    MIN_RETAIN_SECONDS,
    RETAIN_SECONDS,
    Claim,
    ClaimOutcome,
    Row,
    State,
    check_key,
    check_lease,
    check_purge,
    check_result,
    check_retain,
    cut_error,
    cut_order_no,
    judge,
)

KEY = "payment:1900000109:4200000001"
OWNER, OTHER = b"a" * 16, b"b" * 16
CONTENT, OTHER_CONTENT = b"c" * 32, b"d" * 32
NOW = 1_000.0
SAID = "wx201410272009395522657a690389285100"

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
    return Row(
        state, CONTENT, owner, generation=3, attempts=5, lease_until=NOW if expired else NOW + 1, result=SAID
    )


def test_an_unknown_key_is_acquired_for_the_first_time():
    claim = judge(None, key=KEY, fingerprint=CONTENT, owner=OWNER, now=NOW)
    assert claim == Claim(KEY, OWNER, ClaimOutcome.ACQUIRED, generation=1, attempts=1)


@pytest.mark.parametrize(("state", "holder", "expired", "outcome", "generation", "attempts"), SITUATIONS)
def test_each_situation_has_its_outcome(state, holder, expired, outcome, generation, attempts):
    claim = judge(row(state, holder, expired), key=KEY, fingerprint=CONTENT, owner=OWNER, now=NOW)
    said = SAID if outcome is ClaimOutcome.COMPLETED else ""
    assert claim == Claim(KEY, OWNER, outcome, generation, attempts, said)


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


@pytest.mark.parametrize("retain", [math.inf, 1e300])
def test_for_ever_is_a_time_that_every_backend_can_add_to_its_clock(retain):
    seconds = check_retain(retain)
    assert 1_000 * 366 * 86_400 < seconds < 2**53
    assert seconds == check_retain(seconds) == check_retain(math.inf)


def test_a_retention_of_any_number_type_is_a_float():
    assert type(check_retain(int(MIN_RETAIN_SECONDS))) is float


@pytest.mark.parametrize("key", [KEY, "a", " ", "x" * 1024, "支付", "\x01", "💰" * 256])
def test_a_key_is_taken_as_it_is(key):
    assert check_key(key) is key


@pytest.mark.parametrize("key", ["", "x" * 1025, "💰" * 257, "a\ud800", "\0", "a\0", "a\0b"])
def test_a_key_that_some_backend_could_not_keep_whole_is_refused(key):
    with pytest.raises(StoreError, match="1 to 1024 bytes of UTF-8, without NUL") as refusal:
        check_key(key)
    assert refusal.value.code == "store_error"


@pytest.mark.parametrize("older_than", [0, MIN_RETAIN_SECONDS - 1, math.nan, True, "172800", None])
def test_a_purge_of_what_may_still_be_sent_is_refused(older_than):
    with pytest.raises(ConfigurationError, match=r"older_than .* at least 48 h") as refusal:
        check_purge(older_than, 1)
    assert refusal.value.code == "configuration"


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "1", None])
def test_a_purge_without_a_limit_is_refused(limit):
    with pytest.raises(ConfigurationError, match="limit is how many") as refusal:
        check_purge(MIN_RETAIN_SECONDS, limit)
    assert refusal.value.code == "configuration"


@pytest.mark.parametrize("result", ["", SAID, " ", "x" * 256, "已售罄", "💥" * 256, 'a"b\\c'])
def test_a_result_is_taken_as_it_is(result):
    assert check_result(result) is result


@pytest.mark.parametrize(
    "result", ["x" * 257, "a\0b", "a\n", "\x7f", "\x85", "\u2028", "\u202e", "a\ud800", b"wx2014", None, 1]
)
def test_a_result_that_some_backend_could_not_keep_whole_is_refused(result):
    with pytest.raises(StoreError, match="at most 256 characters that print") as refusal:
        check_result(result)
    assert refusal.value.code == "store_error"


@pytest.mark.parametrize(("cut", "size"), [(cut_error, 512), (cut_order_no, 64)])
def test_a_text_is_cut_and_made_storable(cut, size):
    assert cut("支付 and 💥") == "支付 and 💥"
    assert cut("x" * (size + 1)) == "x" * size
    assert cut("💥" * (size + 1)) == "💥" * size
    assert cut("a\0b\ud800c") == "a?b?c"
