"""
A bill beside a store, in a temporary file, so that neither must fit into memory.

Both are dealt out by ``transaction_id`` into as many piles, and then each pile of
the one is compared with the same pile of the other. A pile is a small part of the
whole, and all that is in memory at a time.

The file is a temporary table of SQLite's: nobody else opens it, and it is gone with
the connection, even if the process is killed. A row of the table is not a payment
but some dozens of them; to insert them one by one, and to let SQLite join them,
takes twice as long as everything does now.
"""

from __future__ import annotations

import marshal
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

from .._fields import beijing
from .._payments import payment_key
from ..errors import BadBill, ConfigurationError, shown
from ..idempotency import QUEUED
from ._bills import BillRow
from ._findings import Finding, Problem

#: Of a million payments there are eight thousand in each.
_PILES: Final = 128
#: How many payments go to the file at once. As many of each pile may wait in memory, and should fit into
#: the processor's cache.
_TOGETHER: Final = 32
_PREPARE: Final = (
    "PRAGMA temp_store = FILE",
    "PRAGMA temp.journal_mode = OFF",
    "CREATE TEMP TABLE piled (side INTEGER, pile INTEGER, payments BLOB)",
    """CREATE TEMP TABLE found (
        problem TEXT, key TEXT, line INTEGER, paid_at TEXT, mch_id TEXT, sub_mch_id TEXT,
        transaction_id TEXT, out_trade_no TEXT, fee_type TEXT, hundredths INTEGER, order_no TEXT,
        first_seen REAL, last_error TEXT)""",
    "BEGIN",
)
_PUT: Final = "INSERT INTO piled VALUES (?, ?, ?)"
_INDEX: Final = "CREATE INDEX temp.piled_by_pile ON piled (pile, side)"
_TAKE: Final = "SELECT payments FROM piled WHERE pile = ? AND side = ?"
_FIND: Final = "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FOUND: Final = "SELECT * FROM found ORDER BY line IS NULL, line, first_seen, transaction_id"

_BILLED, _UNKNOWN, _STORED, _WORKED = range(4)
DONE: Final = "done"
_FINAL: Final = (DONE, QUEUED)
_REFUNDED: Final = Problem.REFUNDED.value
#: What the key of the work on a queued notification begins with.
_WORK: Final = "work/"
#: The currency whose hundredths are its smallest unit for certain.
COMPARED: Final = "CNY"


class _Found(NamedTuple):
    """A finding as it is kept."""

    problem: Problem
    key: str
    line: int | None
    paid_at: str
    mch_id: str
    sub_mch_id: str
    transaction_id: str
    out_trade_no: str
    fee_type: str
    hundredths: int
    order_no: str
    first_seen: float | None
    last_error: str

    def finding(self) -> Finding:
        """Give it as it is told."""
        seen = self.first_seen
        return Finding(
            problem=Problem(self.problem),
            key=self.key,
            mch_id=self.mch_id,
            transaction_id=self.transaction_id,
            out_trade_no=self.out_trade_no,
            stored_order_no=self.order_no,
            sub_mch_id=self.sub_mch_id,
            bill_fen=self.hundredths if self.fee_type == COMPARED else None,
            fee_type=self.fee_type,
            paid_at=beijing(self.paid_at),
            first_seen=None if seen is None else datetime.fromtimestamp(seen, timezone.utc),
            last_error=self.last_error,
            line=self.line or 0,
        )


#: The values of a :class:`BillRow` that is a payment, and its fingerprint; None if its amount cannot be
#: compared.
Billed = tuple[Any, ...]
#: ``mch_id`` and ``transaction_id`` of a payment in the store; ``DONE``, ``QUEUED`` or what is the matter;
#: ``order_no``, ``first_seen`` in seconds since 1970, ``last_error`` and the fingerprint.
Stored = tuple[str, str, str, str, float, str, bytes]
#: Where a payment of each side has its transaction_id.
_TRANSACTION_ID: Final = (*[BillRow._fields.index("transaction_id")] * 2, 1, 1)


