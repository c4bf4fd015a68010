"""The Redis stores on a cluster, and on a master behind Sentinels; keys that move, masters that fail."""

# ruff: noqa: F401, F811 - fixtures are imported, and arguments have their names

from __future__ import annotations

from contextlib import ExitStack

import pytest
import redis
import redis.asyncio
import redis.cluster
import redis.sentinel

from wxnotify.errors import ConfigurationError, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, State
from wxnotify.stores.redis import AsyncRedisStore, RedisStore
from wxnotify.testing.store_conformance import Subject

from .. import servers
from ..proxy import Proxy
from .redis_servers import (
    DOWN,
    KEEP,
    KEY,
    LATE,
    LEASE,
    Server,
    advance,
    answers,
    eventually,
    free_port,
    new_claim,
    open_store,
    start,
    unavailable,
)

# --- a cluster -------------------------------------------------------------------------------


class Cluster:
    """Three masters."""

    def __init__(self, nodes: list[Server]) -> None:
        self.nodes = nodes

    def client(self, library) -> object:
        return library.RedisCluster(host="127.0.0.1", port=self.nodes[0].port)

    def holder(self, name: str) -> Server:
        """Give the master that has the key *name*."""
        with self.nodes[0].client() as client:
            slot = client.execute_command("CLUSTER", "KEYSLOT", name)
            slots = client.execute_command("CLUSTER", "SLOTS")
        (port,) = [where[1] for first, last, where, *_ in slots if first <= slot <= last]
        return next(node for node in self.nodes if node.port == port)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started: list[Server] = []
    try:
        for _ in range(3):
            options = "--cluster-enabled yes --cluster-node-timeout 2000 --cluster-require-full-coverage no"
            started.append(Server(tmp_path_factory.mktemp("node"), *options.split()))
        first = started[0]
        with ExitStack() as clients:
            nodes = [clients.enter_context(node.client()) for node in started]
            for number, (node, client) in enumerate(zip(started, nodes, strict=True)):
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", *_third(number))
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if node is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
            for client in nodes:
                for sign in (b"cluster_state:ok", b"cluster_slots_ok:16384"):
                    eventually(
                        lambda client=client, sign=sign: sign in client.execute_command("CLUSTER", "INFO")
                    )
                eventually(lambda client=client: len(client.execute_command("CLUSTER", "SLOTS")) == 3)
        yield Cluster(started)
    finally:
        for node in started:
            node.stop()


def _third(number: int) -> tuple[int, int]:
    return ((0, 5_460), (5_461, 10_922), (10_923, 16_383))[number]


@pytest.fixture
def clustered(cluster, open_store):
    """A store on the cluster, of this test's own."""
    prefix = servers.redis_prefix()
    for node in cluster.nodes:
        with node.client() as client:
            client.flushall()
    client = cluster.client(open_store.library)
    store = open_store(client, prefix=prefix)
    store.prefix = prefix
    return store


def test_a_cluster_keeps_each_claim_where_it_belongs(cluster, clustered):
    keys = [f"key {number}" for number in range(60)] + ["{tag}a", "{tag}b", "a{}b", "{"]
    for key in keys:
        claim = new_claim(clustered, key)
        assert claim[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)
        assert new_claim(clustered, key).outcome is ClaimOutcome.IN_PROGRESS
        assert clustered.complete(claim, retain=KEEP) is CompleteOutcome.DONE
        assert clustered.find(key).state is State.DONE
    assert sorted(record.key for record in clustered.records()) == sorted(keys)
    assert len({cluster.holder(clustered.prefix + key).port for key in keys}) == 3


def test_a_redirection_is_remembered(cluster, clustered):
    def redirections() -> int:
        count = 0
        for node in cluster.nodes:
            with node.client() as client:
                count += client.info("errorstats").get("errorstat_MOVED", {"count": 0})["count"]
        return count

    keys = [f"key {number}" for number in range(30)]
    before = redirections()
    for key in keys:
        new_claim(clustered, key)
    once = redirections()
    assert before < once <= before + 30
    for key in keys:
        new_claim(clustered, key)
    assert redirections() == once


def test_time_moves_in_a_cluster_too(cluster, clustered):
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        for key in ("a", "b", "c", "d"):
            new_claim(clustered, key)
        advance(client, clustered.prefix, LEASE)
    assert {new_claim(clustered, key).generation for key in ("a", "b", "c", "d")} == {2}


def test_what_moves_to_another_master_is_followed(cluster, clustered):
    for number in range(20):
        _move(cluster, clustered, f"key {number}")


