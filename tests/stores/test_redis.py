"""RedisStore and AsyncRedisStore: what only they do; on a server that does as it should."""

# ruff: noqa: F401, F811 - fixtures are imported, and arguments have their names

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone

import pytest
import redis
import redis.asyncio
import redis.cluster
import redis.sentinel

from wxnotify.errors import ConfigurationError, StoreUnavailable
from wxnotify.idempotency import Claim, ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores import _redis_scripts as scripts
from wxnotify.stores._redis_protocol import Garbled, Incomplete, Refusal, pack, read
from wxnotify.stores.redis import AsyncRedisStore, RedisStore

from .. import servers
from .redis_servers import (
    AT_MOST,
    DAY_MS,
    HOUR,
    KEEP,
    KEY,
    LEASE,
    OTHER_CONTENT,
    eventually,
    new_claim,
    open_store,
    proxy,
    server,
    shared,
    start,
    store,
    through,
)

# --- what is kept, and how long --------------------------------------------------


def test_a_person_can_read_what_is_stored(store, shared):
    owner = bytes(range(16))
    claim = new_claim(store, owner=owner, order_no='支付 "A/1"')
    first = {
        "generation": 1,
        "owner": "000102030405060708090a0b0c0d0e0f",
        "state": "pending",
        "attempts": 1,
        "lease": 30_000,
        "age": 0,
        "kept": 7 * DAY_MS,
        "fingerprint": "63" * 32,
        "order_no": '支付 "A/1"',
        "error": "",
    }
    assert json.loads(shared.client.get(shared.prefix + KEY)) == first
    shared.advance(10)
    store.release(claim, error='boom", "order_no":"B\\')
    released = json.loads(shared.client.get(shared.prefix + KEY))
    assert 10_000 <= released.pop("age") < 20_000
    assert 10_000 < released.pop("lease") <= 20_000
    del first["lease"], first["age"]
    assert released == {**first, "state": "released", "error": 'boom", "order_no":"B\\'}


def test_no_clock_of_the_clients_is_read(shared, open_store, monkeypatch):
    store = open_store(shared.url, prefix=shared.prefix, timeout=20)
    store.find("-")

    def no_time() -> float:
        raise AssertionError("the client's clock was read")

    monkeypatch.setattr(time, "time", no_time)
    claim = new_claim(store)
    assert store.extend(claim, LEASE) is True
    assert new_claim(store).outcome is ClaimOutcome.IN_PROGRESS
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.find(KEY).state is State.DONE
    assert len(list(store.records(older_than=0))) == 1


def test_a_record_is_dated_by_the_servers_clock(store, shared):
    seconds, microseconds = shared.client.time()
    before = datetime.fromtimestamp(seconds + microseconds // 1000 / 1000, timezone.utc)
    claim = new_claim(store, lease=60)
    seen = store.find(KEY)
    assert timedelta(0) <= seen.first_seen - before < timedelta(seconds=10)
    assert seen.updated == seen.first_seen
    assert seen.lease_until - seen.first_seen == timedelta(seconds=60)
    shared.advance(100)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    done = store.find(KEY)
    assert done.first_seen == seen.first_seen - timedelta(seconds=100)
    assert done.lease_until == seen.lease_until - timedelta(seconds=100)
    assert timedelta(seconds=100) <= done.updated - done.first_seen < timedelta(seconds=110)


def test_the_dates_of_a_record_do_not_drift(store, shared):
    claim = new_claim(store)
    once = store.find(KEY)
    time.sleep(0.02)
    assert store.find(KEY) == once
    store.extend(claim, LEASE)
    # A change may round.
    assert abs(store.find(KEY).first_seen - once.first_seen) <= timedelta(milliseconds=2)


def test_before_redis_7_the_dates_are_as_good_as_the_clock(start, open_store):
    server = start("--rename-command", "PEXPIRETIME", "")
    store = open_store(server.url)
    now = datetime.now(timezone.utc)
    new_claim(store)
    seen = store.find(KEY)
    assert abs(seen.first_seen - now) < timedelta(seconds=5)
    assert [record.key for record in store.records()] == [KEY]


@pytest.mark.parametrize("verb", ["claim", "claim again", "take over", "extend", "release"])
def test_what_is_not_done_is_kept_seven_days_after_its_last_change(store, shared, verb):
    claim = new_claim(store)
    assert 6.99 < shared.ttl() <= 7
    shared.advance(86_400)
    assert 5.99 < shared.ttl() <= 6
    if verb == "claim again":
        new_claim(store, owner=claim.owner)
    elif verb == "take over":
        assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 2, 2)
    elif verb == "extend":
        store.extend(claim, LEASE)
    elif verb == "release":
        store.release(claim, error="boom")
    assert (6.99 < shared.ttl() <= 7) is (verb != "claim")


