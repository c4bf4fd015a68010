"""Each hole found in how other SDKs receive APIv3, with a test named for it."""

from __future__ import annotations

import base64
import inspect
import json
import logging
import socket

import pytest

from wxnotify import Payment
from wxnotify.apiv3 import APIv3, PlatformKey, _opening, _platform, _query, _ring, _signing
from wxnotify.errors import NotifyError
from wxnotify.testing import MCH_ID, apiv3_keys
from wxnotify.testing.apiv3 import (
    API_V3_KEY,
    PUBLIC_KEY_ID,
    SERIAL,
    Posted,
    apiv3,
    event,
    payment_event,
    platform_keys,
)

from ..support import code_of, either
from .posting import NOW, SIGNATURE, envelope_of, merchant, opened, resealed, with_headers

PAID = payment_event(now=NOW)
SECOND_KEY = "another-key-of-our-own-making-02"


# D5: a ciphertext is decrypted without its tag being looked at, so a captured one can be changed.
def test_the_tag_is_checked_before_anything_of_the_plaintext_is_given():
    ciphertext = bytearray(base64.b64decode(envelope_of(PAID)["resource"]["ciphertext"]))
    for at in range(len(ciphertext)):
        ciphertext[at] ^= 1
        changed = resealed(PAID, ciphertext=base64.b64encode(ciphertext).decode())
        assert code_of(opened, changed) == "bad_ciphertext"
        ciphertext[at] ^= 1


# D9: the decryption alone is believed, and the envelope with it.
def test_the_envelope_is_authenticated_and_not_only_what_is_encrypted_in_it():
    envelope = {**envelope_of(PAID), "event_type": "REFUND.SUCCESS"}
    forged = Posted(PAID.headers, json.dumps(envelope).encode())
    assert code_of(opened, forged) == "bad_signature"


# D9: only the past is refused.
def test_a_notification_from_the_future_is_stale_too():
    assert code_of(opened, PAID, now=NOW - 301) == "stale_timestamp"


# D10: null for the headers means that nothing is verified.
@pytest.mark.parametrize("headers", [None, {}, [], {SIGNATURE: None}, {SIGNATURE: ""}, {"Host": "localhost"}])
def test_without_headers_nothing_opens(headers):
    assert code_of(opened, Posted(headers, PAID.body)) == "missing_signature"


# D12: one call decrypts and another verifies, and the first is enough.
def test_there_is_no_way_to_decrypt_a_notification_that_was_not_verified():
    public = [name for name in dir(APIv3) if not name.startswith("_")]
    assert sorted(public) == ["add", "keys", "open", "platform", "replace", "serials"]
    assert list(inspect.signature(APIv3.open).parameters) == ["merchants", "body", "headers", "now"]
    assert code_of(opened, with_headers(PAID, Signature=None)) == "missing_signature"


# D11, GHSA-q938-ghwv-8gvc: a Host header of localhost switches the verification off.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:8000"])
def test_no_other_header_switches_the_verification_off(host):
    forged = {**PAID.headers, "Host": host, "X-Forwarded-Host": host, SIGNATURE: "AAAA"}
    assert code_of(opened, Posted(forged, PAID.body)) == "bad_signature"


# D18: an unknown serial empties the list of certificates, then fetches them.
# D19: each unknown serial fetches them, so that a forger multiplies traffic.
def test_an_unknown_serial_neither_downloads_nor_empties_the_ring(monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("it opened a socket")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "create_connection", no_network)
    shop = merchant()
    for n in range(50):
        assert code_of(opened, with_headers(PAID, Serial=f"F{n:039d}"), shop) == "unknown_serial"
    assert shop.apiv3.serials == (SERIAL, PUBLIC_KEY_ID)
    assert opened(PAID, shop)["out_trade_no"] == "A-1001"


def test_nothing_in_the_dialect_can_open_a_connection():
    for module in (_opening, _platform, _query, _ring, _signing):
        source = inspect.getsource(module)
        for name in ("urllib.request", "http.client", "import socket", "requests", "httpx", "open("):
            assert name not in source.replace("def open(", "")


# D20: a serial that is no hexadecimal number, bad UTF-8 or an absent type raise whatever they raise.
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Serial": "PUB_KEY_ID_0000000000000000000000000000000000"}, "unknown_serial"),
        ({"Serial": "not_hexadecimal"}, "unknown_serial"),
        ({"Serial": ""}, "bad_header"),
        ({"Serial": None}, "bad_header"),
        ({"Signature": None}, "missing_signature"),
        ({"Timestamp": None}, "bad_header"),
        ({"Nonce": None}, "bad_header"),
    ],
)
def test_a_header_that_is_odd_or_absent_is_a_refusal_and_no_stray_exception(change, code):
    assert code_of(opened, with_headers(PAID, **change)) == code


def test_a_body_that_is_no_utf_8_is_a_refusal_and_no_stray_exception():
    assert code_of(opened, Posted(PAID.headers, b"\xff\xfe\x00")) == "bad_signature"


def test_an_absent_type_of_signature_is_rsa():
    assert opened(with_headers(PAID, Signature_Type=None))


# D21: base64 that cannot be decoded raises an exception of another kind; WeChat Pay's own probes are such.
@pytest.mark.parametrize("signature", ["*", "A", "AAA", "A===", "密", "WECHATPAY", "QUJD\\n", "%"])
def test_a_signature_that_is_no_base64_is_a_bad_signature(signature):
    expected = "bad_header" if not signature.isascii() else "bad_signature"
    assert code_of(opened, with_headers(PAID, Signature=signature)) == expected


