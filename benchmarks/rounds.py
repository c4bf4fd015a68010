"""What the benchmarks have in common: contenders that take turns, and figures beside their limits."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

CALLS = 100


def timed(calls: dict[str, Callable[[], None]], rounds: int, times: dict[str, int]) -> dict[str, list[float]]:
    """Run every call in every round, in random order; seconds a call."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            call, count = calls[name], times.get(name, CALLS)
            began = time.perf_counter()
            for _ in range(count):
                call()
            seconds[name].append((time.perf_counter() - began) / count)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> float:
    """Give the median over the rounds of *name* to *base*."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


class Figure(NamedTuple):
    """Something measured, and what it may be."""

    title: str
    value: float
    at_most: float | None = None
    at_least: float | None = None


def show(figures: Iterable[Figure]) -> int:
    """Print each figure with its limit; return how many miss theirs."""
    missed = 0
    for title, value, at_most, at_least in figures:
        verdict = ""
        if at_most is not None:
            verdict = f"  at most {at_most:g}" + ("" if value <= at_most else "  OVER")
        elif at_least is not None:
            verdict = f"  at least {at_least:g}" + ("" if value >= at_least else "  UNDER")
        missed += verdict.endswith(("OVER", "UNDER"))
        print(f"{value:9.3f}  {title}{verdict}", flush=True)
    return missed
