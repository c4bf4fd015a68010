"""A real process is killed at every step from the delivery to the end of the work; another goes on."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wxnotify.errors import NotSettled

from .inbox_desk import REF, TRANSACTIONAL, Desk
from .inbox_engines.crashing_child import act
from .stores.subjects import Trial

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork on Windows")

#: Seconds a child may take.
PATIENCE = 60
#: The default lease and the sweeper's minute, and some.
LATER = 61.0


class Shop:
    """A desk beside processes that die, on one store and one engine, whose queue is a file."""

    def __init__(self, trial: Trial, queue: Path) -> None:
        self.trial = trial
        self.queue = queue
        queue.touch()
        self.desk = Desk(trial)
        self.desk.dispatching = self.enqueue
        self.desk.open(in_transaction=True)

    def enqueue(self, ref: str) -> None:
        with self.queue.open("a") as file:
            file.write(f"{ref}\n")

    def killed_after(self, step: str, verb: str) -> None:
        """Let a process do *verb*, and kill it right after *step*."""
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.child"])  # which has what the stores import
        line, theirs = context.Pipe()
        child = context.Process(target=act, args=(theirs, self.trial.elsewhere, verb, step, str(self.queue)))
        child.start()
        theirs.close()
        try:
            assert line.poll(PATIENCE), "the child says nothing"
            assert line.recv() == step
        finally:
            child.kill()
            child.join(PATIENCE)
        assert child.exitcode == -signal.SIGKILL

    def deliver(self) -> str:
        return self.desk.deliver()

    def sweep(self) -> int:
        return len(self.desk.sweep())

    def work(self) -> str:
        """Let the engine do its first task, as one that retries."""
        ref, *rest = self.queue.read_text().splitlines()
        try:
            code = self.desk.work(ref).code
        except NotSettled as error:
            return str(error).split()[2]
        self.queue.write_text("".join(f"{ref}\n" for ref in rest))
        return code

    def later(self) -> None:
        self.trial.advance(LATER)

    @property
    def queued(self) -> int:
        """How many tasks the engine has."""
        return len(self.queue.read_text().splitlines())

    @property
    def waiting(self) -> bool:
        return self.desk.waiting

    @property
    def shipped(self) -> int:
        return self.trial.effects(REF)

    def settle(self) -> list[str]:
        """Work, wait and sweep until there is nothing left; what the work came to."""
        told = []
        for _ in range(6):
            while self.queued:
                told.append(self.work())
                if told[-1] == "in_progress":
                    self.later()
            if not self.waiting:
                return told
            self.later()
            self.sweep()
        raise AssertionError("the inbox is never empty")


@pytest.fixture(params=TRANSACTIONAL, ids=[entry.name for entry in TRANSACTIONAL])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with request.param.open(tmp_path) as trial:
        yield Shop(trial, tmp_path / "queue")


@pytest.mark.parametrize("step", ["claim", "insert", "completion"])
def test_a_delivery_killed_before_the_commit_has_queued_nothing(shop: Shop, step: str) -> None:
    shop.killed_after(step, "deliver")
    assert (shop.waiting, shop.queued) == (False, 0)
    assert shop.deliver() == "in_progress"
    shop.later()
    assert shop.sweep() == 0
    assert shop.deliver() == "queued"
    assert (shop.waiting, shop.queued, shop.shipped) == (True, 1, 0)
    assert shop.settle() == ["handled"]
    assert shop.shipped == 1


def test_a_delivery_killed_between_commit_and_enqueue_is_swept_up(shop: Shop) -> None:
    shop.killed_after("commit", "deliver")
    assert (shop.waiting, shop.queued) == (True, 0)
    assert shop.deliver() == "duplicate"
    assert shop.queued == 0
    assert shop.sweep() == 0  # not yet: it might still be on its way
    shop.later()
    assert shop.sweep() == 1
    assert shop.queued == 1
    assert shop.settle() == ["handled"]
    assert shop.shipped == 1
    assert shop.deliver() == "duplicate"


def test_a_delivery_killed_after_the_enqueue_is_worked_once(shop: Shop) -> None:
    shop.killed_after("enqueue", "deliver")
    assert (shop.waiting, shop.queued) == (True, 1)
    assert shop.deliver() == "duplicate"
    assert shop.settle() == ["handled"]
    assert (shop.waiting, shop.shipped) == (False, 1)


@pytest.mark.parametrize("step", ["enqueue", "mark"])
def test_a_sweeper_that_is_killed_at_worst_hands_over_twice(shop: Shop, step: str) -> None:
    shop.deliver()
    shop.queue.write_text("")
    shop.trial.handed(REF, again_in=0)
    shop.killed_after(step, "sweep")
    assert shop.queued == 1
    assert shop.sweep() == (step == "enqueue")
    assert shop.settle() == ["handled", "duplicate"][: 1 + (step == "enqueue")]
    assert shop.shipped == 1


@pytest.mark.parametrize("step", ["claim", "change", "completion", "commit", "remove"])
def test_work_that_is_killed_has_its_effect_once(shop: Shop, step: str) -> None:
    shop.deliver()
    shop.killed_after(step, "work")
    committed = step in ("commit", "remove")
    assert shop.shipped == committed
    assert shop.waiting == (step != "remove")
    # The engine delivers again what was not acknowledged, at once.
    assert shop.work() == ("duplicate" if committed else "in_progress")
    shop.later()
    assert shop.settle() == ([] if committed else ["handled"])
    assert (shop.waiting, shop.queued, shop.shipped) == (False, 0, 1)


def test_an_engine_that_delivers_twice_has_its_effect_once(shop: Shop) -> None:
    shop.deliver()
    shop.enqueue(REF)
    assert shop.settle() == ["handled", "duplicate"]
    assert (shop.waiting, shop.shipped) == (False, 1)


def test_an_engine_that_lost_everything_is_told_again(shop: Shop) -> None:
    shop.deliver()
    shop.queue.write_text("")
    assert shop.settle() == ["handled"]
    assert shop.shipped == 1
