"""``wxnotify verify``: does the signature of a saved notification hold, and with which key?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import NotifyError, Payment, Verified, parse, verify
from .keys import Keys, add_key_option, read_keys
from .terminal import CannotRun, Terminal, printable


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verify``."""
    parser = commands.add_parser(
        "verify",
        help="check the signature of a saved notification",
        description="Check the signature of a notification that was saved as it came. Exit code 0 if it "
        "holds, 1 if not. wxnotify explain says why it does not.",
    )
    add_file_argument(parser)
    add_key_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify and print."""
    keys = read_keys(arguments)
    terminal = Terminal(hidden=keys.texts)
    body = read_body(arguments.file)
    try:
        verified = verify(parse(body), keys.texts)
    except NotifyError as error:
        refused = terminal.paint(f"refused  {error.code}", "red")
        terminal.line(f"{refused}  {printable(str(error))}")
        return 1
    terminal.line(f"{terminal.paint('verified', 'green')}  {matched(verified, keys)}")
    terminal.line(read_as(verified))
    return 0


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Let a command take a saved body."""
    parser.add_argument(
        "file", metavar="FILE", help="the raw body of the request, as it came; - reads standard input"
    )


def read_body(file: str) -> bytes:
    """Read a saved body, or standard input for ``-``."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CannotRun(f"{file} cannot be read: {error.strerror}") from None


def matched(verified: Verified, keys: Keys) -> str:
    """Say which key and algorithm it was."""
    return f"with key {verified.key_index + 1} of {len(keys.texts)} ({keys.source}), {verified.sign_type}"


def read_as(verified: Verified) -> str:
    """Say what the verified fields are."""
    try:
        payment = Payment.from_verified(verified)
    except NotifyError as error:
        return printable(f"but no payment result: {error.code}: {error}")
    state = "paid" if payment.paid else f"not paid ({payment.result})"
    amount = "no amount" if payment.total_fee is None else f"{payment.total_fee} {payment.fee_type}"
    return printable(f"order {payment.out_trade_no}, transaction {payment.transaction_id}, {amount}, {state}")
