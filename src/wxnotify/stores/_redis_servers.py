"""
Which Redis server a command of the Redis stores goes to, and what to do when that fails.

There is one server, or a cluster, or a master that Sentinels know. A
:class:`Trip` is one command on its way: it decides, and the connections
(``_redis_connections.py``) only do. In a cluster nothing is looked up beforehand;
a server that does not have the key says who has, and that is remembered. A
Sentinel is asked for the master, and its answer is remembered likewise.

A command whose connection broke is sent again until the store's deadline. Whether
the server had carried it out or not, it can be repeated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, TypeGuard

from redis.crc import key_slot
from redis.exceptions import AuthenticationError, AuthorizationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import StoreUnavailable
from ._redis_protocol import Ask, Node, Refusal, pack

# Seconds before a command is sent again; the first time it goes at once, because
# most often an idle connection turned out to be closed.
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.3
# With less than this left it is not: there would be no time for a reply.
_LEAST_LEFT: Final = 0.1
_ASKING: Final = pack(b"ASKING")
# What a server says while it starts, fails over, or runs another's slow script.
_PASSING: Final = {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "TRYAGAIN"}
# Where there is only one server, its address is in the settings.
_ONLY: Final[Node] = ("", 0)


class Endpoint(NamedTuple):
    """How to connect."""

    #: redis-py's.
    connection_class: Any
    #: What the class takes, without times and retries.
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return "Endpoint(...)"  # there may be a password in it


class Sentinels(NamedTuple):
    """Who knows where the master is."""

    service: str
    nodes: list[Node]
    endpoint: Endpoint


class Servers:
    """
    The servers of one store, and what has been learned of them.

    Args:
        endpoint: How to connect to them.

        cluster: Some servers of the cluster; None if there is none.

        sentinels: Who to ask for the master; None if its address is in *endpoint*.

        remap: Gives the address a server has from here, of the one it goes by.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cluster: list[Node] | None = None,
        sentinels: Sentinels | None = None,
        remap: Callable[[Node], Node] | None = None,
    ) -> None:
        self.cluster = cluster is not None
        #: Where every command goes, if there is no choice.
        self.only = None if cluster or sentinels else _ONLY
        self._endpoint = endpoint
        self._sentinels = sentinels
        self._remap = remap
        # Who to ask if nothing better is known. Other threads read it while it is replaced.
        self._known = cluster or (sentinels.nodes if sentinels else [_ONLY])
        self._slots: dict[int, Node] = {}
        self._master: Node | None = None
        service = sentinels.service if sentinels else ""
        self._question = pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.encode())
        #: What the servers said to ``INFO memory``. A Sentinel need not be asked, it keeps no claims.
        self.checked: dict[Node, Any] = dict.fromkeys(sentinels.nodes if sentinels else ())

    def endpoint(self, node: Node) -> Endpoint:
        """Tell how to connect to *node*."""
        if node is _ONLY:
            return self._endpoint
        connection_class, settings = self._endpoint
        if self._sentinels is not None and node in self._sentinels.nodes:
            connection_class, settings = self._sentinels.endpoint
        return Endpoint(connection_class, {**settings, "host": node[0], "port": node[1]})

    def locate(self, name: bytes) -> tuple[Node, bytes]:
        """Tell who to ask about the key *name*, and what first; empty if the command itself."""
        if self.cluster:
            return self._slots.get(key_slot(name)) or self._known[0], b""
        return (self._master, b"") if self._master else (self._known[0], self._question)

    def found_master(self, reply: Any) -> bool:
        """Remember what a Sentinel said; False if it knew no master of that name."""
        if reply:
            self._master = self._reached(reply[0].decode(), int(reply[1]))
        return bool(reply)

    def redirected(self, refusal: Refusal) -> Node:
        """Return who has the slot, or will have; remember it if it is settled."""
        slot, host, port = refusal.redirection
        node = self._reached(host, port)
        if refusal.code == "MOVED":
            self._slots[slot] = node
            if node not in self._known:
                self._known = [*self._known, node]
        return node

    def lost(self, node: Node) -> None:
        """Forget what was said of *node*, and ask it last."""
        self._master = None
        for slot, holder in self._slots.copy().items():
            if holder == node:
                self._slots.pop(slot, None)
        if node in self._known:
            self._known = [other for other in self._known if other != node] + [node]

    def may_pass(self, error: Exception) -> bool:
        """Tell whether the same command may succeed before long, on another connection."""
        if isinstance(error, Refusal):
            # A master that is one no more: Sentinels know the new one.
            return error.code in _PASSING or (error.code == "READONLY" and self._sentinels is not None)
        if isinstance(error, (AuthenticationError, AuthorizationError, TimeoutError)):
            return False  # to redis-py the first two are ConnectionErrors, to Python the last is an OSError
        return isinstance(error, (RedisConnectionError, OSError))

    def masters(self, slots: list[Any]) -> list[Node | None]:
        """
        Tell which servers have keys, each once.

        Args:
            slots: What a cluster replied to CLUSTER SLOTS.

        Returns:
            Their addresses; None where there is but one, wherever it is.
        """
        nodes = [self._reached((holder[0] or b"").decode(), holder[1]) for _, _, holder, *_ in slots]
        return [*dict.fromkeys(nodes)] if self.cluster else [None]

    def check(self, node: Node, info: Any) -> None:
        """
        Warn if the server may evict claims, or does not tell; once.

        All claims have a time to live, so no policy but noeviction spares them.
        That no maxmemory is set is no answer: it can be set tomorrow.

        Args:
            node: The server.

            info: What it replied to ``INFO memory``, an error or not.
        """
        if self.checked.setdefault(node, info) is not info:
            return  # another thread was first
        which = "the Redis server" if node is _ONLY else f"the Redis server {node[0]}:{node[1]}"
        told = info if isinstance(info, bytes) else b""
        policy = told.partition(b"maxmemory_policy:")[2].split(b"\r\n")[0].decode(errors="replace")
        if not policy:
            warnings.warn(
                f"{which} does not tell its maxmemory-policy. Make sure that it is noeviction, because an "
                "evicted claim is a payment handled twice; then let the store run INFO, or filter this",
                RuntimeWarning,
                stacklevel=2,
            )
        elif policy != "noeviction":
            warnings.warn(
                f"{which} has maxmemory-policy {policy}: short of memory it evicts claims, and an evicted "
                "claim is a payment handled twice. Set maxmemory-policy to noeviction, in its configuration "
                "file too, or keep claims on a server of their own",
                RuntimeWarning,
                stacklevel=2,
            )

    def _reached(self, host: str, port: int) -> Node:
        # A server that does not know its own name gives none: it is where the others are.
        node = (host or self._known[0][0], port)
        return self._remap(node) if self._remap else node


