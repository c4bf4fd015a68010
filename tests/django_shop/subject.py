"""A DjangoStore on trial, for whatever is run over all stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import connections

from wxnotify.stores.django import DjangoStore

from .databases import environment, need
from .models import Effect

#: A column that holds a time, by table.
_TIMES = {
    "wxnotify_claims": ("lease_until", "first_seen", "updated", "retain_until"),
    "wxnotify_inbox": ("received", "due"),
}


def move_back(alias: str, seconds: float) -> None:
    """Let everything that is stored have happened so much earlier: the clock is the database's."""
    with connections[alias].cursor() as cursor:
        for table, columns in _TIMES.items():
            moved = ", ".join(f"{column} = {column} - %(seconds)s" for column in columns)
            cursor.execute(f"UPDATE {table} SET {moved}", {"seconds": float(seconds)})


@contextmanager
def open_subject(alias: str, make: Callable[..., Any], *, timeout: float) -> Iterator[Any]:
    """
    Give a store on *alias* that holds nothing yet.

    Args:
        alias: One of ``ALIASES``; where its server does not answer, the test is skipped.

        make: ``tests.stores.subjects.Trial``, or something like it.

        timeout: The store's.
    """
    store = DjangoStore(need(alias), timeout=timeout)

    def effect(connection: Any, key: str) -> None:
        Effect.objects.using(connection.alias).create(natural_key=key)

    def effects(key: str) -> int:
        return Effect.objects.using(alias).filter(natural_key=key).count()

    trial = make(
        store,
        partial(move_back, alias),
        transaction=store.transaction,
        effect=effect,
        effects=effects,
        at_thread_end=connections.close_all,
    )
    told = {name: value for name, value in environment(alias).items() if name.startswith("WXNOTIFY_DJANGO")}
    trial.elsewhere = (
        f"import os; os.environ.update({told!r}, DJANGO_SETTINGS_MODULE='tests.django_shop.settings')\n"
        "import django; django.setup()\n"
        "from tests.django_shop.models import Effect\n"
        "from wxnotify.stores.django import DjangoStore\n"
        f"store = DjangoStore({alias!r}, timeout={timeout})\n"
        "transaction = store.transaction\n"
        "def effect(connection, key):\n"
        "    Effect.objects.using(connection.alias).create(natural_key=key)\n"
    )
    yield trial