def test_what_leaves_a_claim_as_it_is_does_not_keep_it_longer(store, shared):
    claim = new_claim(store)
    shared.advance(1)
    before = store.find(KEY)
    new_claim(store)
    new_claim(store, fingerprint=OTHER_CONTENT)
    store.complete(claim._replace(generation=2), retain=KEEP)
    assert store.find(KEY) == before


@pytest.mark.parametrize(("retain", "days"), [(KEEP, 2), (30 * 86_400, 30), (math.inf, 3_000 * 366)])
def test_what_is_done_is_kept_as_long_as_was_said(store, shared, retain, days):
    store.complete(new_claim(store), retain=retain)
    assert days - 0.01 < shared.ttl() <= days
    assert store.find(KEY).state is State.DONE
    assert new_claim(store).outcome is ClaimOutcome.COMPLETED


def test_what_is_done_is_forgotten_by_redis_and_not_by_purge(store, shared):
    store.complete(new_claim(store), retain=KEEP)
    shared.advance(KEEP - 1)
    assert new_claim(store, fingerprint=OTHER_CONTENT).outcome is ClaimOutcome.MISMATCH
    assert store.purge(KEEP, limit=10) == 0
    shared.advance(1)
    assert store.purge(KEEP, limit=10) == 0
    assert store.find(KEY) is None
    assert new_claim(store, fingerprint=OTHER_CONTENT)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_a_receiver_keeps_claims_seven_days_here():
    assert RedisStore.retain_seconds == AsyncRedisStore.retain_seconds == 7 * 86_400


def test_a_key_that_somebody_persisted_has_no_lease_for_ever(store, shared):
    new_claim(store)
    shared.client.persist(shared.prefix + KEY)
    assert store.find(KEY).state is State.PENDING
    assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 2, 2)
    assert 6.99 < shared.ttl() <= 7


@pytest.mark.parametrize(
    "error", ["", '"', '","order_no":"', '\\","error":"', "%", "%1 %%", "支付\n\t\x01\x7f💥"]
)
def test_an_error_leaves_the_rest_as_it_was(store, error):
    for attempt in (1, 2):
        claim = new_claim(store, order_no=error)
        assert claim[2:5] == (ClaimOutcome.ACQUIRED, attempt, attempt)
        assert store.release(claim, error=error) is ReleaseOutcome.RELEASED
    seen = store.find(KEY)
    assert (seen.last_error, seen.order_no, seen.attempts) == (error, error, 2)


@pytest.mark.parametrize("kind", ["string", "json", "hash"])
def test_what_is_no_claim_is_not_guessed_at(store, shared, kind):
    if kind == "hash":
        shared.client.hset(shared.prefix + KEY, "a", "b")
    else:
        shared.client.set(shared.prefix + KEY, "something else" if kind == "string" else "{}")
    with pytest.raises(StoreUnavailable, match=r"something else than a claim|WRONGTYPE"):
        new_claim(store)


