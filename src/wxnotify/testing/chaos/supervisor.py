"""
Who starts the processes, and kills them.

One loop in one thread, because a process that forks should have no other. It
replaces whoever died, kills the next one when its time has come, stops one for
longer than its lease, stops and starts the server, and lets new payments in as
fast as they are settled. Then the calm: nobody is killed any more, and what is
open is delivered until it is settled.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from .plan import Plan
from .points import LEASE_POINTS, STOP, TRANSACTION_POINTS, Point
from .servers import Outages, Server
from .shop import Ground
from .tally import Tally
from .workers import Worker

#: Seconds between two looks around.
_TICK: Final = 0.004
#: Payments that are open at a time, at the least and at the most.
_FEWEST_OPEN: Final = 16
_MOST_OPEN: Final = 256
#: Which share of kills, and of stops, waits for a point of a delivery.
_AT_A_POINT: Final = 0.65
#: Seconds in which a point should be reached.
_UNREACHED: Final = 0.5
#: How often all processes are killed at once, as when the machine dies.
_EVERYBODY: Final = 0.01
_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
#: Seconds until everything must be settled after the chaos, and processes must have ended after that.
_CALM: Final = 60.0
_LEAVE: Final = 20.0
#: After so many processes that ended as they should not, there is no point in going on.
_MANY: Final = 20
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


class _Process:
    """A process that delivers."""

    def __init__(self, pid: int, number: int) -> None:
        self.pid = pid
        self.number = number
        #: What is to happen to it, and since when.
        self.doom: Literal["", "kill", "stop"] = ""
        self.doomed_at = 0.0
        #: When it is continued, if it is stopped.
        self.continue_at: float | None = None


class Supervisor:
    """
    A run.

    Args:
        plan: Its settings.

        ground: What the processes share.

        tally: The shared memory.

        server: What to stop and start, if anything.

        errors: A descriptor where processes may complain.
    """

    def __init__(self, plan: Plan, ground: Ground, tally: Tally, server: Server | None, errors: int) -> None:
        self._plan = plan
        self._ground = ground
        self._tally = tally
        self._errors = errors
        self._rng = random.Random(plan.seed)  # noqa: S311 - the run's own dice
        self._points = LEASE_POINTS if plan.mode == "lease" else TRANSACTION_POINTS
        self._processes: dict[int, _Process] = {}
        self._started = 0
        #: By point.
        self.kills: Counter[Point] = Counter()
        #: The numbers of the processes that were killed.
        self.killed: set[int] = set()
        #: How often a process was stopped.
        self.stops = 0
        self.outages = Outages(server, plan.server_every, self._rng)
        #: Processes that ended as they should not.
        self.failures: list[str] = []
        self._interrupts = 0

    def run(self, look: Callable[[], object]) -> float:
        """
        Do it all.

        Args:
            look: Called all the time, for the progress; must not take long.

        Returns:
            How long the storm lasted, in seconds.
        """
        gc.freeze()  # so that the processes do not copy what the collector touches
        before = {number: signal.signal(number, self._interrupt) for number in _INTERRUPTS}
        try:
            seconds = self._storm(look)
            self._calm(look)
        finally:
            self._tally.calm = 2
            self._let_them_leave()
            for number, handler in before.items():
                signal.signal(number, handler)
        return seconds

    def _interrupt(self, number: int, frame: object) -> None:
        # The first ends the storm, and the calm and the counting follow. Not an
        # exception, which might come between a fork and the note of it.
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt

    # --- the two phases

    def _storm(self, look: Callable[[], object]) -> float:
        began = time.monotonic()
        now, end = began, began + self._plan.seconds
        kills_due = stops_due = 0
        self._let_in()
        while now < end and not self._interrupts and not self._hopeless():
            self._replace()
            self._let_in()
            before, now = now, time.monotonic()
            kills_due += self._arrivals((now - before) * self._plan.kills_per_second)
            stops_due += self._arrivals((now - before) / self._plan.stop_every)
            # What cannot be kept up with is let go, or nobody would live long enough to deliver.
            kills_due = min(kills_due, self.kills.total() + self._plan.processes)
            self._strike(now, kills_due, stops_due)
            self.outages.go_on()
            look()
            time.sleep(_TICK)
        return time.monotonic() - began

    def _calm(self, look: Callable[[], object]) -> None:
        tally = self._tally
        tally.calm = 1
        for slot in range(self._plan.processes):
            tally.armed[slot] = 0
        for process in self._processes.values():
            _signal(process, signal.SIGCONT)
        while not self.outages.over():
            time.sleep(_TICK)
        deadline = time.monotonic() + _CALM
        while tally.open() and time.monotonic() < deadline and not self._hopeless():
            self._replace()
            self._advance()
            look()
            time.sleep(_TICK)

    def _hopeless(self) -> bool:
        return len(self.failures) > _MANY

    # --- the processes

    def _replace(self) -> None:
        """Bury the dead, and start another in the place of each."""
        self._bury()
        for slot in range(self._plan.processes):
            if slot not in self._processes:
                self._start(slot)

    def _bury(self) -> None:
        now = time.monotonic()
        for slot, process in list(self._processes.items()):
            pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                self.stops += 1
                process.doom = ""
                process.continue_at = now + self._plan.lease * self._rng.uniform(1.1, 2.5)
            elif pid:
                del self._processes[slot]
                self._note_end(slot, process, status)
            elif process.continue_at is not None and now >= process.continue_at:
                process.continue_at = None
                _signal(process, signal.SIGCONT)

    def _note_end(self, slot: int, process: _Process, status: int) -> None:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.kills[Point(self._tally.died_at[slot])] += 1
            self.killed.add(process.number)
        elif status:
            self.failures.append(f"process {process.number} ended with status {status}")

    def _start(self, slot: int) -> None:
        self._tally.armed[slot] = self._tally.died_at[slot] = self._tally.stoppable[slot] = 0
        self._started += 1
        worker = Worker(
            self._ground, self._plan, self._tally, slot=slot, process=self._started, parent=os.getpid()
        )
        pid = fork()
        if pid:
            self._processes[slot] = _Process(pid, self._started)
            return
        os.dup2(self._errors, 2)
        worker.run()

    def _let_them_leave(self) -> None:
        for process in self._processes.values():
            _signal(process, signal.SIGCONT)
        deadline = time.monotonic() + _LEAVE
        while self._processes and time.monotonic() < deadline:
            self._bury()
            time.sleep(_TICK)
        for process in self._processes.values():
            self.failures.append(f"process {process.number} did not end by itself")
            _signal(process, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        self._processes.clear()

    # --- what is done to them

    def _strike(self, now: float, kills_due: int, stops_due: int) -> None:
        """Doom as many as are due; whoever does not reach its point in time is struck where it is."""
        doomed = Counter(process.doom for process in self._processes.values())
        for _ in range(kills_due - self.kills.total() - doomed["kill"]):
            self._doom("kill", now)
        for _ in range(stops_due - self.stops - doomed["stop"]):
            self._doom("stop", now)
        for slot, process in self._processes.items():
            if process.doom and now > process.doomed_at + _UNREACHED:
                self._tally.armed[slot] = 0
                process.doomed_at = now
                _signal(process, _SIGNALS[process.doom])

    def _doom(self, what: Literal["kill", "stop"], now: float) -> None:
        # Not those that are stopped: they are to go on, and find that they were taken over.
        free = [slot for slot, one in self._processes.items() if not one.doom and one.continue_at is None]
        if what == "stop":
            free = [slot for slot in free if self._tally.stoppable[slot]]
        if not free:
            return
        everybody = what == "kill" and self._rng.random() < _EVERYBODY
        for slot in free if everybody else [self._rng.choice(free)]:
            process = self._processes[slot]
            process.doom, process.doomed_at = what, now
            if everybody or self._rng.random() > _AT_A_POINT:
                _signal(process, _SIGNALS[what])
            elif what == "kill":
                self._tally.armed[slot] = self._rng.choice(self._points)
            else:
                # Half of them where the lease alone protects: the claim is made, and no lock is held yet.
                point = Point.CLAIMED if self._rng.random() < 0.5 else self._rng.choice(self._points)
                self._tally.armed[slot] = point | STOP

    # --- the payments

    def _let_in(self) -> None:
        """Let as many payments in as the deliveries so far allow, and the open ones."""
        tally, codes = self._tally, self._tally.codes()
        self._advance()
        wanted = int((codes["handled"] + codes["duplicate"]) / self._plan.repeats) + _FEWEST_OPEN
        most = tally.front + _MOST_OPEN - tally.open()
        tally.front = max(tally.front, min(wanted, most, tally.keys))

    def _advance(self) -> None:
        first = self._tally.told.find(b"\0", self._tally.low, self._tally.front)
        self._tally.low = self._tally.front if first < 0 else first

    def _arrivals(self, expected: float) -> int:
        """Throw the dice for something that is expected to happen so often."""
        whole = int(expected)
        return whole + (self._rng.random() < expected - whole)


def fork() -> int:
    """Fork; no Ctrl-C reaches the new process, not even one that is under way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        with warnings.catch_warnings():
            # Of other threads. A store's may have one, and the store is to bear a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


def _signal(process: _Process, number: signal.Signals) -> None:
    # It was not waited for yet, so its number is nobody else's.
    os.kill(process.pid, number)
