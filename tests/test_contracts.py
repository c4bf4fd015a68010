"""Contracts, signed and terminated, and the state of a plate."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify import Contract, PlateState
from wxnotify.testing import APPID, MCH_ID, contract, plate_state

from .kinds import (
    CONTRACT,
    EVENTS,
    OPENID,
    PARTNER_CONTRACT,
    PLATE,
    SUB_MCH_ID,
    event,
    resource,
    told,
    verified,
)
from .support import code_of, either

CHINA = timezone(timedelta(hours=8))
CONTRACT_ID = "Wx15463511252015071056489715"
ALWAYS = (
    "result_code", "mch_id", "contract_code", "plan_id", "openid", "operate_time", "contract_id",
)  # fmt: skip
INFO = '{"plate_number_info":[{"plate_number":"粤B88888","channel_type":"ETC"}]}'


def read(body: bytes) -> Contract:
    return Contract.from_verified(verified(body))


def plate(**changes: str | None) -> PlateState:
    return PlateState.from_verified(verified(plate_state(**changes)))


# --- a contract of APIv2 --------------------------------------------------------------


def test_a_contract_that_was_signed_is_read():
    signed = told(contract())
    assert isinstance(signed, Contract)
    assert (signed.change_type, signed.result) == ("ADD", "ADD")
    assert (signed.contract_id, signed.contract_code, signed.plan_id) == (CONTRACT_ID, "K-1001", "12535")
    assert (signed.mch_id, signed.openid, signed.appid) == (MCH_ID, OPENID, "")
    assert signed.operate_time == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert signed.contract_expired_time == datetime(2027, 11, 23, 12, 0, tzinfo=CHINA)
    assert signed.contract_termination_mode == ""
    assert signed.key == f"contract/{MCH_ID}/{CONTRACT_ID}/ADD"


def test_a_contract_that_was_terminated_is_another_key():
    terminated = told(contract(change_type="DELETE"))
    assert (terminated.change_type, terminated.contract_termination_mode) == ("DELETE", "2")
    assert terminated.contract_expired_time is None
    assert terminated.key == f"contract/{MCH_ID}/{CONTRACT_ID}/DELETE"


def test_genuine_ones_have_neither_app_nor_nonce_nor_algorithm():
    assert not {"appid", "nonce_str", "sign_type"} & set(verified(contract()))


def test_a_request_serial_is_text_and_larger_than_the_page_says():
    assert told(contract()).request_serial == "9223372036854775807"
    assert told(contract(request_serial=None)).request_serial == ""


def test_the_contract_of_a_sub_merchant_or_app_names_it():
    assert told(contract(sub_mch_id=SUB_MCH_ID, sub_openid="o2")).sub_mch_id == SUB_MCH_ID
    assert told(contract(appid=APPID)).appid == APPID
    assert (told(contract()).sub_mch_id, told(contract()).appid) == ("", "")


@pytest.mark.parametrize("name", ALWAYS)
def test_a_contract_without_a_field_every_one_has_is_refused(name):
    assert code_of(told, contract(**{name: None})) == "missing_field"


@pytest.mark.parametrize("name", ["return_code", "change_type"])
def test_a_contract_read_as_such_needs_its_codes(name):
    assert code_of(read, contract(**{name: None})) == "missing_field"


@pytest.mark.parametrize("result_code", ["FAIL", "success", "SUCCESS "])
def test_only_a_contract_that_was_made_is_told(result_code):
    assert code_of(told, contract(result_code=result_code)) == "bad_field"


@pytest.mark.parametrize("change_type", ["add", "SIGN", "UPDATE", "ADD "])
def test_an_unknown_change_is_refused(change_type):
    assert code_of(told, contract(change_type=change_type)) == "bad_field"


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        *(("contract_id", odd) for odd in ("a/b", "a:b", "a b", "a\n", "合同", "x" * 65)),
        *(("mch_id", odd) for odd in ("19/0", "19:0", "１９", "x" * 33)),
    ],
)
def test_an_id_of_a_contract_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(told, contract(**{name: odd})) == "bad_field"


@pytest.mark.parametrize("contract_id", ["201", "01_91A63EAA189DDE32_1723617852_01_636c707cabf2de68_1"])
def test_a_contract_id_is_of_digits_or_as_motorways_have_it(contract_id):
    assert told(contract(contract_id=contract_id)).contract_id == contract_id


@pytest.mark.parametrize("odd", ["2026-11-23", "soon", "2026-13-23 12:00:00"])
def test_an_odd_time_costs_no_contract(odd):
    signed = told(contract(operate_time=odd, contract_expired_time=odd))
    assert (signed.operate_time, signed.contract_expired_time) == (None, None)
    assert signed == told(contract())


def test_a_contract_that_is_another_is_another():
    for changes in ({"contract_code": "K-2"}, {"plan_id": "1"}, {"sub_mch_id": SUB_MCH_ID}):
        other = told(contract(**changes))
        assert (other.key, other.fingerprint == told(contract()).fingerprint) == (told(contract()).key, False)


# --- a contract of APIv3 --------------------------------------------------------------


def test_an_apiv3_contract_is_read():
    signed = event("ENTRUST.SIGN")
    assert isinstance(signed, Contract)
    assert (signed.mch_id, signed.appid, signed.openid) == (MCH_ID, APPID, OPENID)
    assert (signed.contract_code, signed.plan_id, signed.request_serial) == ("K-1001", "12535", "")
    assert signed.operate_time == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert signed.contract_expired_time == datetime(2027, 11, 23, 12, 0, tzinfo=CHINA)
    assert (signed.dialect, signed.event_type) == ("APIv3", "ENTRUST.SIGN")


def test_an_apiv3_contract_that_was_terminated_says_when():
    terminated = event("ENTRUST.TERMINATE")
    assert terminated.operate_time == datetime(2026, 11, 24, 12, 0, tzinfo=CHINA)
    assert terminated.contract_termination_mode == ""


def test_an_apiv3_contract_of_a_provider_names_provider_sub_merchant_and_payer():
    signed = event("ENTRUST.SIGN", PARTNER_CONTRACT)
    assert (signed.mch_id, signed.appid, signed.sub_mch_id) == (MCH_ID, APPID, SUB_MCH_ID)
    assert signed.openid == OPENID


@pytest.mark.parametrize("name", ["mchid", "contract_id", "out_contract_code", "plan_id"])
def test_an_apiv3_contract_without_a_field_every_one_has_is_refused(name):
    assert code_of(event, "ENTRUST.SIGN", **{name: None}) == "missing_field"
    assert code_of(event, "ENTRUST.SIGN", **{name: ""}) == "missing_field"


@pytest.mark.parametrize("odd", [True, 1.5, [1], {"id": 1}])
def test_a_plan_is_a_number_or_text(odd):
    assert code_of(event, "ENTRUST.SIGN", plan_id=odd) == "bad_field"


@pytest.mark.parametrize(
    "name", ["mchid", "appid", "contract_id", "out_contract_code", "openid", "contract_signed_time"]
)
@pytest.mark.parametrize("odd", [1, True, 1.5, ["x"], {"x": 1}])
def test_a_value_of_another_type_in_an_apiv3_contract_is_refused(name, odd):
    assert code_of(event, "ENTRUST.SIGN", **{name: odd}) == "bad_field"


@pytest.mark.parametrize("name", ["mchid", "contract_id"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a\n", "合同", "x" * 65])
def test_an_id_of_an_apiv3_contract_has_the_characters_wechat_pay_uses(name, odd):
    refused = either(lambda: event("ENTRUST.SIGN", **{name: odd}))
    assert (refused.code, str(refused).startswith(f"{name} is ")) == ("bad_field", True)


@pytest.mark.parametrize("event_type", ["ENTRUST.SIGNING", "ENTRUST.RELEASE", "TRANSACTION.SUCCESS", ""])
def test_an_event_that_neither_signs_nor_terminates_is_no_contract(event_type):
    assert code_of(Contract.from_resource, resource(event_type, CONTRACT)) == "bad_field"


@pytest.mark.parametrize("event_type", ["ENTRUST.SIGNING", "ENTRUST.RELEASE", "ENTRUST.TERMINATE_INQUIRY"])
def test_the_other_entrust_events_come_as_themselves(event_type):
    assert event_type not in EVENTS
    assert event(event_type, CONTRACT).kind == event_type


# --- a plate --------------------------------------------------------------------------


def test_a_plate_that_can_be_deducted_from_is_read():
    normal = told(plate_state(sub_mch_id=SUB_MCH_ID))
    assert isinstance(normal, PlateState)
    assert (normal.plate_number, normal.plate_number_info) == (PLATE, "")
    assert (normal.vehicle_event_type, normal.result) == ("NORMAL", "NORMAL")
    assert (normal.deduct_mode, normal.vehicle_event_des) == ("AUTOPAY", "")
    assert (normal.mch_id, normal.appid, normal.sub_mch_id) == (MCH_ID, APPID, SUB_MCH_ID)
    assert normal.vehicle_event_createtime == datetime(2026, 11, 23, 12, 0, tzinfo=CHINA)
    assert normal.fields.sign_type == "HMAC-SHA256"


@pytest.mark.parametrize("why", ["OVERDUE", "REMOVE", "PAUSE", "A_REASON_OF_NEXT_YEAR"])
def test_a_plate_that_is_blocked_says_why(why):
    blocked = plate(vehicle_event_type="BLOCKED", vehicle_event_des=why)
    assert (blocked.result, blocked.vehicle_event_des, blocked.deduct_mode) == ("BLOCKED", why, "")


def test_the_plates_of_a_motorway_come_in_json_with_their_payer():
    motorway = plate(plate_number=None, plate_number_info=INFO, openid=OPENID)
    assert (motorway.plate_number, motorway.plate_number_info) == ("", INFO)
    assert OPENID not in repr(motorway)
    assert PLATE not in repr(motorway)
    other = INFO.replace("粤B88888", "粤B88889")
    assert plate(plate_number=None, plate_number_info=other).key != motorway.key


@pytest.mark.parametrize("name", ["mch_id", "appid", "nonce_str", "plate_number", "vehicle_event_createtime"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_plate_state_without_a_field_every_one_has_is_refused(name, value):
    assert code_of(told, plate_state(**{name: value})) == "missing_field"


def test_a_plate_state_read_as_such_has_a_type():
    assert code_of(plate, vehicle_event_type=None) == "missing_field"


@pytest.mark.parametrize("state", ["normal", "UNKNOWN", "NORMAL "])
def test_an_unknown_state_is_refused(state):
    assert code_of(plate, vehicle_event_type=state) == "bad_field"


@pytest.mark.parametrize(
    "changes",
    [
        {"plate_number": "粤B88889"}, {"vehicle_event_type": "BLOCKED"}, {"mch_id": "1900000111"},
        {"vehicle_event_createtime": "20261123120001"},
    ],
    ids=str,
)  # fmt: skip
def test_another_plate_time_state_or_merchant_is_another_key(changes):
    assert plate(**changes).key != plate().key


def test_a_resend_of_a_plate_state_has_the_same_key():
    assert plate(nonce_str="another", sign_type="HMAC-SHA256") == plate()


def test_a_plate_state_of_a_sub_merchant_tells_something_else():
    other = plate(sub_mch_id=SUB_MCH_ID)
    assert (other.key, other == plate(), plate().sub_mch_id) == (plate().key, False, "")


@pytest.mark.parametrize("odd", ["19/0", "19:0", "１９", "x" * 33])
def test_the_merchant_of_a_plate_state_has_the_characters_wechat_pay_uses(odd):
    assert code_of(plate, mch_id=odd) == "bad_field"


def test_the_key_of_a_plate_state_is_a_digest_of_plate_and_time():
    # Stored in databases: another release must find the same.
    digest = hashlib.sha256(f"7:{PLATE}14:20261123120000".encode()).hexdigest()[:32]
    assert plate().key == f"plate/{MCH_ID}/{digest}/NORMAL"


def test_an_odd_time_costs_no_plate_state():
    assert plate(vehicle_event_createtime="soon").vehicle_event_createtime is None


def test_a_plate_of_any_length_and_script_fits_a_key():
    assert len(plate(plate_number="学" * 500).key) == len(plate().key)
