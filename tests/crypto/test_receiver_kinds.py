"""The receiver and what is encrypted: refunds, rent and hotel, and all of APIv3, on one address."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wxnotify import Decrypted, Expected, Key, Merchant, Outcome, VerifiedResource, build_reply, parse, verify
from wxnotify.apiv3 import APIv3, PlatformKey
from wxnotify.inbox import Inbox
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import (
    APPID,
    KEY,
    MCH_ID,
    apiv3_keys,
    combined,
    contract,
    notification,
    pay_after_notification,
    plate_state,
    query_answer,
    refund_notification,
    scan,
)
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    PUBLIC_KEY_ID,
    SERIAL,
    Posted,
    apiv3,
    combined_event,
    event,
    partner_payment_event,
    payment_event,
    refund_event,
)

from ..kinds import CONTRACT, EVENTS, OPENID, SUB_MCH_ID
from ..receiving import SUCCESS, FaultyStore
from ..receiving_kinds import EveryKind
from .posting import NOW, with_headers

OTHER_KEY = "another-test-key-0123456789abcde"
OTHER_V3_KEY = "another-key-of-our-own-making-02"
SANDBOX_KEY = "sandbox-key-of-this-merchant-012"
PREPAY_ID = "wx201410272009395522657a690389285100"
TWO = {"A-1001": Expected(100), "A-1002": Expected(200)}
OK_JSON = build_reply(dialect="APIv3")
OK_CODE = build_reply(dialect="pay_after")


class OneAddress(EveryKind):
    """A merchant of both dialects, whose wall clock stands at the time of the tests."""

    def __init__(self, *kinds: str, keys: Any = KEY, dialect: APIv3 | None = None, **options: Any) -> None:
        merchant = Merchant(MCH_ID, APPID, keys, apiv3=dialect or apiv3())
        options = {"merchants": merchant, "orders": TWO, "wall_clock": lambda: NOW, **options}
        super().__init__(*kinds, answer=PREPAY_ID, **options)

    def post(self, posted: Posted) -> tuple[Any, list[Any]]:
        return self.tell(posted.body, posted.headers)


@pytest.fixture
def shop() -> OneAddress:
    return OneAddress()


# --- refunds --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["SUCCESS", "CHANGE", "REFUNDCLOSE"])
def test_a_refund_reaches_its_handler_once_and_every_resend_is_told_success(shop, status):
    body = refund_notification(refund_status=status)
    for outcome in (Outcome.HANDLED, Outcome.DUPLICATE):
        reply, (told,) = shop.tell(body)
        assert (reply, told.outcome) == (SUCCESS, outcome)
        assert (told.kind, told.dialect, told.key_index, told.paid) == ("refund", "APIv2", 0, None)
        assert (told.mch_id, told.out_trade_no) == (MCH_ID, "A-1001")
    (refund,) = shop.told
    assert type(refund.fields) is Decrypted
    assert shop.asked == []


def test_outer_fields_of_a_refund_are_never_believed(shop):
    forged = {
        "out_trade_no": "B-1", "refund_fee": "1", "total_fee": "1", "refund_id": "7",
        "refund_status": "CHANGE", "transaction_id": "7", "out_refund_no": "R-9", "result_code": "SUCCESS",
        "trade_type": "JSAPI",
    }  # fmt: skip
    assert shop.codes(refund_notification()) == ["handled"]
    assert shop.codes(refund_notification(outside=forged)) == ["duplicate"]
    assert shop.told[0].refund_fee == 100


def test_whoever_has_one_merchants_key_cannot_use_up_another_merchants_refund():
    mine = Merchant(MCH_ID, APPID, KEY, apiv3=apiv3())
    theirs = Merchant("1900000110", "wx2", OTHER_KEY)
    shop = OneAddress(merchants=[mine, theirs])
    lie = refund_notification(key=OTHER_KEY, outside={"mch_id": "1900000110"}, refund_fee="1")
    assert shop.codes(lie) == ["handled"]
    assert shop.codes(refund_notification()) == ["handled"]
    assert shop.post(refund_event(now=NOW))[1][0].code == "duplicate"
    assert [(one.mch_id, one.refund_fee) for one in shop.told] == [("1900000110", 1), (MCH_ID, 100)]


def test_payment_fields_beside_a_req_info_pay_nothing(shop):
    paid = {name: value for name, value in parse(notification()).items() if name != "sign"}
    assert shop.codes(refund_notification(outside={**paid, "out_trade_no": "A-1002"})) == ["handled"]
    assert [one.kind for one in shop.told] == ["refund"]
    assert shop.asked == []


def test_a_sign_beside_a_req_info_is_a_signed_message_and_must_hold(shop):
    assert shop.codes(refund_notification(outside={"sign": "0" * 32})) == ["bad_signature"]
    assert shop.codes(refund_notification(outside={"sign": ""})) == ["handled"]


@pytest.mark.parametrize("mch_id", ["1900000999", "", None, "../1"])
def test_a_refund_for_a_merchant_who_is_not_configured_is_refused(shop, mch_id):
    reply, (told,) = shop.tell(refund_notification(outside={"mch_id": mch_id}))
    assert (told.code, reply.status, shop.told) == ("unknown_merchant", 403, [])


def test_a_refund_under_another_key_does_not_open(shop):
    reply, (told,) = shop.tell(refund_notification(key=OTHER_KEY))
    assert (told.code, reply.status, told.key_index) == ("bad_ciphertext", 401, None)
    assert shop.told == []


def test_another_configured_merchant_s_key_does_not_open_it():
    other = Merchant("1900000111", "wx9", OTHER_KEY)
    shop = EveryKind(merchants=[Merchant(MCH_ID, APPID, KEY), other])
    assert shop.codes(refund_notification(key=OTHER_KEY)) == ["bad_ciphertext"]
    assert shop.codes(refund_notification(key=OTHER_KEY, outside={"mch_id": "1900000111"})) == ["handled"]
    assert shop.told[0].mch_id == "1900000111"


def test_while_the_key_is_changed_the_event_says_which_one_opened_a_refund():
    shop = OneAddress(keys=[OTHER_KEY, KEY])
    shop.tell(refund_notification())
    shop.tell(refund_notification(key=OTHER_KEY, refund_id="8"))
    assert [told.key_index for told in shop.events] == [1, 0]


def test_a_refund_under_the_sandbox_s_key_is_refused_unless_it_is_allowed():
    keys = [KEY, Key(SANDBOX_KEY, sandbox=True)]
    body = refund_notification(key=SANDBOX_KEY)
    reply, (told,) = OneAddress(keys=keys).tell(body)
    assert (told.code, reply.status) == ("sandbox_key", 403)
    _, (told,) = OneAddress(keys=keys, allow_sandbox=True).tell(body)
    assert (told.code, told.sandbox, told.key_index) == ("handled", True, 1)


def test_a_refund_of_either_dialect_is_one_refund(shop):
    assert shop.tell(refund_notification())[0] == SUCCESS
    assert shop.post(refund_event(now=NOW))[0] == OK_JSON
    assert [told.code for told in shop.events] == ["handled", "duplicate"]
    assert shop.post(refund_event(now=NOW, event_type="REFUND.ABNORMAL"))[1][0].code == "handled"
    assert shop.codes(refund_notification(refund_status="CHANGE")) == ["duplicate"]
    assert [one.result for one in shop.told] == ["SUCCESS", "ABNORMAL"]


def test_a_refund_with_another_amount_is_a_conflict(shop):
    shop.tell(refund_notification())
    reply, (told,) = shop.tell(refund_notification(refund_fee="1"))
    assert (told.code, reply.status, len(shop.told)) == ("conflict", 500, 1)


def test_a_refund_made_in_the_merchant_console_reaches_a_merchant_of_apiv3_as_xml(shop):
    posted = payment_event(now=NOW)
    assert shop.post(posted)[0] == OK_JSON
    # Whatever the headers of the request say, and they may be those of APIv3.
    reply, (told,) = shop.tell(refund_notification(refund_request_source="VENDOR_PLATFORM"), posted.headers)
    assert (reply, told.code, told.dialect) == (SUCCESS, "handled", "APIv2")
    assert shop.told[-1].refund_request_source == "VENDOR_PLATFORM"


def test_such_a_refund_for_a_merchant_without_an_apiv2_key_says_so():
    reply, (told,) = OneAddress(keys=()).tell(refund_notification())
    assert (told.code, "no APIv2 key" in told.detail) == ("unknown_merchant", True)
    assert reply == build_reply("FAIL", "unknown_merchant", status=403)


# --- rent and hotel -------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_type", ["CHECK.SUCCESS", "CHECK.FAIL", "TRANSACTION.SUCCESS", "TRANSACTION.FAIL"]
)
def test_a_rent_or_hotel_event_is_handled_once_and_answered_in_its_own_words(shop, event_type):
    for outcome in (Outcome.HANDLED, Outcome.DUPLICATE):
        reply, (told,) = shop.tell(pay_after_notification(event_type))
        assert (reply, told.outcome) == (OK_CODE, outcome)
        assert (told.kind, told.event_type, told.dialect) == ("pay_after", event_type, "APIv2")
    assert reply.body == b"<xml><code><![CDATA[SUCCESS]]></code><message><![CDATA[OK]]></message></xml>"
    assert len(shop.told) == 1
    assert shop.told[0].content["out_order_no"] == "A-1001"


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (pay_after_notification(key=OTHER_KEY), "bad_signature", 401),
        (pay_after_notification(apiv3_key=OTHER_V3_KEY), "bad_ciphertext", 401),
        (pay_after_notification(outside={"mch_id": "1900000999"}), "unknown_merchant", 403),
        (pay_after_notification(outside={"app_id": "wx9"}), "merchant_mismatch", 403),
        (pay_after_notification(outside={"event_id": None}), "missing_field", 422),
        (pay_after_notification(total_amount="1.00"), "bad_field", 422),
        (
            pay_after_notification("TRANSACTION.SUCCESS").replace(b"<sign>", b"<sign>0"),
            "malformed_signature",
            401,
        ),
    ],
    ids=range(7),
)
def test_a_refused_rent_or_hotel_event_is_told_so_in_its_own_words(shop, body, code, status):
    reply, (told,) = shop.tell(body)
    assert told.code == code
    assert reply == build_reply("FAIL", code, status=status, dialect="pay_after")
    assert shop.told == []


def test_a_rent_or_hotel_event_without_a_handler_or_with_one_that_fails_is_told_fail_in_its_own_words():
    reply, _ = OneAddress("payment").tell(pay_after_notification())
    assert reply == build_reply("FAIL", "no_handler", status=500, dialect="pay_after")
    reply, _ = OneAddress(failing=[ValueError()]).tell(pay_after_notification())
    assert reply == build_reply("FAIL", "handler_failed", status=500, dialect="pay_after")


def test_a_merchant_without_apiv3_cannot_open_a_rent_or_hotel_event():
    shop = EveryKind(merchants=Merchant(MCH_ID, APPID, KEY))
    reply, (told,) = shop.tell(pay_after_notification())
    assert (told.code, "without apiv3=" in told.detail) == ("unknown_merchant", True)
    assert reply.body.startswith(b"<xml><code>")


def test_its_event_says_which_key_of_either_kind_it_was():
    shop = OneAddress(keys=[OTHER_KEY, KEY], dialect=apiv3([OTHER_V3_KEY, API_V3_KEY]))
    _, (told,) = shop.tell(pay_after_notification())
    assert (told.code, told.key_index, told.apiv3_key_index) == ("handled", 1, 1)
    assert shop.post(payment_event(now=NOW))[1][0].apiv3_key_index is None


# --- APIv3 ----------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENTS)
def test_each_event_reaches_its_handler_once_and_a_resend_with_another_id_is_told_success(shop, event_type):
    for now, outcome in ((NOW, Outcome.HANDLED), (NOW + 15, Outcome.DUPLICATE)):
        made = {"id": f"EV-{now}", "create_time": "2026-11-23T12:00:00+08:00"}
        reply, (told,) = shop.post(event(event_type, EVENTS[event_type], now=now, **made))
        assert (reply, told.outcome) == (OK_JSON, outcome)
        assert (told.dialect, told.event_type, told.notification_id) == ("APIv3", event_type, f"EV-{now}")
        assert (told.serial, told.key_index, told.sandbox) == (SERIAL, 0, False)
    (one,) = shop.told
    assert type(one.fields) is VerifiedResource
    assert (told.kind, told.key) == (one.kind, one.key)


def test_a_success_has_a_json_body_and_status_200(shop):
    reply, _ = shop.post(payment_event(now=NOW))
    assert (reply.status, reply.body) == (200, b'{"code":"SUCCESS","message":"OK"}')
    assert dict(reply.headers)["Content-Type"] == "application/json; charset=utf-8"


def test_direct_and_combined_are_told_apart_after_decryption(shop):
    assert shop.post(payment_event(now=NOW))[1][0].code == "handled"
    assert [told.code for told in shop.post(combined_event(now=NOW))[1]] == ["duplicate", "handled"]
    assert [one.combine_out_trade_no for one in shop.told] == ["", "C-1001"]


def test_a_payment_to_a_sub_merchant_is_taken_where_it_is_served():
    provider = Merchant(MCH_ID, APPID, KEY, apiv3=apiv3(), sub_mch_ids=[SUB_MCH_ID])
    shop = OneAddress(merchants=provider)
    assert shop.post(partner_payment_event(now=NOW))[1][0].code == "handled"
    assert shop.codes(notification(sub_mch_id=SUB_MCH_ID)) == ["duplicate"]
    assert shop.post(partner_payment_event(now=NOW, sub_mchid="1900000999"))[1][0].code == "merchant_mismatch"
    # The same transaction as the provider's own is another content, and another merchant's order.
    assert shop.post(payment_event(now=NOW))[1][0].code == "merchant_mismatch"


def test_both_platform_keys_verify_while_a_merchant_moves(shop):
    for serial in (SERIAL, PUBLIC_KEY_ID):
        _, (told,) = shop.post(payment_event(now=NOW, options={"serial": serial}))
        assert told.serial == serial
    assert [told.code for told in shop.events] == ["handled", "duplicate"]


def test_while_the_apiv3_key_is_changed_the_event_says_which_one_opened_it():
    shop = OneAddress(dialect=apiv3([OTHER_V3_KEY, API_V3_KEY]))
    shop.post(payment_event(now=NOW))
    shop.post(payment_event(now=NOW, options={"key": OTHER_V3_KEY}))
    assert [(told.key_index, told.code) for told in shop.events] == [(1, "handled"), (0, "duplicate")]


REFUSED = {
    "forged": (with_headers(payment_event(now=NOW), Signature="AAAA"), "bad_signature", 401),
    "unsigned": (with_headers(payment_event(now=NOW), Signature=None), "missing_signature", 401),
    "without headers": (Posted({}, payment_event(now=NOW).body), "missing_signature", 401),
    "old": (payment_event(now=NOW - 301), "stale_timestamp", 401),
    "of the future": (payment_event(now=NOW + 301), "stale_timestamp", 401),
    "unknown serial": (with_headers(payment_event(now=NOW), Serial="F0"), "unknown_serial", 401),
    "other key": (payment_event(now=NOW, options={"key": OTHER_V3_KEY}), "bad_ciphertext", 401),
    "other merchant": (payment_event(now=NOW, mchid="1900000999"), "merchant_mismatch", 403),
    "other app": (payment_event(now=NOW, appid="wx9"), "merchant_mismatch", 403),
    "other sub-merchant": (partner_payment_event(now=NOW, sub_mchid="1900000999"), "merchant_mismatch", 403),
    "other amount": (payment_event(now=NOW, amount={"total": 1}), "amount_mismatch", 422),
    "other order": (payment_event(now=NOW, out_trade_no="B-1"), "unknown_order", 503),
    "no JSON": (Posted(payment_event(now=NOW).headers, b"{"), "bad_signature", 401),
}


@pytest.mark.parametrize(("posted", "code", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_so_in_json_and_uses_up_no_key(posted, code, status):
    shop = OneAddress(store=FaultyStore())
    reply, (told,) = shop.post(posted)
    assert (told.code, told.dialect) == (code, "APIv3")
    assert reply == build_reply("FAIL", code, status=status, dialect="APIv3")
    assert json.loads(reply.body) == {"code": "FAIL", "message": code}
    assert (shop.told, shop.store.called) == ([], [])


def test_a_probe_is_refused_quietly_and_the_genuine_one_that_follows_is_handled(shop, caplog):
    genuine = payment_event(now=NOW)
    with caplog.at_level(logging.DEBUG):
        reply, (told,) = shop.post(with_headers(genuine, Signature="WECHATPAY/SIGNTEST/abc"))
    assert (told.outcome, told.code, reply.status) == (Outcome.PROBE, "signature_probe", 401)
    assert json.loads(reply.body)["code"] == "FAIL"
    assert max(record.levelno for record in caplog.records) < logging.WARNING
    assert shop.post(genuine)[1][0].outcome is Outcome.HANDLED


def test_an_unknown_serial_may_be_fetched_and_the_resend_is_handled():
    certificate, public_key = apiv3().platform
    told: list[str] = []
    dialect = APIv3(API_V3_KEY, certificate, on_unknown_serial=told.append)
    shop = OneAddress(dialect=dialect)
    moved = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    assert shop.post(moved)[1][0].code == "unknown_serial"
    assert told == [PUBLIC_KEY_ID]
    dialect.add(PlatformKey.from_public_key(PUBLIC_KEY_ID, apiv3_keys.PUBLIC_KEY))
    assert shop.post(moved)[1][0].code == "handled"
    assert public_key.serial == PUBLIC_KEY_ID


def test_the_wall_clock_is_the_caller_s():
    clock = [float(NOW)]
    shop = OneAddress(wall_clock=lambda: clock[0])
    clock[0] = NOW + 301.0
    assert shop.post(payment_event(now=NOW))[1][0].code == "stale_timestamp"
    clock[0] = NOW - 300.0
    assert shop.post(payment_event(now=NOW))[1][0].code == "handled"


def test_several_merchants_of_both_dialects_share_one_address():
    provider = Merchant("1900000111", "wx9", OTHER_KEY, apiv3=apiv3(OTHER_V3_KEY))
    old = Merchant("1900000222", "wx8", SANDBOX_KEY)
    own = Merchant(MCH_ID, APPID, KEY, apiv3=apiv3())
    shop = OneAddress(merchants=[own, provider, old])
    theirs = {"mchid": "1900000111", "appid": "wx9"}
    shop.orders = {"A-1001": Expected(100, mch_id=None)}
    assert shop.post(payment_event(now=NOW))[1][0].mch_id == MCH_ID
    assert shop.post(payment_event(now=NOW, options={"key": OTHER_V3_KEY}, **theirs))[1][0].mch_id == (
        "1900000111"
    )
    assert shop.codes(notification(key=SANDBOX_KEY, mch_id="1900000222", appid="wx8")) == ["handled"]
    # Each under its own keys alone: the platform key signs for everybody.
    assert shop.post(payment_event(now=NOW, **theirs))[1][0].code == "merchant_mismatch"
    assert shop.codes(notification(key=OTHER_KEY)) == ["bad_signature"]
    assert [one.mch_id for one in shop.told] == [MCH_ID, "1900000111", "1900000222"]


def test_json_where_no_merchant_has_apiv3_is_refused_in_json():
    reply, (told,) = EveryKind().tell(b'{"id": "EV-1"}')
    assert (told.code, told.dialect) == ("unknown_merchant", "APIv3")
    assert json.loads(reply.body) == {"code": "FAIL", "message": "unknown_merchant"}


# --- one address ----------------------------------------------------------------------


def test_one_address_serves_both_dialects_and_answers_each_in_its_own(shop):
    assert shop.post(payment_event(now=NOW))[0] == OK_JSON
    assert shop.tell(notification())[0] == SUCCESS
    assert shop.tell(query_answer())[0] == SUCCESS
    assert shop.tell(combined())[0] == SUCCESS
    assert shop.tell(pay_after_notification())[0] == OK_CODE
    assert shop.post(refund_event(now=NOW))[0] == OK_JSON
    assert shop.tell(refund_notification())[0] == SUCCESS
    assert shop.tell(contract())[0] == SUCCESS
    assert shop.post(event("ENTRUST.SIGN", CONTRACT, now=NOW))[0] == OK_JSON
    assert shop.tell(plate_state())[0] == SUCCESS
    answer = verify(parse(shop.tell(scan())[0].body), KEY)
    assert answer["prepay_id"] == PREPAY_ID
    assert [one.kind for one in shop.told] == [
        "payment", "payment", "pay_after", "refund", "contract", "plate", "scan",
    ]  # fmt: skip


@pytest.mark.parametrize("blank", [b"", b" ", b"\r\n\t"])
def test_what_the_bytes_are_decides_and_not_the_headers(shop, blank):
    headers = payment_event(now=NOW).headers
    assert shop.tell(blank + notification(), headers)[0] == SUCCESS
    # White space before it is no longer what was signed, and JSON all the same.
    reply, (told,) = shop.tell(blank + payment_event(now=NOW).body, headers)
    assert told.dialect == "APIv3"
    assert json.loads(reply.body)["code"] == "FAIL"


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"null", b"\xff"])
def test_what_is_neither_is_of_the_dialect_that_its_headers_sign(shop, body):
    reply, (told,) = shop.tell(body, payment_event(now=NOW).headers)
    assert (told.dialect, told.code) == ("APIv3", "bad_signature")
    reply, (told,) = shop.tell(body)
    assert told.dialect == "APIv2"
    assert reply.body.startswith(b"<xml><return_code>")


def test_nothing_is_gained_by_dressing_one_dialect_as_the_other(shop):
    posted = payment_event(now=NOW)
    assert shop.codes(posted.body) == ["missing_signature"]
    wrapped = b"<xml><resource><![CDATA[" + posted.body + b"]]></resource></xml>"
    assert shop.tell(wrapped, posted.headers)[1][0].code == "missing_signature"
    as_json = json.dumps(parse(notification())).encode()
    assert shop.tell(as_json, posted.headers)[1][0].code == "bad_signature"
    assert shop.told == []


@pytest.mark.parametrize("size", [65_537, 200_000])
def test_a_body_over_the_limit_is_refused_in_either_dialect(shop, size):
    for first, dialect in ((b"{", "APIv3"), (b"<", "APIv2")):
        reply, (told,) = shop.tell(first + b"x" * (size - 1), payment_event(now=NOW).headers)
        assert (told.code, told.dialect, reply.status) == ("too_large", dialect, 413)


def test_both_dialects_are_served_on_an_event_loop(shop):
    async def deliver() -> list[Any]:
        posted = payment_event(now=NOW)
        return [
            await shop.receiver.receive_async(posted.body, posted.headers),
            await shop.receiver.receive_async(notification()),
            await shop.receiver.receive_async(refund_notification()),
            await shop.receiver.receive_async(pay_after_notification()),
        ]

    assert asyncio.run(deliver()) == [OK_JSON, SUCCESS, SUCCESS, OK_CODE]
    assert [told.code for told in shop.events] == ["handled", "duplicate", "handled", "handled"]


def test_no_event_names_the_payer_or_a_key(shop):
    posted = payment_event(now=NOW)
    shop.post(posted)
    for body in (refund_notification(), pay_after_notification(), scan(), contract()):
        shop.tell(body)
    for told in shop.events:
        for secret in (OPENID, KEY, API_V3_KEY, posted.headers["Wechatpay-Signature"]):
            assert secret not in repr(told)


# --- the inbox ------------------------------------------------------------------------


@pytest.fixture
def queueing(tmp_path: Path) -> Iterator[tuple[OneAddress, list[str]]]:
    refs: list[str] = []
    with SQLiteStore(tmp_path / "shop.db") as store:
        shop = OneAddress("scan", store=store)
        for kind in ("payment", "refund", "pay_after", "event"):
            shop.receiver.on(kind, inbox=Inbox(refs.append))(shop.take)
        yield shop, refs


def test_what_was_encrypted_is_queued_and_worked_as_it_was_told(queueing):
    shop, refs = queueing
    told = [
        shop.tell(refund_notification())[0],
        shop.tell(pay_after_notification("TRANSACTION.SUCCESS"))[0],
        shop.post(payment_event(now=NOW))[0],
        shop.post(event("COMPLAINT.CREATE", {"complaint_id": "1"}, now=NOW))[0],
    ]
    assert told == [SUCCESS, OK_CODE, OK_JSON, OK_JSON]
    assert shop.told == []
    for ref in refs:
        assert shop.receiver.work(ref).outcome is Outcome.HANDLED
    refund, rent, paid, complaint = shop.told
    assert (refund.refund_fee, type(refund.fields)) == (100, Decrypted)
    assert (rent.content["state"], rent.total_amount) == ("USER_PAID", 200)
    assert (paid.fields.serial, paid.total_fee) == (SERIAL, 100)
    assert (complaint.kind, complaint.fields["complaint_id"]) == ("COMPLAINT.CREATE", "1")


def test_what_is_queued_is_stored_open_and_its_keys_are_not(queueing, tmp_path):
    shop, refs = queueing
    shop.tell(refund_notification())
    shop.tell(pay_after_notification())
    stored = b"".join(shop.store.fetch(ref) for ref in refs)
    assert b"R-1001" in stored
    assert b"USER_ACCEPTED" in stored
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"R-1001" in files
    for key in (KEY, API_V3_KEY):
        assert key.encode() not in files
