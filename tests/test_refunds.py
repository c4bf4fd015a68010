"""A refund of either dialect: what must be there, what may be odd, and what is not believed."""

from __future__ import annotations

import pytest

from wxnotify import Decrypted, Refund, decrypt
from wxnotify.testing import KEY, MCH_ID
from wxnotify.testing.apiv3_resources import REFUND

from .kinds import DECRYPTED, decrypted, event, resource
from .support import code_of, either
from .test_fields import NOT_DIGITS

ALWAYS = (
    "transaction_id", "out_trade_no", "refund_id", "out_refund_no", "total_fee", "refund_fee",
    "refund_status",
)  # fmt: skip


def refund(**changes: str | None) -> Refund:
    return Refund.from_decrypted(decrypted(**changes))


# --- APIv2 ----------------------------------------------------------------------------


def test_a_refund_is_read():
    read = refund(
        settlement_refund_fee="90", settlement_total_fee="95", cash_refund_fee="0",
        refund_account="REFUND_SOURCE_UNSETTLED_FUNDS", refund_request_source="VENDOR_PLATFORM",
    )  # fmt: skip
    assert (read.refund_fee, read.total_fee) == (100, 100)
    assert (read.settlement_refund_fee, read.settlement_total_fee, read.cash_refund_fee) == (90, 95, 0)
    assert (read.refund_account, read.refund_request_source) == (
        "REFUND_SOURCE_UNSETTLED_FUNDS",
        "VENDOR_PLATFORM",
    )
    assert (read.mch_id, read.appid, read.dialect) == (MCH_ID, "", "APIv2")


@pytest.mark.parametrize("name", ALWAYS)
def test_a_refund_without_a_field_every_one_has_is_refused(name):
    assert code_of(refund, **{name: None}) == "missing_field"


@pytest.mark.parametrize("name", sorted(set(DECRYPTED) - set(ALWAYS)))
def test_a_field_that_only_informs_may_be_absent(name):
    assert refund(**{name: None}) == refund()


def test_what_is_absent_is_empty_or_none():
    bare = refund(success_time=None, refund_recv_accout=None)
    assert (bare.refund_account, bare.refund_request_source, bare.refund_recv_accout) == ("", "", "")
    assert (bare.cash_refund_fee, bare.settlement_refund_fee, bare.settlement_total_fee) == (None, None, None)
    assert bare.success_time is None


@pytest.mark.parametrize("name", ["total_fee", "refund_fee"])
@pytest.mark.parametrize("odd", [*NOT_DIGITS[1:], "0", "01", "9" * 17])
def test_an_amount_of_a_refund_is_plain_digits(name, odd):
    refused = either(lambda: refund(**{name: odd}))
    assert (refused.code, str(refused).startswith(f"{name} is ")) == ("bad_field", True)


@pytest.mark.parametrize("name", ["settlement_refund_fee", "settlement_total_fee", "cash_refund_fee"])
def test_an_amount_that_only_informs_is_none_when_it_is_odd(name):
    assert getattr(refund(**{name: "1_0"}), name) is None


def test_no_more_is_refunded_than_was_paid():
    assert refund(refund_fee="100", total_fee="100").refund_fee == 100
    refused = either(lambda: refund(refund_fee="101", total_fee="100"))
    assert (refused.code, "101 fen" in str(refused)) == ("bad_field", True)


@pytest.mark.parametrize("status", ["success", "PROCESSING", "REFUND", "SUCCESS ", "FAIL"])
def test_an_unknown_status_is_refused(status):
    assert code_of(refund, refund_status=status) == "bad_field"


