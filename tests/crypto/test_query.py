from __future__ import annotations

import base64
import re
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wxnotify import Expected, Merchant, Payment, Receiver
from wxnotify.apiv3 import (
    MerchantPrivateKey,
    Request,
    build_order_query,
    parse_combined_query,
    parse_order_query,
    read_order_answer,
)
from wxnotify.errors import QueryFailed
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import APPID, KEY, MCH_ID
from wxnotify.testing.apiv3 import (
    MERCHANT_PRIVATE_KEY,
    MERCHANT_SERIAL,
    PUBLIC_KEY_ID,
    SERIAL,
    Posted,
    combined_event,
    combined_query_answer,
    payment_event,
    query_answer,
    signed,
)

from ..support import code_of, either
from .posting import NOW, genuine, merchant, opened, with_headers

SHOP = merchant()
PRIVATE_KEY = MerchantPrivateKey(MERCHANT_PRIVATE_KEY)


def query(shop=SHOP, **options) -> Request:
    given = {"private_key": PRIVATE_KEY, "serial_no": MERCHANT_SERIAL, "now": NOW, **options}
    return build_order_query(shop, **given)


def answered(posted: Posted, status: int = 200, now: float = NOW, shop=SHOP):
    return read_order_answer(shop, status, posted.headers, posted.body, now)


# --- the request ----------------------------------------------------------------------

HOST = "https://api.mch.weixin.qq.com"
URLS = {
    "out_trade_no": ({"out_trade_no": "A-1001"}, "/v3/pay/transactions/out-trade-no/A-1001?mchid=1900000109"),
    "transaction_id": ({"transaction_id": "4200"}, "/v3/pay/transactions/id/4200?mchid=1900000109"),
    "partner": (
        {"out_trade_no": "A-1001", "sub_mch_id": "1900000110"},
        "/v3/pay/partner/transactions/out-trade-no/A-1001?sp_mchid=1900000109&sub_mchid=1900000110",
    ),
    "partner_transaction_id": (
        {"transaction_id": "4200", "sub_mch_id": "1900000110"},
        "/v3/pay/partner/transactions/id/4200?sp_mchid=1900000109&sub_mchid=1900000110",
    ),
    "combined": ({"combine_out_trade_no": "C-1001"}, "/v3/combine-transactions/out-trade-no/C-1001"),
    "characters_that_a_path_cannot_carry": (
        {"out_trade_no": "A|1*@_-"},
        "/v3/pay/transactions/out-trade-no/A%7C1%2A%40_-?mchid=1900000109",
    ),
}


@pytest.mark.parametrize(("order", "path"), URLS.values(), ids=URLS)
def test_a_query_is_a_signed_get_of_the_order(order, path):
    request = query(**order, nonce="0123456789abcdef")
    assert (request.method, request.url, request.body) == ("GET", HOST + path, b"")
    kind, _, named = request.headers["Authorization"].partition(" ")
    values = dict(re.findall(r'(\w+)="([^"]*)"', named))
    assert kind == "WECHATPAY2-SHA256-RSA2048"
    assert list(values) == ["mchid", "nonce_str", "signature", "timestamp", "serial_no"]
    assert (values["mchid"], values["serial_no"]) == (MCH_ID, MERCHANT_SERIAL)
    assert (values["timestamp"], values["nonce_str"]) == (str(NOW), "0123456789abcdef")
    message = f"GET\n{path}\n{NOW}\n0123456789abcdef\n\n".encode()
    public_key = load_pem_private_key(MERCHANT_PRIVATE_KEY.encode(), None).public_key()
    signature = base64.b64decode(values["signature"])
    public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())  # raises if it does not hold


def test_what_is_signed_is_what_is_asked():
    split = urlsplit(query(out_trade_no="A-1001").url)
    assert (split.scheme, split.netloc) == ("https", "api.mch.weixin.qq.com")


def test_it_names_itself_and_what_it_takes_and_the_key_to_answer_with():
    headers = query(out_trade_no="A-1001", platform_serial=PUBLIC_KEY_ID).headers
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"]
    assert headers["Wechatpay-Serial"] == PUBLIC_KEY_ID
    assert "Wechatpay-Serial" not in query(out_trade_no="A-1001").headers


def test_a_nonce_is_made_where_none_is_given():
    nonces = {query(out_trade_no="A-1001").headers["Authorization"].split('"')[3] for _ in range(5)}
    assert len(nonces) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in nonces)


@pytest.mark.parametrize("now", [NOW, NOW + 0.9])
def test_the_time_is_whole_seconds(now):
    assert f'timestamp="{NOW}"' in query(out_trade_no="A-1001", now=now).headers["Authorization"]


