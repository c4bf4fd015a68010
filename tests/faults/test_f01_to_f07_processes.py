"""Processes that are killed at every step of a delivery, or stopped past their lease (F1 to F4, F7)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wxnotify.idempotency import State
from wxnotify.testing import payment

from .child import deliver, effects_in
from .shop import CASES, LEASE, PAID, Case, Shop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork on Windows")

#: How long a child may take to do anything, in seconds.
PATIENCE = 60


class Child:
    """A process that takes one notification."""

    def __init__(self, shop: Shop, halt: str, log: Path, ahead: float) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.child"])
        self._line, theirs = context.Pipe()
        self.process = context.Process(
            target=deliver, args=(theirs, shop.trial.elsewhere, shop.mode, halt, str(log), ahead)
        )
        self.process.start()
        theirs.close()

    def said(self) -> str:
        """Wait for the step it halts at, or for what it told WeChat Pay."""
        assert self._line.poll(PATIENCE), "the child says nothing"
        said: str = self._line.recv()
        return said

    def go_on(self) -> str:
        """Let it go on; what it told WeChat Pay."""
        self._line.send("go on")
        return self.said()

    def killed(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.join(PATIENCE)
        assert self.process.exitcode == -signal.SIGKILL


@pytest.fixture(params=[case for case in CASES if case.entry.name != "memory"], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "effects"


@pytest.fixture
def child(shop: Shop, log: Path) -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def start(halt: str, ahead: float = 0.0) -> Child:
        started.append(Child(shop, halt, log, ahead))
        assert started[-1].said() == halt
        return started[-1]

    yield start
    for one in started:
        if one.process.is_alive():
            os.kill(one.process.pid, signal.SIGCONT)
            one.process.kill()
            one.process.join(PATIENCE)


def effects(shop: Shop, log: Path) -> int:
    return shop.effects() + (effects_in(log, PAID) if shop.mode == "lease" else 0)


# Those a promise does not have are deselected in conftest.py.
@pytest.mark.parametrize("step", ["claimed", "begun", "effect", "completed", "committed", "settled"])
def test_f1_to_f4_wherever_a_process_is_killed_the_payment_is_settled_as_its_promise_says(
    shop: Shop, child: Callable[..., Child], log: Path, step: str
) -> None:
    child(step).killed()
    done = step in ("committed", "settled") or (step == "completed" and shop.mode == "lease")
    record = shop.trial.find(PAID)
    assert record is not None
    assert record.state is (State.DONE if done else State.PENDING)
    if done:
        assert shop.deliver() == "duplicate"
    else:
        # Held by the dead until the lease runs out: told FAIL, so that it is sent again.
        assert shop.deliver() == "in_progress"
        shop.trial.advance(LEASE + 1)
        assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    # The one gap of a lease store, and why there is a transaction: F3.
    assert effects(shop, log) == (2 if step == "effect" and shop.mode == "lease" else 1)


def test_f2_a_process_that_dies_again_and_again_is_taken_over_again_and_again(
    shop: Shop, child: Callable[..., Child], log: Path
) -> None:
    for attempt in range(3):
        child("begun", attempt * (LEASE + 1)).killed()
        shop.trial.advance(LEASE + 1)
        record = shop.trial.find(PAID)
        assert record is not None
        assert record.attempts == attempt + 1
    assert shop.deliver() == "handled"
    assert effects(shop, log) == 1


@pytest.mark.parametrize("successor", ["handled", "running"])
def test_f7_a_process_stopped_past_its_lease_finds_its_successor_and_changes_nothing(
    shop: Shop, child: Callable[..., Child], log: Path, successor: str
) -> None:
    stopped = child("claimed")
    os.kill(stopped.process.pid, signal.SIGSTOP)
    shop.trial.advance(LEASE + 1)
    if successor == "handled":
        assert shop.deliver() == "handled"
    else:
        claim = shop.trial.claim(
            PAID, fingerprint=payment().fingerprint, owner=b"s" * 16, lease=LEASE, order_no="A-1001"
        )
        assert claim.generation == 2
    before = shop.trial.find(PAID)
    os.kill(stopped.process.pid, signal.SIGCONT)
    assert stopped.go_on() == ("duplicate" if successor == "handled" else "lost")
    assert shop.trial.find(PAID) == before
    expected = 1 if successor == "handled" else 0
    assert effects(shop, log) == expected + (shop.mode == "lease")
