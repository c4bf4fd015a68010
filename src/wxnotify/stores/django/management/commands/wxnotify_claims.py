"""``manage.py wxnotify_claims``: list deliveries, those above all that were not settled."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import router
from django.utils import timezone

from wxnotify.errors import NotifyError
from wxnotify.idempotency import Record, State
from wxnotify.stores.django.models import StoredClaim
from wxnotify.stores.django.store import DjangoStore

_LAYOUT: Final = "{:9} {:20} {:>8}  {:19}  {:19}  {}"
_HEAD: Final = ("state", "order", "attempts", "first seen", "last change", "key, last error")


class Command(BaseCommand):
    """List deliveries."""

    help = "List deliveries; if no --state and no --order is given, those that were not settled."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the options."""
        parser.add_argument("--state", choices=[state.value for state in State], help="only these")
        parser.add_argument("--order", metavar="NUMBER", help="only those of this order, in any state")
        parser.add_argument(
            "--older-than",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="only what has not changed for so long; a lease is usually over after 30",
        )
        parser.add_argument(
            "--limit", type=int, default=1_000, metavar="COUNT", help="at most so many (default: 1000)"
        )
        parser.add_argument(
            "--database", metavar="ALIAS", help="where they are, if not where the routers say"
        )

    def handle(
        self,
        *,
        state: str | None,
        order: str | None,
        older_than: float,
        limit: int,
        database: str | None,
        **_: Any,
    ) -> None:
        """
        Print a table.

        Raises:
            CommandError: If the database did not answer.
        """
        store = DjangoStore(database or router.db_for_read(StoredClaim))
        self.stdout.write(_LAYOUT.format(*_HEAD))
        count = 0
        try:
            for record in islice(_chosen(store, state, order, older_than), limit):
                self.stdout.write(_line(record))
                count += 1
        except NotifyError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{count} shown" + ", and there may be more" * (count == limit))


def _chosen(store: DjangoStore, state: str | None, order: str | None, older_than: float) -> Iterator[Record]:
    states = [State(state)] if state else [None] if order is not None else [State.PENDING, State.RELEASED]
    return chain.from_iterable(
        store.records(state=one, order_no=order, older_than=older_than) for one in states
    )


def _line(record: Record) -> str:
    line = _LAYOUT.format(
        record.state.value,
        record.order_no,
        record.attempts,
        _local(record.first_seen),
        _local(record.updated),
        f"{record.key}  {record.last_error}".rstrip(),
    )
    # Whatever an error holds, it is one line, and commands nothing to the terminal.
    return "".join(character if character.isprintable() else "?" for character in line)


def _local(moment: datetime) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