def test_a_lookup_of_what_is_no_claim_says_what_is_wrong(store, shared):
    new_claim(store, "a claim")
    shared.client.hset(shared.prefix + KEY, "a", "b")
    for look in (lambda: store.find(KEY), lambda: list(store.records())):
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            look()


# --- round trips -------------------------------------------------------------------


def test_a_first_delivery_costs_one_round_trip_to_claim_and_one_to_complete(through, proxy):
    through.complete(new_claim(through, "the script is known"), retain=KEEP)
    before = proxy.requests
    claim = new_claim(through)
    assert proxy.requests == before + 1
    through.complete(claim, retain=KEEP)
    assert proxy.requests == before + 2


def test_a_new_server_learns_a_script_when_it_is_needed(server, open_store):
    store = open_store(server.url)
    with server.client() as client:
        for generation in (1, 2, 3):
            client.script_flush()
            claim = new_claim(store)
            assert claim[2:5] == (ClaimOutcome.ACQUIRED, generation, generation)
            client.script_flush()
            assert [record.generation for record in store.records()] == [generation]
            client.script_flush()
            assert store.extend(claim, LEASE) is True
            client.script_flush()
            assert store.release(claim, error="boom") is ReleaseOutcome.RELEASED
        client.script_flush()
        assert store.find(KEY).state is State.RELEASED
        # Two take-overs, three extensions, three releases, one find.
        assert client.info("errorstats")["errorstat_NOSCRIPT"]["count"] == 9


# --- records -----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["a*b?", "[ab]", "^-\\", "{tag}:", "支付:"])
def test_a_prefix_means_what_it_says(shared, open_store, prefix):
    store = open_store(shared.url, prefix=shared.prefix + prefix)
    for other in ("axb?:", "a", "b", "-", "tag:", ""):
        new_claim(open_store(shared.url, prefix=shared.prefix + other + "-"))
    assert list(store.records()) == []
    new_claim(store, "*")
    assert [record.key for record in store.records()] == ["*"]


def test_records_are_read_page_by_page(store, shared):
    keys = [f"key {number}" for number in range(1_200)]
    for key in keys:
        new_claim(store, key)
    assert sorted(record.key for record in store.records()) == sorted(keys)


def test_what_is_forgotten_while_records_are_read_is_left_out(store, shared, monkeypatch):
    for number in range(5):
        new_claim(store, f"key {number}")
    new_claim(store, "gone")
    store.find("the script is known")
    # Sent after the keys were named, and before they are looked at.
    monkeypatch.setattr(scripts.LOOK, "load", pack(b"DEL", (shared.prefix + "gone").encode()))
    assert sorted(record.key for record in store.records()) == [f"key {number}" for number in range(5)]


def test_records_are_chosen_by_the_servers_clock(store, shared):
    store.complete(new_claim(store, "old and done", order_no="A-1"), retain=KEEP)
    new_claim(store, "old", order_no="A-2")
    shared.advance(HOUR)
    new_claim(store, "new", order_no="A-1")

    def keys(**chosen: object) -> list[str]:
        return sorted(record.key for record in store.records(**chosen))

    assert keys(older_than=HOUR) == ["old", "old and done"]
    assert keys(older_than=HOUR + 10) == []
    assert keys(state=State.PENDING) == ["new", "old"]
    assert keys(state=State.PENDING, older_than=HOUR, order_no="A-2") == ["old"]
    assert keys(order_no="A-1") == ["new", "old and done"]


