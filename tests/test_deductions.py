"""
Deductions: papay, vehicle, transit. Money that came in is a payment, however it was taken.

What each carries is as essensoft/paylink, SKIT and sigoden/wechatpay have it from
the pages: all have ``openid``, ``bank_type`` and ``trade_state``; papay has
``contract_id`` and no ``trade_type``, a vehicle's ``trade_type`` and no
``contract_id``, a transit's and a motorway's both.
"""

from __future__ import annotations

import pytest

from wxnotify import Payment, parse
from wxnotify.testing import KEY, deduction, notification

from .kinds import OPENID, SUB_MCH_ID, event, told
from .support import code_of, received, signed

CONTRACT_ID = "Wx15463511252015071056489715"
MOTORWAY_CONTRACT_ID = "01_91A63EAA189DDE32_1723617852_01_636c707cabf2de68_1"
SHAPES = {
    "papay": {},
    "papay by a provider": {"sub_mch_id": SUB_MCH_ID, "sub_openid": "o2", "sub_is_subscribe": "N"},
    "vehicle": {"trade_type": "PAP", "contract_id": None},
    "vehicle, an advance": {"trade_type": "PAP", "contract_id": None, "bank_type": "BPA", "user_repaid": "N"},
    "transit": {"trade_type": "PAP"},
    "motorway": {"trade_type": "PAP", "contract_id": MOTORWAY_CONTRACT_ID, "trade_state_desc": "OK"},
    "without what a genuine one leaves out": {"is_subscribe": None, "fee_type": None, "cash_fee": None},
}
each = pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
ALWAYS = ("result_code", "appid", "mch_id", "nonce_str", "out_trade_no")
WHEN_PAID = ("transaction_id", "total_fee", "openid", "bank_type", "time_end")


@each
@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_deduction_is_a_payment(changes, sign_type, declared):
    fields = parse(deduction(**changes))
    if declared:
        fields["sign_type"] = sign_type
    paid = received(signed(fields, KEY, sign_type))
    assert (paid.kind, paid.paid, paid.total_fee, paid.openid) == ("payment", True, 100, OPENID)
    assert paid.trade_state == "SUCCESS"
    assert paid == told(deduction(**changes))


def test_a_deduction_reaches_the_handler_of_payments():
    assert isinstance(told(deduction()), Payment)
    assert told(deduction()).key == told(notification()).key


def test_the_contract_it_was_made_under_is_named():
    assert told(deduction()).contract_id == CONTRACT_ID
    assert told(deduction(contract_id=MOTORWAY_CONTRACT_ID)).contract_id == MOTORWAY_CONTRACT_ID
    assert told(deduction(trade_type="PAP", contract_id=None)).contract_id == ""
    assert told(notification()).contract_id == ""


def test_a_deduction_of_apiv3_is_the_same_payment_and_names_its_contract_too():
    deducted = event("TRANSACTION.SUCCESS", trade_type="PAP", contract_id=CONTRACT_ID)
    assert deducted == told(deduction())
    assert deducted.contract_id == CONTRACT_ID


@pytest.mark.parametrize("name", [*ALWAYS, *WHEN_PAID])
def test_a_deduction_without_a_field_every_one_has_is_refused(name):
    assert code_of(told, deduction(**{name: None})) == "missing_field"


def test_what_has_neither_a_contract_nor_a_trade_type_is_refused():
    assert code_of(told, deduction(contract_id=None)) == "missing_field"


@pytest.mark.parametrize("state", ["PAY_FAIL", "ACCEPT", "NOTPAY", "CLOSED", "REFUND", "success"])
@each
def test_a_deduction_is_not_paid_unless_its_state_says_so(state, changes):
    failed = told(deduction(**changes, trade_state=state))
    assert (failed.paid, failed.result) == (False, state)


def test_a_deduction_that_failed_needs_its_order_alone():
    bare = told(deduction(trade_state="PAY_FAIL", **dict.fromkeys(WHEN_PAID)))
    assert (bare.paid, bare.result, bare.contract_id) == (False, "PAY_FAIL", CONTRACT_ID)


def test_accepted_is_not_paid_yet_and_uses_up_no_key():
    assert told(deduction(trade_state="ACCEPT", transaction_id=None)).key != told(deduction()).key


def test_the_result_code_counts_beside_the_state():
    assert told(deduction(result_code="FAIL")).paid is False


def test_a_deduction_that_failed_without_a_sign_is_nobodys_word():
    body = (
        b"<xml><return_code>SUCCESS</return_code><result_code>FAIL</result_code><err_code>0</err_code></xml>"
    )
    assert code_of(told, body) == "missing_signature"