def test_a_probe_that_is_no_base64_is_a_probe():
    assert code_of(opened, with_headers(PAID, Signature="WECHATPAY/SIGNTEST/A")) == "signature_probe"


# D21: associated_data that is null or absent raises an exception of another kind.
def test_associated_data_may_be_null_or_absent():
    assert opened(payment_event(now=NOW, options={"associated_data": None}))


# D25: the error holds the whole request, its cookies and all, and is logged.
def test_a_refusal_holds_nothing_of_the_request():
    headers = {**PAID.headers, "Cookie": "session=hunter2", "Authorization": "Bearer hunter2"}
    refused = [
        either(opened, Posted(headers, b'{"secret": "hunter2"}')),
        either(opened, Posted({**headers, "Wechatpay-Nonce": "hunter2\n"}, PAID.body)),
        either(opened, Posted({**headers, "Wechatpay-Serial": "F0"}, b'{"secret": "hunter2"}')),
    ]
    assert [one.code for one in refused] == ["bad_signature", "bad_header", "unknown_serial"]
    for one in refused:
        assert "hunter2" not in f"{one} {one!r} {vars(one)}"


# D25: a constructor swallows a bad key and gives null, which is found out at the first request.
def test_a_key_that_cannot_be_read_is_refused_when_it_is_configured():
    for make in (
        lambda: PlatformKey.from_certificate("garbage"),
        lambda: APIv3(API_V3_KEY, []),
        lambda: APIv3("", platform_keys()),
    ):
        assert code_of(make) == "configuration"


# D26: the serial becomes part of a path, and what lies there is trusted.
@pytest.mark.parametrize("serial", ["../cert", "..\\cert", "/etc/ssl/cert", "cert.pem", "~", "file:cert"])
def test_a_serial_is_looked_up_and_never_opened(serial, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cert.pem").write_text("a certificate of the attacker's", encoding="utf-8")
    assert code_of(opened, with_headers(PAID, Serial=serial)) == "bad_header"


# D33: JSON is parsed and written again, and that is what is verified.
def test_the_raw_body_is_verified_and_not_the_same_json_written_again():
    again = json.dumps(json.loads(PAID.body), separators=(",", ":"), ensure_ascii=False).encode()
    assert again == PAID.body
    for body in (json.dumps(json.loads(PAID.body)).encode(), PAID.body.replace(b"/", rb"\/")):
        assert json.loads(body) == json.loads(PAID.body)
        assert code_of(opened, Posted(PAID.headers, body)) == "bad_signature"


# D38: neither id nor event type is given back, and no time is checked.
def test_the_envelope_s_id_and_event_type_are_given_and_the_time_is_checked():
    resource = opened(payment_event(now=NOW, options={"id": "EV-7"}))
    assert (resource.notification_id, resource.event_type) == ("EV-7", "TRANSACTION.SUCCESS")
    assert code_of(opened, PAID, now=NOW + 301) == "stale_timestamp"


# D38, protocol 0.6: a profit sharing comes under TRANSACTION.SUCCESS, and is told apart by its original type.
def test_a_profit_sharing_is_told_apart_from_a_payment():
    shared = event("TRANSACTION.SUCCESS", {"mchid": MCH_ID}, now=NOW, original_type="profitsharing")
    assert opened(shared).original_type == "profitsharing"
    assert code_of(Payment.from_resource, opened(shared)) == "missing_field"


# D39: keys are kept in a class, and the last merchant's are everybody's.
def test_the_keys_of_one_merchant_are_not_another_s():
    certificate, public_key = platform_keys()
    first = APIv3(API_V3_KEY, certificate)
    second = APIv3(SECOND_KEY, public_key)
    assert (first.serials, second.serials) == ((SERIAL,), (PUBLIC_KEY_ID,))
    second.add(PlatformKey.from_public_key("PUB_KEY_ID_2", apiv3_keys.PUBLIC_KEY))
    assert first.serials == (SERIAL,)
    assert code_of(opened, PAID, merchant(second)) == "unknown_serial"
    assert opened(PAID, merchant(first))


# D15, D16: the key is in a log, or in an exception.
def test_no_key_is_logged_or_shown(caplog):
    with caplog.at_level(logging.DEBUG):
        shop = merchant(apiv3([API_V3_KEY, SECOND_KEY]))
        refused = either(opened, payment_event(now=NOW, options={"key": "k" * 32}), shop)
        opened(PAID, shop)
    assert isinstance(refused, NotifyError)
    for key in (API_V3_KEY, SECOND_KEY):
        assert key not in f"{refused} {shop!r} {shop.apiv3!r} {caplog.text}"


# D31: what fetches certificates cannot be awaited, so a serial that is new fails for ever.
def test_a_serial_that_is_new_can_be_added_from_anywhere_while_deliveries_go_on():
    certificate, public_key = platform_keys()
    shop = merchant(APIv3(API_V3_KEY, certificate))
    moved = payment_event(now=NOW, options={"serial": PUBLIC_KEY_ID})
    assert code_of(opened, moved, shop) == "unknown_serial"
    shop.apiv3.add(public_key)
    assert opened(moved, shop)
