"""
What a type checker must see. Never run: checked by mypy and pyright in strict mode.

Each ``# type: ignore`` below is itself a test: both checkers are told to report
an ignore that ignores nothing, so a mistake they no longer see fails the check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from sqlite3 import Connection
from typing import Literal

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import assert_type

from wxnotify import (
    Contract,
    Decrypted,
    Event,
    Expected,
    Merchant,
    Payment,
    Receiver,
    Refund,
    Reply,
    Verified,
    VerifiedResource,
    build_order_query,
    build_reply,
    check_amount,
    parse,
    parse_order_query,
    verify,
)
from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.apiv3 import APIv3, PlatformKey
from wxnotify.idempotency import (
    AsyncStore,
    Claim,
    CompleteOutcome,
    Record,
    State,
    Store,
    TransactionalStore,
)
from wxnotify.inbox import AsyncInboxStore, InboxStore
from wxnotify.stores.django import DjangoStore
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.redis import AsyncRedisStore, RedisStore
from wxnotify.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing.store_conformance import Subject, event_loop


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
    binding.claim("k", fingerprint=b"", owner=b"", lease=1.0, order_no="A-1001")
    WSGIApp(receiver)
    ASGIApp(receiver)
    del not_binding


def looking(store: Store) -> None:
    assert_type(store.find("k"), Record | None)
    assert_type(store.records(), Iterator[Record])
    for record in store.records(state=State.PENDING, order_no="A-1001", older_than=3_600):
        assert_type(record.order_no, str)
        assert_type(record.lease_until, datetime)
    store.records(state="pending")  # type: ignore[arg-type]  # a State


def queueing(store: SQLiteStore) -> None:
    inbox: InboxStore = store
    not_an_inbox: InboxStore = MemoryStore()  # type: ignore[assignment]  # it has no transaction()
    assert_type(inbox.due(10), list[tuple[str, int]])
    with store.transaction() as connection:
        store.bind(connection).put("k", b"", again_in=60)
    del not_an_inbox


def keeping_on_servers(engine: Engine, async_engine: AsyncEngine) -> None:
    stores: list[Store] = [RedisStore("redis://127.0.0.1/0"), SQLAlchemyStore(engine), DjangoStore()]
    inboxes: list[InboxStore] = [SQLAlchemyStore(engine), DjangoStore()]
    awaited: list[AsyncStore] = [AsyncRedisStore("redis://127.0.0.1/0"), AsyncSQLAlchemyStore(async_engine)]
    awaited_inbox: AsyncInboxStore = AsyncSQLAlchemyStore(async_engine)
    no_bind: TransactionalStore = RedisStore("redis://127.0.0.1/0")  # type: ignore[assignment]  # a lease store
    blocks: AsyncStore = SQLAlchemyStore(engine)  # type: ignore[assignment]  # it is not awaited
    SQLAlchemyStore(async_engine)  # type: ignore[arg-type]  # for AsyncSQLAlchemyStore
    del stores, inboxes, awaited, awaited_inbox, no_bind, blocks


async def awaiting(store: AsyncSQLAlchemyStore, claim: Claim) -> None:
    assert_type(await store.find("k"), Record | None)
    async for record in store.records(state=State.RELEASED):
        assert_type(record, Record)
    async with store.transaction() as connection:
        bound = store.bind(connection)
        await bound.put("k", b"", again_in=60)
        assert_type(await bound.complete(claim, retain=200_000), CompleteOutcome)


def proving(store: Store) -> None:
    subject = Subject(store, lambda seconds: None)
    proven: Store = subject
    assert_type(subject.effects("k"), int)
    with event_loop() as run:
        Subject(store, lambda seconds: None, run=run)
    del proven


def kinds(verified: Verified, decrypted: Decrypted, resource: VerifiedResource, receiver: Receiver) -> None:
    Payment.from_verified(decrypted)  # type: ignore[arg-type]  # decrypted is not verified
    Payment.from_verified(resource)  # type: ignore[arg-type]  # it is APIv3's
    refund = Refund.from_decrypted(decrypted)
    Refund.from_decrypted(verified)  # type: ignore[arg-type]  # a refund of APIv2 is not signed
    check_amount(refund, 100)  # type: ignore[arg-type]  # a refund is no payment
    receiver.settle(refund)  # type: ignore[arg-type]  # the same
    assert_type(refund.fields, Decrypted | VerifiedResource)
    assert_type(decrypted.unauthenticated, Mapping[str, str])
    assert_type(Payment.from_resource(resource).total_fee, int | None)
    assert_type(Contract.from_verified(verified).kind, str)
    assert_type(receiver.receive(b"", {"Wechatpay-Serial": "x"}), Reply)
    assert_type(receiver.receive(b"", [(b"wechatpay-serial", b"x")]), Reply)


def in_apiv3(pem: bytes) -> None:
    apiv3 = APIv3("0123456789abcdefghijklmnopqrstuv", [PlatformKey.from_certificate(pem)])
    merchant = Merchant("1900000109", "wx8888888888888888", apiv3=apiv3)
    Merchant("1900000109", "wx8888888888888888", apiv3="0123")  # type: ignore[arg-type]  # not the key itself
    assert_type(merchant.apiv3 is None, bool)
