"""
The tables, as Django sees them: made by ``migrate``, read by the admin.

What a column means is in ``wxnotify/stores/_sql_statements.py``, whose statements
are what writes them. Times are the database's clock in seconds since 1970, and no
timestamps: those shift with the session's time zone.
"""

from __future__ import annotations

from django.db import models

from .columns import TextColumn


def _text(length: int) -> TextColumn:
    return TextColumn(
        # Not "varchar", to which Django adds a second index, for LIKE; in the C collation the first will do.
        postgresql=f'character varying({length}) COLLATE "C"',
        mysql=f"varchar({length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        sqlite=f"varchar({length})",
    )


def _key() -> TextColumn:
    return TextColumn(
        primary_key=True,
        postgresql='character varying COLLATE "C"',
        mysql="varbinary(1024)",
        sqlite="text",
    )


class StoredClaim(models.Model):
    """A payment somebody claimed: one row a natural key."""

    natural_key = _key()
    order_no = _text(64)
    state = _text(8)
    fingerprint = models.BinaryField()
    owner = models.BinaryField()
    generation = models.BigIntegerField()
    attempts = models.BigIntegerField()
    lease_until = models.FloatField()
    first_seen = models.FloatField()
    updated = models.FloatField()
    retain_until = models.FloatField()
    last_error = _text(512)
    result = _text(256)

    class Meta:  # noqa: D106
        db_table = "wxnotify_claims"
        default_permissions = ("view",)
        indexes = (
            # For purge and records, which would else read the whole table.
            models.Index(fields=["state", "updated"], name="wxnotify_claims_state"),
            models.Index(fields=["order_no"], name="wxnotify_claims_order"),
        )
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return str(self.natural_key)


class StoredNotification(models.Model):
    """A notification that is answered and not yet worked: one row a natural key."""

    natural_key = _key()
    notification = models.BinaryField()
    received = models.FloatField()
    due = models.FloatField()
    hand_overs = models.BigIntegerField()

    class Meta:  # noqa: D106
        db_table = "wxnotify_inbox"
        default_permissions = ()
        indexes = (models.Index(fields=["due"], name="wxnotify_inbox_due"),)

    def __str__(self) -> str:
        return str(self.natural_key)
