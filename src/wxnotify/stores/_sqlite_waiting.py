"""
How long whoever found a SQLite file locked waits before the next try.

SQLite has no queue for its locks: whoever asks in the moment when one is free
gets it, and most often that is the process that has just given it back. Its own
busy handler asks the less often the longer it has waited, up to every 100 ms, and
so starves. Here whoever has waited longer asks more often, which makes it nearly
first come, first served. With eight saturated processes, on two cores and a
rollback journal, the slowest claim in a thousand waited LATER ms; with a wait
that does not change with age, LATER ms; with SQLite's handler, LATER s.
"""

from __future__ import annotations

import random
from typing import Final

#: Seconds between two tries, on average: at first, ...
_AT_FIRST: Final = 0.002
#: ... after so many seconds of waiting half of it, after three times as many a quarter, ...
_HALVES_AFTER: Final = 0.010
#: ... and never less. A try costs some 30 µs of CPU, so that a waiter takes a tenth of a core at most.
_LEAST: Final = 0.0002


def pause(waited: float) -> float:
    """
    Give the seconds to wait until the next try.

    Args:
        waited: Seconds since the operation began.
    """
    # At random, so that waiters do not ask in step.
    mean = max(_LEAST, _AT_FIRST * _HALVES_AFTER / (_HALVES_AFTER + waited))
    return mean * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
