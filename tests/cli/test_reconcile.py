"""``wxnotify reconcile``: a bill and a store that do not agree."""

from __future__ import annotations

import io
import re
import sys

import pytest

from wxnotify import cli
from wxnotify._payments import payment_fingerprint
from wxnotify.stores.sqlite import SQLiteStore

KEEP = 30 * 86_400.0
NOON = 1_795_406_400.0  # 2026-11-23 12:00 at UTC+8
COLUMNS = "交易时间,商户号,微信订单号,商户订单号,交易状态,货币种类,订单金额"


def bill_of(*orders: tuple[str, str], total: str = "") -> str:
    rows = [
        f"`2026-11-23 12:00:0{n},`1,`4200{n},`{order_no},`SUCCESS,`CNY,`{yuan}"
        for n, (order_no, yuan) in enumerate(orders)
    ]
    yuan = total or f"{sum(round(float(yuan) * 100) for _, yuan in orders) / 100:.2f}"
    return "\n".join([COLUMNS, *rows, "总交易单数,订单总金额", f"`{len(rows)},`{yuan}", ""])


@pytest.fixture
def settled(tmp_path, monkeypatch):
    """Name a store in which A-0 was settled with 100 fen, and A-1 failed."""
    with SQLiteStore(tmp_path / "shop.db", clock=lambda: NOON) as store:
        for n in (0, 1):
            claim = store.claim(
                f"payment/1/4200{n}/SUCCESS",
                fingerprint=payment_fingerprint("", f"A-{n}", 100, "CNY"),
                owner=b"o" * 16,
                lease=30,
                order_no=f"A-{n}",
            )
            if n:
                store.release(claim, error="ValueError: out of stock\x1b[2J")
            else:
                store.complete(claim, retain=KEEP)
    monkeypatch.setenv("WXNOTIFY_STORE", f"sqlite:///{tmp_path}/shop.db")
    return tmp_path


