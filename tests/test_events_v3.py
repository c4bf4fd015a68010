"""APIv3's other events: profit sharing, transfers, payscore, and those that have no class of their own."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify import PayScore, ProfitSharing, Transfer
from wxnotify._events_v3 import Event
from wxnotify._kinds import read_resource
from wxnotify.testing import APPID, MCH_ID

from .kinds import (
    BATCH,
    COMPLAINT,
    OPENID,
    PAYSCORE_ORDER,
    PAYSCORE_SERVICE,
    PROFIT_SHARING,
    SUB_MCH_ID,
    TRANSACTION_ID,
    TRANSFER,
    event,
    resource,
)
from .support import code_of, either

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=8)))
ODD_AMOUNTS = [True, 88.0, "88", 0, -1, 10**16, 10**60, [88], {"fen": 88}]
ODD_IDS = ["a/b", "a:b", "a b", "a\n", "订单", "x" * 65]


# --- profit sharing -------------------------------------------------------------------


def shared(event_type: str = "PROFITSHARING.SUCCESS", **changes: object) -> ProfitSharing:
    one = event(event_type, PROFIT_SHARING, **changes)
    assert isinstance(one, ProfitSharing)
    return one


def receiver(**changes: object) -> dict[str, object]:
    return {**PROFIT_SHARING["receiver"], **changes}


def test_a_profit_sharing_is_read():
    one = shared()
    assert (one.transaction_id, one.order_id) == (TRANSACTION_ID, "30000000000000000000000001")
    assert (one.out_order_no, one.type, one.account, one.amount) == ("P-1001", "MERCHANT_ID", MCH_ID, 88)
    assert (one.description, one.success_time, one.result) == ("freight", NOON, "SUCCESS")
    assert (one.out_trade_no, one.sub_mch_id) == ("", "")


def test_it_is_told_to_whoever_received_and_names_whoever_shared():
    # So the merchant is the one whose key opened it; who shared is in the fields.
    assert shared(mchid="1900000999").mch_id == MCH_ID
    assert shared(mchid=None, sp_mchid="1900000999", sub_mchid=SUB_MCH_ID).mch_id == MCH_ID
    assert shared(mchid="1900000999").fields["mchid"] == "1900000999"


@pytest.mark.parametrize("event_type", ["PROFITSHARING.RETURN", "PROFITSHARING_RETURN"])
def test_a_return_is_another_result_under_another_key(event_type):
    assert shared(event_type).result == "RETURN"
    assert shared(event_type).key != shared().key


def test_the_older_spellings_are_the_same():
    assert shared("PROFITSHARING") == shared("PROFITSHARING.SUCCESS")
    assert shared("PROFITSHARING_RETURN") == shared("PROFITSHARING.RETURN")


def test_it_may_come_as_a_transaction_and_is_none():
    told = resource("TRANSACTION.SUCCESS", PROFIT_SHARING, original_type="profitsharing")
    assert read_resource(told) == (shared(),)


@pytest.mark.parametrize("name", ["transaction_id", "order_id", "out_order_no", "receiver"])
def test_a_profit_sharing_without_a_field_every_one_has_is_refused(name):
    assert code_of(shared, **{name: None}) == "missing_field"


def test_a_profit_sharing_moves_an_amount():
    assert code_of(shared, receiver={"type": "MERCHANT_ID", "account": MCH_ID}) == "missing_field"


@pytest.mark.parametrize("odd", ODD_AMOUNTS)
def test_what_moved_is_an_integer_of_fen(odd):
    refused = either(lambda: shared(receiver=receiver(amount=odd)))
    assert (refused.code, str(refused).startswith("receiver.amount is ")) == ("bad_field", True)


@pytest.mark.parametrize("name", ["transaction_id", "order_id"])
@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_of_a_profit_sharing_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(shared, **{name: odd}) == "bad_field"


def test_the_key_of_a_profit_sharing_holds_a_digest_of_its_receiver():
    # Stored in databases: another release must find the same.
    digest = hashlib.sha256(f"11:MERCHANT_ID10:{MCH_ID}".encode()).hexdigest()[:32]
    assert shared().key == f"profit_sharing/{TRANSACTION_ID}/30000000000000000000000001/{digest}/SUCCESS"


@pytest.mark.parametrize("odd", ["x", 1, True, ["x"]])
def test_a_receiver_is_an_object(odd):
    assert code_of(shared, receiver=odd) == "bad_field"


def test_one_order_shares_with_several_receivers_and_each_has_a_key():
    others = [receiver(account="1900000111"), receiver(type="PERSONAL_OPENID", account=OPENID)]
    assert len({shared().key, *(shared(receiver=one).key for one in others)}) == 3
    assert OPENID not in f"{shared(receiver=others[1])!r} {shared(receiver=others[1]).key}"


@pytest.mark.parametrize(
    "changes", [{"receiver": receiver(amount=1)}, {"out_order_no": "P-2"}, {"mchid": "7"}]
)
def test_a_profit_sharing_that_tells_something_else_is_another(changes):
    other = shared(**changes)
    assert (other.key, other == shared()) == (shared().key, False)


# --- transfers ------------------------------------------------------------------------


def transfer(**changes: object) -> Transfer:
    one = event("MCHTRANSFER.BILL.FINISHED", TRANSFER, **changes)
    assert isinstance(one, Transfer)
    return one


def batch(**changes: object) -> Transfer:
    one = event("MCHTRANSFER.BATCH.FINISHED", BATCH, **changes)
    assert isinstance(one, Transfer)
    return one


@pytest.mark.parametrize("state", ["SUCCESS", "FAIL", "CANCELLED"])
def test_a_transfer_is_read(state):
    one = transfer(state=state, fail_reason="PAYEE_ACCOUNT_ABNORMAL")
    assert (one.out_bill_no, one.out_trade_no, one.transfer_bill_no) == (
        "T-1001",
        "T-1001",
        TRANSFER["transfer_bill_no"],
    )
    assert (one.result, one.transfer_amount, one.openid, one.update_time) == (state, 400, OPENID, NOON)
    assert one.fail_reason == "PAYEE_ACCOUNT_ABNORMAL"
    assert one.key == f"transfer/{MCH_ID}/{TRANSFER['transfer_bill_no']}/{state}"


def test_a_batch_is_read_under_the_same_names():
    one = batch(close_reason="OVERDUE_CLOSE")
    assert (one.out_bill_no, one.transfer_bill_no, one.result) == ("B-1001", BATCH["batch_id"], "FINISHED")
    assert (one.transfer_amount, one.openid, one.fail_reason) == (200, "", "OVERDUE_CLOSE")
    assert one.fields["success_amount"] == 100
    assert (one.mch_id, one.update_time) == (MCH_ID, NOON)


@pytest.mark.parametrize("name", ["out_bill_no", "transfer_bill_no", "state"])
def test_a_transfer_without_a_field_every_one_has_is_refused(name):
    assert code_of(transfer, **{name: None}) == "missing_field"


@pytest.mark.parametrize("name", ["batch_id", "batch_status"])
def test_a_batch_without_a_field_every_one_has_is_refused(name):
    assert code_of(batch, **{name: None}) == "missing_field"
    assert code_of(batch, out_batch_no="") == "missing_field"


@pytest.mark.parametrize("odd", ODD_AMOUNTS)
def test_an_amount_of_a_transfer_is_an_integer_of_fen_or_absent(odd):
    assert code_of(transfer, transfer_amount=odd) == "bad_field"
    assert code_of(batch, total_amount=odd) == "bad_field"
    assert (transfer(transfer_amount=None).transfer_amount, batch(total_amount=None).transfer_amount) == (
        None,
        None,
    )


@pytest.mark.parametrize("name", ["out_bill_no", "transfer_bill_no", "state", "mchid"])
@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_of_a_transfer_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(transfer, **{name: odd}) == "bad_field"


def test_a_transfer_that_names_no_merchant_is_of_the_one_whose_key_opened_it():
    assert transfer(mchid=None).mch_id == MCH_ID
    assert transfer(mchid=None) == transfer()


def test_a_transfer_of_another_merchant_names_it_however_it_is_spelled():
    assert transfer(mchid="1900000999").mch_id == "1900000999"
    assert batch(mch_id="1900000999").mch_id == "1900000999"


@pytest.mark.parametrize("changes", [{"out_bill_no": "T-2"}, {"transfer_amount": 1}])
def test_a_transfer_that_tells_something_else_is_another(changes):
    other = transfer(**changes)
    assert (other.key, other == transfer()) == (transfer().key, False)


def test_a_payer_s_authorisation_is_no_transfer():
    assert event("MCHTRANSFER.AUTHORIZATION.CONFIRMED", {"mchid": MCH_ID}).kind == (
        "MCHTRANSFER.AUTHORIZATION.CONFIRMED"
    )


# --- payscore -------------------------------------------------------------------------


def payscore(
    event_type: str = "PAYSCORE.USER_PAID", content: object = PAYSCORE_ORDER, **changes: object
) -> PayScore:
    one = event(event_type, content, **changes)  # type: ignore[arg-type]
    assert isinstance(one, PayScore)
    return one


def test_a_payscore_order_is_read():
    one = payscore()
    assert (one.mch_id, one.appid, one.service_id) == (MCH_ID, APPID, "500001")
    assert (one.out_order_no, one.out_trade_no, one.order_id) == ("S-1001", "S-1001", "15646546545165651651")
    assert (one.state, one.total_amount, one.openid) == ("DONE", 40000, OPENID)
    assert (one.result, one.event_type) == ("PAYSCORE.USER_PAID", "PAYSCORE.USER_PAID")
    assert one.key == f"payscore/{MCH_ID}/S-1001/PAYSCORE.USER_PAID"


def test_a_payscore_order_of_a_sub_merchant_names_it_and_its_payer():
    one = payscore(openid=None, sub_openid="o2", sub_mchid=SUB_MCH_ID)
    assert (one.sub_mch_id, one.openid) == (SUB_MCH_ID, "o2")


def test_a_provider_s_payscore_order_names_the_provider_first():
    one = payscore(sp_mchid="1900000999", sp_appid="wx9")
    assert (one.mch_id, one.appid) == ("1900000999", "wx9")


@pytest.mark.parametrize(
    "event_type", ["PAYSCORE.A/B", "PAYSCORE.A:B", "PAYSCORE.投诉", "PAYSCORE." + "X" * 60]
)
def test_a_type_of_payscore_has_the_characters_wechat_pay_uses(event_type):
    assert code_of(payscore, event_type) == "bad_field"


def test_an_authorisation_spells_its_merchant_in_another_way():
    one = payscore("PAYSCORE.USER_OPEN_SERVICE", PAYSCORE_SERVICE, sub_mch_id=SUB_MCH_ID)
    assert (one.mch_id, one.sub_mch_id, one.state) == (MCH_ID, SUB_MCH_ID, "USER_OPEN_SERVICE")
    assert (one.out_order_no, one.order_id, one.total_amount) == ("", "", None)


def test_what_has_no_order_is_known_by_all_it_says():
    one = payscore("PAYSCORE.USER_OPEN_SERVICE", PAYSCORE_SERVICE)
    reordered = dict(reversed(PAYSCORE_SERVICE.items()))
    assert payscore("PAYSCORE.USER_OPEN_SERVICE", reordered).key == one.key
    other = payscore("PAYSCORE.USER_OPEN_SERVICE", PAYSCORE_SERVICE, openorclose_time="20261124120000")
    assert other.key != one.key


def test_confirmed_and_paid_are_two_keys_of_one_order():
    assert payscore("PAYSCORE.USER_CONFIRM").key != payscore("PAYSCORE.USER_PAID").key


@pytest.mark.parametrize("odd", [88.0, 0.0, "88", "", -1, 10**16, [], [88], {"fen": 88}, True, False])
def test_an_amount_of_a_payscore_order_is_an_integer_of_fen(odd):
    assert code_of(payscore, total_amount=odd) == "bad_field"


@pytest.mark.parametrize("none", [None, 0])
def test_an_order_that_costs_nothing_yet_has_no_amount(none):
    assert payscore("PAYSCORE.USER_CONFIRM", total_amount=none).total_amount is None


@pytest.mark.parametrize("name", ["out_order_no", "order_id", "mchid"])
@pytest.mark.parametrize("odd", ODD_IDS)
def test_an_id_of_a_payscore_order_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(payscore, **{name: odd}) == "bad_field"


@pytest.mark.parametrize("changes", [{"total_amount": 1}, {"order_id": "7"}, {"sub_mchid": SUB_MCH_ID}])
def test_a_payscore_order_that_tells_something_else_is_another(changes):
    other = payscore(**changes)
    assert (other.key, other == payscore()) == (payscore().key, False)


def test_a_plan_that_was_signed_is_payscore_too():
    signed = payscore(
        "PAYSCORE.USER_SIGN_PLAN", {**PAYSCORE_SERVICE, "going_detail_no": 0, "sign_plan_id": "1"}
    )
    assert signed.fields["going_detail_no"] == 0


# --- all others -----------------------------------------------------------------------


def test_any_other_event_is_read_with_all_it_says():
    one = event("COMPLAINT.CREATE")
    assert isinstance(one, Event)
    assert (one.kind, one.event_type, one.result) == ("COMPLAINT.CREATE",) * 3
    assert (one.mch_id, one.appid, one.notification_id) == (MCH_ID, "", "EV-1")
    assert dict(one.fields) == COMPLAINT
    assert one.out_trade_no == "A-1001"


def test_the_key_of_an_event_holds_a_digest_of_all_it_says_and_of_when():
    # Stored in databases: another release must find the same, whatever the order of the names.
    content = {"b": "学", "a": [1, {"d": None, "c": True}]}
    said = '{"a":[1,{"c":true,"d":null}],"b":"学"}'
    time = "2026-11-23T12:00:00+08:00"
    digest = hashlib.sha256(f"{len(said)}:{said}{len(time)}:{time}".encode()).hexdigest()
    (one,) = read_resource(resource("A.NEW_ONE", content, create_time=time))
    assert one.key == f"A.NEW_ONE/{MCH_ID}/{digest}"
    assert one.fingerprint == hashlib.sha256(f"64:{digest}".encode()).digest()


def test_its_summary_is_the_envelope_s():
    (one,) = read_resource(resource("COMPLAINT.CREATE", COMPLAINT, summary="投诉创建"))
    assert one.summary == "投诉创建"
    assert "投诉" not in repr(one)


def test_a_resend_of_another_id_and_order_of_names_is_the_same_event():
    reordered = dict(reversed(COMPLAINT.items()))
    (resent,) = read_resource(resource("COMPLAINT.CREATE", reordered, notification_id="EV-2", serial="F1"))
    assert resent == event("COMPLAINT.CREATE")


def test_what_is_told_in_the_same_words_at_another_time_is_another_event():
    first, again, later = (
        read_resource(resource("COMPLAINT.CREATE", COMPLAINT, notification_id=id_, create_time=time))[0].key
        for id_, time in (
            ("EV-1", "2026-11-23T12:00:00+08:00"),
            ("EV-2", "2026-11-23T12:00:00+08:00"),
            ("EV-3", "2026-11-28T12:00:00+08:00"),
        )
    )
    assert first == again != later


@pytest.mark.parametrize("changes", [{"complaint_id": "7"}, {"a": None, "action_type": None}, {"new": 1}])
def test_an_event_that_says_something_else_is_another(changes):
    assert event("COMPLAINT.CREATE", **changes).key != event("COMPLAINT.CREATE").key


def test_the_same_words_of_another_type_or_to_another_merchant_are_another_event():
    told = event("COMPLAINT.CREATE")
    assert event("COMPLAINT.STATE_CHANGE", COMPLAINT).key != told.key
    (other,) = read_resource(resource("COMPLAINT.CREATE", COMPLAINT, mch_id="1900000110"))
    assert (other.mch_id, other.key == told.key) == ("1900000110", False)


@pytest.mark.parametrize("value", [1, None, True, ["A-1"], {"no": "A-1"}])
def test_an_order_number_that_is_none_is_left_out(value):
    content = {**COMPLAINT, "out_trade_no": value}
    (one,) = read_resource(resource("COMPLAINT.CREATE", content))
    assert one.out_trade_no == ""


@pytest.mark.parametrize("name", ["out_trade_no", "out_order_no", "out_request_no"])
def test_an_order_number_is_found_by_its_names_and_cut(name):
    (one,) = read_resource(resource("COUPON.USE", {name: "x" * 100}))
    assert one.out_trade_no == "x" * 64


@pytest.mark.parametrize("event_type", ["a/b", "COMPLAINT:CREATE", "COMPLAINT CREATE", "投诉", "X" * 65])
def test_a_type_has_the_characters_wechat_pay_uses(event_type):
    assert code_of(event, event_type, COMPLAINT) == "bad_field"


def test_an_answer_to_a_query_is_no_event():
    assert code_of(Event.from_resource, resource("", COMPLAINT)) == "bad_field"
    assert code_of(PayScore.from_resource, resource("", {**PAYSCORE_ORDER, "mchid": "a/b"})) == "bad_field"


@pytest.mark.parametrize("content", [{}, {"a": [1, {"b": None}]}, {"学": "学"}, {"n": 10**60}, {"f": 1.5}])
def test_an_event_may_say_anything(content):
    assert event("A.NEW_ONE", content).fields == resource("A.NEW_ONE", content)
