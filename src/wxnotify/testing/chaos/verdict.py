"""
What came of a run: doubles, losses, and whether the promise held.

In a transaction, every payment that was told SUCCESS has its effect exactly
once. With a lease, at least once; and each double must be one that the lease
promise allows: an earlier holder had its effect, and then died, or outlived its
lease, or could not reach the store, before its completion was recorded.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from .effects import Log, Record, Table
from .tally import Tally

#: How many payments are named in a complaint.
_NAMED = 5


class Verdict(NamedTuple):
    """The effects, counted."""

    payments: int
    effects: int
    #: Effects beyond a payment's first.
    doubles: int
    #: Those of them that a lease store may have: the earlier holder was killed, or late.
    explained: Counter[str]
    #: Payments without effect though told SUCCESS, and those that could not be delivered at all.
    losses: int
    #: What did not hold, in words; empty if all did.
    complaints: list[str]


def judge(effects: Table | Log, tally: Tally, killed: set[int], lease: float) -> Verdict:
    """
    Count what came of the run, after its end.

    Args:
        effects: Where they were left.

        tally: The shared memory.

        killed: The numbers of the processes that were killed.

        lease: The run's, in seconds.
    """
    by_payment = effects.by_payment()
    told = tally.told[: tally.front]
    lost = [payment for payment, one in enumerate(told) if one and payment not in by_payment]
    unsettled = [payment for payment, one in enumerate(told) if not one]
    doubled = [payment for payment, times in by_payment.items() if times > 1]
    doubles = sum(times - 1 for times in by_payment.values())
    explained: Counter[str] = Counter()
    complaints: list[str] = []
    if isinstance(effects, Log):
        explained = explain(effects.records(), killed, lease)
    elif effects.counted() != sum(by_payment.values()):
        complaints.append(
            f"half a transaction: {sum(by_payment.values())} effects, but {effects.counted()} counted"
        )
    unexplained = doubles - explained.total()
    if unexplained:
        complaints.append(f"{unexplained} effects too many, among them of payments {_some(doubled)}")
    if lost:
        complaints.append(f"{len(lost)} told SUCCESS without effect: payments {_some(lost)}")
    if unsettled:
        complaints.append(f"{len(unsettled)} could not be settled in the end: payments {_some(unsettled)}")
    codes = tally.codes()
    if codes["escaped"]:
        complaints.append(f"{codes['escaped']} deliveries ended in an exception instead of a reply")
    if codes["other"]:
        complaints.append(f"{codes['other']} deliveries got an answer that no genuine one should get")
    return Verdict(
        tally.front, sum(by_payment.values()), doubles, explained, len(lost) + len(unsettled), complaints
    )


def explain(records: Iterable[Record], killed: set[int], lease: float) -> Counter[str]:
    """
    Count the doubles that the lease promise allows, by why.

    Args:
        records: The log.

        killed: The numbers of the processes that were killed.

        lease: The run's, in seconds.
    """
    effects: defaultdict[int, list[Record]] = defaultdict(list)
    done: dict[int, int] = {}
    released: set[tuple[int, int]] = set()
    for record in records:
        if record.kind == "effect":
            effects[record.payment].append(record)
        elif record.kind == "done":
            done[record.payment] = min(record.generation, done.get(record.payment, record.generation))
        else:
            released.add((record.payment, record.generation))
    why: Counter[str] = Counter()
    for payment, of_one in effects.items():
        of_one.sort(key=lambda effect: effect.generation)
        for earlier, later in pairwise(of_one):
            free = (payment, earlier.generation) in released or later.answered >= earlier.asked + lease
            fenced = earlier.generation < later.generation <= done.get(payment, later.generation)
            if free and fenced:
                why["killed" if earlier.process in killed else "late"] += 1
    return why


def _some(payments: list[int]) -> str:
    named = ", ".join(map(str, payments[:_NAMED]))
    return f"{named}, ..." if len(payments) > _NAMED else named
