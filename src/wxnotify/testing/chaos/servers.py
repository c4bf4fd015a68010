"""
A server that commands stop and start, and what the supervisor needs of any.

Servers of the run's own are in ``private_servers.py``.
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Final, Literal, Protocol

from ...errors import ConfigurationError

#: Seconds that a server may take to stop or start, and at most stays down.
_PATIENCE: Final = 60.0
_DOWN: Final = 2.0


class Server(Protocol):
    """What the supervisor stops and starts. Neither waits; ``settled`` tells when it is done."""

    def stop(self) -> None:
        """Stop it, as a crash would."""
        ...

    def start(self) -> None:
        """Start it again."""
        ...

    def settled(self) -> bool:
        """Tell whether what was asked last is done."""
        ...

    def close(self) -> None:
        """Leave nothing behind that was not there before."""
        ...


class CommandServer:
    """
    A server that somebody else's commands stop and start.

    Args:
        stop: A shell command.

        start: Likewise.

        log: A file for what they say.
    """

    def __init__(self, stop: str, start: str, log: Path) -> None:
        self._commands = {"stop": stop, "start": start}
        self._log = log
        self._asked = "start"
        self._running: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Run the one command."""
        self._run("stop")

    def start(self) -> None:
        """Run the other."""
        self._run("start")

    def settled(self) -> bool:
        """Tell whether the command has ended."""
        if self._running is None or self._running.poll() is None:
            return self._running is None
        if self._running.returncode:
            raise ConfigurationError(
                f"--server-{self._asked} ended with {self._running.returncode}; it said:\n{end_of(self._log)}"
            )
        return True

    def close(self) -> None:
        """Start it, if it is stopped."""
        if self._running is not None:
            self._running.wait()
        if self._asked == "stop":
            self.start()
            self._running.wait() if self._running else None

    def _run(self, asked: str) -> None:
        self._asked = asked
        with open(self._log, "ab") as log:
            self._running = subprocess.Popen(  # noqa: S602 - the command is what the user asked for
                self._commands[asked], shell=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip


class Outages:
    """
    When the server is stopped and started.

    Args:
        server: Which; None for none.

        every: Seconds between two stops, on average.

        rng: The run's dice.

    Raises:
        ConfigurationError: From its methods, if the server does not do as it is told.
    """

    def __init__(self, server: Server | None, every: float, rng: random.Random) -> None:
        self._server = server
        self._every = every
        self._rng = rng
        self._state: Literal["up", "stopping", "down", "starting"] = "up"
        self._until = time.monotonic() + self._length_of("up")
        #: How often it was stopped.
        self.count = 0

    def go_on(self) -> None:
        """Stop or start it, if it is time; never waits."""
        if self._server is None:
            return
        now = time.monotonic()
        if self._state in ("stopping", "starting"):
            if self._server.settled():
                self._turn("down" if self._state == "stopping" else "up", now)
            elif now > self._until:
                raise ConfigurationError(f"the server has been {self._state} for {_PATIENCE:.0f} s")
        elif now >= self._until and self._state == "up":
            self._server.stop()
            self.count += 1
            self._turn("stopping", now)
        elif now >= self._until:
            self._server.start()
            self._turn("starting", now)

    def over(self) -> bool:
        """Tell whether it is up; if not, see to it. It is not stopped again."""
        if self._server is None or self._state == "up":
            return True
        if self._state == "down":
            self._until = 0.0
        self.go_on()
        return False

    def _turn(self, state: Literal["up", "stopping", "down", "starting"], now: float) -> None:
        self._state, self._until = state, now + self._length_of(state)

    def _length_of(self, state: str) -> float:
        if state == "up":
            return self._rng.expovariate(1 / self._every)
        return self._rng.uniform(0, _DOWN) if state == "down" else _PATIENCE


def end_of(log: Path) -> str:
    """Give the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
