"""What a reconciliation tells: what it found, its figures, and how far it has come; see ``reconcile.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from enum import Enum
from typing import Literal, NamedTuple


class Problem(Enum):
    """What may be wrong with a payment."""

    #: In the bill, and the store knows nothing of it: no notification came, or it was forgotten since.
    NEVER_CLAIMED = "never_claimed"
    #: In the bill, claimed and not done: the handler failed, or its process died. So too if it was
    #: queued and its work failed.
    UNSETTLED = "unsettled"
    #: In the bill, and somebody is at it just now.
    IN_PROGRESS = "in_progress"
    #: In the bill and done, but with another amount, currency or sub-merchant.
    OTHER_AMOUNT = "other_amount"
    #: In the bill and done, but for another order.
    OTHER_ORDER = "other_order"
    #: In the bill; the store has settled only that it was refunded since. Look at the order yourself: a
    #: query tells no more.
    REFUNDED = "refunded"
    #: Done, of the days of the bill, and not in it.
    NOT_IN_BILL = "not_in_bill"
    #: A row whose 交易状态 this library does not know: look at it yourself.
    UNKNOWN_STATE = "unknown_state"


class Finding(NamedTuple):
    """A payment on which bill and store do not agree."""

    problem: Problem
    #: What the store has it under, for :meth:`~wxnotify.idempotency.Store.find`: the natural key, after
    #: ``work/`` if it was queued and its work is not done.
    key: str
    mch_id: str
    transaction_id: str
    #: The order, as the bill has it; as the store has it if the payment is not in the bill.
    out_trade_no: str
    #: The order, as the store has it; empty if it has none.
    stored_order_no: str
    #: As the bill has it; empty if it has none, and if the payment is not in the bill.
    sub_mch_id: str
    #: The order's amount in the bill. None in another currency than CNY, and if it is not in the bill.
    bill_fen: int | None
    #: The currency in the bill; empty if the payment is not in it.
    fee_type: str
    #: When it was paid, by the bill; None if it is not in it.
    paid_at: datetime | None
    #: When the store first saw it, in UTC; None if it never did.
    first_seen: datetime | None
    #: What the last failed handler raised; empty if none did.
    last_error: str
    #: The line in the bill; 0 if it is not in it.
    line: int


class Progress(NamedTuple):
    """How far it has come."""

    #: What is going on: one is read, then the other, then they are compared.
    stage: Literal["bill", "store", "compare"]
    #: Rows of the bill, records of the store, or payments of the bill that were compared.
    done: int
    #: How much of the bill was read, in bytes, as it is stored.
    bill_bytes: int


class Report:
    """
    What came of it: figures, and findings to iterate over, as often as you like.

    The findings are in a temporary file: first those in the bill, in its order,
    then those that are not. Use the report in a ``with``, or :meth:`close` it.
    """

    #: The rows of the bill.
    rows: int
    #: Those that are payments.
    payments: int
    #: Those that are refunds, which are not compared.
    refunds: int
    #: Those that are payments taken back, which are not compared.
    revoked: int
    #: The payments in another currency than CNY. All but their amounts is compared.
    foreign: int
    #: The payments that the store has settled as the bill has them.
    settled: int
    #: What was looked at in the store, of every kind.
    records: int
    #: The first and the last day, at UTC+8, of which payments not in the bill were looked for. None if
    #: they were not, because the bill is not *whole*, or has no payments and *mch_id* or *day* was left
    #: out. Without a finding, all that is in the bill agrees then, and nothing else is known.
    days: tuple[date, date] | None
    #: How many findings there are of each problem that there is.
    counts: dict[Problem, int]

    def __init__(self, findings: Callable[[], Iterator[Finding]], close: Callable[[], object]) -> None:
        self._findings = findings
        self._close = close

    def __iter__(self) -> Iterator[Finding]:
        return self._findings()

    def close(self) -> None:
        """Remove the temporary file, and the findings with it. The figures stay."""
        self._close()

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
