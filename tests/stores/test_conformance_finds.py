"""The suite finds what is wrong with a store, where somebody else runs it on a store of theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .broken_stores import BROKEN, SOUND

#: As somebody else would write it.
THEIRS = """
import pytest
from broken_stores import LEASE_STORES, Clock

from wxnotify.testing.store_conformance import *


@pytest.fixture(params=LEASE_STORES)
def subject(request):
    clock = Clock()
    yield Subject(LEASE_STORES[request.param](clock=clock), advance=clock.advance)
"""
THEIRS_IN_SQL = """
import sqlite3
from contextlib import closing

import pytest
from broken_stores import SQL_STORES, Clock

from wxnotify.testing.store_conformance import *
from wxnotify.testing.store_conformance.same_transaction import *


@pytest.fixture(params=SQL_STORES)
def subject(request, tmp_path):
    path, clock = tmp_path / "shop.db", Clock()

    def effect(connection, key):
        connection.execute("INSERT INTO effects VALUES (?)", [key])

    def effects(key):
        return shop.execute("SELECT count(*) FROM effects WHERE natural_key = ?", [key]).fetchone()[0]

    with closing(sqlite3.connect(path, check_same_thread=False)) as shop:
        shop.execute("CREATE TABLE effects (natural_key TEXT NOT NULL)")
        with SQL_STORES[request.param](path, clock=clock) as store:
            yield Subject(
                store,
                advance=clock.advance,
                transaction=store.transaction,
                effect=effect,
                effects=effects,
            )
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run on each broken store the test that is said to find it, and on the sound ones what could be said."""
    directory = tmp_path_factory.mktemp("theirs")
    (directory / "test_theirs.py").write_text(THEIRS, encoding="utf-8")
    (directory / "test_theirs_in_sql.py").write_text(THEIRS_IN_SQL, encoding="utf-8")
    chosen = [
        "sound_memory",
        "(sound_sqlite and SameTransaction)",
        *(f"({name} and {broken.found_by})" for name, broken in BROKEN.items()),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)  # set by other tests, and pytest-django would load it
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-k", " or ".join(chosen)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    return run.stdout


def lines_of(told: str, store: str, *outcomes: str) -> list[str]:
    """Give the names of the tests of that store with one of those outcomes."""
    lines = [line for line in told.splitlines() if line.startswith(outcomes)]
    return [line for line in lines if f"[{store}]" in line or f"[{store}-" in line]


@pytest.mark.parametrize("name", BROKEN)
def test_the_rule_that_was_left_out_is_found(told, name):
    assert any(f"::{BROKEN[name].found_by}[" in line for line in lines_of(told, name, "FAILED")), told


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_store(told, name):
    assert not lines_of(told, name, "FAILED", "ERROR", "SKIPPED")
    assert len(lines_of(told, name, "PASSED")) > 20


def test_a_failure_shows_the_values(told):
    assert "assert <ClaimOutcome.ACQUIRED: 'acquired'> is <ClaimOutcome.MISMATCH: 'mismatch'>" in told


def test_nothing_is_skipped(told):
    assert not re.search(r"\d+ skipped", told)
