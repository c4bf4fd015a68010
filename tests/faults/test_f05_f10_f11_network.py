"""Servers that are down, frozen, slow or cut off, and replies that are lost on the way (F5, F10, F11)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wxnotify.idempotency import State

from .. import servers
from ..proxy import Proxy
from ..stores import subjects
from .shop import CASES, LEASE, PAID, Case, Shop

#: By what the subjects that talk to them have in their names. Django's databases are made once for all tests,
#: and its store has these tests among its own.
SERVERS = {
    "redis": servers.REDIS,
    "psycopg": servers.POSTGRESQL,
    "asyncpg": servers.POSTGRESQL,
    "pymysql": servers.MARIADB,
    "asyncmy": servers.MARIADB,
    "aiomysql": servers.MARIADB,
}
#: What the issue of a store being down may cost a delivery, in seconds.
FAIL_WITHIN = 2.0


def server_of(case: Case) -> servers.Server | None:
    return next((server for word, server in SERVERS.items() if word in case.entry.name), None)


@pytest.fixture(params=[case for case in CASES if server_of(case)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def network(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to the store's server: the store is opened through it, with its usual timeout."""
    server = server_of(case)
    assert server is not None
    server.need()
    host, port = server.port
    with Proxy((host, port)) as proxy:
        if server is servers.REDIS:
            through = server.address.replace(f"{host}:{port}", f"{proxy.host}:{proxy.port}")
            monkeypatch.setenv(server.setting, through)
        monkeypatch.setattr(subjects, "TIMEOUT", 1.5)
        # The databases made once for all tests are reached straight, and those stores stay as they are.
        database, made = subjects._database, subjects._alchemy.__wrapped__
        monkeypatch.setattr(
            subjects, "_database", lambda kind: database(kind).replace(f":{port}/", f":{proxy.port}/")
        )
        monkeypatch.setattr(subjects, "_alchemy", made)
        yield proxy


@pytest.fixture
def shop(case: Case, network: Proxy, tmp_path: Path) -> Iterator[Shop]:
    with case.entry.open(tmp_path) as trial:
        yield Shop(trial, case.mode)
        network.flow()  # what is tidied up at the end goes the same way


def told_within(seconds: float, deliver: Callable[[], str]) -> str:
    began = time.monotonic()
    code = deliver()
    assert time.monotonic() - began < seconds
    return code


@pytest.mark.parametrize("trouble", ["refuse", "stall"], ids=["down", "frozen"])
@pytest.mark.parametrize("known", [True, False], ids=["connected", "not connected"])
def test_f10_a_server_that_is_down_or_frozen_costs_two_seconds_and_no_handler_call(
    shop: Shop, network: Proxy, trouble: str, known: bool
) -> None:
    if known:
        assert shop.deliver(transaction_id="4200000000202611230000000009") == "handled"
    else:
        network.cut()
    calls = shop.calls
    getattr(network, trouble)()
    for _ in range(2):
        assert told_within(FAIL_WITHIN, shop.deliver) == "store_down"
    assert shop.calls == calls
    network.flow()
    # What was asked of a frozen server may have been done: then it is held until its lease is over.
    code = shop.deliver()
    if code == "in_progress":
        shop.trial.advance(LEASE + 1)
        code = shop.deliver()
    assert code == "handled"
    assert shop.effects() == 1


def test_f11_connections_cut_by_a_restart_cost_nothing(shop: Shop, network: Proxy) -> None:
    assert shop.deliver() == "handled"
    network.cut()
    assert shop.deliver(transaction_id="4200000000202611230000000009") == "handled"
    network.cut()
    assert shop.deliver() == "duplicate"


def test_f11_a_connection_cut_before_the_commit_leaves_nothing_behind(shop: Shop, network: Proxy) -> None:
    cut = [network.cut]

    def cut_once() -> None:
        if cut:
            cut.pop()()

    shop.during = cut_once
    code = shop.deliver()
    if shop.mode == "lease":
        assert code == "handled"  # the completion finds another connection
    else:
        assert code == "handler_failed"
        assert shop.effects() == 0
        assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    assert shop.effects() == 1


def test_f5_a_claim_whose_reply_is_lost_on_the_way_is_asked_for_again(shop: Shop, network: Proxy) -> None:
    assert shop.deliver(transaction_id="4200000000202611230000000009") == "handled"
    shop.faults.before["claim"] = network.lose_reply
    assert shop.deliver() == "handled"
    record = shop.trial.find(PAID)
    assert record is not None
    assert (record.state, record.generation, record.attempts) == (State.DONE, 1, 1)
    assert shop.effects() == 1


def test_f5_a_commit_whose_reply_is_lost_on_the_way_has_happened(shop: Shop, network: Proxy) -> None:
    if shop.mode == "lease":
        shop.faults.before["complete"] = network.lose_reply
    else:
        given = shop.trial._transaction
        shop.trial._transaction = lambda: LosingCommit(given(), network)  # type: ignore[assignment]
    assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    assert shop.effects() == 1


class LosingCommit:
    """A transaction the reply to whose COMMIT is lost."""

    def __init__(self, given: object, network: Proxy) -> None:
        self._given = given
        self._network = network

    def __enter__(self) -> object:
        return self._given.__enter__()  # type: ignore[attr-defined]

    def __exit__(self, *exception: object) -> object:
        self._network.lose_reply()
        return self._given.__exit__(*exception)  # type: ignore[attr-defined]

    async def __aenter__(self) -> object:
        return await self._given.__aenter__()  # type: ignore[attr-defined]

    async def __aexit__(self, *exception: object) -> object:
        self._network.lose_reply()
        return await self._given.__aexit__(*exception)  # type: ignore[attr-defined]