# --- clients -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decode_responses": True},
        {"decode_responses": True, "encoding": "utf-16"},
        {"encoding": "ascii", "encoding_errors": "ignore"},
        {"single_connection_client": True},
        {"protocol": 3},
        {"protocol": 3, "decode_responses": True},
        {"client_name": "shop", "socket_keepalive": True, "health_check_interval": 1},
        {"socket_timeout": 0.000_001, "socket_connect_timeout": 0.000_001},
    ],
    ids=str,
)
def test_any_client_will_do(shared, open_store, settings):
    host, port = servers.REDIS.port
    client = open_store.library.Redis(host=host, port=port, **settings)
    store = open_store(client, prefix=shared.prefix)
    key = "支付:é:" + KEY
    claim = new_claim(store, key, owner=b"\xff\x00" * 8, fingerprint=b"\x80" * 32)
    assert claim[1:] == (b"\xff\x00" * 8, ClaimOutcome.ACQUIRED, 1, 1, "")
    assert new_claim(store, key, fingerprint=b"\x80" * 32).outcome is ClaimOutcome.IN_PROGRESS
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert [record.key for record in store.records()] == [key]


@pytest.mark.parametrize("kind", ["blocking pool", "unix socket", "url", "password", "database"])
def test_a_store_connects_as_its_client_does(start, tmp_path, open_store, kind):
    path = str(tmp_path / "socket")
    server = start("--unixsocket", path, "--requirepass", "secret")
    library = open_store.library
    address = f"127.0.0.1:{server.port}/3"
    client = {
        "blocking pool": lambda: library.Redis(
            connection_pool=library.BlockingConnectionPool(
                port=server.port, password="secret", db=3, timeout=1
            )
        ),
        "unix socket": lambda: library.Redis(unix_socket_path=path, password="secret", db=3),
        "url": lambda: f"redis://default:secret@{address}?decode_responses=True",
        "password": lambda: library.Redis(port=server.port, username="default", password="secret", db=3),
        "database": lambda: f"unix://default:secret@{path}?db=3",
    }[kind]()
    store = open_store(client)
    assert new_claim(store).outcome is ClaimOutcome.ACQUIRED
    with server.client(password="secret", db=3) as direct:
        assert direct.exists("wxnotify:" + KEY)


def test_making_a_store_needs_no_server(open_store):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.1)
        open_store(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
@pytest.mark.parametrize(
    "client",
    [
        None,
        6379,
        object(),
        redis.Redis,
        redis.ConnectionPool(),
        "",
        "127.0.0.1:6379",
        "http://user:secret@127.0.0.1/0",
        "redis://user:secret@127.0.0.1:port/0",
        "redis://user:secret/word@127.0.0.1/0",
    ],
    ids=repr,
)
def test_what_is_no_client_is_refused(kind, client):
    with pytest.raises(ConfigurationError, match=f"^{kind.__name__}") as refusal:
        kind(client)
    assert refusal.value.code == "configuration"
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("transaction", [True, False])
def test_a_pipeline_is_refused(transaction):
    for kind, library in ((RedisStore, redis), (AsyncRedisStore, redis.asyncio)):
        pipeline = library.Redis().pipeline(transaction=transaction)
        with pytest.raises(ConfigurationError, match="not a pipeline"):
            kind(pipeline)


def test_a_client_of_the_other_kind_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"takes a redis\.Redis .* this is a redis\.asyncio\.client\.Redis"
    ):
        RedisStore(redis.asyncio.Redis())
    with pytest.raises(
        ConfigurationError, match=r"takes a redis\.asyncio\.Redis .* this is a redis\.client\.Redis"
    ):
        AsyncRedisStore(redis.Redis())
    with pytest.raises(ConfigurationError, match=r"RedisCluster"):
        RedisStore(redis.asyncio.RedisCluster(host="127.0.0.1"))


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"prefix": ""}, "prefix"),
        ({"prefix": b"bytes"}, "prefix"),
        ({"prefix": "\ud800"}, "prefix"),
        ({"timeout": 0.09}, "timeout"),
        ({"timeout": 61}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(kind, settings, named):
    with pytest.raises(ConfigurationError, match=named):
        kind("redis://127.0.0.1", **settings)


def test_without_redis_py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "wxnotify.stores.redis")
    with pytest.raises(ImportError, match=r'pip install "wxpay-notify\[redis\]"'):
        importlib.import_module("wxnotify.stores.redis")