def _move(cluster: Cluster, store: Subject, key: str) -> None:
    """Move a key's slot to another master while it is claimed."""
    name = store.prefix + key
    source = cluster.holder(name)
    target = next(node for node in cluster.nodes if node is not source)
    stale = new_claim(store, key)
    with source.client() as old, target.client() as new:
        slot = old.execute_command("CLUSTER", "KEYSLOT", name)
        old_id, new_id = _id(old), _id(new)
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        assert new_claim(store, key).outcome is ClaimOutcome.IN_PROGRESS  # it is still there
        old.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5_000)
        # From here on the old master says ASK.
        assert new_claim(store, key).outcome is ClaimOutcome.IN_PROGRESS
        assert key in [record.key for record in store.records()]
        assert store.complete(stale, retain=KEEP) is CompleteOutcome.DONE
        assert store.find(key).state is State.DONE
        for client in (new, old):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        # And now MOVED.
        assert store.find(key).state is State.DONE
        assert new_claim(store, key).outcome is ClaimOutcome.COMPLETED
        assert [record.key for record in store.records() if record.key == key] == [key]
    eventually(lambda: cluster.holder(name) is target)


def _id(client: redis.Redis) -> bytes:
    """Give a node's name."""
    return client.execute_command("CLUSTER", "MYID")


def test_a_record_that_moves_while_records_are_read_is_given_once(cluster, clustered):
    first, *_, last = cluster.nodes
    key = next(key for key in map(str, range(100)) if cluster.holder(clustered.prefix + key) is first)
    new_claim(clustered, key)
    given = clustered.records()
    assert next(given).key == key
    name = clustered.prefix + key
    with first.client() as old, last.client() as new:
        slot = old.execute_command("CLUSTER", "KEYSLOT", name)
        old_id, new_id = _id(old), _id(new)
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        old.execute_command("MIGRATE", "127.0.0.1", last.port, name, 0, 5_000)
        for client in (new, old):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
    assert list(given) == []
    assert [record.key for record in clustered.records()] == [key]


def test_a_master_that_is_down_takes_only_its_own_claims_along(cluster, clustered):
    keys = [f"key {number}" for number in range(12)]
    lost = cluster.nodes[0]
    there = [key for key in keys if cluster.holder(clustered.prefix + key) is not lost]
    gone = [key for key in keys if key not in there]
    assert there
    assert gone
    for key in keys:
        new_claim(clustered, key)
    lost.stop()
    try:
        for key in there:
            assert new_claim(clustered, key).outcome is ClaimOutcome.IN_PROGRESS
        with unavailable(DOWN + "|CLUSTERDOWN"):
            new_claim(clustered, gone[0])
        # As a replica would, another one takes the slot over.
        heir, other = cluster.nodes[1:]
        with heir.client() as one, other.client() as two:
            slot, node = one.execute_command("CLUSTER", "KEYSLOT", clustered.prefix + gone[0]), _id(one)
            for client in (one, two):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node)
            one.execute_command("CLUSTER", "BUMPEPOCH")
        assert new_claim(clustered, gone[0])[2:5] == (ClaimOutcome.ACQUIRED, 1, 1)
    finally:
        lost.start()
    # It holds back for some seconds, until it is sure of the others.
    for key in keys:
        eventually(lambda key=key: claimed(clustered, key))
    assert {clustered.find(key).generation for key in keys} == {1}


def test_a_frozen_master_is_unavailable_and_the_others_are_not(cluster, clustered):
    keys = [f"key {number}" for number in range(12)]
    frozen = cluster.nodes[1]
    there = [key for key in keys if cluster.holder(clustered.prefix + key) is not frozen]
    stuck = next(key for key in keys if key not in there)
    with frozen.frozen():
        with unavailable(LATE):
            new_claim(clustered, stuck)
        for key in there:
            assert new_claim(clustered, key).outcome is ClaimOutcome.ACQUIRED
    eventually(lambda: answers(clustered, stuck))


def test_a_cluster_seen_by_other_addresses_is_reached_by_them(cluster, open_store):
    with ExitStack() as proxies:
        reached = {
            node.port: proxies.enter_context(Proxy(("127.0.0.1", node.port))) for node in cluster.nodes
        }

        def remap(address: tuple[str, int]) -> tuple[str, int]:
            proxy = reached.get(address[1])
            return (proxy.host, proxy.port) if proxy else address

        client = open_store.library.RedisCluster(
            host="127.0.0.1", port=next(iter(reached.values())).port, address_remap=remap
        )
        store = open_store(client, prefix=servers.redis_prefix())
        for number in range(30):
            assert new_claim(store, f"key {number}").outcome is ClaimOutcome.ACQUIRED
        assert len(list(store.records())) == 30
        assert all(proxy.requests for proxy in reached.values())
        assert len(store.store._servers._known) == 3


