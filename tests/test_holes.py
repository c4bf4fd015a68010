"""
Each hole found in another SDK, and the test that shows it is none here.

D1 to D42 are those of the project's survey of its peers, P1 and on those of its
notes on the protocol. Most tests stand beside what they test; those that belong
nowhere else are here.
"""

from __future__ import annotations

import ast
import hmac
import json
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from wxnotify import _signature, parse, verify, write
from wxnotify.errors import NotifyError
from wxnotify.testing import KEY, combined, contract, deduction, notification, plate_state, scan

from .kinds import told
from .receiving import FaultyStore
from .receiving_kinds import EveryKind
from .support import code_of, either

TESTS: Final = Path(__file__).parent
V2, V3 = "test_advisories.py", "crypto/test_advisories.py"

#: What was wrong, in one line, and the tests that are named or commented for it.
HOLES: Final[dict[str, tuple[str, list[tuple[str, str]]]]] = {
    "D1": (
        "a body without sign and without return_code SUCCESS is given back as parsed",
        [
            (V2, "test_wxjava_1890_and_d1_a_body_without_sign_is_refused_whatever_its_return_code"),
            ("test_holes.py", "test_d1_and_d17_no_kind_goes_without_its_signature"),
        ],
    ),
    "D2": (
        "the request names its key",
        [(V2, "test_d2_the_trade_type_of_a_request_does_not_choose_its_key")],
    ),
    "D3": ("any signature that is there passes", [(V2, "test_d3_not_just_any_signature_passes")]),
    "D4": ("a return_code skips the signature", [(V2, "test_d4_no_return_code_skips_the_signature")]),
    "D5": (
        "the tag of GCM is not checked",
        [(V3, "test_the_tag_is_checked_before_anything_of_the_plaintext_is_given")],
    ),
    "D6": (
        "an empty key drops out of what is signed",
        [(V2, "test_d6_d7_d13_an_empty_key_is_refused_and_never_left_out_of_the_text")],
    ),
    "D7": (
        "an empty key is accepted",
        [(V2, "test_d6_d7_d13_an_empty_key_is_refused_and_never_left_out_of_the_text")],
    ),
    "D8": (
        "XML is never verified, and without req_info its plain fields are believed",
        [
            ("test_holes.py", "test_d8_xml_without_a_sign_tells_nothing"),
            ("crypto/test_receiver_kinds.py", "test_payment_fields_beside_a_req_info_pay_nothing"),
            ("crypto/test_receiver_kinds.py", "test_outer_fields_of_a_refund_are_never_believed"),
        ],
    ),
    "D9": (
        "decryption alone is believed, and the envelope with it; only the past is stale",
        [
            (V3, "test_the_envelope_is_authenticated_and_not_only_what_is_encrypted_in_it"),
            (V3, "test_a_notification_from_the_future_is_stale_too"),
        ],
    ),
    "D10": ("no headers, no verification", [(V3, "test_without_headers_nothing_opens")]),
    "D11": (
        "a Host of localhost, no verification",
        [
            (V3, "test_no_other_header_switches_the_verification_off"),
            ("test_holes.py", "test_d11_no_header_switches_the_verification_of_xml_off"),
        ],
    ),
    "D12": (
        "decrypting and verifying are two calls, and the second is forgotten",
        [
            (V3, "test_there_is_no_way_to_decrypt_a_notification_that_was_not_verified"),
            ("crypto/test_pay_after.py", "test_encryption_alone_proves_nothing_without_the_signature"),
        ],
    ),
    "D13": (
        "a key that is false means no key",
        [(V2, "test_d6_d7_d13_an_empty_key_is_refused_and_never_left_out_of_the_text")],
    ),
    "D14": (
        "a header names the key",
        [
            (V2, "test_d14_and_wx_pay_rb_a_request_never_brings_its_own_key"),
            ("test_holes.py", "test_d14_no_header_brings_a_key"),
        ],
    ),
    "D15": (
        "what is signed is logged with the key",
        [
            (V2, "test_d15_no_log_record_is_written_at_all"),
            (V3, "test_no_key_is_logged_or_shown"),
            ("test_no_secrets.py", "test_no_secret_is_in_any_result_refusal_local_variable_or_log"),
        ],
    ),
    "D16": ("a key is in an exception", [(V2, "test_d16_a_key_of_the_wrong_length_is_not_echoed")]),
    "D17": (
        "a message without sign is a crash",
        [
            (V2, "test_d17_a_message_without_sign_is_a_refusal_and_no_crash"),
            ("test_holes.py", "test_d1_and_d17_no_kind_goes_without_its_signature"),
        ],
    ),
    "D18": (
        "an unknown serial empties the certificates",
        [(V3, "test_an_unknown_serial_neither_downloads_nor_empties_the_ring")],
    ),
    "D19": (
        "an unknown serial makes a download",
        [
            (V3, "test_an_unknown_serial_neither_downloads_nor_empties_the_ring"),
            (V3, "test_nothing_in_the_dialect_can_open_a_connection"),
        ],
    ),
    "D20": (
        "odd headers and bytes raise whatever they raise",
        [
            (V3, "test_a_header_that_is_odd_or_absent_is_a_refusal_and_no_stray_exception"),
            (V3, "test_a_body_that_is_no_utf_8_is_a_refusal_and_no_stray_exception"),
            (V3, "test_an_absent_type_of_signature_is_rsa"),
        ],
    ),
    "D21": (
        "base64 and absent associated data raise whatever they raise",
        [
            (V3, "test_a_signature_that_is_no_base64_is_a_bad_signature"),
            (V3, "test_a_probe_that_is_no_base64_is_a_probe"),
            (V3, "test_associated_data_may_be_null_or_absent"),
        ],
    ),
    "D22": (
        "eight kinds of exceptions from odd bodies and refunds",
        [
            (V2, "test_d22_an_odd_body_gets_one_documented_refusal"),
            ("crypto/test_refunds.py", "test_whatever_is_wrong_inside_is_refused_in_the_same_words"),
            ("test_kinds.py", "test_any_fields_that_are_signed_are_read_or_refused"),
        ],
    ),
    "D23": (
        "a comment, an absent sign or an entity is a crash or a cut",
        [(V2, "test_d23_a_comment_a_missing_sign_and_entity_text_are_no_crash_and_no_truncation")],
    ),
    "D24": (
        "a body of any size",
        [
            (V2, "test_d24_a_body_over_the_limit_is_refused_unread"),
            ("crypto/test_receiver_kinds.py", "test_a_body_over_the_limit_is_refused_in_either_dialect"),
        ],
    ),
    "D25": (
        "an error holds the request; a bad key is found out at the first one",
        [
            (V3, "test_a_refusal_holds_nothing_of_the_request"),
            (V3, "test_a_key_that_cannot_be_read_is_refused_when_it_is_configured"),
        ],
    ),
    "D26": ("a serial is a path", [(V3, "test_a_serial_is_looked_up_and_never_opened")]),
    "D27": ("a parser's defaults", [(V2, "test_d27_the_parsers_defaults_resolve_nothing")]),
    "D28": (
        "a field that is new breaks the signature",
        [
            (V2, "test_d28_a_field_the_library_has_never_heard_of_is_signed_and_kept"),
            ("test_holes.py", "test_d28_a_field_of_next_year_is_signed_and_kept_in_every_kind"),
        ],
    ),
    "D29": (
        "HMAC cannot be verified",
        [
            (V2, "test_d29_and_wxjava_1585_hmac_messages_verify_with_and_without_sign_type"),
            ("test_holes.py", "test_d29_every_kind_may_come_in_either_algorithm"),
        ],
    ),
    "D30": (
        "bytes are not taken",
        [(V2, "test_d30_the_body_is_bytes_and_anything_else_says_where_the_bytes_are")],
    ),
    "D31": (
        "a serial that is new fails for ever",
        [
            (V3, "test_a_serial_that_is_new_can_be_added_from_anywhere_while_deliveries_go_on"),
            (
                "crypto/test_receiver_kinds.py",
                "test_an_unknown_serial_may_be_fetched_and_the_resend_is_handled",
            ),
        ],
    ),
    "D32": (
        "a coroutine that nobody awaits",
        [
            ("crypto/test_ring.py", "test_a_coroutine_function_is_refused_because_nobody_would_await_it"),
            ("test_receiver.py", "test_what_is_asynchronous_cannot_be_received_blocking"),
        ],
    ),
    "D33": (
        "JSON is written again before it is verified",
        [(V3, "test_the_raw_body_is_verified_and_not_the_same_json_written_again")],
    ),
    "D34": (
        "a message breaks the reply",
        [
            (V2, "test_d34_a_message_does_not_break_the_reply"),
            ("test_scans.py", "test_a_refusal_is_a_signed_success_that_failed"),
        ],
    ),
    "D35": (
        "a failed result and a foreign merchant are as good as others",
        [
            (V2, "test_d35_a_failed_result_is_not_paid_and_a_foreign_merchant_is_refused"),
            ("test_receiver_kinds.py", "test_what_is_for_another_merchant_app_or_sub_merchant_is_refused"),
        ],
    ),
    "D36": (
        "what the payer's browser has is verified",
        [
            (V2, "test_d36_the_pay_sign_in_every_payers_browser_is_no_payment"),
            ("test_kinds.py", "test_another_message_under_the_same_key_is_authentic_and_of_no_kind"),
        ],
    ),
    "D37": (
        "what is read is not what was signed",
        [
            (V2, "test_d37_nothing_is_read_from_below_the_first_level"),
            (V2, "test_d37_no_name_is_left_out_of_the_signed_text"),
        ],
    ),
    "D38": (
        "neither id nor event type is given, and no time is checked",
        [(V3, "test_the_envelope_s_id_and_event_type_are_given_and_the_time_is_checked")],
    ),
    "D39": (
        "one merchant's keys are everybody's",
        [
            (V2, "test_d39_the_keys_of_two_merchants_do_not_bleed_into_each_other"),
            (V3, "test_the_keys_of_one_merchant_are_not_another_s"),
            ("crypto/test_receiver_kinds.py", "test_several_merchants_of_both_dialects_share_one_address"),
        ],
    ),
    "D40": (
        "money is a float",
        [
            (V2, "test_d40_money_is_never_a_float"),
            (V2, "test_d40_yuan_become_exactly_their_fen"),
            ("test_fields.py", "test_an_amount_in_json_is_nothing_else"),
        ],
    ),
    "D41": (
        "fields are read before they are verified",
        [(V2, "test_d41_nothing_of_a_body_is_believed_before_it_is_verified")],
    ),
    "D42": (
        "a refund is not signed, and nobody warns",
        [
            (
                "crypto/test_refunds.py",
                "test_d42_blocks_of_two_refunds_put_together_are_decrypted_and_never_verified",
            ),
            (
                "crypto/test_refunds.py",
                "test_d42_in_whatever_order_its_blocks_come_they_are_decrypted_or_refused_and_never_more",
            ),
        ],
    ),
    "P1": (
        "a field called key is the key, or is left out of what is signed",
        [
            ("test_attacks.py", "test_a_field_called_key_is_data_and_signs_nothing"),
            (V2, "test_d14_and_wx_pay_rb_a_request_never_brings_its_own_key"),
        ],
    ),
    "P2": (
        "values are trimmed, and one of blanks is empty",
        [
            (V2, "test_xmltodict_white_space_in_a_value_is_not_stripped"),
            ("test_holes.py", "test_p2_what_was_signed_with_blanks_is_not_what_was_signed_without"),
        ],
    ),
    "P3": (
        "of two fields of one name, one reader takes the first and another the last",
        [
            ("test_attacks.py", "test_an_amount_that_two_readers_read_differently_is_refused"),
            ("test_holes.py", "test_p3_a_name_that_comes_twice_is_refused_in_every_kind"),
        ],
    ),
    "P4": (
        "signatures are compared as text is",
        [("test_holes.py", "test_p4_signatures_are_compared_in_constant_time")],
    ),
    "P5": (
        "a signature in lower case passes",
        [(V2, "test_skit_a_signature_is_compared_as_the_provider_spells_it")],
    ),
    "P6": (
        "HMAC over the text without the key behind it",
        [("test_attacks.py", "test_hmac_of_the_text_without_the_key_behind_it_is_refused")],
    ),
    "P7": (
        "sign_type is missing, unknown, trimmed, or left out of what is signed",
        [
            (V2, "test_helei112g_payment_208_and_211_sign_type_is_part_of_the_signed_text"),
            ("test_attacks.py", "test_a_sign_type_of_another_kind_is_refused_even_if_it_is_signed"),
            ("test_attacks.py", "test_a_downgrade_to_md5_is_refused_where_hmac_is_demanded"),
        ],
    ),
    "P8": (
        "scans and refunds are not verified at all (check=false)",
        [("test_holes.py", "test_d1_and_d17_no_kind_goes_without_its_signature")],
    ),
    "P9": (
        "the sandbox's key is fetched while verifying, and is as good as the real one",
        [("test_receiver_kinds.py", "test_what_the_sandbox_s_key_signed_is_refused_unless_it_is_allowed")],
    ),
    "P10": (
        "a profit sharing is taken for a payment, as it comes under its event",
        [
            (V3, "test_a_profit_sharing_is_told_apart_from_a_payment"),
            ("test_events_v3.py", "test_it_may_come_as_a_transaction_and_is_none"),
        ],
    ),
    "P11": (
        "XML at an address of APIv3 is not understood, or not verified",
        [
            (
                "crypto/test_receiver_kinds.py",
                "test_a_refund_made_in_the_merchant_console_reaches_a_merchant_of_apiv3_as_xml",
            )
        ],
    ),
    "P12": (
        "cash_fee or settlement_total_fee is compared with the order",
        [("test_checks.py", "test_coupons_and_exchange_rates_do_not_move_the_amount_that_is_compared")],
    ),
    "P13": (
        "the answer to a query of an order that is not paid is taken for a payment",
        [
            ("test_attacks.py", "test_an_order_query_that_says_otherwise_is_not_paid"),
            (
                "test_combined.py",
                "test_the_answer_to_a_query_is_signed_with_the_same_key_and_not_paid_unless_its_state_says_so",
            ),
        ],
    ),
    "P14": (
        "a contract is refused because it has neither appid nor nonce_str",
        [("test_contracts.py", "test_genuine_ones_have_neither_app_nor_nonce_nor_algorithm")],
    ),
    "P15": (
        "one signed text is split into other fields",
        [
            ("test_attacks.py", "test_a_seen_notification_split_into_another_orders_payment_is_ambiguous"),
            ("test_kinds.py", "test_a_payment_that_was_seen_cannot_be_split_into_another_kind"),
        ],
    ),
    "P16": (
        "a scan that is repeated is another order",
        [
            (
                "test_receiver_kinds.py",
                "test_the_same_scan_told_again_is_given_the_same_prepay_id_and_the_handler_called_once",
            )
        ],
    ),
}


