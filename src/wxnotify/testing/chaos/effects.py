"""
Where a handler leaves its effect, and how effects are counted.

In a transaction, a row in a table of the store's own database, without a unique
constraint that would hide a double; and one more in a counter, so that half a
transaction shows. With a lease, a record at the end of a file, which is there
once it is written, whoever dies next.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from .points import Delivery

#: Counters, so that not every transaction waits for the same row.
_SHARDS: Final = 16
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS wxnotify_chaos_effects (payment INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS wxnotify_chaos_counters (shard INTEGER PRIMARY KEY, effects INTEGER)",
)
_EMPTY: Final = (
    "DELETE FROM wxnotify_chaos_effects",
    "DELETE FROM wxnotify_chaos_counters",
    *(f"INSERT INTO wxnotify_chaos_counters VALUES ({shard}, 0)" for shard in range(_SHARDS)),  # noqa: S608 - numbers of our own
)
_WRITE: Final = "INSERT INTO wxnotify_chaos_effects VALUES (:payment)"
_COUNT: Final = "UPDATE wxnotify_chaos_counters SET effects = effects + 1 WHERE shard = :shard"
_TOTALS: Final = "SELECT COUNT(*), COUNT(DISTINCT payment) FROM wxnotify_chaos_effects"
_COUNTED: Final = "SELECT SUM(effects) FROM wxnotify_chaos_counters"
_BY_PAYMENT: Final = "SELECT payment, COUNT(*) FROM wxnotify_chaos_effects GROUP BY payment"


class Table:
    """
    Effects in the store's database, written in its transactions.

    Args:
        store: One with ``transaction()``, blocking or not.

        asynchronous: Which of the two.
    """

    def __init__(self, store: Any, *, asynchronous: bool) -> None:
        self._store = store
        self._asynchronous = asynchronous

    def create(self) -> None:
        """Make the tables."""
        self._execute(*_CREATE)

    def empty(self) -> None:
        """Forget all effects."""
        self._execute(*_EMPTY)

    def write(self, connection: Any, payment: int) -> None:
        """Leave the effect of a payment in the transaction that is open on *connection*."""
        connection.execute(_text(connection, _WRITE), {"payment": payment})
        connection.execute(_text(connection, _COUNT), {"shard": payment % _SHARDS})

    async def write_async(self, connection: Any, payment: int) -> None:
        """Leave the effect, on an event loop."""
        await connection.execute(_text(connection, _WRITE), {"payment": payment})
        await connection.execute(_text(connection, _COUNT), {"shard": payment % _SHARDS})

    def totals(self) -> tuple[int, int]:
        """Count the effects, and those that are one too many."""
        ((effects, payments),) = self._execute(_TOTALS)
        return effects, effects - payments

    def counted(self) -> int:
        """Read what the counters say."""
        ((effects,),) = self._execute(_COUNTED)
        return int(effects)

    def by_payment(self) -> dict[int, int]:
        """Count the effects of each payment that has any."""
        return dict(self._execute(_BY_PAYMENT))

    def version(self) -> str:
        """Ask the database what it is."""
        ((version,),) = self._execute("SELECT version()")
        return str(version).partition(" on ")[0]

    def _execute(self, *statements: str) -> list[Any]:
        if self._asynchronous:
            return asyncio.run(self._execute_async(*statements))
        result: Any = None
        with self._store.transaction() as connection:
            for statement in statements:
                result = connection.execute(_text(connection, statement))
            return _rows(result)

    async def _execute_async(self, *statements: str) -> list[Any]:
        result: Any = None
        try:
            async with self._store.transaction() as connection:
                for statement in statements:
                    result = await connection.execute(_text(connection, statement))
                return _rows(result)
        finally:
            await self._store.close()  # its connections belong to this loop


def _text(connection: Any, statement: str) -> Any:
    if isinstance(connection, sqlite3.Connection):
        return statement
    from sqlalchemy import text

    return text(statement)


def _rows(result: Any) -> list[Any]:
    return list(result.fetchall()) if getattr(result, "returns_rows", True) else []


# --- with a lease

Kind = Literal["effect", "done", "released"]
_KINDS: Final[tuple[Kind, ...]] = ("effect", "done", "released")
# 32 bytes, so that none crosses a page: the kernel may end a killed process's write there.
_RECORD: Final = struct.Struct("<B3xiii2d")


class Record(NamedTuple):
    """A line of the log."""

    kind: Kind
    payment: int
    #: Which process wrote it: every process of a run has a number of its own.
    process: int
    generation: int
    #: When the claim was asked for and answered, on the machine's monotonic clock.
    asked: float
    answered: float


class Log:
    """
    Effects and completions, in a file that is only added to.

    Args:
        path: Made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def empty(self) -> None:
        """Forget all."""
        os.ftruncate(self._file, 0)

    def write(self, kind: Kind, delivery: Delivery, process: int) -> None:
        """Add a record, in one step."""
        os.write(
            self._file,
            _RECORD.pack(
                _KINDS.index(kind),
                delivery.payment,
                process,
                delivery.generation,
                delivery.asked,
                delivery.answered,
            ),
        )

    def records(self) -> list[Record]:
        """Read all of it."""
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        return [
            Record(_KINDS[kind], *rest)
            for kind, *rest in _RECORD.iter_unpack(content[: len(content) // _RECORD.size * _RECORD.size])
        ]

    def totals(self) -> tuple[int, int]:
        """Count the effects, and those that are one too many."""
        effects = [record.payment for record in self.records() if record.kind == "effect"]
        return len(effects), len(effects) - len(set(effects))

    def by_payment(self) -> dict[int, int]:
        """Count the effects of each payment that has any."""
        effects: defaultdict[int, int] = defaultdict(int)
        for record in self.records():
            effects[record.payment] += record.kind == "effect"
        return {payment: times for payment, times in effects.items() if times}
