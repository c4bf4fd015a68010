"""``wxnotify reconcile``: what a downloaded trade bill and the store do not agree on."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import date, timedelta, timezone
from itertools import islice
from typing import BinaryIO, Final, TextIO

from ..errors import BadBill
from ..reconcile import SLACK_SECONDS, Finding, Problem, Progress, Report, reconcile
from .store_options import add_most_option, add_store_option, opened_store
from .terminal import CannotRun, Colour, Terminal, pad, printable
from .verify import standard_input

_COLOURS: Final[dict[Problem, Colour]] = {
    Problem.NEVER_CLAIMED: "red",
    Problem.UNSETTLED: "red",
    Problem.IN_PROGRESS: "yellow",
    Problem.OTHER_AMOUNT: "red",
    Problem.OTHER_ORDER: "red",
    Problem.REFUNDED: "yellow",
    Problem.NOT_IN_BILL: "red",
    Problem.UNKNOWN_STATE: "yellow",
}
_MEANINGS: Final = {
    Problem.NEVER_CLAIMED: "paid, and the store knows nothing of it: query the order, and settle it",
    Problem.UNSETTLED: "paid and claimed, and not done: mend what its last error says, query the order",
    Problem.IN_PROGRESS: "paid, and somebody is at it just now: look again in a minute",
    Problem.OTHER_AMOUNT: "done with another amount, currency or sub-merchant than was paid",
    Problem.OTHER_ORDER: "done for another order than was paid",
    Problem.REFUNDED: "paid; settled is only that it was refunded since: look at the order yourself",
    Problem.NOT_IN_BILL: "done, and not in the bill: it was not paid that day, see docs/reconcile.md",
    Problem.UNKNOWN_STATE: "a row of a kind that is not known here: look at it",
}
_UTC8: Final = timezone(timedelta(hours=8))
_STAGES: Final = {"bill": "reading the bill", "store": "reading the store", "compare": "comparing"}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``reconcile``."""
    parser = commands.add_parser(
        "reconcile",
        help="compare a downloaded trade bill with a store",
        description="Compare WeChat Pay's trade bill of type ALL or SUCCESS, plain or gzip, with what the "
        "store has settled. Exit code 1 if they do not agree, 2 if the bill cannot be read, or is empty and "
        "was not said to be of whom and when.",
    )
    parser.add_argument(
        "bill",
        metavar="BILL",
        help="the file as it was downloaded, by APIv2 or APIv3; - reads standard input",
    )
    add_store_option(parser)
    parser.add_argument("--mch-id", metavar="NUMBER", help="whose bill it must be; needed if it is empty")
    parser.add_argument("--day", metavar="YYYY-MM-DD", type=_day, help="of which day; needed if it is empty")
    parser.add_argument(
        "--part",
        action="store_true",
        help="the bill was asked for one sub-merchant or device: what it does not hold means nothing",
    )
    parser.add_argument(
        "--slack",
        metavar="SECONDS",
        type=float,
        default=SLACK_SECONDS,
        help=f"how long after midnight a payment of the day before may still come in ({SLACK_SECONDS:.0f})",
    )
    add_most_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    store, meter = opened_store(arguments), _Meter(sys.stderr)
    try:
        with _opened(arguments.bill) as bill:
            report = reconcile(
                bill,
                store,
                mch_id=arguments.mch_id,
                day=arguments.day,
                whole=not arguments.part,
                slack=arguments.slack,
                on_progress=meter.show,
            )
    except BadBill as error:
        raise CannotRun(printable(str(error))) from None
    except OSError as error:
        raise CannotRun(f"{printable(arguments.bill)} cannot be read: {error.strerror}") from None
    finally:
        meter.clear()
    with report:
        if report.days is None and not arguments.part and not report.counts:
            raise CannotRun(
                "the bill has no payments, so it does not say of which day it is, and perhaps not whose: "
                "name both, with --mch-id and --day"
            )
        return _tell(Terminal(), report, arguments.most)


def _opened(bill: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(standard_input()) if bill == "-" else open(bill, "rb")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, such as 2026-11-23") from None


def _tell(terminal: Terminal, report: Report, most: int) -> int:
    found = sum(report.counts.values())
    for finding in islice(report, most):
        _show(terminal, finding)
    if found > most:
        terminal.line(f"… and {found - most} more; --most {found} shows them all")
    if found:
        terminal.heading("Findings")
    for problem in Problem:
        if count := report.counts.get(problem):
            named = terminal.paint(pad(_name(problem), 13), _COLOURS[problem])
            terminal.line(f"{count:>9} {named} {_MEANINGS[problem]}")
    terminal.heading("The bill")
    terminal.line(f"{_some(report.payments, 'payment', 9)}, {report.settled} settled as paid")
    taken_back = f"{_some(report.revoked, 'payment')} taken back"
    terminal.line(f"{_some(report.refunds, 'refund', 9)}, {taken_back}; not compared")
    if report.foreign:
        terminal.line(f"{_some(report.foreign, 'payment', 9)} in another currency; amounts not compared")
    if report.days:
        first, last = report.days
        days = f"{first}" if first == last else f"{first} to {last}"
        terminal.line(f"          {days}: what the store settled and the bill has not was looked for")
    else:
        terminal.line("          what the store settled and the bill has not was not looked for")
    return 1 if found else 0


def _show(terminal: Terminal, finding: Finding) -> None:
    problem = terminal.paint(pad(_name(finding.problem), 13), _COLOURS[finding.problem])
    when = ""
    if finding.paid_at:
        when = f"paid {finding.paid_at:%Y-%m-%d %H:%M:%S} at UTC+8, line {finding.line}"
    elif finding.first_seen:
        when = f"first seen {finding.first_seen.astimezone(_UTC8):%Y-%m-%d %H:%M:%S} at UTC+8"
    terminal.line(f"{problem} {pad(printable(finding.out_trade_no), 24)} {_amount(finding)}{when}")
    terminal.line(terminal.paint(f"              {printable(finding.key)}", "dim"))
    if finding.problem is Problem.OTHER_ORDER:
        terminal.line(f"              the store has it for order {printable(finding.stored_order_no)}")
    if finding.key.startswith("work/"):
        terminal.line("              it was queued and its work is not done: see docs/reconcile.md")
    if finding.last_error:
        terminal.paragraph(f"last error: {printable(finding.last_error)}", 14)


def _amount(finding: Finding) -> str:
    if finding.bill_fen is not None:
        return f"{finding.bill_fen} fen, "
    return f"{finding.fee_type}, " if finding.fee_type else ""


def _some(count: int, what: str, columns: int = 0) -> str:
    return f"{count:>{columns}} {what}{'' if count == 1 else 's'}"


def _name(problem: Problem) -> str:
    return problem.value.replace("_", " ")


class _Meter:
    """One line that says how far it is, where somebody looks at it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._watched = stream.isatty()

    def show(self, progress: Progress) -> None:
        """Write it over the last one."""
        if self._watched:
            size = f", {progress.bill_bytes / 1e6:.0f} MB" if progress.stage == "bill" else ""
            self._stream.write(f"\r\x1b[K{_STAGES[progress.stage]}: {progress.done}{size}")
            self._stream.flush()

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._watched:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
