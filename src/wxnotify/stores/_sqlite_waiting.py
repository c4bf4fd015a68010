"""
How long whoever finds a SQLite file locked waits before the next try.

SQLite has no queue for its locks: whoever tries in the moment when one is free
gets it, and most often that is the process that has just given it back. Its own
busy handler tries the less often the longer it has waited, and so starves. Here
whoever has waited longer tries more often, which is nearly first come, first
served.

With eight processes that write without a pause, on two cores, the slowest claim
in a thousand waited 50 ms with a rollback journal and 25 ms in WAL; with a wait
that does not change with age, 110 ms and 40 ms; with SQLite's handler, seconds.
``benchmarks/stores.py`` measures it.
"""

from __future__ import annotations

import random
from typing import Final

#: Seconds between two tries, on average: at first, ...
_AT_FIRST: Final = 0.002
#: ... half of it after so long, a quarter after three times as long, ...
_HALVED_AFTER: Final = 0.010
#: ... and never less. A try costs some 30 µs, so no waiter takes more than a tenth of a core.
_LEAST: Final = 0.0002


def pause(waited: float) -> float:
    """
    Give the seconds to wait until the next try.

    Args:
        waited: Seconds since the operation began.
    """
    average = max(_LEAST, _AT_FIRST * _HALVED_AFTER / (_HALVED_AFTER + waited))
    # At random, so that those who wait do not try in step.
    return average * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
