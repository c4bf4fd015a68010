"""
``wxnotify serve``: an endpoint to try things out on, with real orders in a SQLite file.

For development: the server is the standard library's, one thread a request.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import re
import socket
import socketserver
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from .. import Event
from ..adapters.wsgi import WSGIApp
from .keys import add_id_options, add_key_option, read_merchant
from .shop import Shop
from .terminal import CannotRun, Colour, Terminal, pad, printable, stop_on_sigterm

PATH: Final = "/notify"

#: Seconds a connection may be silent; WeChat Pay gives up after 5.
_SILENCE: Final = 6.0
#: Seconds between two looks whether to stop.
_POLL: Final = 0.05
_ORDER: Final = re.compile(r"([A-Za-z0-9_|*@-]{1,32})=([1-9][0-9]{0,15})(?::([A-Z]{3}))?", re.ASCII)


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``serve``."""
    parser = commands.add_parser(
        "serve",
        help="receive notifications at /notify and settle orders in a SQLite file (for development)",
        description="Receive notifications at /notify and settle orders in a SQLite file, each in one "
        "transaction with the record that it is done. For development, not for production. "
        "Ctrl-C ends it.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add_port_option(parser, default=8888)
    parser.add_argument(
        "--database", metavar="FILE", default="wxnotify.db", help="SQLite file, made if need be (%(default)s)"
    )
    parser.add_argument(
        "--order",
        metavar="NUMBER=FEN",
        dest="orders",
        type=_order,
        action="extend",
        nargs="+",
        default=[],
        help="add an order, such as A-1001=100, or A-1002=1750:USD in another currency's smallest unit",
    )
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end when standard input is closed, too; for a program that starts it",
    )
    add_id_options(parser, "else that of wxnotify.testing")
    add_key_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    merchant, keys = read_merchant(arguments)
    terminal = Terminal(hidden=keys.texts)
    shop = _open_shop(arguments)
    _show_tracebacks()
    receiver = shop.receiver(merchant, lambda event: terminal.line(event_line(event, terminal)))
    try:
        server = _Server(arguments.host, arguments.port, _at_path(WSGIApp(receiver)))
    except OSError as error:
        where = f"{arguments.host} port {arguments.port}"
        raise CannotRun(f"cannot listen on {where}: {error.strerror or error}") from None
    if not _is_loopback(arguments.host):
        _warn_of_the_world(arguments.host)
    orders = shop.orders()
    paid = sum(order.transaction_id is not None for order in orders)
    terminal.line(f"{terminal.paint('wxnotify', 'bold')} for {merchant!r}, keys from {keys.source}")
    terminal.line(f"orders in {arguments.database}: {len(orders)}, of which paid: {paid}")
    if not orders:
        terminal.line("every notification will be refused as unknown_order: add one with --order A-1001=100")
    stop_on_sigterm()
    if arguments.until_eof:
        threading.Thread(target=_stop_at_eof, args=[server], daemon=True).start()
    try:
        # Last, because whoever started this waits for it.
        terminal.line(f"listening on {terminal.paint(server.url, 'cyan')}")
        server.serve_forever(poll_interval=_POLL)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        shop.close()
    terminal.line("stopped")
    return 0


def event_line(event: Event, terminal: Terminal) -> str:
    """Write an event as one line: time, status, what was told, code, order, milliseconds, detail."""
    detail = event.detail
    if event.outcome.success and event.paid is False:
        detail = "a payment that failed: acknowledged, and the order stays open"
    colour: Colour = "cyan" if event.code == "duplicate" else "green" if event.outcome.success else "red"
    told = "SUCCESS" if event.outcome.success else "FAIL"
    parts = [
        terminal.paint(time.strftime("%H:%M:%S"), "dim"),
        terminal.paint(f"{event.status} {told:<7}  {event.code:<20}", colour),
        pad(printable(event.out_trade_no or "-"), 12),
        f"{event.seconds * 1000:7.1f} ms",
        printable(detail),
    ]
    return "  ".join(parts).rstrip()


def read_event_line(line: str) -> str:
    """Give the code that :func:`event_line` wrote, without colours; empty for any other line."""
    found = re.match(r"\d\d:\d\d:\d\d  \d{3} (?:SUCCESS|FAIL) +([a-z0-9_]+) ", line)
    return found[1] if found else ""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    # Threads are waited for, so that Ctrl-C does not cut a transaction short.
    daemon_threads = False
    request_queue_size = 64
    # On Windows the option lets two servers have one port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, host: str, port: int, application: Callable[..., Iterable[bytes]]) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Requests)
        self.set_app(application)

    def server_bind(self) -> None:
        # Not the base class's, which asks the name service for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is no news
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}{PATH}"


class _Requests(WSGIRequestHandler):
    timeout = _SILENCE

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the events say it."""


def _at_path(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def routed(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == PATH:
            return application(environ, start_response)
        start_response(f"404 {HTTPStatus.NOT_FOUND.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"notifications are received at {PATH}\n".encode()]

    return routed


def _stop_at_eof(server: _Server) -> None:
    # Not sys.stdin, whose lock the interpreter wants back when it ends.
    while os.read(0, 4096):
        pass
    server.shutdown()


def _open_shop(arguments: argparse.Namespace) -> Shop:
    try:
        shop = Shop(arguments.database)
        for out_trade_no, total_fee, fee_type in arguments.orders:
            order = shop.add(out_trade_no, total_fee, fee_type)
            if (order.total_fee, order.fee_type) != (total_fee, fee_type):
                raise CannotRun(
                    f"{arguments.database} has order {out_trade_no} already, for {order.total_fee} "
                    f"{order.fee_type} and not {total_fee} {fee_type}; amounts are in the smallest unit"
                )
    except sqlite3.Error as error:
        raise CannotRun(f"{arguments.database}: {error}") from None
    return shop


def _show_tracebacks() -> None:
    # The events tell all but where our own code failed.
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.exc_info is not None and record.exc_info[0] is not None)
    logging.getLogger("wxnotify").addHandler(handler)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warn_of_the_world(host: str) -> None:
    terminal = Terminal(sys.stderr)
    for line in (
        f"WARNING: listening on {host or 'all addresses'}, so other machines can reach this server.",
        "It is made for development: no TLS, no limit on connections, no supervision.",
        "For production mount wxnotify.adapters.wsgi or .asgi in a real server.",
    ):
        terminal.line(terminal.paint(line, "red"))


def add_port_option(parser: argparse.ArgumentParser, *, default: int) -> None:
    """Let a command take the server's port."""
    parser.add_argument("--port", type=_port, default=default, help="0 takes a free one (%(default)s)")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _order(text: str) -> tuple[str, int, str]:
    found = _ORDER.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBER=FEN, such as A-1001=100")
    return found[1], int(found[2]), found[3] or "CNY"
