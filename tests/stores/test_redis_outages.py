"""The Redis stores on servers that evict, forget, freeze, fall and lie."""

# ruff: noqa: F401, F811 - fixtures are imported, and arguments have their names

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
import redis
import redis.asyncio
import redis.cluster
import redis.sentinel

from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, ReleaseOutcome, State
from wxnotify.stores._redis_connections import _left
from wxnotify.stores.redis import RedisStore

from ..proxy import Proxy
from .redis_servers import (
    DOWN,
    KEEP,
    KEY,
    LATE,
    Server,
    eventually,
    free_port,
    new_claim,
    open_store,
    proxy,
    server,
    shared,
    start,
    store,
    through,
    unavailable,
)

# --- what the server may do to claims ------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_may_evict_is_warned_of_once(start, open_store, policy):
    server = start("--maxmemory-policy", policy)
    store = open_store(server.url)
    with pytest.warns(RuntimeWarning, match=f"maxmemory-policy {policy}.*Set maxmemory-policy to noeviction"):
        claim = new_claim(store)
    assert claim.outcome is ClaimOutcome.ACQUIRED
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE


def test_a_warning_made_an_error_claims_nothing_and_comes_once(start, open_store):
    server = start("--maxmemory-policy", "allkeys-lru")
    store = open_store(server.url)
    with pytest.raises(RuntimeWarning):
        new_claim(store)
    assert store.find(KEY) is None
    assert new_claim(store).outcome is ClaimOutcome.ACQUIRED


def test_a_server_that_keeps_what_it_has_is_not_warned_of(start, open_store):
    server = start("--maxmemory-policy", "noeviction", "--maxmemory", "100mb")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new_claim(open_store(server.url))
    assert caught == []


def test_a_server_that_does_not_tell_is_warned_of(start, open_store):
    allowed = "on >secret ~wxnotify:* +set +get +eval +evalsha +pttl +time +pexpiretime"
    server = start("--user", "shop", *allowed.split())
    store = open_store(f"redis://shop:secret@127.0.0.1:{server.port}")
    with pytest.warns(RuntimeWarning, match="does not tell its maxmemory-policy"):
        claim = new_claim(store)
    # These commands are all that a claim needs.
    assert new_claim(store).outcome is ClaimOutcome.IN_PROGRESS
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.find(KEY).state is State.DONE


def test_of_threads_that_are_all_first_one_is_warned(start):
    server = start("--maxmemory-policy", "allkeys-lru")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Proxy(("127.0.0.1", server.port)) as proxy:
            proxy.delay = 0.05
            with RedisStore(f"redis://{proxy.host}:{proxy.port}") as store, ThreadPoolExecutor(4) as threads:
                assert list(threads.map(store.find, "abcd")) == [None] * 4
    assert [warning.category for warning in caught] == [RuntimeWarning]


def test_a_server_that_is_full_claims_nothing(start, open_store):
    server = start("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    store = open_store(server.url)
    with unavailable("OOM"):
        new_claim(store)
    with server.client() as client:
        client.config_set("maxmemory", 0)
    assert new_claim(store).outcome is ClaimOutcome.ACQUIRED


def test_a_server_that_was_flushed_has_forgotten(server, open_store):
    # As after a failover: this is why it is a lease store, and no more.
    store = open_store(server.url)
    claim = new_claim(store)
    with server.client() as client:
        client.flushall()
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.LOST
    assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_a_replica_is_refused(start, open_store):
    server = start("--replicaof", "127.0.0.1 1")
    store = open_store(server.url)
    with unavailable("read-only replica; give the store the master"):
        new_claim(store)


# --- servers that are down, frozen, slow ------------------------------------------------


@pytest.mark.parametrize("connected", [True, False])
def test_a_frozen_server_is_unavailable_and_then_goes_on(server, open_store, connected):
    store = open_store(server.url)
    if connected:
        claim = new_claim(store, "before")
    with server.frozen():
        with unavailable(LATE):
            new_claim(store)
        with unavailable(LATE):
            list(store.records())
        if connected:
            with unavailable(LATE):
                store.complete(claim, retain=KEEP)
    eventually(lambda: store.find("-") is None)
    assert new_claim(store, "after").outcome is ClaimOutcome.ACQUIRED
    if connected:
        assert store.complete(claim, retain=KEEP) in (CompleteOutcome.DONE, CompleteOutcome.ALREADY)


def test_a_server_that_is_down_is_unavailable_and_then_there(server, open_store):
    store = open_store(server.url)
    new_claim(store, "before")
    server.stop()
    with unavailable(DOWN):
        new_claim(store)
    server.start()
    assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_a_server_that_was_restarted_is_not_noticed(server, open_store):
    store = open_store(server.url)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(store.find, "abcdefgh")) == [None] * 8
    server.stop()
    server.start()
    assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_one_dead_connection_takes_the_other_idle_ones_with_it(through, proxy):
    proxy.delay = 0.1
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(through.find, "abcdefghijklmnop")) == [None] * 16
    assert proxy.connections == 16
    proxy.delay = 0.0
    proxy.cut()
    # To try one after the other would take longer than there is time.
    assert new_claim(through).outcome is ClaimOutcome.ACQUIRED
    eventually(lambda: proxy.connections == 1)


