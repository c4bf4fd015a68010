"""``manage.py wxnotify_purge``: forget payments that were settled long ago."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import router

from wxnotify.errors import NotifyError
from wxnotify.stores.django.models import StoredClaim
from wxnotify.stores.django.store import DjangoStore

_DAY: Final = 86_400.0
#: Seconds a batch may take; no delivery waits for it.
_BATCH_SECONDS: Final = 30.0


class Command(BaseCommand):
    """Forget settled payments, in batches."""

    help = (
        "Forget payments that were settled long ago, once their retention has passed too. What is pending or "
        "released is never forgotten. Run it once a day."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the options."""
        parser.add_argument(
            "--older-than-days",
            type=float,
            default=30.0,
            metavar="DAYS",
            help="settled at least so long ago; at least 2, because WeChat Pay sends for a day (default: 30)",
        )
        parser.add_argument(
            "--batch", type=int, default=1_000, metavar="COUNT", help="how many at a time (default: 1000)"
        )
        parser.add_argument(
            "--database", metavar="ALIAS", help="where they are, if not where the routers say"
        )

    def handle(self, *, older_than_days: float, batch: int, database: str | None, **_: Any) -> None:
        """
        Purge until a batch is not full.

        Raises:
            CommandError: If an option cannot be used, or the database did not answer.
        """
        store = DjangoStore(database or router.db_for_write(StoredClaim), timeout=_BATCH_SECONDS)
        forgotten = 0
        try:
            while True:
                count = store.purge(older_than_days * _DAY, batch)
                forgotten += count
                if count < batch:
                    break
        except NotifyError as error:
            raise CommandError(f"after {forgotten} were forgotten: {error}") from error
        self.stdout.write(f"{forgotten} forgotten")
