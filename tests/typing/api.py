"""
What a type checker must see. Never run: checked by mypy and pyright in strict mode.

Each ``# type: ignore`` below is itself a test: both checkers are told to report
an ignore that ignores nothing, so a mistake they no longer see fails the check.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection
from typing import Literal

from typing_extensions import assert_type

from wxnotify import (
    Event,
    Expected,
    Merchant,
    Payment,
    Receiver,
    Reply,
    Verified,
    build_order_query,
    build_reply,
    check_amount,
    parse,
    parse_order_query,
    verify,
)
from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.idempotency import Claim, Store, TransactionalStore
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore


def reading(body: bytes, key: str) -> None:
    fields = parse(body)
    assert_type(fields, dict[str, str])
    verified = verify(fields, key)
    assert_type(verified, Verified)
    assert_type(verified.sign_type, Literal["MD5", "HMAC-SHA256"])
    payment = Payment.from_verified(verified)
    assert_type(payment.paid, bool)
    assert_type(payment.total_fee, int | None)
    assert_type(payment.time_end, datetime | None)
    check_amount(payment, 100)
    check_amount(payment, Decimal("1.00"))
    assert_type(build_reply(), Reply)


def forgetting(body: bytes, key: str) -> None:
    Payment.from_verified(parse(body))  # type: ignore[arg-type]  # not verified
    check_amount(parse(body), 100)  # type: ignore[arg-type]  # not verified
    check_amount(Payment.from_verified(verify(parse(body), key)), 1.0)  # type: ignore[arg-type]  # a float
    parse("<xml/>")  # type: ignore[arg-type]  # not the raw body
    parse(body)["total_fee"] + 1  # type: ignore[operator]  # text, and unverified


def changing(payment: Payment, verified: Verified) -> None:
    verified["total_fee"] = "1"  # type: ignore[index]  # frozen


def open_shop() -> AbstractContextManager[Connection]:
    raise NotImplementedError


async def look_up(payment: Payment) -> Expected | None:
    return Expected(100, sub_mch_id="1900000110")


def receiving(merchant: Merchant, body: bytes) -> None:
    store = SQLiteStore("shop.db")
    keeping: Store = store
    binding: TransactionalStore = store
    memory: Store = MemoryStore()
    not_binding: TransactionalStore = MemoryStore()  # type: ignore[assignment]  # it has no bind()
    receiver = Receiver([merchant], store, expect=lambda payment: Expected(100))
    Receiver(merchant, memory, expect=look_up)
    Receiver(merchant, keeping)  # refused when it runs: an expectation is missing

    @receiver.on("payment", transaction=open_shop)
    def settle(payment: Payment, connection: Connection) -> None:
        connection.execute("SELECT 1")

    assert_type(receiver.receive(body), Reply)
    assert_type(receiver.settle(parse_order_query(body, merchant)), Event)
    assert_type(build_order_query(merchant, out_trade_no="A-1001"), bytes)
    claim = binding.claim("k", fingerprint=b"", owner=b"", lease=1.0)
    assert_type(claim, Claim)
    WSGIApp(receiver)
    ASGIApp(receiver)
    del not_binding
