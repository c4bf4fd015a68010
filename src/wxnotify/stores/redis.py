"""
A store on a Redis or Valkey server, shared by all machines that reach it.

A lease store, and no more than that: **Redis can forget**. A failover may lose
writes that were acknowledged, because replicas are written to later; with
``appendfsync everysec`` a crash may lose a second. A claim forgotten while its
handler runs, or a completion forgotten, is a payment handled twice. So the
handler must bear being called again, as with any lease store, and orders in a
database are safer with that database's store and its ``bind``.

Redis 6.2 or newer, or Valkey. One server, a cluster, or a master behind
Sentinels; ``maxmemory-policy`` must be ``noeviction``. Claims expire by
themselves: done ones when their retention is over, the others 7 days after their
last change. What is kept is told in ``_redis_claims.py``; where a command goes in
``_redis_servers.py``; how connections end in time in ``_redis_connections.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

try:
    import redis
    import redis.asyncio
except ImportError as error:
    raise ImportError('the Redis stores need redis-py: pip install "wxpay-notify[redis]"') from error
from redis.exceptions import RedisError

from ..errors import ConfigurationError
from ..idempotency import Claim, CompleteOutcome, Record, ReleaseOutcome, State, check_purge
from ._redis_claims import Verbs
from ._redis_clients import servers_of
from ._redis_connections import AsyncConnections, Connections
from ._redis_protocol import Refusal, Steps
from ._redis_servers import Trip

if TYPE_CHECKING:
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
    from redis.cluster import RedisCluster

__all__ = ["AsyncRedisStore", "RedisStore"]

_Result = TypeVar("_Result")

_PREFIX: Final = "wxnotify:"
_START: Final = b"0"


class RedisStore:
    """
    Keep claims on a Redis server, for threads and processes.

    Safe with threads and across ``fork``. It makes connections of its own, like
    the client's, so that an operation ends in time whatever the client's
    timeouts are. None is made before the first operation; that one also warns,
    with a ``RuntimeWarning``, if the server may evict claims.

    Args:
        client: A ``redis.Redis``, one of Sentinel's ``master_for``, a
            ``redis.RedisCluster``, or a URL: ``redis://``, ``rediss://`` or
            ``unix://``.

        prefix: What the names of the keys begin with; theirs alone.

        timeout: Seconds an operation may take, 0.1 to 60.

    Raises:
        ConfigurationError: If an argument cannot be used.

    Example:
        >>> store = RedisStore("redis://127.0.0.1:6379/0", prefix="shop:wxnotify:")
    """

    #: How long a receiver keeps done claims here unless told otherwise: 7 days, in
    #: memory, where other stores keep them 30 on disk.
    retain_seconds: ClassVar[float] = 7 * 86_400.0

    def __init__(
        self, client: redis.Redis | RedisCluster | str, *, prefix: str = _PREFIX, timeout: float = 1.5
    ) -> None:
        self._verbs, self._timeout = Verbs(_prefix(prefix)), _seconds(timeout)
        self._servers = servers_of(client, redis, "RedisStore")
        self._connections = Connections(self._servers)

    def claim(self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = "") -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        return self._run(
            self._verbs.claim(key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no)
        )

    def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`wxnotify.idempotency.Store.complete`; the claim expires after *retain* seconds."""
        return self._run(self._verbs.complete(claim, retain=retain, result=result))

    def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`wxnotify.idempotency.Store.release`; *error* is cut to 512 characters."""
        return self._run(self._verbs.release(claim, error=error))

    def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return self._run(self._verbs.extend(claim, lease))

    def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`wxnotify.idempotency.Store.purge`; always 0, because Redis does it by itself."""
        return _purge(older_than, limit)

    def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return self._run(self._verbs.find(key))

    def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> Iterator[Record]:
        """
        See :meth:`wxnotify.idempotency.Store.records`; in no order.

        Goes through all keys of the database (SCAN), in a cluster through all
        masters, and remembers the keys it has given.
        """
        seen: set[str] = set()
        for node in self._servers.masters(self._run(self._verbs.slots(self._servers.cluster))):
            cursor = b""
            while cursor != _START:
                page, cursor = self._run(
                    self._verbs.page(
                        cursor or _START, node, state=state, order_no=order_no, older_than=older_than
                    )
                )
                yield from _unseen(page, seen)

    def close(self) -> None:
        """Close the idle connections of this process. The store can still be used; it opens new ones."""
        self._connections.close()

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, steps: Steps[_Result]) -> _Result:
        until = time.monotonic() + self._timeout
        reply: Any = None
        while True:
            try:
                ask = steps.send(reply)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            trip = Trip(self._servers, ask)
            while not trip.ended:
                try:
                    reply = self._connections.exchange(trip.node, trip.packed, trip.replies, until)
                except (RedisError, OSError, Refusal) as error:
                    reply = error
                if pause := trip.came(reply, until):
                    time.sleep(pause)
            reply = trip.reply


