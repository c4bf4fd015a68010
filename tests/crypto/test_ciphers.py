from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from wxnotify import Key, _ciphers
from wxnotify._ciphers import (
    aes_256_ecb_decrypt,
    aes_256_ecb_encrypt,
    aes_256_gcm_decrypt,
    aes_256_gcm_encrypt,
    sm4_gcm_decrypt,
    sm4_gcm_encrypt,
)
from wxnotify.errors import BadCiphertext, NotifyError
from wxnotify.testing import KEY
from wxnotify.testing.apiv3 import API_V3_KEY

from ..support import code_of, either

NONCE = b"Kj7QIyUiYx1q"
PLAIN = b"<root><refund_id>50300000002026112300000000001</refund_id></root>"
GCM = {"aes": (aes_256_gcm_encrypt, aes_256_gcm_decrypt), "sm4": (sm4_gcm_encrypt, sm4_gcm_decrypt)}
V2, V3 = Key(KEY), Key(API_V3_KEY)
BOTH = pytest.mark.parametrize(("encrypt", "decrypt"), GCM.values(), ids=GCM)


def said_of(action, *args):
    with pytest.raises(BadCiphertext) as refusal:
        action(*args)
    return str(refusal.value)


# --- AES-256-ECB ------------------------------------------------------------------------


def raw_ecb(padded: bytes, key: str = KEY) -> bytes:
    digits = hashlib.md5(key.encode()).hexdigest().encode()
    encryptor = Cipher(algorithms.AES(digits), modes.ECB()).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, 700])
def test_ecb_is_aes_256_under_the_digits_of_the_md5_with_pkcs_7(length):
    plain = os.urandom(length)
    padder = PKCS7(128).padder()
    expected = raw_ecb(padder.update(plain) + padder.finalize())
    assert aes_256_ecb_encrypt(V2, plain) == expected
    assert aes_256_ecb_decrypt(V2, expected) == plain


@pytest.mark.parametrize(
    "padded",
    [
        b"x" * 16,
        b"x" * 15 + b"\0",
        b"x" * 15 + b"\x11",
        b"\x11" * 17 + b"\x11" * 15,
        b"x" * 14 + b"\x03\x02",
        b"x" * 13 + b"\x01\x02\x03",
        b"\x0f" + b"\x10" * 15,
        b"\x10" * 14 + b"\x0f\x10",
        b"x" * 15 + b"\xff",
        b"\0" * 16,
        b"x" * 15 + b"\x80",
    ],
)
def test_every_byte_of_the_padding_is_checked(padded):
    assert code_of(aes_256_ecb_decrypt, V2, raw_ecb(padded)) == "bad_ciphertext"


@pytest.mark.parametrize("cut", [0, 1, 8, 15, 17, 31])
def test_a_ciphertext_that_is_not_whole_blocks_is_refused(cut):
    assert code_of(aes_256_ecb_decrypt, V2, aes_256_ecb_encrypt(V2, PLAIN)[:cut]) == "bad_ciphertext"


def test_every_fault_of_a_refund_is_refused_in_the_same_words():
    whole = aes_256_ecb_encrypt(V2, PLAIN)
    other = raw_ecb(PLAIN[:16], "another-key-of-our-own-making-02")
    said = {said_of(aes_256_ecb_decrypt, V2, one) for one in (b"", whole[:-1], whole[:16], other)}
    assert len(said) == 1


@given(st.binary())
def test_what_was_encrypted_is_decrypted(plain):
    assert aes_256_ecb_decrypt(V2, aes_256_ecb_encrypt(V2, plain)) == plain


@given(st.binary(max_size=80))
def test_any_bytes_decrypt_or_are_refused(ciphertext):
    opened = either(aes_256_ecb_decrypt, V2, ciphertext)
    assert isinstance(opened, bytes) or opened.code == "bad_ciphertext"


# --- GCM ---------------------------------------------------------------------------------


def test_gcm_is_aes_256_under_the_key_itself():
    expected = AESGCM(API_V3_KEY.encode()).encrypt(NONCE, PLAIN, b"transaction")
    assert aes_256_gcm_encrypt(V3, NONCE, b"transaction", PLAIN) == expected
    assert aes_256_gcm_decrypt(V3, NONCE, b"transaction", expected) == PLAIN


def test_without_associated_data_it_is_as_with_empty():
    ciphertext = AESGCM(API_V3_KEY.encode()).encrypt(NONCE, PLAIN, None)
    assert aes_256_gcm_decrypt(V3, NONCE, b"", ciphertext) == PLAIN


@BOTH
def test_gcm_opens_what_it_closed(encrypt, decrypt):
    for plain in (b"", b"x", PLAIN):
        assert decrypt(V3, NONCE, b"refund", encrypt(V3, NONCE, b"refund", plain)) == plain


