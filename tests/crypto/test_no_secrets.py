"""No key, signature, ciphertext, body or plaintext is in a refusal, a frame it passed, a repr or a log."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import Callable
from typing import NamedTuple

import pytest

from wxnotify import Key
from wxnotify._ciphers import aes_256_ecb_decrypt, aes_256_gcm_decrypt, sm4_gcm_decrypt
from wxnotify._resources import read_json
from wxnotify.apiv3 import (
    APIv3,
    MerchantPrivateKey,
    PlatformKey,
    build_order_query,
    parse_combined_query,
    parse_order_query,
    read_order_answer,
)
from wxnotify.errors import NotifyError
from wxnotify.testing import KEY, MCH_ID, apiv3_keys
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    MERCHANT_PRIVATE_KEY,
    MERCHANT_SERIAL,
    Posted,
    apiv3,
    combined_query_answer,
    event,
    payment_event,
    query_answer,
    signed,
)

from ..test_no_secrets import leaked, words_of, words_of_refusal
from .posting import NOW, SIGNATURE, envelope_of, genuine, merchant, resealed, with_headers

PAYER = "oTest0000000000000000000000Payer"
NONCE = b"Kj7QIyUiYx1q"
OLD = "an-older-key-of-our-own-making-1"
PRIVATE = MERCHANT_PRIVATE_KEY.splitlines()[7]
CIPHERTEXT = b"a ciphertext of 32 characters xx"
PAID = payment_event(now=NOW)
HEX = Key(KEY)._ecb_key().decode()


class Case(NamedTuple):
    name: str
    action: Callable[[], object]
    secrets: tuple[str, ...]


def posted(name: str, one: Posted, now: float = NOW) -> Case:
    shop = merchant(apiv3([OLD, API_V3_KEY]))
    resource = ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        resource = envelope_of(one)["resource"]["ciphertext"]
    body = one.body.decode("latin-1")
    secrets = [OLD, API_V3_KEY, PAYER, one.headers.get(SIGNATURE, ""), resource, body]
    return Case(
        name,
        lambda: APIv3.open([shop], one.body, one.headers, now),
        tuple(secret for secret in secrets if len(secret) > 8),
    )


def answer(name: str, one: Posted, status: int = 200, now: float = NOW) -> Case:
    secrets = (API_V3_KEY, PAYER, one.headers.get(SIGNATURE, "A" * 60), one.body.decode())
    return Case(name, lambda: parse_order_query(merchant(), status, one.headers, one.body, now), secrets)


def combined_answer(name: str, one: Posted) -> Case:
    secrets = (API_V3_KEY, PAYER, one.headers.get(SIGNATURE, ""), one.body.decode())
    return Case(name, lambda: parse_combined_query(merchant(), 200, one.headers, one.body, NOW), secrets)


def query(name: str, **options: object) -> Case:
    given = {"private_key": MERCHANT_PRIVATE_KEY, "serial_no": MERCHANT_SERIAL, "now": NOW, **options}
    return Case(name, lambda: build_order_query(merchant(), **given), (PRIVATE, API_V3_KEY))


CASES = [
    posted("stale", PAID, NOW + 301),
    posted("forged", with_headers(PAID, Signature=base64.b64encode(b"x" * 256).decode())),
    posted("no_base64", with_headers(PAID, Signature="hunter2*hunter2*")),
    posted("bad_header", with_headers(PAID, Nonce="")),
    posted("header_twice", Posted({**PAID.headers, SIGNATURE.lower(): "x"}, PAID.body)),
    posted("probe", with_headers(PAID, Signature="WECHATPAY/SIGNTEST/hunter2")),
    posted("sm2", with_headers(PAID, Signature_Type="WECHATPAY2-SM2-WITH-SM3")),
    posted("unknown_serial", with_headers(PAID, Serial="F0")),
    posted("bad_json", signed(b'{"openid": "' + PAYER.encode(), now=NOW)),
    posted("bad_utf_8", signed(b'{"openid": "' + PAYER.encode() + b'\xff"}', now=NOW)),
    posted("name_twice", signed(b'{"a": 1, "a": "' + PAYER.encode() + b'"}', now=NOW)),
    posted("missing_field", signed(json.dumps({"openid": PAYER}).encode(), now=NOW)),
    posted("other_key", payment_event(now=NOW, options={"key": "k" * 32})),
    posted("cut_tag", resealed(PAID, ciphertext=base64.b64encode(b"x" * 40).decode())),
    posted("no_base64_inside", resealed(PAID, ciphertext="hunter2 * hunter2 *")),
    posted("bad_algorithm", resealed(PAID, algorithm="none")),
    posted("bad_type", resealed(PAID, nonce=5)),
    answer("answer_forged", with_headers(query_answer(now=NOW), Nonce="x")),
    answer("answer_stale", query_answer(now=NOW), now=NOW + 400),
    answer("answer_unsigned", Posted({}, json.dumps({"message": PAYER, "code": "X"}).encode()), 401),
    answer("answer_without_state", query_answer(now=NOW, trade_state=None)),
    answer("answer_of_another", query_answer(now=NOW, mchid="1")),
    answer("answer_that_cannot_tell", genuine(json.dumps({"code": "X", "openid": PAYER}).encode()), 404),
    combined_answer("combined_answer_about_one_order", query_answer(now=NOW)),
    combined_answer("combined_answer_forged", with_headers(combined_query_answer(now=NOW), Nonce="x")),
    query("query", out_trade_no="A-1001"),
    query("query_of_nothing"),
    query("query_of_an_odd_number", out_trade_no=".."),
    query("query_with_an_odd_serial", out_trade_no="A", serial_no='"'),
    query("query_with_a_cut_key", out_trade_no="A", private_key=MERCHANT_PRIVATE_KEY[:900]),
    query("query_with_a_key_as_bytes", out_trade_no="A", private_key=MERCHANT_PRIVATE_KEY[:900].encode()),
    Case("private_key", lambda: MerchantPrivateKey(MERCHANT_PRIVATE_KEY), (PRIVATE,)),
    Case("cut_private_key", lambda: MerchantPrivateKey(MERCHANT_PRIVATE_KEY[:900]), (PRIVATE,)),
    Case(
        "private_key_as_certificate", lambda: PlatformKey.from_certificate(MERCHANT_PRIVATE_KEY), (PRIVATE,)
    ),
    Case("private_key_as_public", lambda: PlatformKey.from_public_key("x", MERCHANT_PRIVATE_KEY), (PRIVATE,)),
    Case("ring", lambda: apiv3([OLD, API_V3_KEY]), (OLD, API_V3_KEY)),
    Case("ring_of_nothing", lambda: APIv3(API_V3_KEY, []), (API_V3_KEY,)),
    Case("ring_with_a_short_key", lambda: apiv3([API_V3_KEY, OLD, "hunter2"]), (API_V3_KEY, OLD, "hunter2")),
    Case("event_under_a_bad_key", lambda: event("X.Y", {}, now=NOW, key=OLD + "x"), (OLD,)),
    Case("ecb", lambda: aes_256_ecb_decrypt(Key(KEY), CIPHERTEXT), (KEY, HEX, CIPHERTEXT.decode())),
    Case(
        "gcm",
        lambda: aes_256_gcm_decrypt(Key(KEY), NONCE, b"", CIPHERTEXT),
        (KEY, CIPHERTEXT.decode(), NONCE.decode()),
    ),
    Case(
        "sm4",
        lambda: sm4_gcm_decrypt(Key(KEY), NONCE, b"", CIPHERTEXT),
        (KEY, CIPHERTEXT.decode(), NONCE.decode()),
    ),
    Case("json", lambda: read_json(CIPHERTEXT), (CIPHERTEXT.decode(),)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_secret_is_in_any_result_refusal_local_variable_or_log(case, caplog):
    with caplog.at_level(logging.DEBUG):
        try:
            words = repr(case.action())
        except NotifyError as error:
            words = "\n".join([*words_of_refusal(error), *words_of(error)])
    words += "".join(record.getMessage() + repr(vars(record)) for record in caplog.records)
    for secret in case.secrets:
        assert secret
        assert not leaked(secret, words)


def test_a_genuine_notification_shows_no_value_of_it_either(caplog):
    with caplog.at_level(logging.DEBUG):
        resource = APIv3.open([merchant()], PAID.body, PAID.headers, NOW)
    assert resource["payer"]["openid"] == PAYER
    assert PAYER not in repr(resource) + str(resource) + caplog.text
    assert MCH_ID not in repr(resource)


def test_what_the_merchant_s_function_raises_is_logged_without_the_request(caplog):
    def broken(serial: str) -> None:
        raise RuntimeError("no network")

    shop = merchant(apiv3(on_unknown_serial=broken))
    unknown = with_headers(PAID, Serial="F0")
    with caplog.at_level(logging.DEBUG), pytest.raises(NotifyError):
        APIv3.open([shop], unknown.body, unknown.headers, NOW)
    (record,) = caplog.records
    words = "\n".join(words_of_refusal(record.exc_info[1])) + repr(vars(record))
    for secret in (API_V3_KEY, PAID.headers[SIGNATURE], envelope_of(PAID)["resource"]["ciphertext"]):
        assert not leaked(secret, words)


@pytest.mark.parametrize(
    ("made", "secret"),
    [
        (apiv3(), API_V3_KEY),
        (merchant(), API_V3_KEY),
        (MerchantPrivateKey(MERCHANT_PRIVATE_KEY), PRIVATE),
        (PlatformKey.from_certificate(apiv3_keys.CERTIFICATE), apiv3_keys.CERTIFICATE_PRIVATE_KEY),
    ],
    ids=type,
)
def test_what_holds_a_key_has_no_public_way_to_its_text(made, secret):
    for name in dir(made):
        if not name.startswith("_"):
            assert secret not in repr(getattr(made, name))
    assert secret not in repr(made)
    assert not hasattr(made, "__dict__")


def test_the_bare_answer_is_refused_without_a_trace_of_it():
    one = with_headers(query_answer(now=NOW), Nonce="x")
    with pytest.raises(NotifyError) as refusal:
        read_order_answer(merchant(), 200, one.headers, one.body, NOW)
    words = "\n".join(words_of_refusal(refusal.value))
    assert not leaked(one.headers[SIGNATURE], words)
    assert not leaked(PAYER, words)
