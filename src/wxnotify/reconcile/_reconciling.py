"""One reconciliation, from the bill to the report."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from .._fields import beijing
from .._payments import payment_fingerprint
from ..errors import BadBill, ConfigurationError, shown
from ..idempotency import QUEUED, Record, State
from ._bill_lines import BillLines, BillSource
from ._bills import PAYMENT, BillRows
from ._comparison import COMPARED, DONE, Billed, Comparison, Stored
from ._findings import Problem, Progress, Report

if TYPE_CHECKING:
    from ..idempotency import AsyncStore, Store

#: How long after midnight a payment may still be first seen that is in the bill of the day before.
SLACK_SECONDS: Final = 3_600.0
_DAY_SECONDS: Final = 86_400.0
#: How many rows or records pass between two calls of on_progress.
_EVERY: Final = 10_000
#: How many records of an awaited store are taken in at once.
_BATCH: Final = 500
_OF_NO_PAYMENT_IN_THE_BILL: Final = (Problem.NOT_IN_BILL, Problem.UNKNOWN_STATE)

_Result = TypeVar("_Result")


class _Stopped(Exception):
    """Nobody waits any more."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


def reconcile(
    bill: BillSource,
    store: Store,
    *,
    mch_id: str | None = None,
    day: date | None = None,
    whole: bool = True,
    slack: float = SLACK_SECONDS,
    on_progress: Callable[[Progress], object] | None = None,
    clock: Callable[[], datetime] = _now,
) -> Report:
    """
    Compare a trade bill of type ALL or SUCCESS with a store.

    Both are read once and neither is kept in memory: what is compared goes to a
    temporary file, of some 300 bytes a payment, where ``TMPDIR`` points.

    Args:
        bill: What APIv2's ``downloadbill`` or APIv3's ``/v3/bill/tradebill`` gave,
            plain or as gzip: a path; a file opened in binary mode; or the bytes,
            whole or in pieces.

        store: The one the receiver uses.

        mch_id: The merchant whose bill it is; a bill of another one is refused.
            If left out, it is the bill that says whose it is.

        day: The day of the bill, at UTC+8; payments of another one are refused.
            If left out, the bill is taken to be of all days from its earliest
            payment to its latest. A bill without payments does not say of which
            day it is, nor one without rows whose: name both, or nothing is looked for.

        whole: False if the bill does not hold all that the merchant was paid,
            because it was asked for one sub-merchant or one device. What it does
            not hold is then no finding.

        slack: For so many seconds after the midnight it begins with, what the
            store first saw may belong to the bill of the day before, and need
            not be in this one.

        on_progress: Called with a :class:`Progress` now and then. What it raises
            ends the reconciliation.

        clock: Gives the present as an aware datetime, to tell whose lease runs.

    Returns:
        The report. Close it. Where its ``days`` is None, what the store settled and
        the bill has not was not looked for.

    Raises:
        BadBill: If the bill is none of type ALL or SUCCESS, is cut off, disagrees
            with its own summary, or has a value that cannot be read. Nothing
            is reported of it then.

        TypeError: If *bill* is none of these, or gives anything but bytes.

        ConfigurationError: If another argument cannot be used, or there is no room
            for the temporary file.

        StoreUnavailable: If the store cannot be read.

        OSError: If the bill cannot be opened or read.

    Source:
        WeChat Pay, "trade bill in detail"
        (docs/merchant/products/bill-download/format-trade).
    """
    run = _Run(bill, mch_id, day, whole, slack, on_progress, clock)
    try:
        run.read_bill()
        run.take(_records(store, Iterable, "is asynchronous: await reconcile_async()"))
        return run.compare()
    except BaseException:
        run.comparison.close()
        raise


async def reconcile_async(
    bill: BillSource,
    store: AsyncStore,
    *,
    mch_id: str | None = None,
    day: date | None = None,
    whole: bool = True,
    slack: float = SLACK_SECONDS,
    on_progress: Callable[[Progress], object] | None = None,
    clock: Callable[[], datetime] = _now,
) -> Report:
    """
    Do the same with an asynchronous store.

    The bill is read, and the two compared, in another thread, so that the loop
    runs on; *on_progress* is called there too. The report is iterated over as
    usual, without ``await``.

    See :func:`reconcile` for the arguments, and what is returned and raised.
    """
    run = _Run(bill, mch_id, day, whole, slack, on_progress, clock)
    try:
        await run.elsewhere(run.read_bill)
        batch: list[Record] = []
        async for record in _records(store, AsyncIterable, "blocks: call reconcile()"):
            batch.append(record)
            if len(batch) == _BATCH:
                run.take(batch)
                batch.clear()
        run.take(batch)
        return await run.elsewhere(run.compare)
    except BaseException:
        run.comparison.close()
        raise


