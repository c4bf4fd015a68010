"""The order query: what is asked, and what is believed of the answer."""

from __future__ import annotations

from typing import Any

import pytest

from wxnotify import (
    ORDER_QUERY_URL,
    Key,
    Merchant,
    Payment,
    build_order_query,
    parse,
    parse_order_query,
    verify,
)
from wxnotify.errors import ConfigurationError, QueryFailed
from wxnotify.testing import APPID, KEY, MCH_ID, notification, payment, query_answer

from .receiving import MERCHANT
from .support import code_of, reference_sign

OTHER_KEY = "another-test-key-0123456789abcde"


# --- asking ------------------------------------------------------------------------


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
def test_a_query_is_signed_by_the_rule_its_answer_is_verified_by(sign_type: Any) -> None:
    fields = parse(build_order_query(MERCHANT, out_trade_no="A-1001", sign_type=sign_type))
    verified = verify(fields, KEY)
    assert verified.sign_type == sign_type
    assert fields["sign"] == reference_sign(fields, KEY, sign_type)
    assert dict(verified) == {
        "appid": APPID,
        "mch_id": MCH_ID,
        "out_trade_no": "A-1001",
        "nonce_str": fields["nonce_str"],
        "sign_type": sign_type,
    }


def test_a_query_is_signed_with_the_first_key_and_the_first_algorithm() -> None:
    merchant = Merchant(MCH_ID, [APPID, "wx2"], [KEY, OTHER_KEY], sign_types=("HMAC-SHA256", "MD5"))
    fields = parse(build_order_query(merchant, transaction_id="4200000000202611230000000001"))
    assert verify(fields, KEY).sign_type == "HMAC-SHA256"
    assert fields["appid"] == APPID
    assert "out_trade_no" not in fields


def test_a_query_names_what_it_was_told_to_name() -> None:
    fields = parse(
        build_order_query(
            MERCHANT,
            out_trade_no="A-1001",
            appid="wx2",
            sub_mch_id="1900000111",
            sub_appid="wx3",
            nonce_str="5K8264ILTKCH16CQ",
        )
    )
    del fields["sign"]
    assert fields == {
        "appid": "wx2",
        "mch_id": MCH_ID,
        "sub_appid": "wx3",
        "sub_mch_id": "1900000111",
        "out_trade_no": "A-1001",
        "nonce_str": "5K8264ILTKCH16CQ",
        "sign_type": "MD5",
    }


def test_every_query_has_a_nonce_of_its_own() -> None:
    nonces = [parse(build_order_query(MERCHANT, out_trade_no="A-1001"))["nonce_str"] for _ in range(8)]
    assert len(set(nonces)) == 8
    assert {len(nonce) for nonce in nonces} == {32}


@pytest.mark.parametrize("numbers", [{}, {"out_trade_no": "A-1001", "transaction_id": "42"}], ids=str)
def test_a_query_asks_for_one_number_and_not_two(numbers: dict[str, str]) -> None:
    assert code_of(build_order_query, MERCHANT, **numbers) == "configuration"


def test_a_query_with_an_unknown_algorithm_is_refused() -> None:
    assert code_of(build_order_query, MERCHANT, out_trade_no="A-1001", sign_type="SHA1") == "configuration"


def test_a_query_is_posted_over_tls_to_wechat_pay() -> None:
    assert ORDER_QUERY_URL == "https://api.mch.weixin.qq.com/pay/orderquery"


# --- believing ----------------------------------------------------------------------


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
def test_a_paid_answer_is_the_payment_its_notification_tells_of(sign_type: Any) -> None:
    answered = parse_order_query(query_answer(sign_type=sign_type), MERCHANT)
    assert isinstance(answered, Payment)
    assert answered.paid
    assert answered == payment()
    assert (answered.key, answered.fingerprint) == (payment().key, payment().fingerprint)


@pytest.mark.parametrize("trade_state", ["REFUND", "NOTPAY", "CLOSED", "REVOKED", "USERPAYING", "PAYERROR"])
def test_any_other_state_is_unpaid_and_has_a_key_of_its_own(trade_state: str) -> None:
    answered = parse_order_query(query_answer(trade_state=trade_state), MERCHANT)
    assert not answered.paid
    assert (answered.trade_state, answered.result) == (trade_state, trade_state)
    assert answered.key != payment().key


