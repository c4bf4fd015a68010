"""``wxnotify explain`` and ``verify`` on what APIv2 encrypts: refunds, rent and hotel events."""

from __future__ import annotations

import json
import sys

import pytest

from wxnotify import cli, parse
from wxnotify.testing import pay_after_notification, refund_notification

from .support import APIV3_KEY, OTHER_KEY, SHOP_KEY

REFUND = refund_notification(key=SHOP_KEY)
RENT = pay_after_notification(key=SHOP_KEY, apiv3_key=APIV3_KEY)


def test_a_refund_is_decrypted_and_nothing_is_said_to_be_signed(explain):
    code, causes, printed = explain(REFUND)
    assert (code, causes) == (0, [])
    assert "\nkind\n  refund\n" in printed
    assert "it is not signed, but it decrypts  with key 1 of 1" in printed
    assert 'on("refund") gets <Refund out_trade_no=A-1001 out_refund_no=R-1001' in printed
    assert "refused" not in printed
    assert "what is signed" not in printed
    assert "  yes" not in printed
    assert parse(REFUND)["req_info"] not in printed


def test_a_refund_under_another_key_is_refused_for_that(explain, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", OTHER_KEY)
    code, causes, printed = explain(REFUND)
    assert (code, causes) == (1, ["other_encryption_key"])
    assert "refused  bad_ciphertext" in printed


def test_a_refund_under_the_second_key_is_said_to_be(explain, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", f"{OTHER_KEY} {SHOP_KEY}")
    code, _, printed = explain(REFUND)
    assert code == 0
    assert "  other_key_given\n" in printed


def test_a_refund_of_another_merchant_is_named_if_the_own_id_is_given(explain):
    code, causes, _ = explain(REFUND, "--mch-id", "1900000110")
    assert (code, causes) == (1, ["merchant_mismatch"])


def test_a_refund_unlike_any_is_refused(explain):
    body = refund_notification(key=SHOP_KEY, refund_id=None)
    code, causes, _ = explain(body)
    assert (code, causes) == (1, ["unlike_its_kind"])


@pytest.mark.parametrize("body", [REFUND, RENT])
def test_what_was_done_to_an_encrypted_one_is_undone(explain, monkeypatch, body):
    monkeypatch.delenv("WXNOTIFY_APIV3_KEY")
    code, causes, printed = explain(json.dumps(parse(body)).encode())
    assert (code, causes) == (1, ["json_body"])
    assert "once that is undone, " in printed


def test_a_rent_event_is_decrypted_with_the_apiv3_key(explain):
    code, causes, printed = explain(RENT)
    assert (code, causes) == (0, [])
    assert "\nkind\n  pay_after\n" in printed
    assert 'on("pay_after") gets <PayAfter event_type=CHECK.SUCCESS' in printed
    assert "hmac_unannounced" not in printed  # it has "algorithm"


def test_a_rent_event_without_the_apiv3_key_is_signed_and_not_decrypted(explain, monkeypatch):
    monkeypatch.delenv("WXNOTIFY_APIV3_KEY")
    code, causes, printed = explain(RENT)
    assert (code, causes) == (1, [])
    assert "the sign holds" in printed
    assert "not decrypted  give the APIv3 key" in printed
    assert "refused" not in printed


def test_a_rent_event_under_another_apiv3_key_is_refused_for_that(explain):
    code, causes, printed = explain(pay_after_notification(key=SHOP_KEY, apiv3_key=OTHER_KEY))
    assert (code, causes) == (1, ["other_encryption_key"])
    assert "the sign holds" in printed


@pytest.mark.parametrize("body", [REFUND, RENT])
def test_the_missing_extra_is_no_wrong_key(explain, monkeypatch, body):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    code, causes, printed = explain(body)
    assert (code, causes) == (1, [])
    assert "refused  extra_missing" in printed


def test_verify_checks_the_sign_of_a_rent_event_alone(tmp_path, output):
    file = tmp_path / "notification.xml"
    file.write_bytes(RENT)
    assert cli.main(["verify", str(file)]) == 0
    assert "a rent or hotel event" in output()
