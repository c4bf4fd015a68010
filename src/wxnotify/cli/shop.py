"""
A shop for trying things out: one table of orders beside the store's own, in one SQLite file.

It is also how the library is meant to be used with SQL: the expectation looks
the order up, and the handler changes it in the transaction that the completion
is part of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple

from .. import Event, Expected, Merchant, Payment, Receiver
from ..stores.sqlite import SQLiteStore

# Amounts are integers of fen. The two counters show that nothing is done twice.
_CREATE: Final = """
    CREATE TABLE IF NOT EXISTS orders (
        out_trade_no TEXT PRIMARY KEY,
        total_fee INTEGER NOT NULL CHECK (total_fee > 0),
        fee_type TEXT NOT NULL,
        transaction_id TEXT,
        paid_at TEXT,
        times_paid INTEGER NOT NULL DEFAULT 0,
        failed_attempts INTEGER NOT NULL DEFAULT 0
    ) STRICT"""

# Seconds to wait for another writer; WeChat Pay waits 5 for the answer.
_TIMEOUT: Final = 1.5


class Order(NamedTuple):
    """A row of the orders table."""

    out_trade_no: str
    #: In the smallest unit of ``fee_type``.
    total_fee: int
    fee_type: str
    #: The transaction that paid it; None while it is open.
    transaction_id: str | None
    paid_at: str | None
    times_paid: int
    failed_attempts: int


class Shop:
    """
    Orders in a SQLite file, settled by notifications.

    Args:
        path: The file; made if need be.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._store = SQLiteStore(path)  # first, because it chooses the journal of a new file
        with self._store.transaction() as connection:
            connection.execute(_CREATE)

    def receiver(self, merchant: Merchant, on_event: Callable[[Event], object]) -> Receiver:
        """Make the receiver that settles this shop's orders."""
        receiver = Receiver(merchant, self._store, expect=self._expect, on_event=on_event)
        receiver.on("payment", transaction=self._store.transaction)(self._settle)
        return receiver

    def add(self, out_trade_no: str, total_fee: int, fee_type: str = "CNY") -> Order:
        """Add an order, unless there is one of that number; give the one that is there."""
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO orders (out_trade_no, total_fee, fee_type) VALUES (?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (out_trade_no, total_fee, fee_type),
            )
        order = self.find(out_trade_no)
        assert order is not None  # noqa: S101 - nothing deletes orders
        return order

    def orders(self) -> list[Order]:
        """List all orders, by number."""
        return self._select("SELECT * FROM orders ORDER BY out_trade_no")

    def find(self, out_trade_no: str) -> Order | None:
        """Look an order up."""
        found = self._select("SELECT * FROM orders WHERE out_trade_no = ?", out_trade_no)
        return found[0] if found else None

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _select(self, statement: str, *parameters: str) -> list[Order]:
        with closing(sqlite3.connect(self._path, timeout=_TIMEOUT)) as connection:
            return [Order(*row) for row in connection.execute(statement, parameters)]

    def _expect(self, payment: Payment) -> Expected | None:
        order = self.find(payment.out_trade_no)
        if order is None:
            return None
        # With its transaction, so that an order that is paid twice is noticed.
        return Expected(order.total_fee, order.fee_type, transaction_id=order.transaction_id)

    def _settle(self, payment: Payment, connection: sqlite3.Connection) -> None:
        if not payment.paid:
            connection.execute(
                "UPDATE orders SET failed_attempts = failed_attempts + 1 WHERE out_trade_no = ?",
                (payment.out_trade_no,),
            )
            return
        changed = connection.execute(
            "UPDATE orders SET transaction_id = ?, paid_at = ?, times_paid = times_paid + 1 "
            "WHERE out_trade_no = ? AND transaction_id IS NULL",
            (
                payment.transaction_id,
                payment.time_end.isoformat() if payment.time_end else None,
                payment.out_trade_no,
            ),
        )
        if changed.rowcount != 1:
            # Another transaction paid the order after the expectation had looked.
            raise RuntimeError("the order was settled by another transaction meanwhile")