class Comparison:
    """
    The two, and what was found.

    It may be used in one thread after another, not in two at a time.

    Raises:
        ConfigurationError: From every method, if SQLite cannot keep its temporary file.
    """

    def __init__(self) -> None:
        self._waiting: list[list[list[Any]]] = [[[] for _ in range(_PILES)] for _ in _TRANSACTION_ID]
        #: How many findings there are of each problem.
        self.counts: Counter[Problem] = Counter()
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        with _explained():
            for statement in _PREPARE:
                self._database.execute(statement)

    def put_billed(self, payments: Iterable[Billed]) -> None:
        """Take in payments of the bill."""
        self._deal(_BILLED, payments)

    def put_stored(self, payments: Iterable[Stored]) -> None:
        """Take in payments of the store. The same one may come twice, if it changed meanwhile."""
        self._deal(_STORED, payments)

    def put_worked(self, work: Stored) -> None:
        """Take in the work on a queued payment. It too may come twice."""
        self._deal(_WORKED, [work])

    def put_unknown(self, row: BillRow) -> None:
        """Take in a row of the bill that cannot be compared, as a finding."""
        self._deal(_UNKNOWN, [(*row, None)])

    def compare(self, since: float, until: float, progress: Callable[[int], object]) -> None:
        """
        Find what does not agree, after everything was taken in.

        Args:
            since: What the store first saw from then on must be in the bill; in
                seconds since 1970.

            until: And what it saw before then.

            progress: Called with the number of payments compared.

        Raises:
            BadBill: If the bill has a payment twice.
        """
        for side, waiting in enumerate(self._waiting):
            for pile, payments in enumerate(waiting):
                if payments:
                    self._write(side, pile, payments)
        with _explained():
            self._database.execute(_INDEX)
        compared = 0
        for pile in range(_PILES):
            billed, unknown = self._take(pile, _BILLED), self._take(pile, _UNKNOWN)
            stored, worked = self._take(pile, _STORED), self._take(pile, _WORKED)
            self._put_found(_disagreeing(billed, unknown, stored, worked, since, until))
            compared += len(billed)
            progress(compared)

    def findings(self) -> Iterator[Finding]:
        """Give what was found: in the order of the bill, and then what is not in it."""
        with _explained():
            for row in self._database.execute(_FOUND):
                yield _Found(*row).finding()

    def close(self) -> None:
        """Remove the file."""
        self._database.close()

    def _deal(self, side: int, payments: Iterable[Any]) -> None:
        waiting, at = self._waiting[side], _TRANSACTION_ID[side]
        for payment in payments:
            pile = hash(payment[at]) % _PILES
            payments_there = waiting[pile]
            payments_there.append(payment)
            if len(payments_there) == _TOGETHER:
                self._write(side, pile, payments_there)

    def _write(self, side: int, pile: int, payments: list[Any]) -> None:
        with _explained():
            self._database.execute(_PUT, (side, pile, marshal.dumps(payments)))
        payments.clear()

    def _take(self, pile: int, side: int) -> list[Any]:
        with _explained():
            written = self._database.execute(_TAKE, (pile, side))
            # Written by this object, into a file that nobody else opens.
            return [payment for (some,) in written for payment in marshal.loads(some)]  # noqa: S302

    def _put_found(self, found: Iterable[_Found]) -> None:
        for one in found:
            self.counts[one.problem] += 1
            with _explained():
                self._database.execute(_FIND, (one.problem.value, *one[1:]))


def _disagreeing(
    billed: list[Billed],
    unknown: list[Billed],
    stored: list[Stored],
    worked: list[Stored],
    since: float,
    until: float,
) -> Iterator[_Found]:
    known, work = _latest(stored), _latest(worked)
    lines: dict[tuple[str, str], int] = {}
    for payment in billed:
        line, _, mch_id, _, transaction_id, out_trade_no, _, _, _, fingerprint = payment
        key = mch_id, transaction_id
        first = lines.setdefault(key, line)
        if first != line:
            raise BadBill(f"{shown(transaction_id)} is in line {first} too", line, "微信订单号")
        found, begun = known.get(key), work.get(key)
        if begun and begun[2] != DONE and (found is None or found[2] in _FINAL):
            _, _, standing, order_no, first_seen, last_error, _ = begun
            first_seen = found[4] if found else first_seen
            yield _in_the_bill(Problem(standing), payment, order_no, first_seen, last_error, before_key=_WORK)
            continue
        if found is None:
            yield _in_the_bill(Problem.NEVER_CLAIMED, payment)
            continue
        if found[2] == QUEUED and not begun:
            yield _in_the_bill(Problem.UNSETTLED, payment, found[3], found[4], before_key=_WORK)
            continue
        _, _, standing, order_no, first_seen, last_error, settled = found
        if standing not in _FINAL:
            yield _in_the_bill(Problem(standing), payment, order_no, first_seen, last_error)
        elif order_no not in ("", out_trade_no):
            yield _in_the_bill(Problem.OTHER_ORDER, payment, order_no, first_seen)
        elif fingerprint not in (None, settled):
            yield _in_the_bill(Problem.OTHER_AMOUNT, payment, order_no, first_seen)
    for row in unknown:
        yield _in_the_bill(Problem.UNKNOWN_STATE, row)
        line, _, mch_id, _, transaction_id, *_ = row
        lines[mch_id, transaction_id] = line
    for key, (mch_id, transaction_id, standing, order_no, first_seen, _, _) in known.items():
        if standing in _FINAL and since <= first_seen < until and key not in lines:
            yield _Found(
                Problem.NOT_IN_BILL, payment_key(mch_id, transaction_id, order_no, "SUCCESS"), None, "",
                mch_id, "", transaction_id, order_no, "", 0, order_no, first_seen, "",
            )  # fmt: skip


def _latest(stored: list[Stored]) -> dict[tuple[str, str], Stored]:
    known: dict[tuple[str, str], Stored] = {}
    for record in stored:
        key = record[:2]
        before = known.get(key)
        # What changed while the store was read may be there as it was and as it is. Done is final; a refund
        # counts only where nothing else is known of the payment.
        if before is None or (before[2] not in _FINAL and record[2] != _REFUNDED):
            known[key] = record
    return known


def _in_the_bill(
    problem: Problem,
    payment: Sequence[Any],
    order_no: str = "",
    first_seen: float | None = None,
    last_error: str = "",
    *,
    before_key: str = "",
) -> _Found:
    line, paid_at, mch_id, sub_mch_id, transaction_id, out_trade_no, _, fee_type, hundredths, _ = payment
    result = "REFUND" if problem is Problem.REFUNDED else "SUCCESS"
    return _Found(
        problem, before_key + payment_key(mch_id, transaction_id, out_trade_no, result), line, paid_at,
        mch_id, sub_mch_id, transaction_id, out_trade_no, fee_type, hundredths, order_no, first_seen,
        last_error,
    )  # fmt: skip


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise ConfigurationError("the report is closed") from None
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"SQLite cannot keep its temporary file ({type(error).__name__}): is there room where "
            "SQLITE_TMPDIR or TMPDIR points?"
        ) from None
