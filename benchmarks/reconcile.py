"""
Reconcile a bill of a million rows with a store of a million claims: how much CPU, how much memory.

    python benchmarks/reconcile.py               print the figures and their limits
    python benchmarks/reconcile.py --check       exit 1 if one misses its limit
    python benchmarks/reconcile.py --rows 50000  a smaller bill, without limits
    python benchmarks/reconcile.py --gzip        the bill as gzip
    python benchmarks/reconcile.py --inbox       the payments were queued: twice as many claims

The bill is one of type ALL: of twenty rows, one is a refund. The store is a SQLite
file, filled with SQL in the order in which notifications would have come; reading it
is part of what is measured. Of the payments, one in ten thousand is not settled, as
many were settled with another amount, and as many more are in the store alone: that
these and no others are found is checked.

The reconciliation runs in a process of its own. Its memory is the most that it ever
held of it (``ru_maxrss``), less what it held when everything was imported and the
store was open. CPU is user and system time, of both together.

The temporary directory holds the bill, the store and the temporary file, about a
gigabyte: name one with room in ``TMPDIR``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from rounds import Figure, show

from wxnotify._payments import payment_fingerprint, payment_key
from wxnotify.idempotency import QUEUED
from wxnotify.reconcile import Problem, reconcile
from wxnotify.stores.sqlite import SQLiteStore

ROWS = 1_000_000
MOST_CPU_SECONDS = 30.0
MOST_MEGABYTES = 200.0

MCH_ID = "1900000109"
MIDNIGHT = datetime(2026, 11, 23, tzinfo=timezone(timedelta(hours=8)))
RARE = 10_000

HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,"
    "手续费,费率,订单金额,申请退款金额,费率备注"
)
SUMMARY = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"


class Paid(NamedTuple):
    """A payment of the day."""

    number: int
    transaction_id: str
    out_trade_no: str
    fen: int
    #: Seconds after midnight.
    second: float

    @property
    def time(self) -> str:
        return f"{MIDNIGHT + timedelta(seconds=int(self.second)):%Y-%m-%d %H:%M:%S}"


def payments(rows: int) -> Iterator[Paid]:
    """Give the payments, the same ones every time, in the order in which they were made."""
    choose = random.Random(20261123)
    for number in range(rows):
        second = 86_000 * number / rows
        # WeChat Pay's numbers are no sequence.
        transaction_id = f"42000{choose.randrange(10**5):05}20261123{choose.randrange(10**10):010}"
        yield Paid(number, transaction_id, f"2026112300{number:012}", choose.randrange(1, 1_000_000), second)


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02}"


def write_bill(path: Path, rows: int) -> None:
    """Write the bill: of twenty rows nineteen are payments, and one the refund of the payment before it."""
    total = 0
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        file.write(f"\ufeff{HEADER}\r\n")
        for paid in payments(rows):
            what, amount, of_refund = "SUCCESS", yuan(paid.fen), "`0,`0,`0.00,`0.00,`,`"
            if paid.number % 20 == 19:
                what, amount, of_refund = "REFUND", "0.00", "`5030,`R-1,`1.00,`0.00,`ORIGINAL,`SUCCESS"
            else:
                total += paid.fen
            file.write(
                f"`{paid.time},`wx2421b1c4370ec43b,`{MCH_ID},`0,`,`{paid.transaction_id},`{paid.out_trade_no},"
                f"`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`JSAPI,`{what},`OTHERS,`CNY,`{amount},`0.00,{of_refund},"
                f"`商品, {paid.number % 100},`,`0.00000,`0.60%,`{amount},`0.00,`\r\n"
            )
        file.write(f"{SUMMARY}\r\n`{rows},`{yuan(total)},`0.00,`0.00,`0.00000,`{yuan(total)},`0.00\r\n")


def write_store(path: Path, rows: int, inbox: bool) -> dict[str, int]:
    """Fill a store with as many done claims; return what must be found."""
    SQLiteStore(path).close()
    expected = dict.fromkeys([Problem.NEVER_CLAIMED, Problem.OTHER_AMOUNT, Problem.NOT_IN_BILL], 0)
    columns = "natural_key, order_no, state, fingerprint, owner, generation, attempts, lease_until, "
    columns += "first_seen, updated, retain_until, last_error, result"

    def claims() -> Iterator[tuple[Any, ...]]:
        for paid in payments(rows):
            transaction_id, fen, refund = paid.transaction_id, paid.fen, paid.number % 20 == 19
            seen = MIDNIGHT.timestamp() + paid.second + 2
            if paid.number % RARE == 5:
                expected[Problem.NEVER_CLAIMED] += 1
                continue
            if paid.number % RARE == 6:
                expected[Problem.OTHER_AMOUNT] += 1
                fen += 1
            if refund:
                # In the bill there is a refund instead. So that the store holds as many claims all the
                # same, nearly all of these were made before the slack is over, and need not be in it.
                transaction_id += "1"
                if paid.number % RARE == 19:
                    seen = MIDNIGHT.timestamp() + 43_200
                    expected[Problem.NOT_IN_BILL] += 1
                else:
                    seen = MIDNIGHT.timestamp() + 60
            key = payment_key(MCH_ID, transaction_id, paid.out_trade_no, "SUCCESS")
            fingerprint = payment_fingerprint("", paid.out_trade_no, fen, "CNY")
            times = (seen + 30, seen, seen + 0.1, seen + 30 * 86_400)
            for stored, result in ((key, QUEUED), (f"work/{key}", "")) if inbox else ((key, ""),):
                yield stored, paid.out_trade_no, "done", fingerprint, os.urandom(16), 1, 1, *times, "", result

    with sqlite3.connect(path) as connection:
        places = ", ".join("?" * len(columns.split(",")))
        connection.executemany(f"INSERT INTO wxnotify_claims ({columns}) VALUES ({places})", claims())
    connection.close()
    return {problem.value: count for problem, count in expected.items() if count}


def megabytes() -> float:
    """Give the most memory this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024**2 if sys.platform == "darwin" else 1024)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(bill: Path, store: Path) -> None:
    """Reconcile, and print what it took; in a process of its own."""
    with SQLiteStore(store) as opened:
        began, held, spent = {}, megabytes(), cpu()
        with reconcile(bill, opened, on_progress=lambda at: began.setdefault(at.stage, cpu())) as report:
            ended = cpu()
            findings = sum(1 for _ in report)
            took = {
                "bill": began["store"] - spent,
                "store": began["compare"] - began["store"],
                "compare": ended - began["compare"],
            }
            counts = {problem.value: count for problem, count in report.counts.items()}
            print(
                json.dumps(
                    {
                        "took": took,
                        "cpu": cpu() - spent,
                        "megabytes": megabytes() - held,
                        "rows": report.rows,
                        "records": report.records,
                        "counts": counts,
                        "findings": findings,
                    }
                )
            )


