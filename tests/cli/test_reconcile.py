"""``wxnotify reconcile``: a bill and a store that do not agree."""

from __future__ import annotations

import re

import pytest

from wxnotify import cli
from wxnotify._payments import payment_fingerprint
from wxnotify.stores.sqlite import SQLiteStore

KEEP = 30 * 86_400.0
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
    now = [1_795_406_400.0]  # 2026-11-23 12:00 at UTC+8
    with SQLiteStore(tmp_path / "shop.db", clock=lambda: now[0]) as store:
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
    assert re.search(r"1 payments, 1 of them settled", output())


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
    assert re.search(r"3 payments, 0 of them settled", printed)
    assert "\x1b" not in printed


def test_only_so_many_are_shown_and_the_rest_is_counted(settled, output):
    bill = bill_of(*[(f"B-{n}", "1.00") for n in range(5, 9)])
    (settled / "bill.csv").write_text(bill, encoding="utf-8")
    assert cli.main(["reconcile", "--part", "--most", "1", str(settled / "bill.csv")]) == 1
    printed = output()
    assert "… and 3 more" in printed
    assert "B-6" not in printed


@pytest.mark.parametrize("broken", ["cut", "total", "missing"])
def test_a_bill_that_cannot_be_read_is_a_two(settled, output, broken):
    bill = settled / "bill.csv"
    whole = bill_of(("A-0", "1.00"), total="9.00" if broken == "total" else "")
    if broken != "missing":
        bill.write_text(whole[:-30] if broken == "cut" else whole, encoding="utf-8")
    assert cli.main(["reconcile", str(bill)]) == 2
    assert "settled" not in output()