def test_a_bill_that_agrees_is_a_zero(settled, output):
    (settled / "bill.csv").write_text(bill_of(("A-0", "1.00")), encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 0
    printed = output()
    assert re.search(r" 1 payment, 1 settled as paid\n", printed)
    assert re.search(r" 0 refunds, 0 payments taken back; not compared\n", printed)


def test_what_does_not_agree_is_shown_and_is_a_one(settled, output):
    bill = bill_of(("A-0", "2.00"), ("A-1", "1.00"), ("A-2", "3.50"))
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 1
    printed = output()
    assert re.search(r"other amount +A-0 +200 fen", printed)
    assert re.search(r"unsettled +A-1 ", printed)
    assert "out of stock" in printed
    assert re.search(r"never claimed +A-2 +350 fen", printed)
    assert "payment/1/42002/SUCCESS" in printed
    assert re.search(r"3 payments, 0 settled as paid", printed)
    assert "\x1b" not in printed


def test_only_so_many_are_shown_and_the_rest_is_counted(settled, output):
    bill = bill_of(*[(f"B-{n}", "1.00") for n in range(5, 9)])
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", "--part", "--most", "1", str(settled / "bill.csv")]) == 1
    printed = output()
    assert "… and 3 more" in printed
    assert "B-6" not in printed


def test_one_of_each_is_told_in_the_singular(settled, output):
    rows = [
        f"`2026-11-23 12:00:0{n},`1,`4300{n},`B-{n},`{state},`{currency},`0.00"
        for n, (state, currency) in enumerate([("SUCCESS", "JPY"), ("REFUND", "CNY"), ("REVOKED", "CNY")])
    ]
    bill = "\n".join([COLUMNS, *rows, "总交易单数", "`3"])
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", "--part", str(settled / "bill.csv")]) == 1
    printed = output()
    assert " 1 payment, 0 settled as paid\n" in printed
    assert " 1 refund, 1 payment taken back; not compared\n" in printed
    assert " 1 payment in another currency; amounts not compared\n" in printed


def test_what_is_not_in_the_bill_was_seen_at_a_time_that_says_where(settled, output):
    (settled / "bill.csv").write_text(bill_of(("A-7", "1.00")).replace("42000", "42007"), encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 1
    assert re.search(r"not in bill +A-0 +first seen 2026-11-23 12:00:00 at UTC\+8\n", output())


def test_what_was_queued_and_is_not_worked_is_said_to_be(settled, output):
    with SQLiteStore(settled / "shop.db", clock=lambda: NOON) as store:
        claim = store.claim(
            "work/payment/1/42000/SUCCESS", fingerprint=bytes(32), owner=b"o" * 16, lease=30, order_no="A-0"
        )
        store.release(claim, error="ValueError: the printer is out of paper")
    (settled / "bill.csv").write_text(bill_of(("A-0", "1.00")), encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 1
    printed = output()
    assert re.search(r"unsettled +A-0 ", printed)
    assert "it was queued and its work is not done" in printed
    assert "out of paper" in printed


def test_what_was_settled_as_refunded_is_said_to_be(settled, output):
    with SQLiteStore(settled / "shop.db", clock=lambda: NOON) as store:
        claim = store.claim("payment/1/42002/REFUND", fingerprint=bytes(32), owner=b"o" * 16, lease=30)
        store.complete(claim, retain=KEEP)
    bill = bill_of(("A-0", "1.00"), ("A-2", "1.00")).replace("`42001,", "`42002,")
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 1
    printed = output()
    assert re.search(r"refunded +A-2 ", printed)
    assert "look at the order yourself" in printed


@pytest.mark.parametrize("named", [[], ["--mch-id", "1"], ["--day", "2026-11-23"]])
def test_an_empty_bill_that_is_nobodys_is_a_two(settled, output, named):
    (settled / "bill.csv").write_text(bill_of(), encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv"), *named]) == 2
    assert re.search(r"no payments.*--mch-id and --day", output())
    assert cli.main(["reconcile", str(settled / "bill.csv"), *named, "--part"]) == 0


def test_an_empty_bill_of_somebodys_day_is_compared(settled, output):
    (settled / "bill.csv").write_text(bill_of(), encoding="utf-8")
    whose = ["--mch-id", "1", "--day"]
    assert cli.main(["reconcile", str(settled / "bill.csv"), *whose, "2026-11-22"]) == 0
    assert cli.main(["reconcile", str(settled / "bill.csv"), *whose, "2026-11-23"]) == 1
    assert re.search(r"not in bill +A-0", output())


def test_a_bill_of_which_something_is_to_be_told_is_not_refused(settled, output):
    bill = bill_of(("A-0", "1.00")).replace("SUCCESS", "SETTLING")
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", str(settled / "bill.csv")]) == 1
    printed = output()
    assert re.search(r"unknown state +A-0", printed)
    assert "was not looked for" in printed


def test_a_dash_reads_standard_input(settled, output, monkeypatch):
    bill = bill_of(("A-0", "1.00"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bill.encode())))
    assert cli.main(["reconcile", "-"]) == 0
    assert " 1 payment, 1 settled as paid\n" in output()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--most", "-1"],
        ["--most", "1.5"],
        ["--most", "9" * 5_000],
        ["--day", "yesterday"],
        ["--day", "2026-02-30"],
    ],
)
def test_an_argument_that_makes_no_sense_is_a_two_and_a_sentence(settled, output, wrong):
    with pytest.raises(SystemExit) as refusal:
        cli.main(["reconcile", str(settled / "bill.csv"), *wrong])
    assert refusal.value.code == 2
    assert re.search(r"is not a number from 0|is no day, such as 2026-11-23", output())


def test_none_of_them_need_be_shown(settled, output):
    (settled / "bill.csv").write_text(bill_of(("A-0", "2.00")), encoding="utf-8")
    assert cli.main(["reconcile", "--most", "0", str(settled / "bill.csv")]) == 1
    printed = output()
    assert "… and 1 more; --most 1 shows them all" in printed
    assert "A-0" not in printed


@pytest.mark.parametrize("name", ["none.csv", "."])
def test_a_file_that_cannot_be_read_is_a_sentence(settled, output, name):
    assert cli.main(["reconcile", str(settled / name)]) == 2
    said = rf"wxnotify: {re.escape(str(settled / name))} cannot be read: \w[\w ]+\n"
    assert re.fullmatch(said, output())


@pytest.mark.parametrize("broken", ["cut", "total", "missing"])
def test_a_bill_that_cannot_be_read_is_a_two(settled, output, broken):
    bill = settled / "bill.csv"
    whole = bill_of(("A-0", "1.00"), total="9.00" if broken == "total" else "")
    if broken != "missing":
        bill.write_text(whole[:-30] if broken == "cut" else whole, encoding="utf-8")
    assert cli.main(["reconcile", str(bill)]) == 2
    assert "settled" not in output()
