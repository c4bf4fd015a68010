"""Refunds of APIv2 with known verdicts; tests/vectors/README.md says how they were made."""

from __future__ import annotations

import base64
import hashlib

import pytest

from wxnotify import Key, Refund, decrypt, parse
from wxnotify._ciphers import aes_256_ecb_encrypt
from wxnotify.errors import NotifyError

from ..support import either
from ..test_vectors import OWN, entries

OURS = entries(OWN, "refund.json")


@pytest.mark.parametrize("vector", OURS)
def test_a_refund_is_decrypted_as_its_verdict_says(vector):
    fields = {"return_code": "SUCCESS", "mch_id": "1", "req_info": vector["req_info"]}
    read = either(lambda: decrypt(fields, vector["key"]))
    if vector["verdict"] == "valid":
        assert dict(read) == parse(vector["plaintext"].encode(), root="root")
        assert Refund.from_decrypted(read).refund_fee == 30
    else:
        assert isinstance(read, NotifyError)
        assert read.code == vector["verdict"]


@pytest.mark.parametrize("vector", [one for one in OURS if one.values[0]["verdict"] == "valid"])
def test_a_refund_is_encrypted_as_another_program_does(vector):
    made = aes_256_ecb_encrypt(Key(vector["key"]), vector["plaintext"].encode())
    assert base64.b64encode(made).decode() == vector["req_info"]


@pytest.mark.parametrize("vector", OURS)
def test_the_key_is_the_hex_of_the_merchant_keys_md5(vector):
    derived = hashlib.md5(vector["key"].encode()).hexdigest() == vector["aes_key"]
    assert derived is (vector["id"] != "another-key")