# --- many at once ---------------------------------------------------------------------------


def test_of_64_claims_at_once_exactly_one_is_acquired(store):
    with ThreadPoolExecutor(64) as threads:
        claimed = list(threads.map(lambda _: new_claim(store).outcome.value, range(64)))
    assert Counter(claimed) == {"acquired": 1, "in_progress": 63}


def test_of_64_tasks_of_one_loop_exactly_one_acquires(shared):
    async def main() -> list[Claim]:
        async with AsyncRedisStore(shared.url, prefix=shared.prefix, timeout=20) as store:
            return await asyncio.gather(*[new_claim(store) for _ in range(64)])

    claimed = [claim.outcome.value for claim in asyncio.run(main())]
    assert Counter(claimed) == {"acquired": 1, "in_progress": 63}


def test_threads_leave_no_more_than_16_connections_idle(shared, proxy):
    with RedisStore(f"redis://{proxy.host}:{proxy.port}", prefix=shared.prefix, timeout=20) as store:
        store.find("-")
        proxy.delay = 0.2
        with ThreadPoolExecutor(24) as threads:
            assert list(threads.map(store.find, "abcdefghijklmnopqrstuvwx")) == [None] * 24
        eventually(lambda: proxy.connections == 16)
    eventually(lambda: proxy.connections == 0)


def test_tasks_share_32_connections(shared, proxy):
    async def main() -> int:
        url = f"redis://{proxy.host}:{proxy.port}"
        async with AsyncRedisStore(url, prefix=shared.prefix, timeout=20) as store:
            assert await asyncio.gather(*[store.find(str(number)) for number in range(200)]) == [None] * 200
            return proxy.connections

    assert 2 <= asyncio.run(main()) <= 32
    eventually(lambda: proxy.connections == 0)


def test_a_task_that_gets_no_connection_is_told_in_time(shared, proxy):
    async def main() -> list[object]:
        store = AsyncRedisStore(f"redis://{proxy.host}:{proxy.port}", prefix=shared.prefix)
        await store.find("-")
        proxy.stall()
        began = time.monotonic()
        told = await asyncio.gather(*[new_claim(store, str(n)) for n in range(40)], return_exceptions=True)
        assert time.monotonic() - began < AT_MOST
        proxy.flow()
        assert (await new_claim(store)).outcome is ClaimOutcome.ACQUIRED
        await store.close()
        return told

    assert {type(told) for told in asyncio.run(main())} == {StoreUnavailable}


