"""What a core install says when it meets something encrypted; with the extra ``crypto`` or without."""

from __future__ import annotations

import importlib
import sys

import pytest

from wxnotify import Key
from wxnotify._ciphers import (
    aes_256_ecb_decrypt,
    aes_256_ecb_encrypt,
    aes_256_gcm_decrypt,
    aes_256_gcm_encrypt,
    decoded,
    sm4_gcm_decrypt,
    sm4_gcm_encrypt,
)
from wxnotify.errors import ExtraMissing, NotifyError
from wxnotify.testing import KEY

from .test_no_secrets import leaked, words_of_refusal

SECRET = b"4200000202611230"


@pytest.fixture
def without_cryptography(monkeypatch):
    """Hide the package, if it is there, and what was imported because it is."""
    for name in list(sys.modules):
        if name.split(".")[0] == "cryptography" or name.startswith("wxnotify.apiv3"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)


@pytest.mark.usefixtures("without_cryptography")
@pytest.mark.parametrize(
    "action",
    [
        lambda key: aes_256_ecb_decrypt(key, SECRET),
        lambda key: aes_256_ecb_encrypt(key, SECRET),
        lambda key: aes_256_gcm_decrypt(key, SECRET[:12], SECRET, SECRET),
        lambda key: aes_256_gcm_encrypt(key, SECRET[:12], SECRET, SECRET),
        lambda key: sm4_gcm_decrypt(key, SECRET[:12], SECRET, SECRET),
        lambda key: sm4_gcm_encrypt(key, SECRET[:12], SECRET, SECRET),
    ],
)
def test_what_is_encrypted_says_which_extra_is_missing_and_holds_no_secret(action):
    with pytest.raises(ExtraMissing) as refusal:
        action(Key(KEY))
    assert 'pip install "wxpay-notify[crypto]"' in str(refusal.value)
    assert isinstance(refusal.value, ImportError)
    assert isinstance(refusal.value, NotifyError)
    words = "\n".join(words_of_refusal(refusal.value))
    assert not leaked(KEY, words)
    assert not leaked(SECRET.decode(), words)
    assert not leaked(Key(KEY)._ecb_key().decode(), words)


@pytest.mark.usefixtures("without_cryptography")
def test_apiv3_cannot_be_imported_and_says_which_extra_is_missing():
    with pytest.raises(ImportError, match=r"wxnotify\.apiv3 needs .*wxpay-notify\[crypto\]"):
        importlib.import_module("wxnotify.apiv3")


def test_base64_is_decoded_in_one_spelling_only():
    assert decoded("QUJD") == b"ABC"
    assert decoded("QUI=") == b"AB"
    assert decoded("") == b""
    assert decoded("-_-_") is None


@pytest.mark.parametrize(
    "text",
    [
        "QUJD====",
        "QUJ=",
        "QUI",
        "QU I=",
        "QUJD\n",
        " QUJD",
        "QUJD*",
        "*",
        "QUL=",
        "QQ",
        "=",
        "=QUI",
        "QUI=QUI=",
        "QUJé",
    ],
)
def test_base64_with_foreign_characters_surplus_padding_or_bits_is_none(text):
    assert decoded(text) is None