class Trip:
    """
    One command on its way.

    Send ``packed`` to ``node``, read so many ``replies``, and tell :meth:`came`,
    until it has ``ended``; then ``reply`` is there.
    """

    reply: Any = None
    ended = False
    _locating = False
    _asking = False
    _turns = 0
    #: What went wrong last, and passed.
    _trouble = ""

    def __init__(self, servers: Servers, ask: Ask) -> None:
        self._servers = servers
        self._ask = ask
        self._set_out()

    def _set_out(self) -> None:
        ask = self._ask
        self.packed, self.replies = ask.packed, ask.replies
        node = ask.node or self._servers.only
        if node is None:
            node, question = self._servers.locate(ask.name)
            if question:
                self.packed, self.replies, self._locating = question, 1, True
        self.node = node

    def came(self, reply: Any, until: float) -> float:
        """
        Take what came of it.

        Args:
            reply: The reply, or the list of them; or the error.

            until: The deadline, on the monotonic clock.

        Returns:
            The seconds to wait before the next turn.

        Raises:
            StoreUnavailable: If the error will not pass, or not in time.
        """
        if self._asking and not isinstance(reply, Exception):
            reply = reply[1]  # the first is to ASKING
        if isinstance(reply, Exception) and not (isinstance(reply, Refusal) and reply.code == "NOSCRIPT"):
            return self._failed(reply, until)
        if self._locating:
            if not self._servers.found_master(reply):
                return self._failed(RedisConnectionError("this Sentinel knows no master of that name"), until)
            self._locating = False
            self._set_out()
            return 0.0
        self.reply, self.ended = reply, True
        return 0.0

    def _failed(self, error: Exception, until: float) -> float:
        if _redirects(error) and self._servers.cluster:
            self.node = self._servers.redirected(error)
            self._asking = error.code == "ASK"
            self.packed = _ASKING + self._ask.packed if self._asking else self._ask.packed
            self.replies = 2 if self._asking else 1
        else:
            self._servers.lost(self.node)
            if not self._servers.may_pass(error):
                raise self._unavailable(error) from error
            self._trouble = _said(error)
            self._locating = self._asking = False
            self._set_out()
        pause = min(_FIRST_PAUSE * 2**self._turns, _LONGEST_PAUSE) if self._turns else 0.0
        self._turns += 1
        if monotonic() + pause + _LEAST_LEFT > until:
            raise self._unavailable(error) from error
        return pause

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        if _redirects(error) and not self._servers.cluster:
            said = "this Redis server is one of a cluster; give the store a RedisCluster"
        else:
            said = _said(error)
        # Time may run out over something else than what took it.
        return StoreUnavailable(said if self._trouble in ("", said) else f"{said}; {self._trouble}")


def _redirects(error: Exception) -> TypeGuard[Refusal]:
    return isinstance(error, Refusal) and error.code in ("MOVED", "ASK")


def _said(error: Exception) -> str:
    if isinstance(error, (RedisTimeoutError, TimeoutError)):
        return "Redis did not answer in time"
    if isinstance(error, Refusal) and error.code == "READONLY":
        return "this Redis server is a read-only replica; give the store the master"
    # Of a command it does not know, a server shows the arguments; that may be AUTH.
    return f"Redis: {error}".split(", with args beginning with")[0]