# --- forks, loops, cancelled calls -------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_makes_connections_of_its_own(shared, proxy):
    script = f"""
import os
from wxnotify.stores.redis import RedisStore

def claim(key):
    return store.claim(key, fingerprint=bytes(32), owner=os.urandom(16), lease=30).outcome.value

store = RedisStore("redis://{proxy.host}:{proxy.port}", prefix={shared.prefix!r}, timeout=20)
claim("before")
reader, writer = os.pipe()
child = os.fork()
for number in range(200):
    claim(f"{{'child' if not child else 'parent'}} {{number}}")
if not child:
    os.write(writer, b"child: " + claim("before").encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reader, 100).decode(), "parent:", claim("before"))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (run.stdout.strip(), run.stderr) == ("child: in_progress parent: in_progress", "")
    assert len(list(shared.client.scan_iter(shared.prefix + "*", count=1_000))) == 401


def test_a_connection_that_was_inherited_is_not_used(shared, proxy, monkeypatch):
    with RedisStore(f"redis://{proxy.host}:{proxy.port}", prefix=shared.prefix, timeout=20) as store:
        store.find("-")
        assert proxy.connections == 1
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            store.close()  # closes none: it is the parent's
            idle = store._connections._idle
            store.find("-")
            assert store._connections._idle is not idle
            assert proxy.connections == 2
            store.close()
        del idle
        eventually(lambda: proxy.connections == 0)


def test_a_store_goes_from_one_event_loop_to_the_next(shared):
    store = AsyncRedisStore(shared.url, prefix=shared.prefix, timeout=20)

    async def first() -> Claim:
        claim = await new_claim(store)
        await store.close()
        return claim

    async def second(claim: Claim) -> CompleteOutcome:
        async with store:
            return await store.complete(claim, retain=KEEP)

    assert asyncio.run(second(asyncio.run(first()))) is CompleteOutcome.DONE


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_close_does_not_harm_the_next(shared):
    store = AsyncRedisStore(shared.url, prefix=shared.prefix, timeout=20)
    claim = asyncio.run(new_claim(store))

    async def second() -> CompleteOutcome:
        async with store:
            return await store.complete(claim, retain=KEEP)

    assert asyncio.run(second()) is CompleteOutcome.DONE
    assert store._connections._loops == {}
    gc.collect()  # so that what was left behind is told of here


def test_two_event_loops_may_use_a_store_at_once(shared):
    store = AsyncRedisStore(shared.url, prefix=shared.prefix, timeout=20)

    async def claims() -> list[str]:
        async with store:
            return [(await new_claim(store, f"key {number}")).outcome.value for number in range(50)]

    with ThreadPoolExecutor(2) as threads:
        given = [threads.submit(asyncio.run, claims()) for _ in range(2)]
        told = Counter(outcome for one in given for outcome in one.result())
    assert told == {"acquired": 50, "in_progress": 50}


@pytest.mark.parametrize("connected", [True, False])
def test_a_cancelled_call_leaves_no_reply_for_the_next(shared, proxy, connected):
    async def main() -> None:
        async with AsyncRedisStore(f"redis://{proxy.host}:{proxy.port}", prefix=shared.prefix) as store:
            if connected:
                await new_claim(store, "before")
            proxy.stall()
            call = asyncio.ensure_future(new_claim(store, "cancelled"))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            proxy.flow()
            assert await store.find("never claimed") is None
            claim = await new_claim(store, "cancelled")
            assert claim.outcome in (ClaimOutcome.ACQUIRED, ClaimOutcome.IN_PROGRESS)
            assert (await new_claim(store, "after")).outcome is ClaimOutcome.ACQUIRED

    asyncio.run(main())
    eventually(lambda: proxy.connections == 0)


# --- the protocol -----------------------------------------------------------------------------------

REPLIES = [
    (b"+OK\r\n", b"OK"),
    (b":-12\r\n", -12),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n$1\r\n", b"\r\n$1"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+b\r\n", [1, [b"a", None], b"b"]),
]


@pytest.mark.parametrize(("data", "value"), REPLIES)
def test_a_reply_is_read_once_it_is_whole(data, value):
    assert read(data, 1) == value
    assert read(data + b":1\r\n", 2) == [value, 1]
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            read(data[:end], 1)
        with pytest.raises(Incomplete):
            read(b":1\r\n" + data[:end], 2)


def test_a_refusal_is_a_reply_with_a_code():
    (refused,) = read(b"*1\r\n-MOVED 3999 host.example:6381\r\n", 1)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.redirection) == ("MOVED", (3999, "host.example", 6381))
    assert read(b"-ASK 1 ::1:7000\r\n", 1).redirection == (1, "::1", 7000)
    assert read(b"-MOVED 1 :7000\r\n", 1).redirection == (1, "", 7000)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200\r\n", b"$x\r\n", b"?1\r\n", b"+OK\r\n+OK\r\n", b"*1\r\n?1\r\n"]
)
def test_what_is_no_reply_is_told_from_one_that_is_not_whole(data):
    with pytest.raises(Garbled):
        read(data, 1)


def test_a_command_is_packed_by_bytes_and_not_by_characters():
    assert pack(b"GET", "é\r\n".encode()) == b"*2\r\n$3\r\nGET\r\n$4\r\n\xc3\xa9\r\n\r\n"