def test_a_server_that_starts_within_the_time_is_waited_for(server, open_store):
    store = open_store(server.url, timeout=20)
    server.stop()
    late = threading.Timer(0.3, server.start)
    late.start()
    assert new_claim(store).outcome is ClaimOutcome.ACQUIRED
    late.join()


def test_a_server_busy_with_a_script_is_waited_for(server, open_store):
    store = open_store(server.url, timeout=20)
    store.find("-")
    with server.client() as client, ThreadPoolExecutor(1) as thread:
        client.config_set("busy-reply-threshold", 1)
        busy = thread.submit(client.eval, "while true do end", 0)
        with server.client() as other:
            eventually(lambda: _is_busy(other))
            claim = thread_of(new_claim, store)
            time.sleep(0.1)
            other.script_kill()
        assert isinstance(busy.exception(), redis.ResponseError)
        assert claim.result().outcome is ClaimOutcome.ACQUIRED


def _is_busy(client: redis.Redis) -> bool:
    try:
        return not client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)


def thread_of(function, *arguments):
    """Start *function* in a thread, and give its future."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(function, *arguments)
    executor.shutdown(wait=False)
    return future


def test_a_connection_that_nobody_accepts_ends_in_time(open_store):
    with closing(socket.socket()) as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Once its queue is full, Linux drops what asks to connect, like a black hole.
        for _ in range(4):
            one = waiting.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        store = open_store(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        with unavailable(LATE):
            new_claim(store)


def test_a_slow_server_is_given_no_time_for_each_reply(shared, proxy, open_store):
    # To connect takes several, and each comes in less than the time there is.
    proxy.delay = 0.9
    store = open_store(f"redis://{proxy.host}:{proxy.port}/1", prefix=shared.prefix)
    with unavailable(LATE):
        new_claim(store)
    proxy.delay = 0.0
    eventually(lambda: store.find("-") is None)


def test_an_address_that_now_stands_for_another_server_is_connected_to_again(start, open_store):
    # As a managed service's does after a failover, whose old master goes on as a replica.
    master, replica = start(), start("--replicaof", "127.0.0.1 1")
    with Proxy(("127.0.0.1", replica.port)) as proxy:
        store = open_store(f"redis://{proxy.host}:{proxy.port}")
        with unavailable("read-only replica"):
            new_claim(store)
        proxy._target = ("127.0.0.1", master.port)
        assert new_claim(store).outcome is ClaimOutcome.ACQUIRED


def test_a_deadline_that_has_passed_is_no_leave_to_wait_for_ever():
    # To a socket, a time of zero or less is not short.
    for passed in (0.0, 1.0):
        with pytest.raises(TimeoutError):
            _left(time.monotonic() - passed)


@contextmanager
def server_that(answers: Callable[[socket.socket], object]) -> Iterator[str]:
    """Listen as a Redis server does, and let *answers* do what one does not; give the URL."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=attend, args=(client,), daemon=True).start()

    def attend(client: socket.socket) -> None:
        with suppress(OSError), client:
            answers(client)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_reply_that_never_ends_is_not_waited_for(open_store):
    def drip(client: socket.socket) -> None:
        client.sendall(b"+")
        while not time.sleep(0.1):
            client.sendall(b"x")

    with server_that(drip) as url, unavailable(LATE):
        new_claim(open_store(url))


def as_redis_until_set(client: socket.socket) -> None:
    """Answer as a Redis server does, and leave the SET of a claim unanswered."""
    while (data := client.recv(4096)) and b"SET" not in data.split():
        info = b"$29\r\nmaxmemory_policy:noeviction\r\n\r\n"
        client.sendall(info if b"INFO" in data.split() else b"+OK\r\n" * data.count(b"*"))


