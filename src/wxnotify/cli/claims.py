"""``wxnotify claims``: what a store knows of an order, or what in it is stuck or has failed."""

from __future__ import annotations

import argparse
import math
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Final

from ..idempotency import Record, State
from .store_options import add_most_option, add_store_option, opened_store
from .terminal import Colour, Terminal, pad, printable

_COLOURS: Final[dict[State, Colour]] = {
    State.PENDING: "yellow",
    State.RELEASED: "red",
    State.DONE: "green",
}
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``claims``."""
    parser = commands.add_parser(
        "claims",
        help="look into a store: an order's deliveries, or what is stuck or failed",
        description="Show what a store knows. Without --order or --state, what is not done: pending "
        "(somebody is at it, or died) and released (the handler failed). Exit code 1 if nothing is known of "
        "the order.",
    )
    add_store_option(parser)
    parser.add_argument("--order", metavar="NUMBER", help="only this order's (out_trade_no)")
    parser.add_argument("--state", choices=[state.value for state in State], help="only these")
    parser.add_argument(
        "--older-than",
        metavar="SECONDS",
        type=_seconds,
        default=0.0,
        help="only what has not changed for so long",
    )
    add_most_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look and print."""
    store = opened_store(arguments)
    terminal = Terminal()
    found = [
        record
        for state in _states(arguments)
        for record in islice(
            store.records(state=state, order_no=arguments.order, older_than=arguments.older_than),
            arguments.most + 1,
        )
    ]
    now = datetime.now(timezone.utc)
    for record in found[: arguments.most]:
        _show(terminal, record, now)
    if len(found) > arguments.most:
        terminal.line(f"… and more; --most {10 * max(arguments.most, 1)} shows more of them")
    if not found:
        about = f"nothing is known of order {arguments.order}" if arguments.order else "nothing of the kind"
        terminal.line(printable(about))
    return 0 if found or not arguments.order else 1


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _states(arguments: argparse.Namespace) -> list[State | None]:
    if arguments.state:
        return [State(arguments.state)]
    return [None] if arguments.order else [State.PENDING, State.RELEASED]


def _show(terminal: Terminal, record: Record, now: datetime) -> None:
    state = terminal.paint(pad(record.state.value, 9), _COLOURS[record.state])
    order = printable(record.order_no) or "-"
    times = (
        f"attempt {record.attempts}, first {_clock(record.first_seen)}, last {_ago(now - record.updated)} ago"
    )
    terminal.line(f"{state} {pad(order, 24)} {times}")
    terminal.line(terminal.paint(f"          {printable(record.key)}", "dim"))
    if record.state is State.PENDING:
        left = record.lease_until - now
        lease = f"runs for {_ago(left)} more" if left > timedelta() else f"ran out {_ago(-left)} ago"
        terminal.line(f"          its lease {lease}")
    if record.last_error and record.state is not State.DONE:
        terminal.paragraph(f"last error: {printable(record.last_error)}", 10)


def _clock(time: datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _ago(duration: timedelta) -> str:
    seconds = max(int(duration.total_seconds()), 0)
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"
