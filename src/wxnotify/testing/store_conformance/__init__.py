"""
The conformance suite of stores: what ``wxnotify.idempotency`` promises, as pytest tests.

A store proves itself with one fixture, called ``subject``, that gives a
:class:`Subject` with a store that holds nothing yet::

    # test_my_store.py
    import pytest
    from wxnotify.testing.store_conformance import *

    @pytest.fixture
    def subject():
        clock = MyClock()
        yield Subject(MyStore(clock=clock), advance=clock.advance)

One that is awaited is run by an event loop of the suite's; there is no need of a
pytest plugin::

    @pytest.fixture
    def subject():
        with event_loop() as run:
            store = run(MyAsyncStore.open(URL))
            yield Subject(store, advance=store.shift, run=run)
            run(store.close())

``from ... import *`` brings the tests that hold for every store. Those for a store
with ``bind`` are in ``store_conformance.same_transaction``, and those for one with an
inbox in ``store_conformance.inbox``; import them in the same way where they apply.
Nothing is skipped. What the suite is told with :class:`Subject` is how to move the
store's time, since no test waits for a lease to end.

A clock need not stand still, and may count whole seconds.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as error:
    raise ImportError("wxnotify.testing.store_conformance is a pytest suite: pip install pytest") from error

# So that a failure shows the values.
for _name in (
    "arguments",
    "at_once",
    "claims",
    "completions",
    "inbox",
    "records",
    "results",
    "same_transaction",
):
    pytest.register_assert_rewrite(f"{__name__}.{_name}")

from .arguments import TestArguments, TestKeys  # noqa: E402 - after they are registered
from .at_once import TestAtOnce  # noqa: E402
from .claims import TestClaim, TestFingerprint  # noqa: E402
from .completions import TestComplete, TestExtend, TestFencing, TestRelease  # noqa: E402
from .records import TestFind, TestPurge, TestRecords  # noqa: E402
from .results import TestResult  # noqa: E402
from .subject import Run, Subject, event_loop  # noqa: E402

__all__ = [
    "Run",
    "Subject",
    "TestArguments",
    "TestAtOnce",
    "TestClaim",
    "TestComplete",
    "TestExtend",
    "TestFencing",
    "TestFind",
    "TestFingerprint",
    "TestKeys",
    "TestPurge",
    "TestRecords",
    "TestRelease",
    "TestResult",
    "event_loop",
]