def test_a_reply_that_never_ends_is_not_waited_for_on_a_good_connection(open_store):
    def drip(client: socket.socket) -> None:
        as_redis_until_set(client)
        while not time.sleep(0.1):
            client.sendall(b"$")

    with server_that(drip) as url, unavailable(LATE):
        new_claim(open_store(url))


def test_more_replies_than_were_asked_for_are_not_read(open_store):
    def babble(client: socket.socket) -> None:
        as_redis_until_set(client)
        client.sendall(b"+OK\r\n+OK\r\n")

    with server_that(babble) as url, unavailable("replied more than it was asked"):
        new_claim(open_store(url))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis server|Protocol Error|InvalidResponse|Redis: "),
        (b"", "closed|reset|Redis: "),
        (b"-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n", "unknown command 'AUTH'$"),
    ],
)
def test_what_is_no_redis_server_is_unavailable(open_store, reply, said):
    def answer(client: socket.socket) -> None:
        while client.recv(4096) and reply:
            client.sendall(reply)

    with server_that(answer) as url, unavailable(said):
        new_claim(open_store(url.replace("//", "//user:secret@")))


def test_a_wrong_password_is_not_tried_again_and_not_told(start, open_store):
    server = start("--requirepass", "right")
    store = open_store(f"redis://:wrong-one@127.0.0.1:{server.port}")
    with unavailable("WRONGPASS|invalid", within=1.0) as refusal:
        new_claim(store)
    assert "wrong-one" not in str(refusal.value)
    assert "wrong-one" not in repr(vars(store.store._servers))


# --- acknowledgements that are lost --------------------------------------------------------


def test_a_claim_whose_acknowledgement_was_lost_is_acquired(through, proxy):
    proxy.lose_reply()
    assert new_claim(through)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)
    assert not proxy.losing
    assert through.find(KEY)[2:5] == (State.PENDING, 1, 1)


def test_a_completion_whose_acknowledgement_was_lost_is_done(through, proxy):
    claim = new_claim(through)
    proxy.lose_reply()
    assert through.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
    assert not proxy.losing
    assert through.find(KEY).state is State.DONE


def test_a_release_whose_acknowledgement_was_lost_is_released(through, proxy):
    claim = new_claim(through)
    proxy.lose_reply()
    assert through.release(claim, error="boom") is ReleaseOutcome.ALREADY
    assert through.find(KEY)[2:5] == (State.RELEASED, 1, 1)


def test_connections_cut_at_every_moment_change_nothing(through, proxy):
    for number in range(10):
        proxy.cut()
        claim = new_claim(through, f"key {number}")
        assert claim[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)
        proxy.cut()
        assert through.complete(claim, retain=KEEP) is CompleteOutcome.DONE


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """A certificate of 127.0.0.1, and its key."""
    openssl, directory = shutil.which("openssl"), tmp_path_factory.mktemp("tls")
    if not openssl:
        pytest.skip("no openssl here to make a certificate with")
    certificate, key = str(directory / "server.crt"), str(directory / "server.key")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def tls(start, certificate) -> Server:
    port = free_port()
    server = start(
        *("--tls-port", str(port), "--tls-cert-file", certificate[0], "--tls-key-file", certificate[1]),
        *("--tls-auth-clients", "no"),
    )
    server.url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate[0]}"
    return server


def test_a_server_with_tls_is_a_server_like_another(tls, open_store):
    store = open_store(tls.url)
    claim = new_claim(store)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    for number in range(300):
        new_claim(store, f"key {number}")
    assert len(list(store.records())) == 301
    with tls.frozen(), unavailable(LATE):
        new_claim(store)
    eventually(lambda: store.find("-") is None)
    tls.stop()
    tls.start()
    assert new_claim(store)[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)


def test_a_slow_reply_over_tls_is_read(tls, open_store):
    address, _, settings = tls.url.partition("?")
    port = int(address.rpartition(":")[2].partition("/")[0])
    with Proxy(("127.0.0.1", port)) as proxy:
        store = open_store(f"rediss://127.0.0.1:{proxy.port}/0?{settings}", timeout=20)
        store.find("-")
        proxy.delay = 0.2
        assert new_claim(store).outcome is ClaimOutcome.ACQUIRED
        proxy.delay = 0.0


def test_a_server_whose_certificate_is_not_trusted_is_unavailable(tls, open_store):
    with unavailable("certificate"):
        new_claim(open_store(tls.url.partition("?")[0]))
    time.sleep(0.2)  # asyncio closes what failed a moment later, and the loop ends with the test
