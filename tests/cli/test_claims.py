"""``wxnotify claims``: the on-call engineer's question."""

from __future__ import annotations

import re

import pytest

from wxnotify import cli
from wxnotify.stores.sqlite import SQLiteStore

KEEP = 30 * 86_400.0


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Name a store with a done, a failed and a stuck order."""
    now = [1_700_000_000.0]
    with SQLiteStore(tmp_path / "shop.db", clock=lambda: now[0]) as store:
        for order_no in ("A-done", "A-failed", "A-stuck"):
            claim = store.claim(
                f"payment/1/{order_no}/SUCCESS",
                fingerprint=bytes(32),
                owner=b"o" * 16,
                lease=30,
                order_no=order_no,
            )
            if order_no == "A-done":
                store.complete(claim, retain=KEEP)
            elif order_no == "A-failed":
                store.release(claim, error="ValueError: out of stock\x1b[2J")
    monkeypatch.setenv("WXNOTIFY_STORE", f"sqlite:///{tmp_path}/shop.db")
    return f"sqlite:///{tmp_path}/shop.db"


def test_what_is_stuck_or_failed_is_shown_and_what_is_done_is_not(url, output):
    assert cli.main(["claims"]) == 0
    printed = output()
    assert re.search(r"pending +A-stuck", printed)
    assert "its lease ran out" in printed
    assert re.search(r"released +A-failed", printed)
    assert "out of stock" in printed
    assert "A-done" not in printed


def test_what_a_handler_raised_cannot_move_the_cursor(url, output):
    assert cli.main(["claims", "--state", "released"]) == 0
    assert "\x1b" not in output()


def test_an_order_is_found_whatever_became_of_it(url, output):
    assert cli.main(["claims", "--order", "A-done"]) == 0
    printed = output()
    assert re.search(r"done +A-done", printed)
    assert "payment/1/A-done/SUCCESS" in printed
    assert "A-failed" not in printed


def test_an_order_nothing_is_known_of_is_a_no(url, output):
    assert cli.main(["claims", "--order", "A-none"]) == 1
    assert "nothing is known of order A-none" in output()


def test_age_and_number_narrow_what_is_shown(url, output):
    assert cli.main(["claims", "--older-than", "1e12"]) == 0
    assert "nothing of the kind" in output()
    assert cli.main(["claims", "--most", "1"]) == 0
    assert "and more" in output()


@pytest.mark.parametrize(
    "wrong",
    [["--most", "-1"], ["--most", "many"], *(["--older-than", s] for s in ("-5", "nan", "inf", "a day"))],
)
def test_what_is_no_number_of_the_kind_is_a_two_and_a_sentence(url, output, wrong):
    with pytest.raises(SystemExit) as refusal:
        cli.main(["claims", *wrong])
    assert refusal.value.code == 2
    assert re.search(rf"argument {wrong[0]}: '{wrong[1]}' is not a number", output())


def test_none_of_them_need_be_shown(url, output):
    assert cli.main(["claims", "--most", "0"]) == 0
    assert output() == "… and more; --most 10 shows more of them\n"


def test_the_store_may_be_named_by_an_option(url, output, monkeypatch):
    monkeypatch.delenv("WXNOTIFY_STORE")
    assert cli.main(["claims", "--store", url, "--state", "done"]) == 0
    assert "A-done" in output()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("", "name the store"),
        ("sqlite:////nowhere/shop.db", "there is no file"),
        ("oracle://secret@host/shop", "no store is called"),
    ],
)
def test_without_a_store_it_cannot_begin(store, said, output, monkeypatch):
    monkeypatch.setenv("WXNOTIFY_STORE", store)
    assert cli.main(["claims"]) == 2
    printed = output()
    assert said in printed
    assert "secret" not in printed
