"""Which kind an authentic message is, and that no other message is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wxnotify import (
    Contract,
    Notification,
    PayAfter,
    Payment,
    PayScore,
    PlateState,
    ProfitSharing,
    Refund,
    Scan,
    Transfer,
    parse,
    verify,
    write,
)
from wxnotify._combined import combined_from_verified
from wxnotify._events_v3 import Event
from wxnotify._kinds import KINDS, is_event_type, kind_of_event, read_answer, read_resource, read_verified
from wxnotify.errors import NotifyError
from wxnotify.testing import (
    APPID,
    KEY,
    MCH_ID,
    contract,
    deduction,
    notification,
    payment_fields,
    plate_state,
    scan,
)
from wxnotify.testing.apiv3_resources import COMBINED, PAYMENT, REFUND

from .kinds import CONTRACT, EVENTS, OPENID, PROFIT_SHARING, TRANSACTION_ID, event, resource, told, verified
from .support import code_of, either, signed, string_to_sign

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


# --- a message of each kind is that kind ----------------------------------------------

APIV2 = {
    "payment": (notification(), Payment),
    "deduction": (deduction(), Payment),
    "contract": (contract(), Contract),
    "contract terminated": (contract(change_type="DELETE"), Contract),
    "plate": (plate_state(), PlateState),
    "plate blocked": (plate_state(vehicle_event_type="BLOCKED"), PlateState),
    "scan": (scan(), Scan),
}


@pytest.mark.parametrize(("body", "kind"), APIV2.values(), ids=APIV2)
def test_an_apiv2_message_is_read_as_what_it_is(body, kind):
    assert type(told(body)) is kind


KIND_OF = {
    "TRANSACTION.SUCCESS": ("payment", Payment),
    "TRANSACTION.FAIL": ("payment", Payment),
    "TRANSACTION.PAY_BACK": ("payment", Payment),
    "TRANSACTION.INDUSTRY_SUCCESS": ("payment", Payment),
    "TRANSACTION.INDUSTRY_FAILED": ("payment", Payment),
    "REFUND.SUCCESS": ("refund", Refund),
    "REFUND.ABNORMAL": ("refund", Refund),
    "REFUND.CLOSED": ("refund", Refund),
    "ENTRUST.SIGN": ("contract", Contract),
    "ENTRUST.TERMINATE": ("contract", Contract),
    "PROFITSHARING": ("profit_sharing", ProfitSharing),
    "PROFITSHARING.SUCCESS": ("profit_sharing", ProfitSharing),
    "PROFITSHARING.RETURN": ("profit_sharing", ProfitSharing),
    "PROFITSHARING_RETURN": ("profit_sharing", ProfitSharing),
    "MCHTRANSFER.BILL.FINISHED": ("transfer", Transfer),
    "MCHTRANSFER.QQWALLETBILL.FINISHED": ("transfer", Transfer),
    "MCHTRANSFER.BATCH.FINISHED": ("transfer", Transfer),
    "MCHTRANSFER.BATCH.CLOSED": ("transfer", Transfer),
    "PAYSCORE.USER_CONFIRM": ("payscore", PayScore),
    "PAYSCORE.USER_PAID": ("payscore", PayScore),
    "PAYSCORE.USER_OPEN_SERVICE": ("payscore", PayScore),
    "PAYSCORE.USER_CLOSE_SERVICE": ("payscore", PayScore),
    "COMPLAINT.CREATE": ("COMPLAINT.CREATE", Event),
}


def test_there_is_an_event_of_every_type_with_a_class_of_its_own():
    assert set(KIND_OF) == set(EVENTS)
    assert {kind for kind, _ in KIND_OF.values()} - {"COMPLAINT.CREATE"} < set(KINDS)


@pytest.mark.parametrize("event_type", KIND_OF)
def test_an_apiv3_event_is_read_as_what_its_type_says(event_type):
    one = event(event_type)
    kind, its_class = KIND_OF[event_type]
    assert (one.kind, type(one), kind_of_event(event_type)) == (kind, its_class, kind)
    assert (one.event_type, one.dialect) == (event_type, "APIv3")


@pytest.mark.parametrize(
    "event_type",
    ["TRANSACTION.REFUND", "REFUND.PROCESSING", "ENTRUST.SIGNING",
     "VEHICLE.USER_STATE_CHANGE", "MCHTRANSFER.AUTHORIZATION.CONFIRMED", "MALL_TRANSACTION.SUCCESS",
     "MALL_REFUND.SUCCESS", "PAYSCOREX", "ABNORMAL_FUND_PROCESSING.TRANSFER.SUCCESS", "transaction.success",
     "A"],
)  # fmt: skip
def test_any_other_event_is_its_own_kind(event_type):
    assert kind_of_event(event_type) == event_type
    assert type(event(event_type, PAYMENT)) is Event


@pytest.mark.parametrize("event_type", ["TRANSACTION.SUCCESS", "PROFITSHARING", "ANYTHING"])
def test_a_profit_sharing_is_known_by_its_original_type_under_any_event(event_type):
    assert kind_of_event(event_type, "profitsharing") == "profit_sharing"
    assert kind_of_event("TRANSACTION.SUCCESS", "transaction") == "payment"


@pytest.mark.parametrize("original_type", ["transaction", "", "refund", "coupon"])
def test_no_other_original_type_makes_another_kind_of_it(original_type):
    (one,) = read_resource(resource("TRANSACTION.SUCCESS", PAYMENT, original_type=original_type))
    assert one.kind == "payment"


@pytest.mark.parametrize("name", ["COMPLAINT.CREATE", "A", "MCHTRANSFER.BATCH.CLOSED", "X_1.2"])
def test_a_type_is_of_capitals_digits_dots_and_lines(name):
    assert is_event_type(name)


@pytest.mark.parametrize(
    "name", ["", ".", "_", "payment", "event", "Complaint.Create", "A B", "A-B", "Ä", "投诉", "A/B"]
)
def test_nothing_else_is_a_type(name):
    assert not is_event_type(name)


def test_no_kind_is_spelled_as_a_type():
    assert not [kind for kind in KINDS if is_event_type(kind)]


# --- another signed message is no kind ------------------------------------------------

REQUEST = {"appid": APPID, "mch_id": MCH_ID, "nonce_str": "n"}
ANSWER = {**REQUEST, "return_code": "SUCCESS", "return_msg": "OK", "result_code": "SUCCESS"}
IDS = {"out_trade_no": "A-1001", "transaction_id": TRANSACTION_ID}
_COMBINE = {
    "combine_appid": APPID, "combine_mch_id": MCH_ID, "combine_out_trade_no": "C-1001", "nonce_str": "n",
    "sign_type": "HMAC-SHA256",
}  # fmt: skip
_ORDERED = {
    "appid": APPID, "mch_id": MCH_ID, "body": "x", "attach": "", "out_trade_no": "A-1001", "fee_type": "CNY",
    "total_fee": 100,
}  # fmt: skip
_PARKED = {
    **REQUEST, "version": "3.0", "trade_scene": "PARKING", "sign_type": "HMAC-SHA256",
    "scene_info": '{"scene_info":{"plate_number":"粤B88888"}}',
}  # fmt: skip
#: All signed with the merchant's APIv2 key, and none of them a notification.
OTHER_MESSAGES: dict[str, dict[str, str]] = {
    "native mode 1, the code itself": {**REQUEST, "product_id": "P-1001", "time_stamp": "1795406400"},
    "native mode 1, the answer": {**ANSWER, "prepay_id": "wx1"},
    "native mode 1, a refusal": {**ANSWER, "result_code": "FAIL", "err_code_des": "sold out"},
    "JSAPI paySign": {
        "appId": APPID, "timeStamp": "1795406400", "nonceStr": "n", "package": "prepay_id=wx1",
        "signType": "MD5",
    },
    "app sign": {
        "appid": APPID, "partnerid": MCH_ID, "prepayid": "wx1", "package": "Sign=WXPay", "noncestr": "n",
        "timestamp": "1795406400",
    },
    "unifiedorder request": {
        **REQUEST, "body": "x", "out_trade_no": "A-1001", "total_fee": "100", "spbill_create_ip": "127.0.0.1",
        "notify_url": "https://shop.example/notify", "trade_type": "NATIVE", "openid": OPENID,
        "product_id": "P-1001", "fee_type": "CNY", "attach": "a", "time_start": "20261123120000",
    },
    "unifiedorder answer": {**ANSWER, "prepay_id": "wx1", "trade_type": "NATIVE", "code_url": "weixin://x"},
    "micropay request": {
        **REQUEST, "body": "x", "out_trade_no": "A-1001", "total_fee": "100", "auth_code": "13",
    },
    "orderquery request": {**REQUEST, "out_trade_no": "A-1001"},
    "orderquery failed": {**ANSWER, "result_code": "FAIL", "err_code": "ORDERNOTEXIST"},
    "closeorder request": {**REQUEST, "out_trade_no": "A-1001"},
    "closeorder answer": ANSWER,
    "reverse answer": {**ANSWER, "recall": "N"},
    "refund request": {**REQUEST, **IDS, "out_refund_no": "R-1", "total_fee": "100", "refund_fee": "100"},
    "refund answer": {
        **ANSWER, **IDS, "out_refund_no": "R-1", "refund_id": "50", "refund_fee": "100", "total_fee": "100",
        "cash_fee": "100", "refund_channel": "", "fee_type": "CNY",
    },
    "refundquery answer": {
        **ANSWER, **IDS, "total_fee": "100", "cash_fee": "100", "refund_count": "1", "out_refund_no_0": "R-1",
        "refund_id_0": "50", "refund_fee_0": "100", "refund_status_0": "SUCCESS",
    },
    "getsignkey request": {"mch_id": MCH_ID, "nonce_str": "n"},
    "downloadbill request": {**REQUEST, "bill_date": "20261123", "bill_type": "ALL"},
    "entrustweb request": {
        "appid": APPID, "mch_id": MCH_ID, "plan_id": "12535", "contract_code": "K-1001",
        "request_serial": "1000", "contract_display_account": "a payer",
        "notify_url": "https://shop.example/notify", "version": "1.0", "timestamp": "1414488825",
        "openid": OPENID, "clientip": "127.0.0.1", "mobile": "1", "email": "a@b", "outerid": "u",
    },
    "contractorder request": {
        **REQUEST, "contract_mchid": MCH_ID, "contract_appid": APPID, "out_trade_no": "A-1001",
        "plan_id": "12535", "contract_code": "K-1001", "request_serial": "1000", "openid": OPENID,
        "contract_display_account": "a payer", "contract_notify_url": "https://shop.example/c",
        "body": "x", "notify_url": "https://shop.example/n", "total_fee": "100", "trade_type": "JSAPI",
        "spbill_create_ip": "127.0.0.1",
    },
    "contractorder answer": {
        **ANSWER, "contract_result_code": "SUCCESS", "prepay_id": "wx1", "trade_type": "JSAPI",
        "plan_id": "12535", "request_serial": "1000", "contract_code": "K-1001", "out_trade_no": "A-1001",
        "contract_display_account": "a payer",
    },
    "querycontract request": {
        "appid": APPID, "mch_id": MCH_ID, "plan_id": "12535", "contract_code": "K-1001", "version": "1.0",
    },
    "querycontract answer": {
        **ANSWER, "contract_id": "201", "plan_id": "12535", "request_serial": "1000",
        "contract_code": "K-1001", "contract_display_account": "a payer", "contract_state": "0",
        "contract_signed_time": "2026-11-23 12:00:00", "contract_expired_time": "2027-11-23 12:00:00",
        "openid": OPENID,
    },
    "deletecontract request": {
        "appid": APPID, "mch_id": MCH_ID, "contract_id": "201", "contract_termination_remark": "x",
        "version": "1.0",
    },
    "deletecontract answer": {
        **ANSWER, "contract_id": "201", "plan_id": "12535", "contract_code": "K-1001",
    },
    "pappayapply request": {
        **REQUEST, "body": "x", "out_trade_no": "A-1001", "total_fee": "100", "trade_type": "PAP",
        "contract_id": "201", "spbill_create_ip": "127.0.0.1", "notify_url": "https://shop.example/n",
    },
    "pappayapply answer": ANSWER,
    "vehicle querystate request": {**_PARKED, "plate_number": "粤B88888", "openid": OPENID},
    "vehicle querystate answer": {
        **ANSWER, "user_state": "NORMAL", "openid": OPENID, "plate_number": "粤B88888",
    },
    "vehicle notification request": {**_PARKED, "openid": OPENID},
    "combined order request": {
        **_COMBINE, "spbill_create_ip": "127.0.0.1", "notify_url": "https://shop.example/n",
        "trade_type": "JSAPI", "scene_info": "{}", "combine_openid": OPENID, "product_id": "P-1001",
        "sub_order_list": json.dumps({"order_num": 1, "order_list": [_ORDERED]}),
    },
    "combined order answer": {
        **_COMBINE, "return_code": "SUCCESS", "result_code": "SUCCESS", "prepay_id": "wx1",
        "trade_type": "JSAPI",
    },
    "combined query request": _COMBINE,
    "combined close request": {
        **_COMBINE, "sub_order_list": json.dumps({"order_num": 1, "order_list": [_ORDERED]}),
    },
    "combined query answer of an order that is not paid": {
        **_COMBINE, "return_code": "SUCCESS", "result_code": "SUCCESS", "result_msg": "OK",
        "sub_order_list": json.dumps({"order_num": 1, "order_list": [_ORDERED]}),
    },
    "transfers answer": {**ANSWER, "partner_trade_no": "T-1", "payment_no": "1", "payment_time": "2026"},
    "nothing at all": {},
    "an unknown one": {"a": "1"},
}  # fmt: skip
READERS: dict[str, Any] = {
    "whatever it is": read_verified,
    "payment": Payment.from_verified,
    "contract": Contract.from_verified,
    "plate": PlateState.from_verified,
    "scan": Scan.from_verified,
    "pay_after": lambda verified: PayAfter.from_verified(verified, ()),
    "combined": combined_from_verified,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("fields", OTHER_MESSAGES.values(), ids=OTHER_MESSAGES)
def test_another_message_under_the_same_key_is_authentic_and_of_no_kind(fields, read):
    sign_type = fields.get("sign_type", "MD5")
    genuine = verify(parse(write(signed(fields, KEY, sign_type))), KEY)
    assert code_of(read, genuine) in ("missing_field", "bad_field")


GENUINE = {
    "payment": notification(),
    "deduction": deduction(),
    "contract": contract(),
    "plate": plate_state(),
    "scan": scan(),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", GENUINE)
def test_a_notification_of_one_kind_is_none_of_another(kind, read):
    result = either(READERS[read], verified(GENUINE[kind]))
    if read in ("whatever it is", kind) or (kind, read) == ("deduction", "payment"):
        assert not isinstance(result, NotifyError)
    else:
        assert result.code in ("missing_field", "bad_field")


#: What makes the library look for another kind, were it added to a genuine payment without its key.
DRESSES = {
    "contract": {"change_type": "ADD"},
    "plate": {"vehicle_event_type": "NORMAL"},
    "scan": {"product_id": "P-1001"},
    "combined": {"combine_out_trade_no": "C-1001"},
    "pay_after": {"event_ciphertext": "AAAA"},
    "refund": {"req_info": "AAAA"},
}


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_a_payment_cannot_be_dressed_as_another_kind_by_adding_to_it(dress):
    seen = parse(notification())
    assert code_of(verify, {**seen, **dress}, KEY) == "bad_signature"
    # Nor by an empty element, which takes no part in the signature.
    for name in dress:
        empty = verify({**seen, name: ""}, KEY)
        assert type(read_verified(empty)[0]) is Payment


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES)
def test_a_payment_that_wechat_pay_itself_signs_with_such_a_field_is_never_half_of_one(dress):
    read = either(lambda: read_verified(verify(signed(payment_fields(**dress)), KEY)))
    if isinstance(read, NotifyError):
        assert read.code in ("missing_field", "bad_field", "bad_json")
    else:
        assert [type(one) for one in read] == [Payment]


def test_a_payment_that_names_its_product_is_a_payment():
    assert type(told(notification(product_id="P-1001"))) is Payment


#: Given the one value that a payer chooses, what an attacker would write there to make another kind of it.
CHOSEN = {
    "contract": "a&change_type=ADD&contract_code=K&contract_id=1&operate_time=2026-11-23 12:00:00&plan_id=1",
    "scan": "a&product_id=P-1",
    "plate": "a&plate_number=B&vehicle_event_createtime=20261123120000&vehicle_event_type=NORMAL",
    "combined": "a&combine_appid=w&combine_mch_id=1&combine_out_trade_no=C&sub_order_list={}",
    "pay_after": "a&event_algorithm=AEAD_AES_256_GCM&event_ciphertext=A&event_id=1&event_nonce=n"
    "&event_type=CHECK.SUCCESS",
}


@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
@pytest.mark.parametrize("chosen", CHOSEN.values(), ids=CHOSEN)
def test_a_payment_that_was_seen_cannot_be_split_into_another_kind(chosen, sign_type):
    fields = {name: value for name, value in payment_fields(attach=chosen).items() if value}
    text = string_to_sign(fields, "").removesuffix("&key=")
    sent = signed(fields, KEY, sign_type)
    names = [part.split("=")[0] for part in chosen.split("&")[1:]]
    split: dict[str, str] = {}
    starts = [text.index(f"&{name}=") for name in ("attach", *names)]
    split["appid"] = fields["appid"]
    for name, start, end in zip(("attach", *names), starts, [*starts[1:], len(text)], strict=True):
        split[name] = text[start:end].removeprefix(f"&{name}=")
    assert string_to_sign(split, KEY) == string_to_sign(fields, KEY), "the attack must be a good one"
    assert code_of(verify, {**split, "sign": sent["sign"]}, KEY) == "ambiguous_signature"
    # As it was sent it is the payment it is, whatever stands in that value.
    assert type(told(write(sent))) is Payment


# --- JSON of any shape ----------------------------------------------------------------

EVENT_TYPES = st.sampled_from([*EVENTS, "", "A.NEW_ONE"])


@given(event_type=EVENT_TYPES, content=st.dictionaries(st.text(max_size=10), JSON, max_size=5))
@example(event_type="TRANSACTION.SUCCESS", content={"combine_out_trade_no": None})
def test_any_object_under_any_event_is_read_or_refused(event_type, content):
    for read in (read_resource, read_answer):
        given_back = either(read, resource(event_type, content))
        assert isinstance(given_back, NotifyError) or all(isinstance(one, Notification) for one in given_back)


CONTENTS = {**EVENTS, "": PAYMENT, "combined": COMBINED}
NAMES = sorted(
    {name for content in CONTENTS.values() for name in content} | {"sp_mchid", "sub_mchid", "out_batch_no"}
)


@given(
    told_as=st.sampled_from(sorted(CONTENTS)),
    event_type=EVENT_TYPES,
    changes=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3),
    original_type=st.sampled_from(["", "transaction", "profitsharing"]),
)
def test_a_genuine_event_with_any_of_its_values_changed_is_read_or_refused(
    told_as, event_type, changes, original_type
):
    content = {**CONTENTS[told_as], **changes}
    read = either(read_resource, resource(event_type, content, original_type=original_type))
    if isinstance(read, NotifyError):
        assert len(str(read)) < 400
        return
    for one in read:
        assert repr(one).isprintable()
        assert one.key.isprintable()
        if isinstance(one, Payment) and one.paid:
            assert event_type in ("", "TRANSACTION.SUCCESS")
            assert type(one.total_fee) is int


@given(
    path=st.sampled_from(["amount", "payer", "receiver", "sub_orders", "combine_payer_info"]),
    value=JSON
    | st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), max_size=3)
    | st.dictionaries(st.sampled_from(["total", "refund", "total_amount", "openid", "amount"]), JSON),
)  # fmt: skip
def test_any_value_inside_of_an_event_is_read_or_refused(path, value):
    for content in (PAYMENT, REFUND, COMBINED, PROFIT_SHARING, CONTRACT):
        for event_type in ("TRANSACTION.SUCCESS", "REFUND.SUCCESS", "PROFITSHARING.SUCCESS", "ENTRUST.SIGN"):
            either(read_resource, resource(event_type, {**content, path: value}))


APIV2_NAMES = sorted(
    {name for body in GENUINE.values() for name in parse(body)} - {"sign"}
    | {"combine_mch_id", "combine_appid", "combine_out_trade_no", "sub_order_list", "event_ciphertext"}
)


@given(
    kind=st.sampled_from(sorted(GENUINE)),
    changes=st.dictionaries(st.sampled_from(APIV2_NAMES), st.text(st.characters(codec="utf-8"), max_size=40)),
)
def test_any_fields_that_are_signed_are_read_or_refused(kind, changes):
    fields = {name: value for name, value in verified(GENUINE[kind]).items() if name != "sign_type"}
    genuine = either(lambda: verify(signed({**fields, **changes}), KEY))
    if not isinstance(genuine, NotifyError):
        for read in READERS.values():
            either(read, genuine)


@given(st.text(max_size=60) | JSON.map(lambda value: json.dumps({"order_list": value})))
@example('{"order_list":[[]]}')
def test_any_text_in_the_place_of_the_orders_is_read_or_refused(text):
    fields = {**payment_fields(), **_COMBINE, "sub_order_list": text}
    genuine = either(lambda: verify(signed(fields, KEY, "HMAC-SHA256"), KEY))
    if not isinstance(genuine, NotifyError):
        either(read_verified, genuine)
