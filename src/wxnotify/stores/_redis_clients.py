"""
What the Redis stores take from a redis-py client: where it connects, and as whom.

Nothing is sent, and the client is not used afterwards: it may be closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import ConfigurationError
from ._redis_protocol import Node
from ._redis_servers import Endpoint, Sentinels, Servers

# What says where a server is and who asks. Times, retries, decoding, caching and
# the protocol's version are the store's to choose.
_TAKEN: Final = {
    "client_name",
    "credential_provider",
    "db",
    "host",
    "password",
    "path",
    "port",
    "redis_connect_func",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_type",
    "username",
}


def servers_of(client: Any, library: Any, store: str) -> Servers:
    """
    Read a client.

    Args:
        client: A client, or a URL.

        library: ``redis``, or ``redis.asyncio``: whose client it must be.

        store: The store's name, for messages.

    Raises:
        ConfigurationError: If it is something else, or cannot keep claims.
    """
    if isinstance(client, (library.client.Pipeline, library.cluster.ClusterPipeline)):
        raise ConfigurationError(
            f"{store} takes the client, not a pipeline: a claim cannot wait for execute()"
        )
    if isinstance(client, str):
        try:
            pool = library.ConnectionPool.from_url(client)
        except ValueError:
            # Nothing of it is shown: there may be a password in it.
            raise ConfigurationError(
                f"{store}: not a URL of a Redis server: redis://[user:password@]host:port/database, "
                "rediss:// for TLS, or unix:///path"
            ) from None
        return Servers(_endpoint(pool.connection_class, pool.connection_kwargs))
    if isinstance(client, library.RedisCluster):
        return _servers_of_cluster(client, library)
    if not isinstance(client, library.Redis):
        wanted = f"{library.__name__}.Redis or {library.__name__}.RedisCluster"
        raise ConfigurationError(f"{store} takes a {wanted} of redis-py, or a URL; this is a {_kind(client)}")
    pool = client.connection_pool
    if isinstance(pool, library.sentinel.SentinelConnectionPool):
        return _servers_of_sentinels(pool, library, store)
    return Servers(_endpoint(pool.connection_class, pool.connection_kwargs))


def _servers_of_cluster(client: Any, library: Any) -> Servers:
    if library.__name__ == "redis":
        nodes = client.get_nodes()
        pool = client.get_redis_connection(nodes[0]).connection_pool
        connection_class, settings = pool.connection_class, pool.connection_kwargs
    else:
        nodes = client.nodes_manager.startup_nodes.values()
        connection_class, settings = client.connection_kwargs["connection_class"], client.connection_kwargs
    endpoint = _endpoint(connection_class, settings)
    # It may ask for replicas, which do not know the latest.
    kept = {name: value for name, value in endpoint.settings.items() if name != "redis_connect_func"}
    return Servers(
        Endpoint(connection_class, kept),
        cluster=[(node.host, int(node.port)) for node in nodes],
        remap=client.nodes_manager.address_remap,
    )


def _servers_of_sentinels(pool: Any, library: Any, store: str) -> Servers:
    if not pool.is_master:
        raise ConfigurationError(
            f"{store} takes Sentinel's master_for(), not slave_for(): a replica cannot claim"
        )
    manager = pool.sentinel_manager
    pools = [sentinel.connection_pool for sentinel in manager.sentinels]
    nodes: list[Node] = [
        (each.connection_kwargs["host"], int(each.connection_kwargs["port"])) for each in pools
    ]
    sentinels = Sentinels(
        pool.service_name, nodes, _endpoint(pools[0].connection_class, pools[0].connection_kwargs)
    )
    # The pool's own class asks the Sentinels by itself, and as long as it likes.
    with_tls = issubclass(pool.connection_class, library.SSLConnection)
    master = _endpoint(library.SSLConnection if with_tls else library.Connection, pool.connection_kwargs)
    forced = getattr(manager, "_force_master_ip", None)
    return Servers(master, sentinels=sentinels, remap=(lambda node: (forced, node[1])) if forced else None)


def _endpoint(connection_class: Any, settings: Mapping[str, Any]) -> Endpoint:
    taken = {name: value for name, value in settings.items() if name in _TAKEN or name.startswith("ssl_")}
    never = {"socket_timeout": None, "socket_connect_timeout": None}  # the store has its deadline
    return Endpoint(connection_class, {**taken, **never, "protocol": 2})


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
