"""Attacks on APIv3: what each would gain, and the refusal it meets. See also test_opening.py."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.padding import PSS
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wxnotify import Key, Merchant, Payment
from wxnotify.errors import MerchantMismatch
from wxnotify.testing import APPID, MCH_ID, apiv3_keys
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    PUBLIC_KEY_ID,
    Posted,
    apiv3,
    event,
    payment_event,
    signed,
)

from ..support import code_of
from .posting import (
    NONCE,
    NOW,
    SERIAL_NAME,
    SIGNATURE,
    TIMESTAMP,
    TYPE,
    envelope_of,
    genuine,
    merchant,
    opened,
    resealed,
    signed_by,
    with_headers,
)

PAID = payment_event(now=NOW)
NAMES = [TIMESTAMP, NONCE, SIGNATURE, SERIAL_NAME, TYPE]


def sent(headers) -> Posted:
    return Posted(headers, PAID.body)


# --- headers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_missing_empty_twice_respelled_joined_long_or_foreign_is_refused(name):
    value = PAID.headers[name]
    other = {one: text for one, text in PAID.headers.items() if one != name}
    hostile = {
        "empty": {**other, name: ""},
        "twice": [*PAID.headers.items(), (name, "1")],
        "twice_and_equal": [*PAID.headers.items(), (name.lower(), value)],
        "underscores": {**other, name.replace("-", "_"): value},
        "underscores_beside": {**PAID.headers, name.replace("-", "_"): value},
        "joined": {**other, name: f"{value}, {value}"},
        "20_kB": {**other, name: value + "0" * 20_000},
        "nul": {**other, name: value + "\0"},
        "non_latin": {**other, name: "密"},
        "surrogate": {**other, name: "\ud800"},
        "latin_1": [
            *[(one.encode(), text.encode()) for one, text in other.items()],
            (name.encode(), b"\xe9"),
        ],
        "no_text": {**other, name: None},
    }
    if name != TYPE:
        hostile["missing"] = other
    for what, headers in hostile.items():
        assert code_of(opened, sent(headers)) in ("missing_signature", "bad_header"), what


def test_a_line_feed_cannot_be_shifted_from_the_body_into_the_nonce():
    body = b"{\n" + PAID.body[1:]  # as pretty-printed JSON begins
    whole = signed(body, now=NOW)
    assert opened(whole)
    # The same bytes are signed if the first line goes to the nonce, and the body is another then.
    for headers in (
        {**whole.headers, NONCE: whole.headers[NONCE] + "\n{"},
        {**whole.headers, TIMESTAMP: f"{NOW}\n{whole.headers[NONCE]}", NONCE: "{"},
    ):
        assert code_of(opened, Posted(headers, body[2:])) == "bad_header"


TIMES = ["+{}", "{}.0", "1_{}", "nan", "{}000", "1" + "0" * 30, " {}", "{}\n", "１７９５００００００", "-{}"]


@pytest.mark.parametrize("timestamp", TIMES)
def test_a_timestamp_that_only_python_would_read_is_refused(timestamp):
    assert code_of(opened, with_headers(PAID, Timestamp=timestamp.format(NOW))) == "bad_header"


# --- time -----------------------------------------------------------------------------


@pytest.mark.parametrize("away", [-300, -299.5, -1, 0, 1, 300])
def test_a_notification_within_5_minutes_of_the_clock_is_accepted(away):
    assert opened(PAID, now=NOW + away)


AWAY = [-(10**9), -3_600, -301, -300.5, 300.5, 301, 86_400, 10**9, float("nan"), float("inf")]


@pytest.mark.parametrize("away", AWAY)
def test_a_notification_older_or_newer_than_5_minutes_is_refused(away):
    assert code_of(opened, PAID, now=NOW + away) == "stale_timestamp"


def test_the_time_is_part_of_what_is_signed():
    late = NOW + 3_600
    assert code_of(opened, with_headers(PAID, Timestamp=str(late)), now=late) == "bad_signature"
    assert opened(signed(PAID.body, now=late), now=late)


def test_the_refusal_of_a_stale_one_says_by_how_much():
    with pytest.raises(Exception, match="412 s behind the clock, 300 s are allowed"):
        opened(PAID, now=NOW + 412)
    with pytest.raises(Exception, match="412 s ahead of the clock"):
        opened(PAID, now=NOW - 412)


def test_a_replay_within_the_window_is_the_same_payment_to_the_store():
    first = Payment.from_resource(opened(PAID))
    replayed = Payment.from_resource(opened(PAID, now=NOW + 299))
    resent = Payment.from_resource(opened(payment_event(now=NOW + 15)))  # another id, nonce and signature
    assert first.key == replayed.key == resent.key
    assert first.fingerprint == replayed.fingerprint == resent.fingerprint


# --- what the signature is ------------------------------------------------------------


@pytest.mark.parametrize("tail", ["", "x", "*", PAID.headers[SIGNATURE], PAID.headers[SIGNATURE][19:]])
def test_a_probe_is_refused_and_told_apart(tail):
    probe = with_headers(PAID, Signature=f"WECHATPAY/SIGNTEST/{tail}")
    assert code_of(opened, probe) == "signature_probe"
    assert opened(PAID)  # the genuine one that follows


TYPES = ["WECHATPAY2-SM2-WITH-SM3", "none", "RSA", "wechatpay2-sha256-rsa2048", "HMAC-SHA256", "0"]


@pytest.mark.parametrize("kind", TYPES)
def test_another_type_of_signature_is_not_negotiated(kind):
    assert code_of(opened, with_headers(PAID, Signature_Type=kind)) == "bad_sign_type"


def test_sm2_is_not_pretended_to_be_checked():
    with pytest.raises(Exception, match=r"SM2, which .* does not have, so nobody checked it"):
        opened(with_headers(PAID, Signature_Type="WECHATPAY2-SM2-WITH-SM3"))


SERIALS = [
    "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
    PAID.headers[SERIAL_NAME].lower(),
    "0",
    "PUB_KEY_ID_",
    "None",
]


@pytest.mark.parametrize("serial", SERIALS)
def test_an_unknown_serial_is_refused_and_no_other_key_tried(serial):
    assert code_of(opened, with_headers(PAID, Serial=serial)) == "unknown_serial"


@pytest.mark.parametrize("serial", ["../../etc/passwd", "..", "/dev/zero", "A" * 4_096, "*", "A\\B"])
def test_a_serial_that_could_be_a_path_is_refused(serial):
    assert code_of(opened, with_headers(PAID, Serial=serial)) == "bad_header"


PLATFORM, OTHER = apiv3_keys.CERTIFICATE_PRIVATE_KEY, apiv3_keys.PUBLIC_KEY_PRIVATE_KEY
FORGED = {
    "pss": lambda: signed_by(PLATFORM, PAID.body, pad=PSS(padding.MGF1(hashes.SHA256()), 32)),
    "sha_1": lambda: signed_by(PLATFORM, PAID.body, digest=hashes.SHA1()),
    "sha_512": lambda: signed_by(PLATFORM, PAID.body, digest=hashes.SHA512()),
    "another_configured_key": lambda: signed_by(OTHER, PAID.body),
    "under_the_serial_of_another": lambda: signed_by(PLATFORM, PAID.body, serial=PUBLIC_KEY_ID),
    "the_merchant_s_own_key": lambda: signed_by(apiv3_keys.MERCHANT_PRIVATE_KEY, PAID.body),
    "another_body": lambda: Posted(genuine(PAID.body).headers, PAID.body.replace(b"SUCCESS", b"FAILURE")),
    "a_byte_more": lambda: Posted(PAID.headers, PAID.body + b"\n"),
    "a_byte_less": lambda: Posted(PAID.headers, PAID.body[:-1]),
    "no_body": lambda: Posted(PAID.headers, b""),
    "another_nonce": lambda: with_headers(PAID, Nonce="x"),
    "another_time": lambda: with_headers(PAID, Timestamp=str(NOW + 1)),
    "re_serialised": lambda: Posted(PAID.headers, json.dumps(envelope_of(PAID)).encode()),
}


def test_what_is_signed_by_hand_is_as_the_library_signs():
    assert opened(signed_by(PLATFORM, PAID.body))["out_trade_no"] == "A-1001"


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_signature_of_another_kind_key_or_body_is_bad(forged):
    assert code_of(opened, forged()) == "bad_signature"


def test_a_signature_of_another_length_is_bad():
    signature = base64.b64decode(PAID.headers[SIGNATURE])
    cut, padded = (signature[1:], signature[:-1], b""), (b"\0" + signature, signature + b"\0")
    for other in (*cut, *padded, b"\0" * 256, b"\xff" * 256):
        encoded = base64.b64encode(other).decode()
        expected = "bad_signature" if encoded else "missing_signature"
        assert code_of(opened, with_headers(PAID, Signature=encoded)) == expected


@pytest.mark.parametrize(
    "respelled",
    [
        lambda text: text + "====",
        lambda text: text[:-2] + "===",
        lambda text: text.rstrip("="),
        lambda text: text + " ",
        lambda text: " " + text,
        lambda text: text[:40] + " " + text[40:],
        lambda text: text[:40] + "*" + text[40:],
        lambda text: text[:40] + "****" + text[40:],
        lambda text: text[:-3] + chr(ord(text[-3]) + 1) + "==",
        lambda text: text.replace("/", "_").replace("+", "-") + "-",
        lambda text: text + "AAAA",
        lambda text: "=" + text,
        lambda text: "*",
        lambda text: "A",
    ],
)
def test_a_signature_in_another_spelling_of_base64_is_bad(respelled):
    text = PAID.headers[SIGNATURE]
    assert text.endswith("==")  # 256 bytes leave one over, and so four bits without meaning
    assert code_of(opened, with_headers(PAID, Signature=respelled(text))) == "bad_signature"


# --- JSON -----------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "deep": b'{"id":' + b"[" * 60_000,
    "deep_objects": b'{"id":' * 5_000 + b"1" + b"}" * 5_000,
    "deep_and_whole": b'{"id":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "huge_integer": b'{"id":' + b"1" * 5_000 + b"}",
    "huge_float": b'{"id": 1e999}',
    "nan": b'{"id": NaN}',
    "infinity": b'{"id": -Infinity}',
    "twice": b'{"id": "1", "id": "2"}',
    "twice_escaped": rb'{"id": "1", "\u0069d": "2"}',
    "surrogate": rb'{"id": "\ud800"}',
    "byte_order_mark": b"\xef\xbb\xbf{}",
    "utf_16": '{"id": "1"}'.encode("utf-16"),
    "utf_16_be": '{"id": "1"}'.encode("utf-16-be"),
    "utf_32": '{"id": "1"}'.encode("utf-32"),
    "latin_1": '{"id": "é"}'.encode("latin-1"),
    "list": b"[]",
    "text": b'"{}"',
    "xml": b"<xml></xml>",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_that_is_unsigned_is_a_bad_signature_so_nothing_was_parsed(body):
    assert code_of(opened, Posted(PAID.headers, body)) == "bad_signature"


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused_even_if_it_is_signed(body):
    assert code_of(opened, genuine(body)) == "bad_json"


@pytest.mark.parametrize("plaintext", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused_even_if_it_is_signed_and_encrypted(plaintext):
    assert code_of(opened, sealed(plaintext)) == "bad_json"


def sealed(plaintext: bytes, nonce: str = "Kj7QIyUiYx1q") -> Posted:
    ciphertext = AESGCM(API_V3_KEY.encode()).encrypt(nonce.encode(), plaintext, b"transaction")
    return resealed(PAID, ciphertext=base64.b64encode(ciphertext).decode(), nonce=nonce)


# --- AEAD -----------------------------------------------------------------------------


def ciphertext_of(posted: Posted) -> bytes:
    return base64.b64decode(envelope_of(posted)["resource"]["ciphertext"])


@pytest.mark.parametrize("length", [0, 4, 8, 12, 15])
def test_a_tag_that_is_cut_is_refused(length):
    ciphertext = ciphertext_of(PAID)
    cut = ciphertext[:-16] + ciphertext[-16:][:length]
    assert code_of(opened, resealed(PAID, ciphertext=base64.b64encode(cut).decode())) == "bad_ciphertext"


@pytest.mark.parametrize("at", [0, 40, -17, -16, -1])
def test_a_bit_that_is_flipped_is_refused(at):
    flipped = bytearray(ciphertext_of(PAID))
    flipped[at] ^= 8
    assert code_of(opened, resealed(PAID, ciphertext=base64.b64encode(flipped).decode())) == "bad_ciphertext"


@pytest.mark.parametrize("nonce", ["x" * 8, "x" * 11, "x" * 13, "x" * 16, "密" * 12, "x" * 128])
def test_a_nonce_that_is_not_12_bytes_is_refused(nonce):
    assert code_of(opened, sealed(b"{}", nonce)) == "bad_ciphertext"


def test_associated_data_that_is_not_what_was_encrypted_with_is_refused():
    for other in ("refund", "", "transaction ", None):
        assert code_of(opened, resealed(PAID, associated_data=other)) == "bad_ciphertext"


def test_the_resource_of_another_notification_is_refused_under_this_one_s_nonce():
    other = envelope_of(payment_event(now=NOW, out_trade_no="A-1002"))["resource"]
    assert code_of(opened, resealed(PAID, ciphertext=other["ciphertext"])) == "bad_ciphertext"


@pytest.mark.parametrize("text", ["k" * 16, "k" * 24, "k" * 31, "k" * 33, ""])
def test_an_apiv3_key_is_32_bytes_or_aes_would_be_a_weaker_one(text):
    assert code_of(apiv3, text) == "configuration"
    assert code_of(Key, text) == "configuration"


# --- business -------------------------------------------------------------------------


@pytest.mark.parametrize("total", ["4350", 4350.0, True, -1, 0, [4350], {}, 10**17, "４３５０"])
def test_an_amount_is_an_integer_of_fen_and_nothing_that_equals_one(total):
    resource = opened(payment_event(now=NOW, amount={"total": total, "currency": "CNY"}))
    assert code_of(Payment.from_resource, resource) == "bad_field"


@pytest.mark.parametrize("change", [{"mchid": "1900000110"}, {"appid": "wx9999999999999999"}])
def test_a_payment_to_another_merchant_is_refused_though_the_platform_signed_it(change):
    payment = Payment.from_resource(opened(payment_event(now=NOW, **change)))
    with pytest.raises(MerchantMismatch):
        Merchant(MCH_ID, APPID, apiv3=apiv3()).check(payment)


@pytest.mark.parametrize(
    ("event_type", "trade_state"),
    [("TRANSACTION.FAIL", "SUCCESS"), ("TRANSACTION.SUCCESS", "NOTPAY"), ("TRANSACTION.SUCCESS", "REFUND"),
     ("REFUND.SUCCESS", "SUCCESS"), ("transaction.success", "SUCCESS"), ("TRANSACTION.SUCCESS ", "SUCCESS")],
)  # fmt: skip
def test_it_is_paid_only_if_event_and_transaction_both_say_so(event_type, trade_state):
    resource = opened(payment_event(now=NOW, event_type=event_type, trade_state=trade_state))
    assert not Payment.from_resource(resource).paid


def test_an_unknown_event_is_authentic_data_of_an_unknown_kind():
    resource = opened(event("MALL_TRANSACTION.NEW", {"mchid": MCH_ID, "anything": [1]}, now=NOW))
    assert resource.event_type == "MALL_TRANSACTION.NEW"
    assert resource["anything"] == [1]
    assert code_of(Payment.from_resource, resource) == "missing_field"


def test_a_merchant_s_own_key_signs_no_notification():
    assert merchant().apiv3 is not None
    assert code_of(opened, signed_by(apiv3_keys.MERCHANT_PRIVATE_KEY, PAID.body)) == "bad_signature"