@pytest.mark.parametrize("trade_state", ["NOTPAY", "CLOSED"])
def test_an_order_that_was_never_paid_has_neither_amount_nor_transaction(trade_state: str) -> None:
    never = dict.fromkeys(
        ["total_fee", "cash_fee", "transaction_id", "openid", "bank_type", "time_end", "trade_type"]
    )
    answered = parse_order_query(query_answer(trade_state=trade_state, **never), MERCHANT)
    assert not answered.paid
    assert answered.total_fee is None
    assert answered.out_trade_no == "A-1001"


def test_a_signed_failure_is_told_with_its_code() -> None:
    answer = query_answer(
        result_code="FAIL", err_code="ORDERNOTEXIST", err_code_des="order not exist", trade_state=None
    )
    with pytest.raises(QueryFailed) as failure:
        parse_order_query(answer, MERCHANT)
    assert failure.value.code == "query_failed"
    assert (failure.value.err_code, failure.value.err_code_des) == ("ORDERNOTEXIST", "order not exist")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (query_answer(key=OTHER_KEY), "bad_signature"),
        (query_answer().replace(b"<cash_fee>100", b"<cash_fee>101"), "bad_signature"),
        (query_answer(result_code="FAIL", err_code="ORDERNOTEXIST", key=OTHER_KEY), "bad_signature"),
        (query_answer(return_code="FAIL"), "return_code_fail"),
        (b"<xml><return_code>FAIL</return_code></xml>", "return_code_fail"),
        (b"<xml><return_code>SUCCESS</return_code></xml>", "missing_signature"),
        (query_answer(result_code="FAIL"), "query_failed"),
        (query_answer(result_code=None), "query_failed"),
        (query_answer(mch_id="1900000110"), "merchant_mismatch"),
        (query_answer(appid="wx2"), "merchant_mismatch"),
        (notification(), "missing_field"),
        (query_answer(trade_state=""), "missing_field"),
        (query_answer(trade_state="SUCCESS "), "bad_field"),
        (query_answer(transaction_id=None), "missing_field"),
        (b"", "empty_body"),
        (b"<html>502 Bad Gateway</html>", "malformed"),
    ],
    ids=repr,
)
def test_an_answer_that_proves_nothing_is_refused(answer: bytes, code: str) -> None:
    assert code_of(parse_order_query, answer, MERCHANT) == code


def test_an_answer_signed_with_any_of_the_merchants_keys_is_believed() -> None:
    merchant = Merchant(MCH_ID, APPID, [OTHER_KEY, KEY])
    assert parse_order_query(query_answer(), merchant).fields.key_index == 1


def test_an_answer_in_an_algorithm_the_merchant_does_not_use_is_refused() -> None:
    merchant = Merchant(MCH_ID, APPID, KEY, sign_types=("HMAC-SHA256",))
    assert code_of(parse_order_query, query_answer(), merchant) == "bad_sign_type"


def test_a_query_is_not_signed_in_a_way_whose_answer_would_be_refused() -> None:
    shop = Merchant(MCH_ID, APPID, KEY, sign_types=["HMAC-SHA256"])
    with pytest.raises(ConfigurationError, match="sign_type"):
        build_order_query(shop, out_trade_no="A-1001", sign_type="MD5")


class _APIv3:
    """Stands for the dialect, which needs an extra."""

    keys = ()

    def open(self, *arguments: object) -> Any:
        raise AssertionError("nothing is opened here")


def test_a_merchant_without_an_apiv2_key_cannot_ask_in_apiv2() -> None:
    with pytest.raises(ConfigurationError, match="no APIv2 key"):
        build_order_query(Merchant(MCH_ID, APPID, apiv3=_APIv3()), out_trade_no="A-1001")


def test_the_sandbox_answers_where_it_is_allowed_to() -> None:
    merchant = Merchant(MCH_ID, APPID, [KEY, Key(OTHER_KEY, sandbox=True)])
    answer = query_answer(key=OTHER_KEY)
    assert code_of(parse_order_query, answer, merchant) == "sandbox_key"
    assert parse_order_query(answer, merchant, allow_sandbox=True).paid
