"""The fault matrix over every store and each promise it gives; which fault is tested where: docs/proof.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .shop import CASES, STEPS, Case, Shop


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture
def open_shop(case: Case, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """Open a shop with options for its receiver."""
    with ExitStack() as at_end:

        def open_one(**options: Any) -> Shop:
            return Shop(at_end.enter_context(case.entry.open(tmp_path)), case.mode, **options)

        yield open_one


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop()


@pytest.fixture
def transactional(case: Case, open_shop: Callable[..., Shop]) -> Shop:
    """A shop, where the promise is the stronger one; left out elsewhere."""
    return open_shop()


@pytest.fixture
def server_clock(case: Case, open_shop: Callable[..., Shop]) -> Shop:
    """A shop whose store goes by a server's clock; left out elsewhere."""
    return open_shop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not apply to a case: it is no skip, for there is nothing to run."""
    left_out = [item for item in items if not _applies(item)]
    for item in left_out:
        items.remove(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def _applies(item: Any) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if not isinstance(case := parameters.get("case"), Case):
        return True
    if "transactional" in item.fixturenames and case.mode == "lease":
        return False
    if "server_clock" in item.fixturenames and case.entry.name in ("memory", "sqlite", "sqlite-wal"):
        return False
    return "step" not in parameters or parameters["step"] in STEPS[case.mode]
