"""
What the Redis stores keep of a claim, and the scripts that change it; no connection is made here.

A claim is one string under *prefix* + key, a JSON object: ``redis-cli GET`` shows
it. The time to live of the key is how long the claim is remembered, never its
lease; but it is the only clock there is, and the server keeps it. Inside are
durations, in milliseconds: ``kept`` is the time to live the key was given when it
last changed, so what is gone of it is the time since; ``lease`` runs from that
change, and ``age`` is how long before it the key was first claimed. So the first
claim is a plain ``SET NX PX``, one round trip, and no client's clock is read.

The scripts read the fields with one pattern, in their fixed order, because to
decode and encode JSON in Lua costs as much as the rest of the script.

Each verb is a generator that yields one :class:`Ask` after the other and is sent
the reply, so it is written once for the blocking store and the asynchronous one.
Each script has one key, as a cluster demands. All of it can be repeated: the
owner's token and the generation tell a repetition from another delivery.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from datetime import datetime, timezone
from hashlib import sha1
from math import ceil
from typing import Any, Final, NamedTuple, TypeVar

from ..idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    State,
    check_key,
    check_lease,
    check_retain,
    cut_error,
    cut_order_no,
)
from ._redis_protocol import Refusal, pack, pack_words

_Result = TypeVar("_Result")

#: Host and port of a server.
Node = tuple[str, int]

#: How long a claim that is not done is kept after its last change. Resends span
#: 24 h 4 min; the rest is for a person to see what failed.
_KEPT: Final = 7 * 86_400_000
#: How many keys the server looks through for one page of records.
_PAGE: Final = b"500"


class Ask(NamedTuple):
    """Commands to send together, to one server."""

    #: As ``pack`` wrote them.
    packed: bytes
    #: The key they are about, which decides who of a cluster gets them.
    name: bytes = b""
    #: Who gets them, where it is not the key that decides.
    node: Node | None = None
    #: How many replies there are; more than one are answered as a list, errors among them.
    replies: int = 1


#: A verb, under way.
Steps = Generator[Ask, Any, _Result]


class Script:
    """
    A Lua script on one key.

    Args:
        lua: Its text.

        arguments: How many it takes besides the key.
    """

    def __init__(self, lua: str, arguments: int) -> None:
        text = lua.encode()
        digest = sha1(text, usedforsecurity=False).hexdigest().encode()
        words = b"*%d\r\n" % (4 + arguments)
        #: Teaches it to the server.
        self.load = pack(b"SCRIPT", b"LOAD", text)
        #: How the command begins that runs it; the key and the arguments follow.
        self.by_digest = words + pack_words(b"EVALSHA", digest, b"1")
        self._by_text = words + pack_words(b"EVAL", text, b"1")

    def run(self, name: bytes, *arguments: bytes) -> Steps[Any]:
        """Run it on the key *name*, and return what it replied."""
        rest = pack_words(name, *arguments)
        reply = yield Ask(self.by_digest + rest, name)
        if isinstance(reply, Refusal):
            # NOSCRIPT: a new server, a restart, SCRIPT FLUSH. From here on it knows it.
            reply = yield Ask(self._by_text + rest, name)
        return reply


# What a value is, after its beginning up to the state.
_FIELDS: Final = '^(%a+)","attempts":(%d+),"lease":(-?%d+),"age":(%d+),"kept":(%d+)(,.*)$'
# wxnotify.idempotency.judge, on the server. ARGV: a first claim's value, owner,
# fingerprint, lease, time to live. `since` is the time since the value changed; a
# key that somebody persisted counts as old, so that its lease is over.
_CLAIM: Final = Script(
    f"""
local stored = redis.call('GET', KEYS[1])
if not stored then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
  return {{'acquired', 1, 1}}
end
local generation, owner, from = string.match(stored, '^{{"generation":(%d+),"owner":"(%x*)","state":"()')
if not from then return redis.error_reply('ERR the key holds something else than a claim') end
local state, attempts, lease, age, kept, rest = string.match(stored, '{_FIELDS}', from)
local since = kept - redis.call('PTTL', KEYS[1])
local outcome = 'acquired'
if string.match(rest, '^,"fingerprint":"(%x*)"') ~= ARGV[3] then
  outcome = 'mismatch'