@pytest.mark.parametrize("private_key", [MERCHANT_PRIVATE_KEY, MERCHANT_PRIVATE_KEY.encode()])
def test_the_private_key_may_be_given_as_it_lies_in_its_file(private_key):
    same = {"out_trade_no": "A-1001", "nonce": "n"}
    assert query(**same, private_key=private_key) == query(**same)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"out_trade_no": "A", "transaction_id": "B"},
        {"out_trade_no": "A", "combine_out_trade_no": "B"},
        {"out_trade_no": "A", "transaction_id": "B", "combine_out_trade_no": "C"},
        {"combine_out_trade_no": "C", "sub_mch_id": "1900000110"},
    ],
)
def test_a_query_takes_one_number(numbers):
    assert code_of(query, **numbers) == "configuration"


@pytest.mark.parametrize("name", ["out_trade_no", "transaction_id", "combine_out_trade_no"])
@pytest.mark.parametrize(
    "number", ["../certificates", "..", "a/b", "a?mchid=1", "a#", "a b", "密", "x" * 65, "a\r\nb"]
)
def test_a_number_cannot_lead_to_another_path(name, number):
    assert code_of(query, **{name: number}) == "bad_field"


@pytest.mark.parametrize("name", ["serial_no", "platform_serial", "nonce"])
@pytest.mark.parametrize("value", ['a"b', "a b", "a\r\nb: c", "x" * 65, "密", "a,b", 5])
def test_a_header_of_the_request_cannot_be_split(name, value):
    assert code_of(query, out_trade_no="A-1001", **{name: value}) == "configuration"


def test_a_serial_number_of_the_certificate_is_needed():
    assert code_of(query, out_trade_no="A-1001", serial_no="") == "configuration"


@pytest.mark.parametrize("private_key", ["", None, "hunter2", KEY])
def test_without_a_private_key_nothing_is_signed(private_key):
    assert code_of(query, out_trade_no="A-1001", private_key=private_key) == "configuration"


def test_a_request_shows_no_signature():
    request = query(out_trade_no="A-1001")
    assert repr(request).startswith("<Request GET https://api.mch.weixin.qq.com/v3/pay/transactions/")
    assert request.headers["Authorization"] not in repr(request)


# --- the answer -----------------------------------------------------------------------


@pytest.mark.parametrize("serial", [SERIAL, PUBLIC_KEY_ID])
def test_an_answer_that_wechat_pay_signed_is_read(serial):
    answer = answered(query_answer(now=NOW, serial=serial))
    assert answer["trade_state"] == "SUCCESS"
    assert (answer.mch_id, answer.serial, answer.key_index) == (MCH_ID, serial, None)
    assert (answer.event_type, answer.notification_id) == ("", "")


def test_an_answer_ends_in_the_payment_that_the_notification_tells():
    posted = query_answer(now=NOW)
    asked = parse_order_query(SHOP, 200, posted.headers, posted.body, NOW)
    told = Payment.from_resource(opened(payment_event(now=NOW)))
    assert asked == told
    assert asked.paid
    assert (asked.key, asked.fingerprint) == (told.key, told.fingerprint)


@pytest.mark.parametrize("trade_state", ["NOTPAY", "CLOSED", "REFUND", "USERPAYING", "PAYERROR", "REVOKED"])
def test_an_order_that_is_not_paid_is_not(trade_state):
    answer = query_answer(now=NOW, trade_state=trade_state, transaction_id=None, amount=None, payer=None)
    payment = parse_order_query(SHOP, 200, answer.headers, answer.body, NOW)
    assert (payment.paid, payment.result) == (False, trade_state)


def test_an_answer_without_a_state_is_none():
    answer = query_answer(now=NOW, trade_state=None)
    assert code_of(parse_order_query, SHOP, 200, answer.headers, answer.body, NOW) == "missing_field"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Signature": None}, "missing_signature"),
        ({"Signature": "AAAA"}, "bad_signature"),
        ({"Signature": "WECHATPAY/SIGNTEST/AAAA"}, "signature_probe"),
        ({"Nonce": "x"}, "bad_signature"),
        ({"Serial": "F0"}, "unknown_serial"),
        ({"Timestamp": "x"}, "bad_header"),
        ({"Signature_Type": "WECHATPAY2-SM2-WITH-SM3"}, "bad_sign_type"),
    ],
)
def test_an_answer_is_verified_as_a_notification_is(change, code):
    assert code_of(answered, with_headers(query_answer(now=NOW), **change)) == code


def test_an_answer_of_another_time_is_stale():
    assert answered(query_answer(now=NOW), now=NOW + 300)
    assert code_of(answered, query_answer(now=NOW), now=NOW + 301) == "stale_timestamp"