class AsyncRedisStore:
    """
    Keep claims on a Redis server, for asyncio.

    :class:`RedisStore` with its verbs awaited. Any number of tasks may use it,
    and event loops one after another; close it at the end of each.

    Args:
        client: A ``redis.asyncio.Redis``, one of Sentinel's ``master_for``, a
            ``redis.asyncio.RedisCluster``, or a URL.

        prefix: What the names of the keys begin with; theirs alone.

        timeout: Seconds an operation may take, 0.1 to 60.

    Raises:
        ConfigurationError: If an argument cannot be used.
    """

    #: See :attr:`RedisStore.retain_seconds`.
    retain_seconds: ClassVar[float] = RedisStore.retain_seconds

    def __init__(
        self, client: AsyncRedis | AsyncRedisCluster | str, *, prefix: str = _PREFIX, timeout: float = 1.5
    ) -> None:
        self._verbs, self._timeout = Verbs(_prefix(prefix)), _seconds(timeout)
        self._servers = servers_of(client, redis.asyncio, "AsyncRedisStore")
        self._connections = AsyncConnections(self._servers)

    async def claim(
        self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str = ""
    ) -> Claim:
        """See :meth:`wxnotify.idempotency.Store.claim`."""
        return await self._run(
            self._verbs.claim(key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no)
        )

    async def complete(self, claim: Claim, *, retain: float, result: str = "") -> CompleteOutcome:
        """See :meth:`RedisStore.complete`."""
        return await self._run(self._verbs.complete(claim, retain=retain, result=result))

    async def release(self, claim: Claim, *, error: str) -> ReleaseOutcome:
        """See :meth:`RedisStore.release`."""
        return await self._run(self._verbs.release(claim, error=error))

    async def extend(self, claim: Claim, lease: float) -> bool:
        """See :meth:`wxnotify.idempotency.Store.extend`."""
        return await self._run(self._verbs.extend(claim, lease))

    async def purge(self, older_than: float, limit: int) -> int:
        """See :meth:`RedisStore.purge`."""
        return _purge(older_than, limit)

    async def find(self, key: str) -> Record | None:
        """See :meth:`wxnotify.idempotency.Store.find`."""
        return await self._run(self._verbs.find(key))

    async def records(
        self, *, state: State | None = None, order_no: str | None = None, older_than: float = 0.0
    ) -> AsyncIterator[Record]:
        """See :meth:`RedisStore.records`."""
        seen: set[str] = set()
        for node in self._servers.masters(await self._run(self._verbs.slots(self._servers.cluster))):
            cursor = b""
            while cursor != _START:
                page, cursor = await self._run(
                    self._verbs.page(
                        cursor or _START, node, state=state, order_no=order_no, older_than=older_than
                    )
                )
                for record in _unseen(page, seen):
                    yield record

    async def close(self) -> None:
        """Close the idle connections of this event loop. The store can still be used; it opens new ones."""
        await self._connections.close()

    async def __aenter__(self) -> AsyncRedisStore:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _run(self, steps: Steps[_Result]) -> _Result:
        until = time.monotonic() + self._timeout
        reply: Any = None
        while True:
            try:
                ask = steps.send(reply)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            trip = Trip(self._servers, ask)
            while not trip.ended:
                try:
                    reply = await self._connections.exchange(trip.node, trip.packed, trip.replies, until)
                except (RedisError, OSError, Refusal) as error:
                    reply = error
                if pause := trip.came(reply, until):
                    await asyncio.sleep(pause)
            reply = trip.reply


def _prefix(prefix: str) -> bytes:
    try:
        encoded = prefix.encode()
    except (AttributeError, UnicodeEncodeError):
        encoded = b""
    if not encoded:
        raise ConfigurationError("prefix is what the names of the keys begin with: text, and not empty")
    return encoded


def _seconds(timeout: float) -> float:
    if not 0.1 <= timeout <= 60:
        raise ConfigurationError("timeout is the seconds an operation may take, 0.1 to 60")
    return timeout


def _purge(older_than: float, limit: int) -> int:
    check_purge(older_than, limit)
    # What may be purged is done and past its retention: such a key has expired.
    return 0


def _unseen(page: list[Record], seen: set[str]) -> list[Record]:
    """Return those of *page* that were not given before; SCAN may name a key again."""
    new = [record for record in page if record.key not in seen]
    seen.update(record.key for record in new)
    return new