@BOTH
def test_one_flipped_bit_anywhere_is_refused(encrypt, decrypt):
    ciphertext = encrypt(V3, NONCE, b"refund", b'{"total":1}')
    for at in range(len(ciphertext)):
        flipped = ciphertext[:at] + bytes([ciphertext[at] ^ 8]) + ciphertext[at + 1 :]
        assert code_of(decrypt, V3, NONCE, b"refund", flipped) == "bad_ciphertext"


@BOTH
@pytest.mark.parametrize("length", [0, 1, 4, 8, 12, 15])
def test_a_cut_tag_is_refused(encrypt, decrypt, length):
    ciphertext = encrypt(V3, NONCE, b"", PLAIN)
    cut = ciphertext[:-16] + ciphertext[-16:][:length]
    assert code_of(decrypt, V3, NONCE, b"", cut) == "bad_ciphertext"
    assert code_of(decrypt, V3, NONCE, b"", ciphertext[:length]) == "bad_ciphertext"


@BOTH
@pytest.mark.parametrize("nonce", [b"", b"iv", b"x" * 8, b"x" * 11, b"x" * 13, b"x" * 16, b"x" * 200])
def test_a_nonce_is_12_bytes(encrypt, decrypt, nonce):
    ciphertext = encrypt(V3, NONCE, b"", PLAIN)
    if 8 <= len(nonce) <= 128:
        ciphertext = encrypt(V3, nonce, b"", PLAIN)
    assert code_of(decrypt, V3, nonce, b"", ciphertext) == "bad_ciphertext"


@BOTH
def test_a_nonce_of_another_length_is_for_a_key_that_says_it_is_a_test(encrypt, decrypt):
    test = Key(API_V3_KEY, any_length=True)
    assert decrypt(test, b"x" * 16, b"", encrypt(test, b"x" * 16, b"", PLAIN)) == PLAIN
    assert code_of(decrypt, test, b"iv", b"", b"x" * 32) == "bad_ciphertext"


@BOTH
def test_other_associated_data_is_refused(encrypt, decrypt):
    ciphertext = encrypt(V3, NONCE, b"transaction", PLAIN)
    for other in (b"", b"refund", b"transaction "):
        assert code_of(decrypt, V3, NONCE, other, ciphertext) == "bad_ciphertext"


@BOTH
def test_another_key_is_refused(encrypt, decrypt):
    assert code_of(decrypt, V2, NONCE, b"", encrypt(V3, NONCE, b"", PLAIN)) == "bad_ciphertext"


@BOTH
def test_every_fault_is_refused_in_the_same_words(encrypt, decrypt):
    whole = encrypt(V3, NONCE, b"", PLAIN)
    said = {
        said_of(decrypt, V3, NONCE, b"", whole[:-1]),
        said_of(decrypt, V3, NONCE, b"", b""),
        said_of(decrypt, V3, NONCE, b"x", whole),
        said_of(decrypt, V3, b"x", b"", whole),
        said_of(decrypt, V2, NONCE, b"", whole),
    }
    assert len(said) == 1


def test_a_key_of_16_bytes_would_be_aes_128_and_is_for_a_key_that_says_it_is_a_test():
    assert code_of(Key, "testMchAPIv3Key0") == "configuration"
    ciphertext = AESGCM(b"testMchAPIv3Key0").encrypt(NONCE, PLAIN, None)
    assert aes_256_gcm_decrypt(Key("testMchAPIv3Key0", any_length=True), NONCE, b"", ciphertext) == PLAIN


def test_a_key_of_a_length_that_aes_does_not_know_opens_nothing():
    assert (
        code_of(aes_256_gcm_decrypt, Key("key", any_length=True), NONCE, b"", b"x" * 32) == "bad_ciphertext"
    )


def test_a_character_outside_ascii_counts_as_its_bytes():
    key = Key("密" * 8 + "12345678", any_length=True)  # 32 bytes, and 16 characters
    assert aes_256_gcm_decrypt(key, NONCE, b"", aes_256_gcm_encrypt(key, NONCE, b"", PLAIN)) == PLAIN


def test_an_openssl_without_sm4_is_named(monkeypatch):
    def unsupported(key):
        raise UnsupportedAlgorithm("sm3")

    monkeypatch.setattr(_ciphers, "_sm4_key", unsupported)
    assert "SM4, which the OpenSSL" in said_of(sm4_gcm_decrypt, V3, NONCE, b"", b"x" * 32)


@BOTH
@given(
    nonce=st.binary(max_size=20), associated_data=st.binary(max_size=20), ciphertext=st.binary(max_size=80)
)
def test_any_bytes_open_or_are_refused(encrypt, decrypt, nonce, associated_data, ciphertext):
    opened = either(decrypt, V3, nonce, associated_data, ciphertext)
    assert isinstance(opened, NotifyError)
    assert opened.code == "bad_ciphertext"
