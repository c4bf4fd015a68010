"""
What the stores in SQL databases do, without the doing: which statement they ask after which answer.

Each verb is a generator that yields one :class:`Ask` after the other and is sent
its answer, so it is written once for every driver, blocking or not. A store
executes each statement in autocommit, and one that failed for want of a lock or
a connection is asked again, from the verb's beginning. The statements are in
``_sql_statements.py``.

A claim inserts first and looks second, and never changes what it looked at
without comparing again: between a look and a change another delivery may come.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import datetime, timezone
from typing import Any, Final, Literal, NamedTuple, TypeVar

from ..errors import StoreUnavailable, shown
from ..idempotency import (
    Claim,
    ClaimOutcome,
    CompleteOutcome,
    Record,
    ReleaseOutcome,
    Row,
    State,
    check_key,
    check_lease,
    check_purge,
    check_result,
    check_retain,
    cut_error,
    cut_order_no,
    judge,
)
from . import _sql_statements as sql

_Result = TypeVar("_Result")

#: How often a claim looks again because somebody was faster.
_TURNS: Final = 20
#: How many records one look reads.
_PAGE: Final = 200
_UTC: Final = timezone.utc
_date: Final = datetime.fromtimestamp


class Ask(NamedTuple):
    """One statement to execute."""

    #: With ``:name`` where a parameter goes.
    sql: str
    parameters: dict[str, Any]
    #: What to answer: its rows, how many rows it matched, or 1 for an INSERT
    #: that inserted and 0 for one that found the key taken.
    answer: Literal["rows", "count", "inserted"] = "rows"


#: A verb, under way.
Steps = Generator[Ask, Any, _Result]


def run(steps: Steps[_Result], execute: Callable[[Ask], Any]) -> _Result:
    """Drive *steps* to their end; *execute* gives each answer."""
    answer: Any = None
    while True:
        try:
            asked = steps.send(answer)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
        answer = execute(asked)


class Cursor(NamedTuple):
    """How far the records have been read."""

    updated: float = -1.0
    key: str = ""


_STATES: Final = {one.value: one for one in State}
#: Where a record's row has them.
_STATE, _UPDATED = 2, 6


class Verbs:
    """
    The verbs on one pair of tables.

    Args:
        dialect: The database's.

        claims: The claims' table, quoted as the database wants it.

        inbox: The inbox's table, likewise.
    """

    def __init__(self, dialect: sql.Dialect, claims: str, inbox: str) -> None:
        self._dialect = dialect
        self._statements = sql.prepare(dialect, claims, inbox)

    # --- the verbs of wxnotify.idempotency.Store

    def claim(
        self, key: str, *, fingerprint: bytes, owner: bytes, lease: float, order_no: str
    ) -> Steps[Claim]:
        """Insert the claim, or take it over, or say why not."""
        check_key(key)
        new = {
            "key": self._key(key),
            "fingerprint": fingerprint,
            "owner": owner,
            "lease": float(check_lease(lease)),
        }
        insert = self._ask(sql.INSERT, {**new, "order_no": cut_order_no(order_no)}, "inserted")
        looking = self._dialect.look_first
        for _ in range(_TURNS):
            if not looking and (yield insert):
                return Claim(key, owner, ClaimOutcome.ACQUIRED, 1, 1)
            looking = False
            found = yield self._ask(sql.READ, {"key": new["key"]})
            if not found:
                continue  # nobody has it, or it was purged this very moment
            row = _row(found[0])
            claim = judge(row, key=key, fingerprint=fingerprint, owner=owner, now=found[0][7])
            if claim.outcome is not ClaimOutcome.ACQUIRED:
                return claim
            taken = yield self._ask(
                sql.TAKE,
                {
                    "key": new["key"],
                    "owner": owner,
                    "lease": new["lease"],
                    "generation": claim.generation,
                    "attempts": claim.attempts,
                    "was_state": row.state.value,
                    "was_owner": row.owner,
                    "was_generation": row.generation,
                },
                "count",
            )
            if taken:
                return claim
            looking = True  # somebody was faster
        raise StoreUnavailable(
            f"key {shown(key)}: what is read and what can be written do not agree; "
            "is this a snapshot of an older transaction?"
        )

    def held(self, key: str, *, fingerprint: bytes, owner: bytes) -> Steps[Claim | None]:
        """
        Say what a key's row says, where a claim found it locked; None if there is none.

        Whoever holds the lock is just completing, releasing or taking over. So a
        row that could be claimed by what it says is somebody's nevertheless.
        """
        found = yield self._ask(sql.READ, {"key": self._key(check_key(key))})
        if not found:
            return None
        row = _row(found[0])
        claim = judge(row, key=key, fingerprint=fingerprint, owner=owner, now=found[0][7])
        if claim.outcome is ClaimOutcome.ACQUIRED and claim.generation != row.generation:
            return Claim(key, owner, ClaimOutcome.IN_PROGRESS, row.generation, row.attempts)
        return claim

    def complete(self, claim: Claim, *, retain: float, result: str) -> Steps[CompleteOutcome]:
        """Set the claim to done."""
        said = {"retain": check_retain(retain), "result": check_result(result)}
        left_as = yield from self._change(sql.COMPLETE, claim, **said)
        if left_as is State.PENDING:
            return CompleteOutcome.DONE
        return CompleteOutcome.ALREADY if left_as is State.DONE else CompleteOutcome.LOST

    def release(self, claim: Claim, *, error: str) -> Steps[ReleaseOutcome]:
        """Set the claim free."""
        left_as = yield from self._change(sql.RELEASE, claim, error=cut_error(error))
        if left_as is State.PENDING:
            return ReleaseOutcome.RELEASED
        return ReleaseOutcome.ALREADY if left_as is State.RELEASED else ReleaseOutcome.LOST

    def extend(self, claim: Claim, lease: float) -> Steps[bool]:
        """Move the end of the lease."""
        left_as = yield from self._change(sql.EXTEND, claim, lease=float(check_lease(lease)))
        return left_as is State.PENDING

    def purge(self, older_than: float, limit: int) -> Steps[int]:
        """Delete a batch of what is done and old."""
        check_purge(older_than, limit)
        deleted: int = yield self._ask(
            self._dialect.purge, {"older_than": float(older_than), "limit": limit}, "count"
        )
        return deleted

    def find(self, key: str) -> Steps[Record | None]:
        """Read one record."""
        found = yield self._ask(sql.FIND, {"key": self._key(check_key(key))})
        return _record(found[0]) if found else None

    def until(self, older_than: float) -> Steps[float]:
        """Read the clock, less *older_than* seconds: what :meth:`page` takes."""
        ((now,),) = yield self._ask(sql.NOW, {})
        return float(now) - older_than

    def page(
        self, after: Cursor | None, *, state: State | None, order_no: str | None, until: float
    ) -> Steps[tuple[list[Record], Cursor | None]]:
        """
        Read the next records.

        Returns:
            The records, and the place to go on from; None at the end.
        """
        after = after or Cursor()
        bounds = {"after": self._key(after.key), "limit": _PAGE}
        if order_no is not None:
            rows = yield self._ask(sql.BY_ORDER, {**bounds, "order_no": cut_order_no(order_no)})
        elif state is None:
            rows = yield self._ask(sql.BY_KEY, {**bounds, "until": until})
        else:
            place = {"state": state.value, "until": until, "after_updated": after.updated}
            rows = yield self._ask(sql.BY_STATE, {**bounds, **place})
        more = len(rows) == _PAGE
        onward = Cursor(rows[-1][_UPDATED], _text(rows[-1][0])) if more else None
        if order_no is not None:
            wanted = {one.value for one in ([state] if state else State)}
            rows = [row for row in rows if row[_UPDATED] <= until and row[_STATE] in wanted]
        return [_record(row) for row in rows], onward

    # --- the completion inside the caller's transaction

    def complete_bound(self, claim: Claim, *, retain: float, result: str) -> Steps[bool]:
        """Set the claim to done; False if it was not held."""
        said = {"retain": check_retain(retain), "result": check_result(result)}
        changed: int = yield self._ask(sql.COMPLETE, {**self._named(claim), **said}, "count")
        return changed == 1

    # --- the verbs of wxnotify.inbox.InboxStore

    def put(self, key: str, notification: bytes, *, again_in: float) -> Steps[None]:
        """Insert a notification; one that is there already stays as it is."""
        yield self._ask(
            sql.PUT,
            {"key": self._key(check_key(key)), "notification": notification, "again_in": float(again_in)},
            "inserted",
        )

    def fetch(self, key: str) -> Steps[bytes | None]:
        """Read a notification."""
        found = yield self._ask(sql.FETCH, {"key": self._key(check_key(key))})
        return bytes(found[0][0]) if found else None

    def handed(self, key: str, *, again_in: float) -> Steps[None]:
        """Count a hand-over, and set when the next one is due."""
        yield self._ask(sql.HANDED, {"key": self._key(check_key(key)), "again_in": float(again_in)}, "count")

    def due(self, limit: int) -> Steps[list[tuple[str, int]]]:
        """Read the keys to hand over again, longest due first, with how often each was handed over."""
        return [(_text(key), hand_overs) for key, hand_overs in (yield self._ask(sql.DUE, {"limit": limit}))]

    def remove(self, key: str) -> Steps[None]:
        """Delete a notification."""
        yield self._ask(sql.REMOVE, {"key": self._key(check_key(key))}, "count")

    # ---

    def _change(self, statement: str, claim: Claim, **values: object) -> Steps[State | None]:
        """Run a compare-and-set; return the state it found the claim in, None if it has a successor."""
        named = self._named(claim)
        if (yield self._ask(statement, {**named, **values}, "count")):
            return State.PENDING
        left_as = yield self._ask(sql.LEFT_AS, named)
        return State(left_as[0][0]) if left_as else None

    def _ask(
        self, template: str, parameters: dict[str, Any], answer: Literal["rows", "count", "inserted"] = "rows"
    ) -> Ask:
        return Ask(self._statements[template], parameters, answer)

    def _named(self, claim: Claim) -> dict[str, Any]:
        return {"key": self._key(claim.key), "owner": claim.owner, "generation": claim.generation}

    def _key(self, key: str) -> Any:
        return key.encode() if self._dialect.binary_key else key


def _row(read: Sequence[Any]) -> Row:
    return Row(State(read[0]), bytes(read[1]), bytes(read[2]), *read[3:7])


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else bytes(key).decode()


# By position, and without a function of our own for the times: of a million records, each counts.
def _record(row: tuple[Any, ...]) -> Record:
    (
        key, order_no, state, generation, attempts, first_seen, updated, lease_until, last_error,
        fingerprint, result,
    ) = row  # fmt: skip
    return Record(
        _text(key), order_no, _STATES[state], generation, attempts, _date(first_seen, _UTC),
        _date(updated, _UTC), _date(lease_until, _UTC), last_error, bytes(fingerprint), result,
    )  # fmt: skip