class _Run:
    """One reconciliation: what is the same for both kinds of store."""

    def __init__(
        self,
        bill: BillSource,
        mch_id: str | None,
        day: date | None,
        whole: bool,
        slack: float,
        on_progress: Callable[[Progress], object] | None,
        clock: Callable[[], datetime],
    ) -> None:
        _check(mch_id, day, slack)
        self._lines = BillLines(bill)
        self._rows = BillRows(self._lines, mch_id)
        self._day, self._whole, self._slack = day, whole, slack
        self._on_progress = on_progress
        self._now = clock()
        self._days: tuple[date, date] | None = None
        self._foreign = self._records = 0
        self._stopped = False
        self.comparison = Comparison()

    async def elsewhere(self, work: Callable[[], _Result]) -> _Result:
        """Do *work* in a thread. If this is cancelled, see it end first: it uses the temporary file."""
        import asyncio

        # Not a task, which the end of the loop would cancel while its thread runs on.
        working = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._stopped = True
            while not working.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([working])
            # Looked at, or the loop would report it as lost.
            working.exception()
            raise

    def read_bill(self) -> None:
        """Take in the bill."""
        self.comparison.put_billed(self._billed())
        self._say("bill", self._rows.states.total())
        first, last = self._day or _day(self._rows.earliest), self._day or _day(self._rows.latest)
        # Of a bill without rows nobody may have said whose it is.
        if first and last and self._whole and self._rows.merchants:
            self._days = first, last

    def take(self, records: Iterable[Record]) -> None:
        """Take in some of the store's records, after the bill."""
        self.comparison.put_stored(self._stored(records))

    def compare(self) -> Report:
        """Compare, after everything was taken in."""
        self._say("store", self._records)
        since = until = 0.0
        if self._days:
            since = _midnight(self._days[0]) + self._slack
            until = _midnight(self._days[1]) + _DAY_SECONDS
        self.comparison.compare(since, until, lambda compared: self._say("compare", compared))
        report, states = Report(self.comparison.findings, self.comparison.close), self._rows.states
        report.rows, report.payments = states.total(), states[PAYMENT]
        report.refunds, report.revoked = states["REFUND"], states["REVOKED"]
        report.foreign, report.records, report.days = self._foreign, self._records, self._days
        report.counts = dict(self.comparison.counts)
        report.settled = report.payments - sum(
            count for problem, count in report.counts.items() if problem not in _OF_NO_PAYMENT_IN_THE_BILL
        )
        return report

    def _billed(self) -> Iterator[Billed]:
        only = self._day and self._day.isoformat()
        for count, row in enumerate(self._rows):
            if count % _EVERY == 0:
                self._say("bill", self._rows.states.total())
            if row.state != PAYMENT:
                self.comparison.put_unknown(row)
                continue
            if only and row.paid_at[: len(only)] != only:
                raise BadBill(f"{row.paid_at} is not on {only}", row.line, "交易时间")
            if row.fee_type == COMPARED:
                yield *row, payment_fingerprint(row.sub_mch_id, row.out_trade_no, row.hundredths, COMPARED)
            else:
                self._foreign += 1
                yield *row, None

    def _stored(self, records: Iterable[Record]) -> Iterator[Stored]:
        merchants, now = self._rows.merchants, self._now
        for record in records:
            if self._records % _EVERY == 0:
                self._say("store", self._records)
            self._records += 1
            queued, standing, last_error = False, DONE, ""
            match record.key.split("/"):
                case ["payment", mch_id, transaction_id, "SUCCESS"]:
                    pass
                case ["payment", mch_id, transaction_id, "REFUND"] if record.state is State.DONE:
                    standing = Problem.REFUNDED.value
                case ["work", "payment", mch_id, transaction_id, "SUCCESS"]:
                    queued = True
                case _:
                    continue
            if mch_id not in merchants:
                continue
            if record.state is not State.DONE:
                leased = record.state is State.PENDING and record.lease_until > now
                standing = (Problem.IN_PROGRESS if leased else Problem.UNSETTLED).value
                last_error = record.last_error
            elif standing == DONE and record.result == QUEUED:
                standing = QUEUED
            stored = (
                mch_id, transaction_id, standing, record.order_no, record.first_seen.timestamp(),
                last_error, record.fingerprint,
            )  # fmt: skip
            if queued:
                self.comparison.put_worked(stored)
            else:
                yield stored

    def _say(self, stage: Literal["bill", "store", "compare"], count: int) -> None:
        if self._stopped:
            raise _Stopped
        if self._on_progress:
            self._on_progress(Progress(stage, count, self._lines.bytes_read))


def _check(mch_id: object, day: object, slack: object) -> None:
    if mch_id is not None and (not isinstance(mch_id, str) or not mch_id):
        raise ConfigurationError(f"mch_id is the merchant's number as text, not {shown(mch_id)}")
    # A datetime is a date too, but at which offset from UTC?
    if day is not None and (not isinstance(day, date) or isinstance(day, datetime)):
        raise ConfigurationError(f"day is a datetime.date, the day at UTC+8, not {shown(day)}")
    if isinstance(slack, bool) or not isinstance(slack, (int, float)) or not 0 <= slack < _DAY_SECONDS:
        raise ConfigurationError("slack is a number of seconds, 0 or more and less than a day")


def _records(store: Any, kind: Any, advice: str) -> Any:
    if isinstance(store, type) or not callable(getattr(store, "records", None)):
        what = f"the class {store.__name__}" if isinstance(store, type) else type(store).__name__
        raise ConfigurationError(f"store is the one the receiver uses, not {what}")
    records = store.records()
    if not isinstance(records, kind):
        raise ConfigurationError(f"{type(store).__name__} {advice}")
    return records


def _day(paid_at: str) -> date | None:
    if not paid_at:
        return None
    read = beijing(paid_at)
    if read is None:
        raise BadBill(f"{paid_at} is on no day of the calendar", column="交易时间")
    return read.date()


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=8))).timestamp()
