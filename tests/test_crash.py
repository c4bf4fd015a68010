"""A real process is killed at every step of a delivery; the resends go to fresh ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .receiving import Orders

SCRIPT = str(Path(__file__).with_name("crashing_child.py"))
#: The default lease and some: what WeChat Pay's third resend finds.
PAST_THE_LEASE = 60.0

STEPS = ["expectation", "claim", "begin", "change", "completion", "commit", "look", "settled"]


def killed_after(step: str, database: Orders, mode: str, *, ahead: float = 0) -> None:
    """Let a process take the notification, and kill it right after *step*."""
    child = subprocess.Popen(
        [sys.executable, SCRIPT, str(database.path), mode, step, str(ahead)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    reached = child.stdout.readline().strip()
    child.kill()  # SIGKILL; on Windows TerminateProcess
    child.communicate()
    assert reached == step


def sent_again(database: Orders, mode: str, *, ahead: float) -> str:
    """Let a fresh process take it, so many seconds later on the store's clock."""
    return subprocess.run(
        [sys.executable, SCRIPT, str(database.path), mode, "-", str(ahead)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def database(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "shop.db")


@pytest.mark.parametrize("step", STEPS)
def test_in_a_transaction_the_effect_is_exactly_once_wherever_the_process_dies(
    database: Orders, step: str
) -> None:
    killed_after(step, database, "transaction")
    committed = step in ("commit", "look", "settled")
    assert database.shipped == committed
    if step == "expectation":
        assert sent_again(database, "transaction", ahead=0) == "200 handled"
    elif committed:
        assert sent_again(database, "transaction", ahead=0) == "200 duplicate"
    else:
        # Held by the dead until its lease runs out: told FAIL, so that it is sent again.
        assert sent_again(database, "transaction", ahead=0) == "503 in_progress"
        assert database.shipped == 0
        assert sent_again(database, "transaction", ahead=PAST_THE_LEASE) == "200 handled"
    assert database.shipped == 1
    assert sent_again(database, "transaction", ahead=PAST_THE_LEASE) == "200 duplicate"
    assert database.shipped == 1


@pytest.mark.parametrize(
    ("step", "shipped"),
    [
        ("claim", 1),
        ("begin", 1),
        ("change", 1),
        # The one gap of a lease store, and why there is transaction=.
        ("commit", 2),
        ("completion", 1),
        ("settled", 1),
    ],
)
def test_with_a_lease_alone_the_effect_repeats_only_where_the_process_dies_between_commit_and_completion(
    database: Orders, step: str, shipped: int
) -> None:
    killed_after(step, database, "lease")
    assert sent_again(database, "lease", ahead=PAST_THE_LEASE).startswith("200 ")
    assert sent_again(database, "lease", ahead=PAST_THE_LEASE) == "200 duplicate"
    assert database.shipped == shipped


def test_a_process_that_dies_again_and_again_is_taken_over_again_and_again(database: Orders) -> None:
    for attempt in range(4):
        killed_after("completion", database, "transaction", ahead=attempt * PAST_THE_LEASE)
        assert database.shipped == 0
    assert sent_again(database, "transaction", ahead=4 * PAST_THE_LEASE) == "200 handled"
    assert database.shipped == 1
