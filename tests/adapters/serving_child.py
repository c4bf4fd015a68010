"""A server process of its own: ``serving_child.py FILE`` prints its port and serves until it is killed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from wxnotify import Expected, Merchant, Payment, Receiver
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import APPID, KEY, MCH_ID


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"


def main(path: str) -> None:
    @contextmanager
    def transaction() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    receiver = Receiver(Merchant(MCH_ID, APPID, KEY), SQLiteStore(path), expect=lambda payment: Expected(100))

    @receiver.on("payment", transaction=transaction)
    def ship(payment: Payment, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE orders SET shipped = shipped + 1 WHERE out_trade_no = ?", (payment.out_trade_no,)
        )

    server = make_server("127.0.0.1", 0, WSGIApp(receiver), server_class=Server, handler_class=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