@pytest.mark.parametrize("body", [b"", b"[]", b"<xml/>", b'{"a": 1, "a": 2}'])
def test_an_answer_is_a_json_object(body):
    assert code_of(answered, signed(body, now=NOW)) == "bad_json"
    assert code_of(answered, signed(body, now=NOW), status=404) == "bad_json"


def test_that_wechat_pay_cannot_tell_is_known_by_its_signature():
    error = genuine('{"code": "ORDER_NOT_EXIST", "message": "订单不存在"}'.encode())
    with pytest.raises(QueryFailed) as refusal:
        answered(error, status=404)
    assert (refusal.value.err_code, refusal.value.err_code_des) == ("ORDER_NOT_EXIST", "订单不存在")


def test_an_error_without_a_code_is_known_by_its_status():
    refused = either(lambda: answered(genuine(b"{}"), status=500))
    assert (refused.code, refused.err_code, refused.err_code_des) == ("query_failed", "500", "")


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_only_2xx_is_an_answer(status):
    assert code_of(answered, query_answer(now=NOW), status=status) == "query_failed"
    assert answered(query_answer(now=NOW), status=202)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'{"code": "SIGN_ERROR", "message": "hunter2"}',
            "status 401, whose code, unsigned, is 'SIGN_ERROR'",
        ),
        (b'{"code": "' + b"X" * 999 + b'"}', "whose code, unsigned, is 'XXXX"),
        (b'{"message": "hunter2"}', "status 401"),
        (b"<html>hunter2</html>", "status 401"),
    ],
)
def test_an_error_that_nobody_signed_is_refused_and_names_its_code(body, said):
    refused = either(lambda: answered(Posted({}, body), status=401))
    assert refused.code == "missing_signature"
    assert said in str(refused)
    assert "hunter2" not in str(refused)
    assert len(str(refused)) < 250


def test_what_nobody_signed_is_not_read_where_it_claims_success():
    refused = either(lambda: answered(Posted({}, b'{"code": "SUCCESS"}')))
    assert refused.code == "missing_signature"
    assert "code" not in str(refused)


@pytest.mark.parametrize("name", ["mchid", "sp_mchid", "combine_mchid"])
def test_an_answer_about_another_merchant_s_order_is_refused(name):
    assert code_of(answered, query_answer(now=NOW, **{name: "1900000110"})) == "merchant_mismatch"


def test_the_answer_about_a_combined_order_is_the_payment_of_each_and_settles_each_once():
    answer = combined_query_answer(now=NOW)
    shop = merchant()
    payments = parse_combined_query(shop, 200, answer.headers, answer.body, NOW)
    assert [(one.out_trade_no, one.total_fee, one.paid) for one in payments] == [
        ("A-1001", 100, True),
        ("A-1002", 200, True),
    ]
    prices = {"A-1001": Expected(100), "A-1002": Expected(200)}
    receiver = Receiver(
        shop, MemoryStore(), expect=lambda one: prices[one.out_trade_no], wall_clock=lambda: NOW
    )
    settled = []
    receiver.on("payment")(lambda one: settled.append(one.out_trade_no))
    assert [receiver.settle(one).code for one in payments] == ["handled", "handled"]
    told = combined_event(now=NOW)
    assert receiver.receive(told.body, told.headers).status == 200
    assert settled == ["A-1001", "A-1002"]


def test_an_answer_about_one_order_is_no_combined_one_and_the_other_way_round():
    one, several = query_answer(now=NOW), combined_query_answer(now=NOW)
    shop = merchant()
    assert code_of(parse_combined_query, shop, 200, one.headers, one.body, NOW) == "missing_field"
    assert code_of(parse_order_query, shop, 200, several.headers, several.body, NOW) == "missing_field"


@pytest.mark.parametrize("body", ["{}", None, bytearray(b"{}")])
def test_an_answer_that_is_no_bytes_is_a_mistake_in_the_callers_code(body):
    answer = query_answer(now=NOW)
    with pytest.raises(TypeError, match=f"is bytes, as it came, not {type(body).__name__}"):
        read_order_answer(merchant(), 200, answer.headers, body, NOW)


def test_a_combined_order_is_read_by_its_own_fields():
    told = dict(opened(combined_event(now=NOW)))
    answer = answered(query_answer(now=NOW, mchid=None, out_trade_no=None, **told))
    assert [order["out_trade_no"] for order in answer["sub_orders"]] == ["A-1001", "A-1002"]


def test_a_merchant_without_apiv3_cannot_ask():
    old = Merchant(MCH_ID, APPID, KEY)
    assert code_of(answered, query_answer(now=NOW), shop=old) == "configuration"
