"""
What is counted, in memory that all processes share.

A process that is killed leaves its counts behind. Each delivering thread has a
row of its own, which nobody else writes, so there is no lock that a dying
process could hold; a key's mark goes from 0 to 1 and never back.
"""

from __future__ import annotations

import mmap
from collections import Counter
from typing import Final

#: The codes a delivery can end with, in the order of the summary; whatever else is an ``other``.
CODES: Final = (
    "handled",
    "duplicate",
    "in_progress",
    "lost",
    "handler_failed",
    "not_committed",
    "store_down",
    "other",
    "escaped",
)
_STARTED: Final = len(CODES)
_COLUMNS: Final = len(CODES) + 1
_ROW_BYTES: Final = 8 * _COLUMNS


class Row:
    """The counts of one delivering thread."""

    def __init__(self, numbers: memoryview[int]) -> None:
        self._numbers = numbers

    def start(self) -> None:
        """Count a delivery that begins."""
        self._numbers[_STARTED] += 1

    def end(self, code: str) -> None:
        """Count a delivery that was answered."""
        self._numbers[CODES.index(code if code in CODES else "other")] += 1


class Tally:
    """
    The shared memory; made before the first fork.

    Args:
        slots: How many processes at a time.

        threads: How many deliveries at a time in each.

        keys: How many payments there can be.
    """

    def __init__(self, slots: int, threads: int, keys: int) -> None:
        self._threads = threads
        self._numbers = _shared(slots * threads * _ROW_BYTES).cast("q")
        self._progress = _shared(5 * 8).cast("q")
        #: One byte a payment: 1 once a delivery of it was told SUCCESS.
        self.told = mmap.mmap(-1, keys)
        #: A payment that was told FAIL is not sent again before this, on the machine's monotonic clock.
        self.not_before = _shared(keys * 8).cast("d")
        #: One byte a slot: the point at which its process is to die or stop, 0 for none.
        self.armed = _shared(slots)
        #: One byte a slot: 1 once its process is one that can be stopped.
        self.stoppable = _shared(slots)
        #: One byte a slot: the point at which its process died, 0 if elsewhere.
        self.died_at = _shared(slots)
        self.keys = keys

    def row(self, slot: int, thread: int) -> Row:
        """Give the row of one delivering thread."""
        first = (slot * self._threads + thread) * _COLUMNS
        return Row(self._numbers[first : first + _COLUMNS])

    def codes(self) -> Counter[str]:
        """Count the answered deliveries by code."""
        return Counter({code: sum(self._numbers[place::_COLUMNS]) for place, code in enumerate(CODES)})

    def started(self) -> int:
        """Count the deliveries that began."""
        return sum(self._numbers[_STARTED::_COLUMNS])

    @property
    def front(self) -> int:
        """How many payments there are so far."""
        return self._progress[0]

    @front.setter
    def front(self, payments: int) -> None:
        self._progress[0] = payments

    @property
    def low(self) -> int:
        """The first payment that may not have been told SUCCESS."""
        return self._progress[1]

    @low.setter
    def low(self, payment: int) -> None:
        self._progress[1] = payment

    @property
    def calm(self) -> int:
        """0 while there is chaos, 1 when only what is open is delivered, 2 when processes are to end."""
        return self._progress[2]

    @calm.setter
    def calm(self, stage: int) -> None:
        self._progress[2] = stage

    @property
    def effects(self) -> tuple[int, int]:
        """How many effects there were when they were last counted, and how many too many."""
        return self._progress[3], self._progress[4]

    @effects.setter
    def effects(self, totals: tuple[int, int]) -> None:
        self._progress[3], self._progress[4] = totals

    def open(self) -> int:
        """Count the payments that were not told SUCCESS yet."""
        front = self.front
        return self.told[self.low : front].count(0)


def _shared(size: int) -> memoryview[int]:
    return memoryview(mmap.mmap(-1, size))
