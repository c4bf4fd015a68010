"""
APIv3 and refund vectors that others published, where the folder of them is at hand.

The root's conftest.py leaves this file out elsewhere: there is nothing to run.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wxnotify import Key, Payment, Refund, _ciphers, decrypt, parse, verify
from wxnotify._ciphers import aes_256_ecb_decrypt, aes_256_gcm_decrypt, sm4_gcm_decrypt
from wxnotify.apiv3 import APIv3, PlatformKey
from wxnotify.testing.apiv3 import Posted, platform_keys

from ..support import code_of, either
from ..test_vectors import SHARED, entries
from .posting import merchant, opened

# --- published by others --------------------------------------------------------------


def shared(name: str, *types: str) -> list[Any]:
    verified = [one for one in entries(SHARED, name) if one.values[0]["verified"]]
    return [one for one in verified if one.values[0].get("type", "") in types]


def platform_key(vector: dict[str, Any], serial: str = "") -> PlatformKey:
    """Make the vector's key, under another serial if its headers have another."""
    if "certificate" in vector:
        made = PlatformKey.from_certificate(vector["certificate"])
        assert made.serial == vector["certificate_serial"]
    else:
        made = PlatformKey._of("F0", load_pem_public_key(vector["public_key"].encode()), None)
    return PlatformKey._of(serial, made._public_key, None) if serial else made


SIGNATURES = shared("v3.json", "signature")
RSA = [one for one in SIGNATURES if "RSA" in one.values[0]["algorithm"]]
SM2 = [one for one in SIGNATURES if "SM2" in one.values[0]["algorithm"]]
AEAD = shared("v3.json", "aead")


@pytest.mark.parametrize("vector", RSA)
def test_a_published_signature_holds_or_does_not_as_its_verdict_says(vector):
    signature = base64.b64decode(vector["signature"])
    assert platform_key(vector)._signed(vector["message"].encode(), signature) is vector["expected_valid"]


@pytest.mark.parametrize("vector", [one for one in RSA if "headers" in one.values[0]])
def test_a_published_notification_is_verified_whole(vector):
    posted = Posted(vector["headers"], vector["body"].encode())
    key = platform_key(vector, vector["headers"]["Wechatpay-Serial"])
    shop = merchant(APIv3(Key("another-key-of-our-own-making-02"), key))
    now = int(vector["headers"]["Wechatpay-Timestamp"])
    # It gets past the signature; there is no key here, and one of them has no envelope around its resource.
    beyond = "bad_ciphertext" if "id" in json.loads(vector["body"]) else "missing_field"
    assert code_of(opened, posted, shop, now=now) == beyond
    assert code_of(opened, Posted(posted.headers, posted.body + b" "), shop, now=now) == "bad_signature"
    assert code_of(opened, posted, shop, now=now + 301) == "stale_timestamp"


def test_the_one_complete_published_notification_opens():
    by_id = {one.values[0]["id"]: one.values[0] for one in (*SIGNATURES, *AEAD)}
    if "go-notify-full" not in by_id:
        assert not SHARED.exists()
        return
    whole, resource = by_id["go-notify-full"], by_id["go-notify-resource"]
    posted = Posted(whole["headers"], whole["body"].encode())
    key = Key(resource["api_v3_key"], any_length=True)  # 16 bytes, as no real key
    shop = merchant(APIv3(key, platform_key(whole)))
    assert dict(opened(posted, shop, now=whole["clock"])) == json.loads(resource["plaintext"])
    assert opened(posted, shop, now=whole["clock"]).event_type == "PAYSCORE.USER_OPEN_SERVICE"
    assert code_of(Key, resource["api_v3_key"]) == "configuration"


@pytest.mark.parametrize("vector", shared("v3.json", "probe"))
def test_a_published_probe_is_known_as_one(vector):
    posted = Posted(vector["headers"], vector["body"].encode())
    assert code_of(opened, posted, now=int(vector["headers"]["Wechatpay-Timestamp"])) == "signature_probe"


@pytest.mark.parametrize("vector", SM2)
def test_sm2_is_refused_and_never_said_to_hold(vector):
    if "certificate" in vector:
        assert code_of(PlatformKey.from_certificate, vector["certificate"]) == "configuration"
    headers = {
        "Wechatpay-Signature": vector["signature"],
        "Wechatpay-Signature-Type": vector["algorithm"],
        "Wechatpay-Serial": platform_keys()[0].serial,
        "Wechatpay-Timestamp": "1795000000",
        "Wechatpay-Nonce": "x",
    }
    assert code_of(opened, Posted(headers, vector["message"].encode())) == "bad_sign_type"


