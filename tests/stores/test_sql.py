"""The verbs of the SQL stores, without a database: what no database answers when it should."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from wxnotify.errors import StoreUnavailable
from wxnotify.stores import _sqlite_tables
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


def test_the_documents_name_the_columns_there_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "stores.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| column \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = [name for row in table.splitlines() for name in re.findall("`([a-z_]+)`", row.split("|")[1])]
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in _sqlite_tables.CREATE:
            database.execute(statement.format(claims="claims", inbox="inbox"))
        made = [row[1] for row in database.execute("PRAGMA table_info(claims)")]
    assert sorted(named) == sorted(made)
