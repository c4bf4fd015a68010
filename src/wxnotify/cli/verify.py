"""``wxnotify verify``: does the signature of a saved notification hold, and with which key?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import BinaryIO

from .. import Decrypted, Notification, NotifyError, Payment, Verified, parse, verify
from .._kinds import read_verified
from .keys import Keys, add_key_option, read_keys
from .kinds import WITHOUT_SIGN, kind_of
from .reading import read
from .terminal import CannotRun, Terminal, printable


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``verify``."""
    parser = commands.add_parser(
        "verify",
        help="check the signature of a saved APIv2 notification",
        description="Check the signature of an APIv2 notification that was saved as it came. Exit code 0 if "
        "it holds; 1 if not, and for what has none in its body: APIv2's refunds, and all of APIv3. wxnotify "
        "explain says why it does not hold.",
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
        kind = kind_of(read(body).fields)
        if kind and kind.code in WITHOUT_SIGN:
            terminal.line(f"{terminal.paint('not checked', 'yellow')}  {kind.says}")
            terminal.line(kind.advice)
            return 1
        refused = terminal.paint(f"refused  {error.code}", "red")
        terminal.line(f"{refused}  {printable(str(error))}")
        return 1
    terminal.line(f"{terminal.paint('verified', 'green')}  {matched(verified, keys)}")
    for line in _told(verified):
        terminal.line(line)
    return 0


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Let a command take a saved body."""
    parser.add_argument(
        "file", metavar="FILE", help="the raw body of the request, as it came; - reads standard input"
    )


def standard_input() -> BinaryIO:
    """Give standard input, if it is open."""
    if sys.stdin is None:  # as with <&-
        raise CannotRun("standard input is closed")
    return sys.stdin.buffer


def read_body(file: str) -> bytes:
    """Read a saved body, or standard input for ``-``."""
    if file == "-":
        return standard_input().read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CannotRun(f"{file} cannot be read: {error.strerror}") from None


def matched(source: Verified | Decrypted, keys: Keys) -> str:
    """Say which key and algorithm it was."""
    how = source.sign_type if isinstance(source, Verified) else "AES-256-ECB"
    return f"with key {source.key_index + 1} of {len(keys.texts)} ({keys.source}), {how}"


def described(told: Notification) -> str:
    """Say what a handler is given."""
    if not isinstance(told, Payment):
        return printable(f'on("{told.kind}") gets {told!r}')
    state = "paid" if told.paid else f"not paid ({told.result})"
    amount = "no amount" if told.total_fee is None else f"{told.total_fee} {told.fee_type}"
    return printable(f"order {told.out_trade_no}, transaction {told.transaction_id}, {amount}, {state}")


def _told(verified: Verified) -> list[str]:
    if "event_ciphertext" in verified:
        return ["a rent or hotel event; wxnotify explain decrypts it, with the APIv3 key"]
    try:
        return [described(notification) for notification in read_verified(verified)]
    except NotifyError as error:
        return [printable(f"but no notification: {error.code}: {error}")]
