"""What is shown while it runs: on a terminal one line that changes, elsewhere a line now and then."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Final

from ...cli.terminal import Terminal
from ...errors import NotifyError
from .effects import Log, Table
from .supervisor import Supervisor, fork
from .tally import Tally

#: Seconds between two updates of the line, between two lines, and between two counts of the effects.
_UPDATE: Final = 0.5
_LINE: Final = 10.0
_COUNT: Final = 5.0


class Progress:
    """
    The line.

    Args:
        terminal: Where to.

        tally: The shared memory.

        effects: What is counted now and then, in a process of its own, because a
            server that is down or busy may take long to answer.

        supervisor: Who knows the kills.
    """

    def __init__(
        self, terminal: Terminal, tally: Tally, effects: Table | Log, supervisor: Supervisor
    ) -> None:
        self._terminal = terminal
        self._tally = tally
        self._effects = effects
        self._supervisor = supervisor
        self._live = sys.stdout.isatty()
        self._began = self._count_at = time.monotonic()
        self._show_at = self._began + _UPDATE
        self._seen = (self._began, 0)
        self._counting = 0

    def look(self) -> None:
        """Show the line, if it is time."""
        now = time.monotonic()
        if now >= self._count_at:
            self._count(now)
        if now < self._show_at:
            return
        self._show_at = now + (_UPDATE if self._live else _LINE)
        line = self._line(now)
        if self._live:
            sys.stdout.write(f"\r\x1b[K{line[: self._terminal.columns - 1]}")
            sys.stdout.flush()
        else:
            self._terminal.line(line)

    def close(self) -> None:
        """Take the line away, and end the count that may be under way."""
        if self._counting:
            os.kill(self._counting, signal.SIGKILL)
            os.waitpid(self._counting, 0)
        if self._live:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def _line(self, now: float) -> str:
        codes = self._tally.codes()
        deliveries = codes.total()
        before, earlier = self._seen
        rate = (deliveries - earlier) / max(now - before, 0.001)
        self._seen = (now, deliveries)
        kills = self._supervisor.kills.total()
        effects, doubles = self._tally.effects
        failed = [
            f"{code} {times:,}"
            for code, times in codes.items()
            if times and code not in ("handled", "duplicate")
        ]
        seconds = int(now - self._began)
        parts = [
            f"{seconds // 60}:{seconds % 60:02d}",
            f"deliveries {deliveries:,} ({rate:,.0f}/s)",
            f"kills {kills:,} ({kills / max(now - self._began, 1):.1f}/s)",
            f"effects {effects:,}",
            f"doubles {doubles:,}",
            *([f"server stops {self._supervisor.outages.count}"] if self._supervisor.outages.count else []),
            "told FAIL: " + (", ".join(failed) or "none"),
        ]
        return "  ".join(parts)

    def _count(self, now: float) -> None:
        if self._counting:
            ended, _ = os.waitpid(self._counting, os.WNOHANG)
            if ended:
                self._counting, self._count_at = 0, now + _COUNT
            return
        self._counting = fork()
        if not self._counting:
            try:
                with suppress(NotifyError):
                    self._tally.effects = self._effects.totals()
            finally:
                os._exit(0)
