"""Rent and hotel events: what is read of them, before and after the cipher, which has its own tests."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify import PayAfter
from wxnotify.inbox import pack, unpack
from wxnotify.testing import APPID, KEY, MCH_ID, notification

from .kinds import PAY_AFTER, PAY_AFTER_CONTENT, TRANSACTION_ID, changed, pay_after, verified
from .support import code_of
from .test_crypto_extra import without_cryptography as without_cryptography  # a fixture
from .test_fields import NOT_DIGITS


def outside(**changes: str | None) -> PayAfter:
    """Read one whose outer fields are changed; they are looked at before anything is decrypted."""
    return PayAfter.from_verified(verified(notification(changed(PAY_AFTER, changes))), ())


def test_an_event_is_read():
    one = pay_after()
    assert (one.mch_id, one.appid) == (MCH_ID, APPID)
    assert (one.event_type, one.result, one.event_id) == (
        "TRANSACTION.SUCCESS",
        "TRANSACTION.SUCCESS",
        "EV-2026112312000000001",
    )
    assert one.event_create_time == datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=8)))
    assert (one.out_order_no, one.out_trade_no, one.order_id) == ("A-1001", "A-1001", "15646546545165651651")
    assert (one.state, one.deposit_amount, one.total_amount) == ("USER_PAID", 10000, 200)
    assert one.transaction_id == TRANSACTION_ID
    assert one.key == f"pay_after/{MCH_ID}/EV-2026112312000000001/TRANSACTION.SUCCESS"


def test_everything_that_was_encrypted_is_there_and_cannot_be_changed():
    one = pay_after(room="豪华双人房")
    assert one.content["room"] == "豪华双人房"
    with pytest.raises(TypeError):
        one.content["total_amount"] = "1"


@pytest.mark.parametrize(
    "name", [name for name in PAY_AFTER if name not in ("nonce_str", "event_create_time")]
)
def test_an_event_without_a_field_every_one_has_is_refused_before_it_is_decrypted(name):
    assert code_of(outside, **{name: None}) == "missing_field"


@pytest.mark.parametrize("algorithm", ["AEAD_SM4_GCM", "AES-256-ECB", "none", "aead_aes_256_gcm"])
def test_another_algorithm_is_refused(algorithm):
    assert code_of(outside, event_algorithm=algorithm) == "bad_field"


@pytest.mark.usefixtures("without_cryptography")
def test_without_the_extra_it_says_which_is_missing():
    assert code_of(outside) == "extra_missing"


@pytest.mark.parametrize("name", ["out_order_no", "order_id", "state"])
def test_content_without_a_field_every_one_has_is_refused(name):
    assert code_of(pay_after, **{name: None}) == "missing_field"


@pytest.mark.parametrize("name", ["deposit_amount", "total_amount", "finish_transaction_id", "openid"])
def test_what_an_event_may_leave_out_may_be_absent(name):
    assert pay_after(**{name: None}).state == "USER_PAID"


def test_what_is_absent_is_empty_or_none():
    bare = pay_after(finish_transaction_id=None, deposit_amount=None, total_amount=None)
    assert (bare.transaction_id, bare.deposit_amount, bare.total_amount) == ("", None, None)
    outer = {name: value for name, value in PAY_AFTER.items() if name != "event_create_time"}
    assert PayAfter._of(verified(notification(outer)), PAY_AFTER_CONTENT).event_create_time is None


@pytest.mark.parametrize("name", ["deposit_amount", "total_amount"])
@pytest.mark.parametrize("odd", [*NOT_DIGITS, "00", "-0", "9" * 17])
def test_an_amount_is_plain_digits(name, odd):
    assert code_of(pay_after, **{name: odd}) == "bad_field"


def test_no_deposit_and_nothing_to_pay_are_said_with_a_nought():
    free = pay_after(deposit_amount="0", total_amount="0")
    assert (free.deposit_amount, free.total_amount) == (None, None)
    assert free.content["total_amount"] == "0"


@pytest.mark.parametrize("name", ["out_order_no", "order_id"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\n", "订单", "x" * 65])
def test_an_id_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(pay_after, **{name: odd}) == "bad_field"


@pytest.mark.parametrize(
    ("name", "odd"),
    [("event_type", "TRANSACTION.REFUND"), ("event_type", "check.success"), ("event_id", "EV/1"),
     ("event_id", "EV 1"), ("mch_id", "19/0")],
)  # fmt: skip
def test_an_unknown_type_or_an_odd_id_outside_is_refused(name, odd):
    fields = verified(notification({**PAY_AFTER, name: odd}))
    assert code_of(PayAfter._of, fields, PAY_AFTER_CONTENT) == "bad_field"


@pytest.mark.parametrize("name", ["out_order_no", "order_id", "state", "deposit_amount", "total_amount"])
def test_an_event_that_tells_something_else_is_another(name):
    other = pay_after(**{name: "7"})
    assert (other.key, other == pay_after()) == (pay_after().key, False)


def test_an_odd_time_costs_no_event():
    fields = verified(notification({**PAY_AFTER, "event_create_time": "soon"}))
    assert PayAfter._of(fields, PAY_AFTER_CONTENT).event_create_time is None


def test_which_apiv3_key_opened_it_is_kept_when_it_is_stored_or_pickled():
    one = PayAfter._of(verified(notification(PAY_AFTER)), PAY_AFTER_CONTENT, 1)
    assert one.apiv3_key_index == 1
    assert pickle.loads(pickle.dumps(one)).apiv3_key_index == 1
    assert unpack(one.key, pack(one)).apiv3_key_index == 1


def test_an_event_says_nothing_of_its_keys():
    assert KEY not in repr(pay_after())
