"""How those who wait for a SQLite file take turns; benchmarks/stores.py measures what comes of it."""

from __future__ import annotations

from statistics import mean

import pytest

from wxnotify.stores._sqlite_waiting import pause


def average(waited):
    return mean(pause(waited) for _ in range(2_000))


def test_whoever_has_waited_longer_asks_more_often():
    averages = [average(waited) for waited in (0.0, 0.005, 0.010, 0.030, 0.090)]
    assert averages == sorted(averages, reverse=True)
    assert averages[0] > 5 * averages[-1]


@pytest.mark.parametrize("waited", [0.0, 0.1, 60.0])
def test_waiting_is_no_spinning(waited):
    assert min(pause(waited) for _ in range(2_000)) >= 0.0001


@pytest.mark.parametrize("waited", [0.0, 0.1, 60.0])
def test_waiters_do_not_ask_in_step(waited):
    pauses = [pause(waited) for _ in range(2_000)]
    assert max(pauses) > 2 * min(pauses)


def test_a_lock_that_is_free_again_is_soon_found_free():
    assert max(pause(0.0) for _ in range(2_000)) < 0.005