@pytest.mark.parametrize("name", ["refund_id", "transaction_id", "out_trade_no", "out_refund_no"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a b", "a\n", "订单", "x" * 65])
def test_an_id_of_a_refund_has_the_characters_wechat_pay_uses(name, odd):
    assert code_of(refund, **{name: odd}) == "bad_field"


def test_a_refund_that_was_abnormal_first_and_succeeds_later_has_two_keys():
    assert refund(refund_status="CHANGE").key != refund().key
    assert refund(refund_status="CHANGE").fingerprint == refund().fingerprint


def test_the_merchant_is_the_configured_one_and_no_field():
    assert refund(mch_id="1900000999", appid="wx9").mch_id == MCH_ID
    assert refund(mch_id="1900000999").fields["mch_id"] == "1900000999"


# --- what was decrypted ---------------------------------------------------------------


def test_what_was_decrypted_is_a_mapping_of_the_inner_fields_alone():
    fields = decrypted()
    assert dict(fields) == DECRYPTED
    assert (len(fields), list(fields)) == (len(DECRYPTED), list(DECRYPTED))
    assert fields.unauthenticated == {"return_code": "SUCCESS", "mch_id": MCH_ID}
    assert (fields.mch_id, fields.key_index, fields.sandbox) == (MCH_ID, 0, False)


def test_a_refund_of_nobody_in_particular_names_no_merchant():
    made = Decrypted._make(dict(DECRYPTED), {}, mch_id="", key_index=0)
    assert Refund.from_decrypted(made).mch_id == ""


def test_neither_side_of_it_can_be_changed():
    fields = decrypted()
    with pytest.raises(TypeError):
        fields["total_fee"] = "1"
    with pytest.raises(TypeError):
        fields.unauthenticated["mch_id"] = "1"


def test_its_repr_names_the_fields_and_shows_no_value():
    assert repr(decrypted()) == f"<Decrypted {' '.join(DECRYPTED)}>"


def test_nobody_makes_one_by_hand():
    with pytest.raises(TypeError, match="decrypt"):
        Decrypted()


@pytest.mark.parametrize("fields", [b"<xml/>", None, [], "req_info"])
def test_only_fields_are_decrypted(fields):
    with pytest.raises(TypeError, match="parse"):
        decrypt(fields, KEY)


@pytest.mark.parametrize("key", ["", "short", None, [], b"0" * 32])
def test_a_key_that_is_none_is_refused_before_anything_else(key):
    assert code_of(decrypt, {"req_info": "AAAA"}, key) == "configuration"


@pytest.mark.parametrize("req_info", [None, ""])
def test_without_req_info_there_is_nothing_to_decrypt(req_info):
    fields = {"return_code": "SUCCESS", **({} if req_info is None else {"req_info": req_info})}
    assert code_of(decrypt, fields, KEY) == "missing_field"


@pytest.mark.parametrize("return_code", ["FAIL", "success", ""])
def test_a_notification_that_says_fail_is_not_decrypted(return_code):
    assert code_of(decrypt, {"return_code": return_code, "req_info": "AAAA"}, KEY) == "return_code_fail"


# --- APIv3 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["mchid", "transaction_id", "out_trade_no", "refund_id", "out_refund_no", "refund_status", "amount"],
)
def test_an_apiv3_refund_without_a_field_every_one_has_is_refused(name):
    assert code_of(event, "REFUND.SUCCESS", **{name: None}) == "missing_field"


@pytest.mark.parametrize("name", ["mchid", "refund_id", "transaction_id", "out_trade_no", "out_refund_no"])
@pytest.mark.parametrize("odd", ["a/b", "a:b", "a b", "a\n", "订单", "x" * 65])
def test_an_id_of_an_apiv3_refund_has_the_characters_wechat_pay_uses(name, odd):
    refused = either(lambda: event("REFUND.SUCCESS", **{name: odd}))
    assert (refused.code, str(refused).startswith(f"{name} is ")) == ("bad_field", True)


def test_what_apiv3_does_not_tell_of_a_refund_is_empty_or_none():
    refunded = event("REFUND.SUCCESS", success_time=None, user_received_account=None)
    assert (refunded.refund_account, refunded.refund_request_source, refunded.refund_recv_accout) == ("",) * 3
    assert (refunded.settlement_refund_fee, refunded.settlement_total_fee, refunded.success_time) == (
        None,
    ) * 3


@pytest.mark.parametrize("amount", [{}, {"total": 100}, {"refund": 100}, {"total": 100, "refund": None}])
def test_an_apiv3_refund_has_both_amounts(amount):
    assert code_of(event, "REFUND.SUCCESS", amount=amount) == "missing_field"


@pytest.mark.parametrize("name", ["total", "refund"])
@pytest.mark.parametrize("odd", [True, 100.0, "100", 0, -1, 10**16, 10**60, [100], {}])
def test_an_amount_of_an_apiv3_refund_is_an_integer_of_fen(name, odd):
    refused = either(lambda: event("REFUND.SUCCESS", amount={"total": 100, "refund": 100, name: odd}))
    assert (refused.code, str(refused).startswith(f"amount.{name} is ")) == ("bad_field", True)


def test_an_apiv3_refund_is_of_no_more_than_was_paid():
    assert code_of(event, "REFUND.SUCCESS", amount={"total": 100, "refund": 101}) == "bad_field"


@pytest.mark.parametrize("status", ["ABNORMAL", "CLOSED", "PROCESSING", "CHANGE", "success"])
def test_event_and_status_of_an_apiv3_refund_say_the_same(status):
    assert code_of(event, "REFUND.SUCCESS", refund_status=status) == "bad_field"


def test_the_answer_to_a_query_has_no_event_to_agree_with():
    assert Refund.from_resource(resource("", REFUND)).event_type == ""


def test_a_value_of_another_type_anywhere_in_an_apiv3_refund_is_refused():
    for name in REFUND:
        for odd in (1, True, 1.5, ["x"]):
            assert code_of(event, "REFUND.SUCCESS", **{name: odd}) == "bad_field"
