"""Nothing that the command starts is to outlive it, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any, Final

_LIBC: Final[Any] = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG: Final = 1


def end_with_parent() -> None:
    """
    Let the kernel kill this process when its parent dies, even if it is stopped then.

    Linux can do that. Elsewhere the processes look for themselves
    (:func:`wake_orphans`), and a private server has to be ended by hand.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wake_orphans() -> None:
    """Let those processes of this group go on that nobody is left to continue."""
    os.killpg(0, signal.SIGCONT)
