"""One field, read strictly: what decides is refused when it is odd, what informs is None."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wxnotify._fields import (
    amount,
    amount_text,
    beijing,
    index,
    informative,
    inside,
    moment,
    number,
    require,
    shaped,
    text,
)

from .support import code_of, either

CHINA = timezone(timedelta(hours=8))
NOT_DIGITS = (
    "", "+1", "-1", " 1", "1 ", "1\n", "1_0", "１", "٣", "²", "1.0", "1e3", "0x1", "nan", "1\xa0", "1\0",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# --- what must be there ---------------------------------------------------------------


@pytest.mark.parametrize("value", ["", None])
def test_a_field_that_is_empty_is_as_one_that_is_absent(value):
    assert code_of(require, {"a": "1", "b": value}, ("a", "b"), "a thing") == "missing_field"
    assert code_of(require, {"a": "1"}, ("a", "b"), "a thing") == "missing_field"


@pytest.mark.parametrize("value", ["0", " ", 0, False, [], {}, 0.0])
def test_a_value_that_python_takes_for_false_is_there(value):
    assert require({"a": value}, ("a",), "a thing") is None


def test_the_refusal_names_what_is_missing_and_what_it_is_not():
    refused = either(require, {"b": "1"}, ("a", "b", "c"), "a payment result")
    assert str(refused) == "a, c absent or empty: this is not a payment result"


# --- ids ------------------------------------------------------------------------------

IDS = {
    "mch_id": ("1900000109", "aZ09"),
    "out_trade_no": ("A-1001", "aZ09_-|*@"),
    "transaction_id": ("42", "aZ09"),
    "trade_state": ("SUCCESS", "PAY_FAIL"),
    "refund_id": ("50300000002026112300000000001", "aZ09"),
    "out_refund_no": ("R-1", "aZ09_-|*@"),
    "contract_id": ("Wx15463511252015071056489715", "01_91A63EAA189DDE32_1_636c-1"),
    "event_id": ("EV-2018022511223320873", "aZ09-_"),
    "order_id": ("15646546545165651651", "aZ09_-"),
    "out_order_no": ("S-1", "aZ09_-|*@"),
    "event_type": ("TRANSACTION.SUCCESS", "PROFITSHARING_RETURN"),
}


@pytest.mark.parametrize(("name", "genuine"), [(name, one) for name, both in IDS.items() for one in both])
def test_an_id_as_wechat_pay_makes_it_passes(name, genuine):
    assert shaped(name, genuine) == genuine


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    "odd", ["a/b", "a:b", "a b", "a\n", "a&b", "a\0", "a'", "订单", "Ａ", "a=b", "a\u2028"]
)
def test_no_id_holds_what_would_end_a_part_of_a_key_or_a_line(name, odd):
    assert code_of(shaped, name, odd) == "bad_field"


@pytest.mark.parametrize("name", IDS)
def test_no_id_is_longer_than_its_field(name):
    longest = 32 if name in ("mch_id", "out_trade_no", "trade_state") else 64
    assert shaped(name, "A" * longest) == "A" * longest
    assert code_of(shaped, name, "A" * (longest + 1)) == "bad_field"


def test_the_refusal_says_what_the_wire_calls_it_and_shows_it_quoted():
    assert str(either(shaped, "mch_id", "a\nb", "sp_mchid")).startswith(r"sp_mchid is 'a\nb',")


# --- amounts --------------------------------------------------------------------------


@pytest.mark.parametrize("digits", ["1", "10", "9" * 16])
def test_an_amount_of_apiv2_is_plain_digits(digits):
    assert amount_text("total_fee", digits) == int(digits)


@pytest.mark.parametrize("odd", [*NOT_DIGITS, "0", "00", "01", "1" + "0" * 16, "9" * 5_000])
def test_an_amount_of_apiv2_is_nothing_else(odd):
    assert code_of(amount_text, "total_fee", odd) == "bad_field"


@pytest.mark.parametrize("fen", [1, 10, 10**16 - 1])
def test_an_amount_in_json_is_an_integer(fen):
    assert amount("amount.total", fen) == fen


ODD = [True, False, 1.0, 100.0, "1", "100", "", 0, -1, 10**16, 10**5_000, [1], {"total": 1}, float("inf")]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_amount_in_json_is_nothing_else(odd):
    assert code_of(amount, "amount.total", odd) == "bad_field"


def test_an_amount_that_is_absent_is_none():
    assert amount_text("total_fee", None) is None
    assert amount("amount.total", None) is None


SAID = [
    (0, "0"), (-5, "-5"), (10**5_000, "a huge number"), (-(10**16), "a huge number"), (True, "a bool"),
    (1.0, "a float"), ("1_0", "'1_0'"), ([1], "a list"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "said"), SAID, ids=range(len(SAID)))
def test_the_refusal_of_an_amount_says_what_it_is_and_stays_short(odd, said):
    assert str(either(amount, "amount.total", odd)) == (
        f"amount.total is {said}, expected an amount in the currency's smallest unit"
    )


@pytest.mark.parametrize(
    ("value", "read"), [("0", 0), (0, 0), ("100", 100), (100, 100), (10**16 - 1, 10**16 - 1)]
)
def test_an_amount_that_only_informs_is_read_from_text_or_number(value, read):
    assert informative(value) == read


ALL_ODD = [None, True, 1.0, -1, 10**16, [], {}, *NOT_DIGITS]


@pytest.mark.parametrize("odd", ALL_ODD, ids=range(len(ALL_ODD)))
def test_an_amount_that_only_informs_is_none_when_it_is_odd(odd):
    assert informative(odd) is None


@given(st.text(max_size=20))
@example("１")
@example("0")
def test_a_number_is_what_it_would_be_written_as_again(digits):
    assert number(digits) in (None, int(digits) if digits.isascii() and digits.isdigit() else None)
    assert number(digits) is None or str(number(digits)) == digits


def test_the_number_at_the_end_of_a_name_is_short():
    assert (index("0"), index("10"), index("9999"), index("10000"), index("01")) == (0, 10, 9999, None, None)


# --- text and objects -----------------------------------------------------------------

CONTENT = {"payer": {"openid": "o", "empty": None}, "mchid": "1", "number": 1, "nothing": None, "list": ["o"]}


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (("mchid",), "1"), (("payer", "openid"), "o"), (("absent",), ""), (("nothing",), ""),
        (("payer", "absent"), ""), (("payer", "empty"), ""), (("nothing", "inside"), ""),
        (("absent", "inside", "deeper"), ""),
    ],
)  # fmt: skip
def test_a_text_that_is_absent_or_null_or_inside_of_what_is_is_empty(path, read):
    assert text(CONTENT, *path) == read


@pytest.mark.parametrize("path", [("number",), ("list",), ("payer",)])
def test_a_value_of_another_type_is_no_text(path):
    assert code_of(text, CONTENT, *path) == "bad_field"


@pytest.mark.parametrize("path", [("mchid", "a"), ("number", "a"), ("list", "0"), ("payer", "openid", "a")])
def test_nothing_stands_inside_of_what_is_no_object(path):
    refused = either(inside, CONTENT, *path)
    assert refused.code == "bad_field"
    assert str(refused).startswith(".".join(path[:-1]) + " is ")


@given(JSON, st.lists(st.text(), min_size=1, max_size=3))
def test_whatever_stands_in_json_is_given_or_refused(value, path):
    for reader in (text, inside):
        either(reader, {path[0]: value}, *path)
    either(amount, "a", value)
    informative(value)
    either(require, {"a": value}, ("a",), "a thing")


# --- times ----------------------------------------------------------------------------


def test_a_time_of_apiv2_is_at_utc_8_in_either_spelling():
    expected = datetime(2017, 12, 15, 9, 46, 1, tzinfo=CHINA)
    assert beijing("20171215094601") == beijing("2017-12-15 09:46:01") == expected


@pytest.mark.parametrize(
    "odd",
    [
        "", "20171215", "2017-12-15T09:46:01", "2017/12/15 09:46:01", "2017-12-15 09-46-01",
        "2017-13-15 09:46:01", "2017-12-15 09:46:01 ", "２017-12-15 09:46:01", "20171315094601",
        "2017-12-15 09:46:0x", "9" * 19, "x" * 19, "-- ::" * 4,
    ],
)  # fmt: skip
def test_a_time_of_apiv2_that_is_odd_is_none(odd):
    assert beijing(odd) is None


@pytest.mark.parametrize(
    ("told", "microseconds"),
    [
        ("2018-06-08T10:34:56+08:00", 0), ("2018-06-08T02:34:56Z", 0),
        ("2018-06-08T10:34:56.1+08:00", 100_000),
        ("2018-06-08T10:34:56.120+08:00", 120_000), ("2018-06-08T10:34:56.123456+08:00", 123_456),
        ("2018-06-08T02:34:56.123456789Z", 123_456), ("2018-06-07T22:34:56.5-04:00", 500_000),
        ("20180608103456", 0), ("2018-06-08 10:34:56", 0),
    ],
)  # fmt: skip
def test_a_time_of_apiv3_is_aware_whatever_its_fraction_and_offset(told, microseconds):
    expected = datetime(2018, 6, 8, 10, 34, 56, microseconds, tzinfo=CHINA)
    assert moment(told) == expected
    assert moment(told).tzinfo is not None


@pytest.mark.parametrize(
    "odd",
    [
        "", "example_update_time", "2018-06-08", "2018-06-08T10:34:56", "2018-06-08T10:34:56.1",
        "2018-06-08T25:34:56Z", "2018-13-08T10:34:56Z", "２018-06-08T10:34:56Z",
        "2018-06-08T10:34:56.x+08:00", "2018-06-08T10:34:56+99:00", "2018-06-08T10:34:56.123456+08:00 ",
        "x" * 5_000,
    ],
)  # fmt: skip
def test_a_time_of_apiv3_that_is_odd_or_has_no_offset_is_none(odd):
    assert moment(odd) is None


@given(st.text(max_size=40))
@example("\ud800" * 14)
def test_no_time_however_odd_raises(odd):
    for reader in (beijing, moment):
        read = reader(odd)
        assert read is None or read.tzinfo is not None