def test_a_server_of_a_cluster_is_no_server_of_its_own(cluster, open_store):
    store = open_store(cluster.nodes[0].url, prefix=servers.redis_prefix())
    with unavailable("one of a cluster; give the store a RedisCluster"):
        for number in range(30):
            new_claim(store, f"key {number}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # redis-py has a newer name for it
def test_replicas_are_not_asked_though_the_client_would(cluster, open_store):
    client = open_store.library.RedisCluster(
        host="127.0.0.1", port=cluster.nodes[0].port, read_from_replicas=True
    )
    store = open_store(client, prefix=servers.redis_prefix())
    assert new_claim(store).outcome is ClaimOutcome.ACQUIRED
    _, settings = store.store._servers.endpoint(("127.0.0.1", cluster.nodes[0].port))
    assert "redis_connect_func" not in settings  # it would send READONLY


def test_a_pipeline_of_a_cluster_is_refused(cluster):
    for kind, library in ((RedisStore, redis), (AsyncRedisStore, redis.asyncio)):
        with pytest.raises(ConfigurationError, match="not a pipeline"):
            kind(cluster.client(library).pipeline())


# --- Sentinels ---------------------------------------------------------------------------------


@pytest.fixture
def sentinels(start, tmp_path):
    """Start a master, two Sentinels that watch it, and a replica if it is to have one."""

    def begin(*, replicas: int = 0) -> tuple[Server, list[Server], list[Server]]:
        master = start()
        followers = [start("--replicaof", f"127.0.0.1 {master.port}") for _ in range(replicas)]
        for follower in followers:
            with follower.client() as client:
                eventually(lambda client=client: client.info("replication")["master_link_status"] == "up")
        watching = []
        for number in range(2):
            port, file = free_port(), tmp_path / f"sentinel-{number}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
                f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
                "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n"
            )
            watching.append(start(port=port, sentinel=file))
        with watching[0].client() as client:
            eventually(lambda: len(client.execute_command("SENTINEL", "REPLICAS", "shop")) == replicas)
        return master, followers, watching

    return begin


def claimed(store: Subject, key: str) -> bool:
    """Tell whether the store answers a claim of *key*."""
    try:
        new_claim(store, key)
    except StoreUnavailable:
        return False
    return True


def master_for(library, sentinels: list[Server], name: str = "shop", **settings: object) -> object:
    addresses = [("127.0.0.1", sentinel.port) for sentinel in sentinels]
    return library.sentinel.Sentinel(addresses, **settings).master_for(name)


def test_a_master_is_followed_when_it_fails(sentinels, open_store):
    master, (replica,), watching = sentinels(replicas=1)
    store = open_store(master_for(open_store.library, watching))
    claim = new_claim(store)
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    with replica.client() as client:
        eventually(lambda: client.exists("wxnotify:" + KEY))
    master.stop()
    eventually(lambda: claimed(store, "-"), 60)
    assert new_claim(store).outcome is ClaimOutcome.COMPLETED
    eventually(lambda: leads(replica))


def leads(server: Server) -> bool:
    try:
        with server.client() as client:
            return client.info("replication")["role"] == "master"
    except redis.ConnectionError:
        return False  # a sentinel cuts the connections of a server whose part it changes


def fails_over(sentinel: redis.Redis) -> bool:
    try:
        return bool(sentinel.execute_command("SENTINEL", "FAILOVER", "shop"))
    except redis.ResponseError:
        return False  # it has not seen yet that the replica is good enough


def test_a_master_that_became_a_replica_is_left(sentinels, open_store):
    master, (replica,), watching = sentinels(replicas=1)
    store = open_store(master_for(open_store.library, watching), timeout=20)
    new_claim(store)
    with watching[0].client() as client:
        eventually(lambda: fails_over(client), 60)
        where = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")
        eventually(lambda: int(client.execute_command(*where)[1]) == replica.port, 60)
    with master.client() as client:
        client.replicaof("127.0.0.1", replica.port)
    assert new_claim(store, "after").outcome is ClaimOutcome.ACQUIRED
    with replica.client() as client:
        assert client.exists("wxnotify:after")


def test_a_frozen_or_missing_sentinel_does_not_matter_for_long(sentinels, open_store):
    _, _, watching = sentinels()
    store = open_store(master_for(open_store.library, watching))
    with watching[0].frozen():
        with unavailable(LATE):
            new_claim(store)
        assert new_claim(store).outcome is ClaimOutcome.ACQUIRED
    watching[0].stop()
    other = open_store(master_for(open_store.library, watching), prefix="other:")
    assert new_claim(other).outcome is ClaimOutcome.ACQUIRED
    assert [record.key for record in other.records()] == [KEY]


def test_a_master_that_no_sentinel_knows_is_unavailable(sentinels, open_store):
    _, _, watching = sentinels()
    store = open_store(master_for(open_store.library, watching, "another"))
    with unavailable("knows no master of that name"):
        new_claim(store)


def test_where_sentinels_give_an_inner_address_the_forced_one_is_taken(sentinels):
    _, _, watching = sentinels()
    with (
        RedisStore(master_for(redis, watching, force_master_ip="127.0.0.2")) as store,
        unavailable("127.0.0.2"),
    ):
        new_claim(store)


def test_a_client_of_replicas_is_refused():
    for kind, library in ((RedisStore, redis), (AsyncRedisStore, redis.asyncio)):
        client = library.sentinel.Sentinel([("127.0.0.1", 1)]).slave_for("shop")
        with pytest.raises(ConfigurationError, match=r"master_for\(\), not slave_for"):
            kind(client)