def main() -> int:
    """Prepare, measure in another process, print and compare."""
    parser = argparse.ArgumentParser(description="Measure the reconciliation of a large bill.")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the bill ({ROWS})")
    parser.add_argument("--gzip", action="store_true", help="pack the bill")
    parser.add_argument("--inbox", action="store_true", help="each payment has a claim of its work too")
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure misses its limit")
    parser.add_argument("--run", nargs=2, metavar=("BILL", "STORE"), type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(*arguments.run)
        return 0

    with tempfile.TemporaryDirectory() as place:
        bill, store = Path(place, "bill.csv.gz" if arguments.gzip else "bill.csv"), Path(place, "store.db")
        write_bill(bill, arguments.rows)
        expected = write_store(store, arguments.rows, arguments.inbox)
        size = bill.stat().st_size / 1e6
        print(f"{arguments.rows} rows, {size:.0f} MB; Python {sys.version.split()[0]}", flush=True)
        command = [sys.executable, __file__, "--run", str(bill), str(store)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if (found["counts"], found["rows"]) != (expected, arguments.rows):
        print(f"WRONG: found {found['counts']} in {found['rows']} rows, expected {expected}")
        return 1
    limited = arguments.rows == ROWS
    missed = show(
        [
            Figure("CPU seconds", found["cpu"], MOST_CPU_SECONDS if limited else None),
            *(Figure(f"of them: {stage}", seconds) for stage, seconds in found["took"].items()),
            Figure("MB of memory, at most held", found["megabytes"], MOST_MEGABYTES if limited else None),
            Figure("findings, each of them right", found["findings"]),
        ]
    )
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
