"""Make what a run needs before its first fork: the store, its tables, and where effects go."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from ... import Receiver, Reply, build_reply
from ...errors import ConfigurationError, StoreUnavailable
from ...stores.url import open_async_store, open_store
from .effects import Log, Table
from .mistakes import MISTAKES
from .plan import Plan
from .points import Delivery, current
from .shop import Ground, body_of, open_shop
from .tally import Tally

#: Seconds for a server to be ready, once it takes connections.
_PATIENCE: Final = 60.0
#: A payment that no run comes to; an INTEGER column can hold it.
_NOBODYS: Final = 2**31 - 1


def open_ground(plan: Plan, directory: Path) -> Ground:
    """
    Open the store, make its tables and those of the effects, and close every connection.

    Args:
        plan: The run's settings.

        directory: For the log of effects in lease mode.

    Raises:
        ConfigurationError: If the store cannot do what is asked.

        StoreUnavailable: If the server does not answer.
    """
    asynchronous = plan.asynchronous and not plan.store.startswith("sqlite:")
    store: Any = (open_async_store if asynchronous else open_store)(plan.store)
    if not asynchronous and plan.mistake:
        store = MISTAKES[plan.mistake](store)
    elif plan.mistake:
        raise ConfigurationError("--break is for blocking stores")
    if plan.mode == "same-transaction" and not hasattr(store, "transaction"):
        raise ConfigurationError("this store has no transactions: --mode lease")
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _prepared(store, plan, directory, asynchronous=asynchronous)
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _prepared(store: Any, plan: Plan, directory: Path, *, asynchronous: bool) -> Ground:
    if asynchronous:
        asyncio.run(_create_all_async(store))
    elif hasattr(store, "create_all"):
        store.create_all()
    effects: Table | Log
    if plan.mode == "lease":
        effects = Log(directory / "effects.log")
    else:
        effects = Table(store, asynchronous=asynchronous)
        effects.create()
    ground = Ground(store, asynchronous=asynchronous, effects=effects)
    _warm_up(ground, plan)
    effects.empty()
    if not asynchronous:
        store.close()
    return ground


async def _create_all_async(store: Any) -> None:
    if hasattr(store, "create_all"):
        await store.create_all()
    await store.close()


def _warm_up(ground: Ground, plan: Plan) -> None:
    """Deliver once, so that not every process has to load and compile what that takes."""
    tally = Tally(1, 1, 1)
    body = body_of(_NOBODYS, plan)
    current.set(Delivery(_NOBODYS))
    receiver = open_shop(ground, plan._replace(threads=1, fails=0.0), tally, 0, 0)
    if ground.asynchronous:
        reply = asyncio.run(_receive(receiver, body, ground.store))
    elif plan.asynchronous:
        reply = asyncio.run(receiver.receive_async(body))
    else:
        reply = receiver.receive(body)
    if reply != build_reply():
        raise StoreUnavailable(f"a delivery was answered with {reply.status}: {current.get().code}")


async def _receive(receiver: Receiver, body: bytes, store: Any) -> Reply:
    try:
        return await receiver.receive_async(body)
    finally:
        await store.close()


def version_of(ground: Ground, plan: Plan) -> str:
    """Give the name and version of what stores, as far as it tells."""
    scheme = urlsplit(plan.store).scheme
    if scheme.startswith("sqlite"):
        return f"SQLite {sqlite3.sqlite_version}"
    if hasattr(ground.store, "transaction"):
        return Table(ground.store, asynchronous=ground.asynchronous).version()
    from redis import Redis

    url = "redis" + plan.store[plan.store.index("://") :]
    with cast(Any, Redis).from_url(url) as client:
        return f"Redis {client.info('server')['redis_version']}"
