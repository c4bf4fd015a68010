"""
``wxnotify demo``: the library's work from end to end, in a few seconds.

A real server in a process of its own, real HTTP, a real SQLite file; and a key
made for this one run. Every delivery has an expectation, and the demo fails if
one does not hold.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from .. import Event, Merchant, parse_order_query, testing
from .deliveries import DELIVERIES, ORDERS, TOTAL_FEE, Came, Delivery
from .keys import KEY_VARIABLE
from .send import Answer, post, transaction_id_of
from .serve import add_port_option
from .server_process import ServerProcess
from .shop import Order, Shop
from .terminal import Colour, Terminal, pad, stop_on_sigterm

_WHAT: Final = 43
_TOLD: Final = 11
_CODES: Final = 21
# What a whole row takes; in a narrower terminal it stands on two lines.
_ROW: Final = 98


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo``."""
    parser = commands.add_parser(
        "demo",
        help="watch it work: a server, notifications good and bad, and what became of the orders",
        description="Start a server on a temporary SQLite file and send it notifications: signed, twice, "
        "at the same time, forged, with a wrong amount, hostile. Show what each was told and what became "
        "of the orders. Exit code 0 if all came out as it must, 1 if not.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the server up until Ctrl-C, and say how to talk to it"
    )
    add_port_option(parser, default=0)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Play all deliveries and check them."""
    key = secrets.token_hex(16)
    terminal = Terminal(hidden=[key])
    stop_on_sigterm()
    # Windows keeps the file of a process that has just ended open for a moment longer.
    with tempfile.TemporaryDirectory(prefix="wxnotify-demo-", ignore_cleanup_errors=True) as directory:
        database = os.path.join(directory, "shop.db")
        environment = {**os.environ, KEY_VARIABLE: key}
        with ServerProcess(_arguments(database, arguments.port), environment) as server:
            shop = Shop(database)
            try:
                held = _play(_Stage(server, shop, key), terminal)
            finally:
                shop.close()
            if arguments.keep:
                _keep(server, Path(directory), key, terminal)
    return 0 if held else 1


def _arguments(database: str, port: int) -> list[str]:
    ids = ["--mch-id", testing.MCH_ID, "--appid", testing.APPID]
    orders = [f"{number}={TOTAL_FEE}" for number in ORDERS]
    return ["--port", str(port), "--database", database, *ids, "--order", *orders]


# --- the deliveries --------------------------------------------------------------


class _Stage(NamedTuple):
    server: ServerProcess
    shop: Shop
    key: str


def _play(stage: _Stage, terminal: Terminal) -> bool:
    name = terminal.paint("wxnotify demo", "bold")
    terminal.line(f"{name}: a server in a process of its own at {stage.server.url}")
    orders = f"{len(ORDERS)} open orders of {TOTAL_FEE} fen each in a SQLite file"
    terminal.line(f"{orders}, and a key made for this run")
    terminal.line()
    header = f"       {pad('what was sent', _WHAT)} {pad('told', _TOLD)}  {pad('code', _CODES)} order"
    if terminal.columns >= _ROW:
        terminal.line(terminal.paint(header, "dim"))
    right = 0
    for number, delivery in enumerate(DELIVERIES, 1):
        came = _query(delivery, stage) if delivery.body is None else _deliver(delivery, stage)
        _print_row(number, delivery, came, terminal)
        right += came == delivery.expected
    afterwards = stage.shop.orders()
    _print_orders(afterwards, terminal)
    once = all(order.times_paid == 1 for order in afterwards if order.transaction_id)
    terminal.line()
    held = right == len(DELIVERIES) and once
    mark = terminal.paint("✓", "green") if held else terminal.paint("✗", "red")
    paid = "no order was settled twice" if once else "AN ORDER WAS SETTLED TWICE"
    terminal.line(f" {mark} {right} of {len(DELIVERIES)} deliveries came out as they must, and {paid}")
    return held


def _deliver(delivery: Delivery, stage: _Stage) -> Came:
    assert delivery.body is not None  # noqa: S101 - the caller looked
    body = delivery.body(stage.key)
    with ThreadPoolExecutor(delivery.copies) as pool:
        posts = [pool.submit(post, stage.server.url, body) for _ in range(delivery.copies)]
        answers = [answer.result() for answer in posts]
    worst = min(answers, key=lambda answer: answer.success)
    codes = sorted(stage.server.events(delivery.copies))
    return Came(worst.status, _told(worst), tuple(codes), _order_state(delivery, stage.shop))


def _query(delivery: Delivery, stage: _Stage) -> Came:
    # As a job in the shop's own process would, on the same file.
    number = delivery.out_trade_no
    merchant = Merchant(testing.MCH_ID, testing.APPID, stage.key)
    answer = testing.query_answer(
        key=stage.key, out_trade_no=number, transaction_id=transaction_id_of(number)
    )
    receiver = stage.shop.receiver(merchant, _say_nothing)
    event = receiver.settle(parse_order_query(answer, merchant))
    told = "SUCCESS" if event.outcome.success else "FAIL"
    return Came(0, told, (event.code,), _order_state(delivery, stage.shop))


def _say_nothing(event: Event) -> None:
    pass


def _told(answer: Answer) -> str:
    return "SUCCESS" if answer.success else answer.told or answer.problem or "nothing"


def _order_state(delivery: Delivery, shop: Shop) -> str:
    order = shop.find(delivery.out_trade_no)
    return "unknown" if order is None else "paid" if order.transaction_id else "open"


# --- printing ------------------------------------------------------------------


def _print_row(number: int, delivery: Delivery, came: Came, terminal: Terminal) -> None:
    right = came == delivery.expected
    mark = terminal.paint("✓", "green") if right else terminal.paint("✗", "red")
    told = f"{came.status} {came.told}" if came.status else "(no HTTP)"
    codes = ", ".join(
        code + (f" x{times}" if times > 1 else "") for code, times in reversed(Counter(came.codes).items())
    )
    colour: Colour = "green" if came.told == "SUCCESS" else "red"
    painted = terminal.paint(f"{pad(told, _TOLD)}  {pad(codes, _CODES)}", colour)
    order = f"{delivery.out_trade_no} {came.order}"
    if terminal.columns < _ROW:
        terminal.line(f" {mark} {number:2}  {delivery.what}")
        terminal.line(f"       {painted} {order}")
    else:
        terminal.line(f" {mark} {number:2}  {pad(delivery.what, _WHAT)} {painted} {order}")
    for line in textwrap.wrap(delivery.why, terminal.columns - 8):
        terminal.line(terminal.paint(f"       {line}", "dim"))
    if not right:
        terminal.line(terminal.paint(f"       expected {delivery.expected}, but it was {came}", "red"))


def _print_orders(orders: list[Order], terminal: Terminal) -> None:
    terminal.heading("The orders in the file afterwards")
    row = "  {:<14}{:>9}  {:<6}{:<29}{:>6}{:>8}"
    titles = ("out_trade_no", "total_fee", "state", "transaction_id", "paid", "failed")
    terminal.line(terminal.paint(row.format(*titles), "dim"))
    for order in orders:
        state = "paid" if order.transaction_id else "open"
        line = row.format(
            order.out_trade_no,
            order.total_fee,
            state,
            order.transaction_id or "",
            order.times_paid,
            order.failed_attempts,
        )
        terminal.line(line.replace(state, terminal.paint(state, "green" if state == "paid" else "yellow"), 1))


def _keep(server: ServerProcess, directory: Path, key: str, terminal: Terminal) -> None:
    key_file, body_file = directory / "key.txt", directory / "notification.xml"
    # Readable for its owner alone, from its first moment.
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
    order = "A-1004"
    body = testing.notification(key=key, out_trade_no=order, transaction_id=transaction_id_of(order))
    body_file.write_bytes(body)
    send = f"{_this_command()} send {server.url} --key-file {_quoted(str(key_file))}"
    terminal.heading("The server stays up until Ctrl-C. Its key is in a file that only you can read. Try:")
    for line in (
        f"{send} --out-trade-no A-1004 --duplicates 9 --concurrent",
        f"{send} --out-trade-no A-1004 --wrong-amount",
        f"{send} --out-trade-no A-1004 --forged",
        f"curl --data-binary @{_quoted(str(body_file))} {server.url}",
        f"{_this_command()} explain {_quoted(str(body_file))} --key-file {_quoted(str(key_file))}",
    ):
        terminal.line(f"  {line}")
    terminal.line()
    try:
        for line in server.lines():
            terminal.line(line)
    except KeyboardInterrupt:
        terminal.line("stopped")


def _this_command() -> str:
    if shutil.which("wxnotify"):
        return "wxnotify"
    return f"{_quoted(sys.executable)} -m wxnotify.cli"


def _quoted(text: str) -> str:
    # Both of Windows's shells take double quotes, and a path there holds none.
    return f'"{text}"' if os.name == "nt" and " " in text else text if os.name == "nt" else shlex.quote(text)
