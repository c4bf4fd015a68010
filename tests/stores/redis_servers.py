"""Redis servers that the tests of the Redis stores freeze, stop and start; and what those tests share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis
import redis.asyncio
import redis.cluster
import redis.sentinel

from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import Claim
from wxnotify.stores.redis import AsyncRedisStore, RedisStore
from wxnotify.testing.store_conformance import Subject, event_loop

from .. import servers
from ..proxy import Proxy

KEY = "payment/1900000109/4200000001/SUCCESS"
CONTENT, OTHER_CONTENT = b"c" * 32, b"d" * 32
LEASE, HOUR = 30.0, 3_600.0
KEEP = 48 * HOUR
DAY_MS = 86_400_000
#: What a delivery may take before WeChat Pay must be told FAIL, in seconds.
AT_MOST = 2.0
#: What StoreUnavailable says when that is over, and when nobody is there.
LATE = "did not answer in time"
DOWN = "refused|Connect call failed|closed|reset"

_AGE = """
return redis.call('PEXPIRE', KEYS[1], string.format('%d', redis.call('PTTL', KEYS[1]) - ARGV[1]))
"""


def advance(client: redis.Redis | redis.RedisCluster, prefix: str, seconds: float) -> None:
    """
    Make every claim under *prefix* so many seconds older.

    Its time to live is the only clock a claim has, so that is all there is to shorten;
    what has none left is gone.
    """
    for key in list(client.scan_iter(prefix + "*", count=1_000)):
        client.eval(_AGE, 1, key, round(1_000 * seconds))


def new_claim(subject, key=KEY, *, fingerprint=CONTENT, owner=None, lease=LEASE, order_no="") -> Claim:
    """Claim as a new delivery, unless *owner* says which."""
    owner = owner or os.urandom(16)
    return subject.claim(key, fingerprint=fingerprint, owner=owner, lease=lease, order_no=order_no)


# --- stores and servers ---------------------------------------------------------


class Server:
    """A Redis server of a test's own, to be frozen, stopped and started."""

    def __init__(self, directory: Path, *options: str, port: int = 0, sentinel: Path | None = None) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if not program:
            pytest.skip("no redis-server here: install Redis or Valkey, for servers of the tests' own")
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            program,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "no", "--logfile", str(directory / f"{self.port}.log")),
            *options,
        ]
        if sentinel:
            self._command = [program, str(sentinel), "--sentinel"]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < until:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.01)
        self.stop()
        raise AssertionError(f"it did not start: {self._command}")

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process:
            self.send(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    @contextmanager
    def client(self, **settings: object) -> Iterator[redis.Redis]:
        with redis.Redis(port=self.port, **settings) as client:
            yield client


def free_port() -> int:
    """Give a port on which nothing listens, low enough that a cluster's bus port, 10,000 up, exists."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000:
            return port


@pytest.fixture
def start(tmp_path):
    """Start servers; they end with the test."""
    started = []

    def start(*options: str, **how: object) -> Server:
        server = Server(tmp_path, *options, **how)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(start) -> Server:
    return start()


@pytest.fixture(params=["sync", "async"])
def open_store(request):
    """Open a store, of the one kind and of the other; its verbs block either way."""
    with ExitStack() as at_end:

        def open_store(client, **settings) -> Subject:
            if request.param == "sync":
                return Subject(at_end.enter_context(RedisStore(client, **settings)), _unmoved)
            store = AsyncRedisStore(client, **settings)
            run = at_end.enter_context(event_loop())
            at_end.callback(lambda: run(store.close()))
            return Subject(store, _unmoved, run=run)

        open_store.library = redis if request.param == "sync" else redis.asyncio
        yield open_store


def _unmoved(seconds: float) -> None:
    raise AssertionError("these tests move time themselves")


class Shared:
    """The server that all tests share, and a prefix of this test's own."""

    def __init__(self, client: redis.Redis, url: str, prefix: str) -> None:
        self.client, self.url, self.prefix = client, url, prefix

    def advance(self, seconds: float) -> None:
        advance(self.client, self.prefix, seconds)

    def ttl(self, key: str = KEY) -> float:
        """Give how long *key* will be kept, in days."""
        return self.client.pttl(self.prefix + key) / DAY_MS


@pytest.fixture
def shared():
    url, prefix = servers.REDIS.need(), servers.redis_prefix()
    with redis.Redis.from_url(url) as client:
        yield Shared(client, url, prefix)
        for key in client.scan_iter(prefix + "*", count=1_000):
            client.delete(key)


@pytest.fixture
def store(shared, open_store):
    return open_store(shared.url, prefix=shared.prefix, timeout=20)


@pytest.fixture
def proxy():
    servers.REDIS.need()
    with Proxy(servers.REDIS.port) as proxy:
        yield proxy


@pytest.fixture
def through(shared, proxy, open_store):
    """A store that reaches the server through the proxy, and has connected."""
    store = open_store(f"redis://{proxy.host}:{proxy.port}/0", prefix=shared.prefix)
    assert store.find("-") is None
    return store


@contextmanager
def unavailable(match: str, *, within: float = AT_MOST) -> Iterator[pytest.ExceptionInfo[StoreUnavailable]]:
    """Expect StoreUnavailable, and before WeChat Pay must be told FAIL."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=match) as refusal:
        yield refusal
    assert time.monotonic() - began < within


def eventually(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until *true* is."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def answers(store: Subject, key: str = "-") -> bool:
    """Tell whether the store can look *key* up."""
    try:
        store.find(key)
    except StoreUnavailable:
        return False
    return True
