"""
What the Redis stores keep of a claim, and what their verbs ask the server; no connection is made here.

A claim is one string under *prefix* + key, a JSON object: ``redis-cli GET`` shows
it. The time to live of the key is how long the claim is remembered, never its
lease; but it is the only clock there is, and the server keeps it. Inside are
durations, in milliseconds: ``kept`` is the time to live the key was given when it
last changed, so what is gone of it is the time since; ``lease`` runs from that
change, and ``age`` is how long before it the key was first claimed. So the first
claim is a plain ``SET NX PX``, one round trip, and no client's clock is read.
``result`` is the last field, and there only if a completion said something.

Everything else is a script (``_redis_scripts.py``). Each verb is a generator that
yields one :class:`Ask` after the other and is sent the reply, so it is written
once for the blocking store and the asynchronous one. All of it can be repeated:
the owner's token and the generation tell a repetition from another delivery.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from math import ceil
from typing import Any, Final

from ..idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    State,
    check_key,
    check_lease,
    check_result,
    check_retain,
    cut_error,
    cut_order_no,
)
from . import _redis_scripts as scripts
from ._redis_protocol import Ask, Node, Refusal, Steps, pack, pack_words

#: How long a claim that is not done is kept after its last change. Resends span
#: 24 h 4 min; the rest is for a person to see what failed.
_KEPT: Final = 7 * 86_400_000
#: How many keys the server looks through for one page of records.
_PAGE: Final = b"500"


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
        holder, content, seconds = owner.hex(), fingerprint.hex(), _milliseconds(check_lease(lease))
        value = (
            f'{{"generation":1,"owner":"{holder}","state":"pending","attempts":1,"lease":{seconds},"age":0,'
            f'"kept":{_KEPT},"fingerprint":"{content}","order_no":{_quote(cut_order_no(order_no))},"error":""}}'
        ).encode()
        if (yield Ask(b"*6\r\n%b%b%b" % (_SET, pack_words(name, value), _IF_NEW), name)):
            return Claim(key, owner, ClaimOutcome.ACQUIRED, 1, 1)
        outcome, generation, attempts, result = yield from scripts.CLAIM.run(
            name, value, holder.encode(), content.encode(), b"%d" % seconds, _KEPT_BYTES
        )
        said = json.loads(result) if result else ""
        return Claim(key, owner, ClaimOutcome(outcome.decode()), generation, attempts, said)

    def complete(self, claim: Claim, *, retain: float, result: str) -> Steps[CompleteOutcome]:
        """Set the claim to done."""
        kept = b"%d" % _milliseconds(check_retain(retain))
        said = f',"result":{_quote(result)}'.encode() if check_result(result) else b""
        left_as = yield from scripts.COMPLETE.run(self._name(claim.key), _held(claim), kept, said)
        if left_as == b"pending":
            return CompleteOutcome.DONE
        return CompleteOutcome.ALREADY if left_as == b"done" else CompleteOutcome.LOST

    def release(self, claim: Claim, *, error: str) -> Steps[ReleaseOutcome]:
        """Set the claim free."""
        why = _quote(cut_error(error)).encode()
        left_as = yield from scripts.RELEASE.run(self._name(claim.key), _held(claim), _KEPT_BYTES, why)
        if left_as == b"pending":
            return ReleaseOutcome.RELEASED
        return ReleaseOutcome.ALREADY if left_as == b"released" else ReleaseOutcome.LOST

    def extend(self, claim: Claim, lease: float) -> Steps[bool]:
        """Move the end of the lease."""
        seconds = b"%d" % _milliseconds(check_lease(lease))
        left_as = yield from scripts.EXTEND.run(self._name(claim.key), _held(claim), _KEPT_BYTES, seconds)
        return bool(left_as == b"pending")

    def find(self, key: str) -> Steps[Record | None]:
        """Read one record."""
        looked = yield from scripts.LOOK.run(self._name(key))
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
        looks = scripts.LOOK.load + b"".join([scripts.LOOK.by_digest + pack_words(name) for name in names])
        _, *looked = yield Ask(looks, node=node, replies=1 + len(names))
        found: list[Record] = []
        for name, seen in zip(names, looked, strict=True):
            if isinstance(seen, Refusal):
                # Its slot is moving to another server, or this one says what is wrong.
                seen = yield from scripts.LOOK.run(name)
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
        fingerprint=bytes.fromhex(fields["fingerprint"]),
        result=fields.get("result", ""),
    )


def _date(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
