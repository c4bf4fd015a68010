"""The verbs of the SQL stores, without a database: what no database answers when it should."""

from __future__ import annotations

import pytest

from wxnotify.errors import StoreUnavailable
from wxnotify.stores._sql import Ask, Verbs, run
from wxnotify.stores._sql_statements import MYSQL


def test_a_claim_that_neither_inserts_nor_finds_the_key_gives_up() -> None:
    # As in a snapshot of an older transaction: the key is taken, and cannot be seen.
    asked: list[str] = []

    def answer(ask: Ask) -> object:
        asked.append(ask.answer)
        return 0 if ask.answer == "inserted" else []

    verbs = Verbs(MYSQL, "claims", "inbox")
    steps = verbs.claim("payment/1", fingerprint=bytes(32), owner=bytes(16), lease=30, order_no="A-1001")
    with pytest.raises(StoreUnavailable, match="older transaction") as refusal:
        run(steps, answer)
    assert refusal.value.code == "store_unavailable"
    assert 2 < len(asked) < 100
