"""``wxnotify verify``, and where keys come from."""

from __future__ import annotations

import io
import sys

import pytest

from wxnotify import cli, write
from wxnotify.testing import combined, contract, notification

from .support import OTHER_KEY, SHOP_KEY


@pytest.fixture
def saved(tmp_path):
    file = tmp_path / "notification.xml"
    file.write_bytes(notification(key=SHOP_KEY))
    return str(file)


def test_a_genuine_notification_is_verified(saved, output):
    assert cli.main(["verify", saved]) == 0
    printed = output()
    assert "verified  with key 1 of 1 (WXNOTIFY_KEY), MD5" in printed
    assert "order A-1001" in printed


def test_the_second_key_and_hmac_are_named(tmp_path, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", f"{OTHER_KEY} {SHOP_KEY}")
    file = tmp_path / "notification.xml"
    file.write_bytes(notification(key=SHOP_KEY, sign_type="HMAC-SHA256"))
    assert cli.main(["verify", str(file)]) == 0
    assert "with key 2 of 2 (WXNOTIFY_KEY), HMAC-SHA256" in output()


def test_a_forged_notification_is_refused_with_its_code(saved, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", OTHER_KEY)
    assert cli.main(["verify", saved]) == 1
    assert "refused  bad_signature" in output()


def test_what_is_no_payment_is_verified_and_said_to_be_none(tmp_path, output):
    file = tmp_path / "request.xml"
    file.write_bytes(notification({"mch_id": "1900000109"}, key=SHOP_KEY))
    assert cli.main(["verify", str(file)]) == 0
    assert "no notification: missing_field" in output()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (contract(key=SHOP_KEY), ['on("contract") gets <Contract']),
        (combined(key=SHOP_KEY), ["order A-1001", "order A-1002"]),
        (notification({"mch_id": "1", "event_ciphertext": "x"}, key=SHOP_KEY), ["a rent or hotel event"]),
    ],
)
def test_other_kinds_are_verified_and_named(tmp_path, output, body, told):
    file = tmp_path / "notification.xml"
    file.write_bytes(body)
    assert cli.main(["verify", str(file)]) == 0
    printed = output()
    assert all(one in printed for one in told)
    assert "no notification" not in printed


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (write({"return_code": "SUCCESS", "mch_id": "1", "req_info": "x"}), "APIv2's refund"),
        (b'{"id": "1", "event_type": "REFUND.SUCCESS", "resource": {"ciphertext": "x"}}', "an APIv3"),
    ],
)
def test_what_has_no_sign_by_right_is_named_and_not_checked(tmp_path, output, body, kind):
    file = tmp_path / "notification.xml"
    file.write_bytes(body)
    assert cli.main(["verify", str(file)]) == 1
    printed = output()
    assert printed.startswith(f"not checked  this is {kind}")
    assert "the receiver reads it" in printed
    assert "refused" not in printed


def test_standard_input_is_read(monkeypatch, output):
    standard_input = io.TextIOWrapper(io.BytesIO(notification(key=SHOP_KEY)))
    monkeypatch.setattr(sys, "stdin", standard_input)
    assert cli.main(["verify", "-"]) == 0
    assert "verified" in output()


def test_keys_are_read_from_a_file_before_the_environment(saved, tmp_path, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", OTHER_KEY)
    keys = tmp_path / "keys"
    keys.write_bytes(f"\ufeff{SHOP_KEY}\r\n\r\n{OTHER_KEY}\r\n".encode())
    assert cli.main(["verify", saved, "--key-file", str(keys)]) == 0
    assert "key 1 of 2" in output()


def test_without_a_key_both_ways_to_give_one_are_named(saved, output, monkeypatch):
    monkeypatch.delenv("WXNOTIFY_KEY")
    assert cli.main(["verify", saved]) == 2
    printed = output()
    assert "WXNOTIFY_KEY" in printed
    assert "--key-file" in printed


@pytest.mark.parametrize(
    ("key", "said"),
    [(SHOP_KEY[:-1], "31 characters"), (f"{SHOP_KEY},{OTHER_KEY}", "by white space, not commas")],
)
def test_what_cannot_be_a_key_is_refused_without_being_shown(saved, key, said, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_KEY", key)
    assert cli.main(["verify", saved]) == 2
    printed = output()
    assert said in printed
    assert key not in printed


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_key_file_that_cannot_be_read_is_named(saved, tmp_path, content, output):
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    assert cli.main(["verify", saved, "--key-file", str(file)]) == 2
    assert str(file) in output()


def test_a_body_that_is_not_there_is_named(output):
    assert cli.main(["verify", "nowhere.xml"]) == 2
    assert "nowhere.xml cannot be read" in output()


def test_text_from_outside_cannot_move_the_cursor(tmp_path, output):
    file = tmp_path / "notification.xml"
    file.write_bytes(write({"mch_id": "1", "sign": "A" * 32, "sign_type": "\x85\u202e[31m"}))
    assert cli.main(["verify", str(file)]) == 1
    printed = output()
    assert "\x85" not in printed
    assert "\u202e" not in printed


def test_help_and_version_are_there(capsys):
    subjects = ([name, "--help"] for name in ("demo", "serve", "send", "verify", "explain"))
    for arguments in (["--help"], ["--version"], *subjects):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 0
    assert "wxnotify 0" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["send", "verify"])
def test_the_help_says_which_dialect_a_command_is_for(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "APIv2" in capsys.readouterr().out.partition("options:")[0]


def test_no_command_is_no_success(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
