from __future__ import annotations

import copy
import pickle

import pytest

from wxnotify import Key, sign, verify
from wxnotify._keys import as_keys
from wxnotify.errors import ConfigurationError
from wxnotify.testing import KEY, payment_fields

from .support import code_of, reference_sign, signed

OLD = "an-older-key-of-our-own-making-1"
FIELDS = payment_fields()


def test_a_key_is_never_shown():
    key = Key(KEY)
    assert repr(key) == str(key) == f"{key}" == "<Key>"
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("action", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_does_not_leave_the_process(action):
    key = Key(KEY)
    with pytest.raises(TypeError, match="pickled"):
        action(key)


def test_keys_do_not_compare():
    assert Key(KEY) != Key(KEY)
    assert Key(KEY) != KEY


BAD_KEYS = [
    "", " ", " " * 32, "\n", "k" * 31, "k" * 33, KEY + "\n", " " + KEY[1:], KEY[:-1] + " ", KEY[:-1] + "\t",
    KEY[:-1] + "é", "密" * 32, KEY[:-1] + "\x7f", "\ud800" * 32, KEY.encode(), None, 5, 0, False, 1.5, [], {},
    object(),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_KEYS, ids=ascii)
def test_what_is_no_key_is_refused_at_once(bad):
    assert code_of(Key, bad) == "configuration"


@pytest.mark.parametrize("bad", BAD_KEYS, ids=ascii)
def test_what_is_no_key_never_signs_or_verifies(bad):
    assert code_of(sign, FIELDS, bad) == "configuration"
    assert code_of(verify, signed(FIELDS), bad) == "configuration"
    assert code_of(verify, signed(FIELDS), [KEY, bad]) == "configuration"


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "\0", "\ud800", None, b"key"], ids=ascii)
def test_a_key_of_any_length_is_still_text_that_can_be_typed(bad):
    with pytest.raises(ConfigurationError):
        Key(bad, any_length=True)


def test_no_key_at_all_is_refused():
    assert code_of(verify, signed(FIELDS), []) == "configuration"
    assert code_of(as_keys, ()) == "configuration"


def test_keys_keep_their_order_and_identity():
    first, second = Key(KEY), Key(OLD)
    assert as_keys([second, first]) == (second, first)
    assert as_keys(first) == (first,)


@pytest.mark.parametrize("text", ["k", "k" * 63, "k" * 64, "k" * 65, "k" * 200, "密钥"])
def test_hmac_follows_rfc_2104_for_keys_of_any_length(text):
    key = Key(text, any_length=True)
    assert sign(FIELDS, key, "HMAC-SHA256") == reference_sign(FIELDS, text, "HMAC-SHA256")


def test_a_key_gives_no_state_of_itself():
    with pytest.raises(TypeError):
        Key(KEY).__getstate__()