@pytest.mark.parametrize("vector", AEAD)
def test_a_published_ciphertext_opens(vector, monkeypatch):
    if vector["id"].startswith("skit-sm4"):  # it takes the key as it is, without SM3
        monkeypatch.setattr(_ciphers, "_sm4_key", Key._aead_key)
    nonce, data = vector["nonce"].encode(), vector["associated_data"].encode()
    ciphertext = base64.b64decode(vector["ciphertext"])
    decrypt = {"AEAD_AES_256_GCM": aes_256_gcm_decrypt, "AEAD_SM4_GCM": sm4_gcm_decrypt}[vector["algorithm"]]
    key = Key(vector["api_v3_key"], any_length=True)
    if len(nonce) < 8:  # and its key was filled up with NUL: degenerate, and refused by its own note
        assert code_of(decrypt, key, nonce, data, ciphertext) == "bad_ciphertext"
        return
    assert decrypt(key, nonce, data, ciphertext).decode() == vector["plaintext"]
    assert code_of(decrypt, key, nonce, data + b"x", ciphertext) == "bad_ciphertext"
    assert code_of(decrypt, key, nonce, data, ciphertext[:-1]) == "bad_ciphertext"


@pytest.mark.parametrize("vector", AEAD)
def test_a_published_ciphertext_of_another_length_of_key_or_nonce_is_for_tests_alone(vector):
    nonce = vector["nonce"].encode()
    if len(vector["api_v3_key"]) != 32:
        assert code_of(Key, vector["api_v3_key"]) == "configuration"
    elif len(nonce) != 12:
        ciphertext = base64.b64decode(vector["ciphertext"])
        data = vector["associated_data"].encode()
        key = Key(vector["api_v3_key"])
        assert code_of(aes_256_gcm_decrypt, key, nonce, data, ciphertext) == "bad_ciphertext"
    else:
        assert Key(vector["api_v3_key"])


@pytest.mark.parametrize("vector", shared("v3.json", "hash"))
def test_a_published_sm3_is_the_key_of_sm4(vector):
    message = base64.b64decode(vector["message_base64"]).decode()
    assert _ciphers._sm4_key(Key(message, any_length=True)) == bytes.fromhex(vector["expected"])[:16]


REFUNDS = shared("v2_refund.json", "")


@pytest.mark.parametrize("vector", [one for one in REFUNDS if one.values[0]["mch_key"]])
def test_a_published_refund_opens_under_the_digits_of_its_key(vector):
    key = Key(vector["mch_key"], any_length=True)
    assert key._ecb_key().decode() == vector["aes_key_ascii"]
    if "req_info" in vector:
        ciphertext = base64.b64decode(vector["req_info"])
        assert aes_256_ecb_decrypt(key, ciphertext).decode() == vector["expected_plaintext"]


@pytest.mark.parametrize("vector", [one for one in REFUNDS if not one.values[0]["mch_key"]])
def test_a_published_ciphertext_of_ecb_opens_under_the_digits_themselves(vector, monkeypatch):
    monkeypatch.setattr(Key, "_ecb_key", lambda self: vector["aes_key_ascii"].encode())
    ciphertext = base64.b64decode(vector["req_info"])
    assert (
        aes_256_ecb_decrypt(Key(vector["aes_key_ascii"]), ciphertext).decode() == vector["expected_plaintext"]
    )


@pytest.mark.parametrize("vector", [one for one in REFUNDS if "root" in one.values[0]])
def test_a_published_refund_is_read_or_refused_by_its_root(vector):
    fields = {"return_code": "SUCCESS", "req_info": vector["req_info"]}
    opened = either(decrypt, fields, Key(vector["mch_key"], any_length=True))
    if vector["root"] == "root":
        assert dict(opened) == vector["fields"]
        assert str(Refund.from_decrypted(opened).refund_fee) == vector["fields"]["refund_fee"]
    else:
        assert opened.code == "bad_ciphertext"


@pytest.mark.parametrize("vector", shared("v2_notifications.json", ""))
def test_a_published_notification_of_apiv2_is_a_payment_if_it_has_an_order(vector):
    verified = verify(parse(vector["body"].encode()), Key(vector["key"], any_length=True))
    read = either(Payment.from_verified, verified)
    if "out_trade_no" in vector["fields"]:
        assert read.paid
        assert str(read.total_fee) == vector["fields"]["total_fee"]
        assert read.out_trade_no == vector["fields"]["out_trade_no"]
    else:
        assert read.code == "missing_field"