# --- the table ------------------------------------------------------------------------


@cache
def functions(file: str) -> set[str]:
    """Give the tests in a file, without importing it: the extra may not be installed."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


def test_every_hole_of_the_survey_is_in_the_table():
    surveyed = [name for name in HOLES if name.startswith("D")]
    assert surveyed == [f"D{n}" for n in range(1, 43)]


@pytest.mark.parametrize("hole", HOLES)
def test_every_hole_has_a_test_that_exists(hole):
    said, tests = HOLES[hole]
    assert said
    assert tests
    for file, name in tests:
        assert name in functions(file), f"{hole}: {file} has no {name}"


def test_no_test_that_is_named_for_a_hole_is_left_out_of_the_table():
    listed = {test for _, tests in HOLES.values() for test in tests}
    for file in (V2, "crypto/test_refunds.py", "test_holes.py"):
        named = {name for name in functions(file) if re.search(r"_[dp]\d+_", name)}
        assert {(file, name) for name in named} <= listed


# --- tests that belong nowhere else ---------------------------------------------------

SIGNED = {
    "payment": notification,
    "deduction": deduction,
    "contract": contract,
    "plate": plate_state,
    "scan": scan,
    "combined": combined,
}
each = pytest.mark.parametrize("build", SIGNED.values(), ids=SIGNED)


@pytest.fixture
def shop() -> EveryKind:
    return EveryKind(store=FaultyStore(), answer="wx1")


def nothing_happened(shop: EveryKind) -> bool:
    return shop.told == [] and shop.asked == [] and shop.store.called == []


@each
@pytest.mark.parametrize("return_code", ["SUCCESS", "FAIL", "success", "", None])
@pytest.mark.parametrize("sign", [None, ""])
def test_d1_and_d17_no_kind_goes_without_its_signature(shop, build, return_code, sign):
    fields = {name: value for name, value in parse(build()).items() if name != "sign"}
    fields |= {"return_code": return_code, "sign": sign}
    body = write({name: value for name, value in fields.items() if value is not None})
    reply, (event,) = shop.tell(body)
    assert event.code in ("missing_signature", "return_code_fail")
    assert reply.status >= 400
    assert nothing_happened(shop)


@each
def test_d8_xml_without_a_sign_tells_nothing(shop, build):
    plain = {name: value for name, value in parse(build()).items() if name != "sign"}
    assert shop.codes(write(plain)) == ["missing_signature"]
    # Nor does an empty req_info, which would make a refund of it.
    assert shop.codes(write({**plain, "req_info": ""})) == ["missing_signature"]
    assert nothing_happened(shop)


HEADERS = [
    {"Host": "localhost"}, {"Host": "127.0.0.1"}, {"X-Forwarded-For": "101.226.103.1"}, {"Origin": "null"},
    {"X-Forwarded-Host": "localhost"}, {"User-Agent": "Mozilla/4.0"}, {"Content-Type": "application/json"},
    {"Authorization": f"Bearer {KEY}"}, {"Wechatpay-Signature": "A"}, {"X-Debug": "1"},
]  # fmt: skip


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_d11_no_header_switches_the_verification_of_xml_off(shop, headers):
    forged = write({**parse(notification()), "sign": "0" * 32})
    assert shop.tell(forged, headers)[1][0].code == "bad_signature"
    assert nothing_happened(shop)
    assert shop.tell(notification(), headers)[1][0].code == "handled"


@pytest.mark.parametrize("name", ["X-Wxnotify-Key", "Wechatpay-Key", "Key", "X-Merchant", "Authorization"])
def test_d14_no_header_brings_a_key(shop, name):
    own = "a-key-of-the-attackers-own-makin"
    assert shop.tell(notification(key=own), {name: own})[1][0].code == "bad_signature"
    assert nothing_happened(shop)


@each
@pytest.mark.parametrize("name", ["a_field_of_next_year", "coupon_fee_3", "sub_openid", "rate_value"])
def test_d28_a_field_of_next_year_is_signed_and_kept_in_every_kind(build, name):
    fields = verify(parse(build(**{name: "1"})), KEY)
    assert fields[name] == "1"
    if build is not combined:
        assert told(build(**{name: "1"})) == told(build())


@each
@pytest.mark.parametrize("sign_type", ["MD5", "HMAC-SHA256"])
def test_d29_every_kind_may_come_in_either_algorithm(build, sign_type):
    shop = EveryKind(answer="wx1", orders=None, expect=lambda payment: None)
    _, events = shop.tell(build(sign_type=sign_type))
    assert {event.code for event in events} <= {"handled", "unknown_order"}
    assert all(event.key_index == 0 for event in events)


@each
@pytest.mark.parametrize("blank", [" ", "\t", "\u3000", "\xa0"])
def test_p2_what_was_signed_with_blanks_is_not_what_was_signed_without(build, blank):
    fields = parse(build())
    for name in sorted(set(fields) - {"sign", "sign_type"})[:4]:
        for value in (fields[name] + blank, blank + fields[name]):
            assert code_of(verify, {**fields, name: value}, KEY) == "bad_signature"
    # A value of nothing but blanks is a value, and one of the signed ones.
    blanks = parse(build(a_note=blank))
    assert verify(blanks, KEY)["a_note"] == blank
    assert code_of(verify, {**blanks, "a_note": ""}, KEY) == "bad_signature"


@each
def test_p3_a_name_that_comes_twice_is_refused_in_every_kind(shop, build):
    body = build()
    for name in parse(body):
        for place in (b"<xml>", b"</xml>"):
            added = f"<{name}>1</{name}>".encode()
            twice = body.replace(place, place + added if place == b"<xml>" else added + place)
            assert shop.codes(twice) == ["duplicate_field"]
    assert nothing_happened(shop)


def test_p4_signatures_are_compared_in_constant_time(monkeypatch):
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(_signature, "hmac", Watched)
    fields = parse(notification())
    verify(fields, KEY)
    assert isinstance(either(verify, {**fields, "sign": "0" * 32}, KEY), NotifyError)
    assert compared == [(fields["sign"], fields["sign"]), (fields["sign"], "0" * 32)]


def test_a_merchant_s_own_json_is_no_notification_either(shop):
    # The body of a request of one's own, or what some gateway makes of XML.
    for body in (json.dumps(parse(notification())).encode(), b'{"xml": {}}'):
        reply, (event,) = shop.tell(body)
        assert (event.dialect, reply.status >= 400) == ("APIv3", True)
    assert nothing_happened(shop)