elseif state == 'done' then
  outcome = 'completed'
elseif state ~= 'pending' or owner ~= ARGV[2] then
  if state == 'pending' and lease - since > 0 then
    outcome = 'in_progress'
  else
    generation, attempts = generation + 1, attempts + 1
  end
end
if outcome == 'acquired' then
  redis.call('SET', KEYS[1], '{{"generation":' .. generation .. ',"owner":"' .. ARGV[2]
    .. '","state":"pending","attempts":' .. attempts .. ',"lease":' .. ARGV[4]
    .. ',"age":' .. age + since .. ',"kept":' .. ARGV[5] .. rest, 'PX', ARGV[5])
end
return {{outcome, tonumber(generation), tonumber(attempts)}}
""",
    arguments=5,
)
# Changes a claim that is still held. ARGV: how its value begins, time to live, and the verb's own.
_CHANGE: Final = f"""
local stored = redis.call('GET', KEYS[1])
if not stored or string.sub(stored, 1, #ARGV[1]) ~= ARGV[1] then return false end
local state, attempts, lease, age, kept, rest = string.match(stored, '{_FIELDS}', #ARGV[1] + 1)
if state == 'pending' then
  local since = kept - redis.call('PTTL', KEYS[1])
  local new_state, new_lease = 'pending', lease - since
  CHANGE
  redis.call('SET', KEYS[1], ARGV[1] .. new_state .. '","attempts":' .. attempts .. ',"lease":' .. new_lease
    .. ',"age":' .. age + since .. ',"kept":' .. ARGV[2] .. rest, 'PX', ARGV[2])
end
return state
"""
_COMPLETE: Final = Script(_CHANGE.replace("CHANGE", "new_state = 'done'"), arguments=2)
# No quote inside a JSON string has a comma before it: there is a backslash.
_RELEASE: Final = Script(
    _CHANGE.replace(
        "CHANGE",
        "new_state, rest = 'released', string.match(rest, '^(.-,\"error\":)') .. ARGV[3] .. '}'",
    ),
    arguments=3,
)
_EXTEND: Final = Script(_CHANGE.replace("CHANGE", "new_lease = ARGV[3]"), arguments=3)
# Replies with what is stored, when it will be forgotten, and the time. PEXPIRETIME is
# exact and new in Redis 7; the sum may be a millisecond off.
_LOOK: Final = Script(
    """
local stored = redis.call('GET', KEYS[1])
if not stored then return false end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local forgotten = redis.pcall('PEXPIRETIME', KEYS[1])
if type(forgotten) ~= 'number' or forgotten < 0 then
  forgotten = now + math.max(redis.call('PTTL', KEYS[1]), 0)
end
return {stored, forgotten, now}
""",
    arguments=0,
)

_KEPT_BYTES: Final = b"%d" % _KEPT
_SET: Final = pack_words(b"SET")
_IF_NEW: Final = pack_words(b"NX", b"PX", _KEPT_BYTES)
# Not json.dumps, which makes an encoder each time for text that is to stay as it is.
_quote: Final = json.JSONEncoder(ensure_ascii=False).encode


class Verbs:
    """
    The verbs on the keys under one prefix.

    Args:
        prefix: What the names of the keys begin with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        # What MATCH would read as a pattern is meant as it is.
        self._pattern = re.sub(rb"([*?\[\]^\\-])", rb"\\\1", prefix) + b"*"

    def claim(
        self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str
    ) -> Steps[Claim]:
        """Store the claim if the key is new; else let the server judge."""
        name = self._name(key)
        holder, print_, seconds = owner.hex(), fingerprint.hex(), _milliseconds(check_lease(lease))
        value = (
            f'{{"generation":1,"owner":"{holder}","state":"pending","attempts":1,"lease":{seconds},"age":0,'
            f'"kept":{_KEPT},"fingerprint":"{print_}","order_no":{_quote(cut_order_no(order_no))},"error":""}}'
        ).encode()
        if (yield Ask(b"*6\r\n%b%b%b" % (_SET, pack_words(name, value), _IF_NEW), name)):
            return Claim(key, owner, ClaimOutcome.ACQUIRED, 1, 1)
        outcome, generation, attempts = yield from _CLAIM.run(
            name, value, holder.encode(), print_.encode(), b"%d" % seconds, _KEPT_BYTES
        )
        return Claim(key, owner, ClaimOutcome(outcome.decode()), generation, attempts)

    def complete(self, claim: Claim, *, retain: float) -> Steps[CompleteOutcome]:
        """Set the claim to done."""
        kept = b"%d" % _milliseconds(check_retain(retain))
        left_as = yield from _COMPLETE.run(self._name(claim.key), _held(claim), kept)
        if left_as == b"pending":
            return CompleteOutcome.DONE
        return CompleteOutcome.ALREADY if left_as == b"done" else CompleteOutcome.LOST

    def release(self, claim: Claim, *, error: str) -> Steps[ReleaseOutcome]:
        """Set the claim free."""
        why = _quote(cut_error(error)).encode()
        left_as = yield from _RELEASE.run(self._name(claim.key), _held(claim), _KEPT_BYTES, why)
        if left_as == b"pending":
            return ReleaseOutcome.RELEASED
        return ReleaseOutcome.ALREADY if left_as == b"released" else ReleaseOutcome.LOST

    def extend(self, claim: Claim, lease: float) -> Steps[bool]:
        """Move the end of the lease."""
        seconds = b"%d" % _milliseconds(check_lease(lease))
        left_as = yield from _EXTEND.run(self._name(claim.key), _held(claim), _KEPT_BYTES, seconds)
        return bool(left_as == b"pending")

    def find(self, key: str) -> Steps[Record | None]:
        """Read one record."""
        looked = yield from _LOOK.run(self._name(key))
        return _record(key, *looked) if looked else None

    def slots(self, of_cluster: bool) -> Steps[list[Any]]:
        """Ask which servers of a cluster have keys; there is nothing to ask of a single one."""
        return (yield Ask(pack(b"CLUSTER", b"SLOTS"))) if of_cluster else []

    def page(
        self,
        cursor: bytes,
        node: Node | None,
        *,
        state: State | None,
        order_no: str | None,
        older_than: float,
    ) -> Steps[tuple[list[Record], bytes]]:
        """
        Read the next records of one server.

        Args:
            cursor: Where to go on; ``b"0"`` to begin.

            node: The server.

            state: Only these.

            order_no: Only those of this order.

            older_than: Only what has not changed for so many seconds.

        Returns:
            The records, and where to go on; ``b"0"`` at the end.
        """
        scan = pack(b"SCAN", cursor, b"MATCH", self._pattern, b"COUNT", _PAGE)
        wanted = order_no if order_no is None else cut_order_no(order_no)
        onward, names = yield Ask(scan, node=node)
        if not names:
            return [], onward
        # So that no look finds its script missing.
        looks = _LOOK.load + b"".join([_LOOK.by_digest + pack_words(name) for name in names])
        _, *looked = yield Ask(looks, node=node, replies=1 + len(names))
        found: list[Record] = []
        for name, seen in zip(names, looked, strict=True):
            if isinstance(seen, Refusal):
                # Its slot is moving to another server, or this one says what is wrong.
                seen = yield from _LOOK.run(name)
            # It may have been forgotten meanwhile.
            record = _record(name[len(self._prefix) :].decode(), *seen) if seen else None
            if (
                record
                and seen[2] / 1000 - record.updated.timestamp() >= older_than
                and state in (None, record.state)
                and wanted in (None, record.order_no)
            ):
                found.append(record)
        return found, onward

    def _name(self, key: str) -> bytes:
        return self._prefix + check_key(key).encode()


def _held(claim: Claim) -> bytes:
    """Write how the value begins while *claim* is the latest; its state follows."""
    return f'{{"generation":{claim.generation},"owner":"{claim.owner.hex()}","state":"'.encode()


def _milliseconds(seconds: float) -> int:
    return ceil(seconds * 1000)


def _record(key: str, stored: bytes, forgotten: int, _now: int) -> Record:
    fields = json.loads(stored)
    updated = forgotten - fields["kept"]
    return Record(
        key=key,
        order_no=fields["order_no"],
        state=State(fields["state"]),
        generation=fields["generation"],
        attempts=fields["attempts"],
        first_seen=_date(updated - fields["age"]),
        updated=_date(updated),
        lease_until=_date(updated + fields["lease"]),
        last_error=fields["error"],
    )


def _date(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
