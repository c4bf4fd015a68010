"""What the conformance suite is made of; that it finds something is in stores/test_conformance_finds.py."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from wxnotify.errors import ClaimLost, StoreUnavailable
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import store_conformance
from wxnotify.testing.store_conformance import Subject, deliveries, event_loop

APART = {"inbox", "same_transaction"}
MODULES = {
    module.name: importlib.import_module(f"{store_conformance.__name__}.{module.name}")
    for module in pkgutil.iter_modules(store_conformance.__path__)
}


class AwaitedStore:
    async def claim(self, key, **named):
        return key

    async def records(self, **chosen):
        yield 1
        yield 2


# --- the suite


@pytest.mark.parametrize("name", MODULES)
def test_no_test_is_left_out(name):
    module = MODULES[name]
    tests = {key for key, value in vars(module).items() if key.startswith("Test") and inspect.isclass(value)}
    assert tests <= set(getattr(module, "__all__", ()))
    if name not in APART:
        assert tests <= set(store_conformance.__all__)
    for test in tests:
        assert all(method.startswith(("test_", "__")) for method in vars(getattr(module, test)))


def test_every_public_name_is_there():
    for name in store_conformance.__all__:
        assert getattr(store_conformance, name).__doc__
    assert {name for name in store_conformance.__all__ if name.startswith("Test")} >= {
        "TestClaim",
        "TestAtOnce",
    }


def test_the_rest_of_testing_needs_no_pytest():
    code = "import sys; import wxnotify.testing; print('pytest' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_without_pytest_the_suite_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    monkeypatch.delitem(sys.modules, store_conformance.__name__)
    with pytest.raises(ImportError, match="pip install pytest"):
        importlib.import_module(store_conformance.__name__)


# --- the subject


def test_a_store_that_is_awaited_needs_a_loop():
    with pytest.raises(TypeError, match="give run=run"):
        Subject(AwaitedStore(), advance=lambda seconds: None)


@pytest.mark.parametrize(
    "use",
    [
        lambda subject: subject.transaction().__enter__(),
        lambda subject: subject.effect(None, "key"),
        lambda subject: subject.effects("key"),
    ],
)
def test_what_needs_a_transaction_says_what_is_missing(use):
    subject = Subject(MemoryStore(), advance=lambda seconds: None)
    with pytest.raises(TypeError, match=r"needs Subject\(\.\.\., transaction"):
        use(subject)


def test_what_is_given_may_be_awaited_or_not():
    advanced = []

    async def advance(seconds):
        await asyncio.sleep(0)
        advanced.append(seconds)

    with event_loop() as run:
        subject = Subject(AwaitedStore(), advance, run=run)
        subject.advance(5)
        Subject(AwaitedStore(), advanced.append, run=run).advance(6)
        assert subject.claim("key", fingerprint=b"", owner=b"", lease=1) == "key"
        assert list(subject.records()) == [1, 2]
    assert advanced == [5, 6]


def test_what_is_called_when_a_thread_ends_is_called_in_that_thread():
    ended = []
    subject = Subject(
        MemoryStore(), lambda seconds: None, at_thread_end=lambda: ended.append(threading.get_ident())
    )
    began = deliveries.at_once(subject, 3, lambda number: threading.get_ident())
    assert sorted(ended) == sorted(began)
    assert len(set(ended)) == 3


# --- the loop


def test_what_is_run_from_many_threads_runs_on_one_loop():
    async def where():
        return threading.get_ident()

    with event_loop() as run, ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: run(where()), range(20)))) == 1


def test_tasks_of_one_loop_run_at_once():
    async def meet():
        nonlocal inside
        inside += 1
        while inside < 8:
            await asyncio.sleep(0)
        return inside

    inside = 0
    with event_loop() as run, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: run(meet()), range(8))) == [8] * 8


def test_what_is_raised_on_the_loop_is_raised_here():
    async def fail():
        raise ClaimLost("mine")

    with event_loop() as run, pytest.raises(ClaimLost, match="mine"):
        run(fail())


def test_the_loop_leaves_no_thread_behind():
    async def in_executor():
        return await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)

    before = threading.active_count()
    with event_loop() as run:
        assert run(in_executor()) != threading.get_ident()
    assert threading.active_count() == before


# --- deliveries


def test_a_store_with_too_much_to_do_is_asked_again():
    answers = iter([StoreUnavailable("busy"), StoreUnavailable("busy"), "done"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert deliveries.answered(ask) == "done"


def test_a_store_that_never_answers_is_not_asked_for_ever(monkeypatch):
    times = iter([0.0, 59.0, 61.0])
    monkeypatch.setattr(
        deliveries, "time", SimpleNamespace(monotonic=lambda: next(times), sleep=lambda seconds: None)
    )

    def ask():
        raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable, match="down"):
        deliveries.answered(ask)


def test_a_refusal_is_told_by_its_code():
    def refuse():
        raise ClaimLost("mine")

    assert deliveries.told_by(refuse) == "claim_lost"
    assert deliveries.told_by(lambda: "done") == "done"
