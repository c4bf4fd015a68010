"""Workers that are processes: what they run under, how they are waited for, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

#: Seconds until a machine that has a lot to do has surely done it.
PATIENCE = 40.0


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a shop without Django, whose settings other tests name there for their own."""
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**inherited, **more}


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait for another process; *what* says what was missing."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to a worker and its pool; at a test's end too, which then need not wait."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
