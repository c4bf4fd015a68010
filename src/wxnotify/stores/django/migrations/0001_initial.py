"""Make the tables of claims and of the inbox."""

from django.db import migrations, models

from wxnotify.stores.django.columns import TextColumn


def _text(length: int) -> TextColumn:
    return TextColumn(
        postgresql=f'character varying({length}) COLLATE "C"',
        mysql=f"varchar({length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        sqlite=f"varchar({length})",
    )


def _key() -> TextColumn:
    return TextColumn(
        primary_key=True,
        serialize=False,
        postgresql='character varying COLLATE "C"',
        mysql="varbinary(1024)",
        sqlite="text",
    )


class Migration(migrations.Migration):
    """Make the tables."""

    initial = True
    operations = (
        migrations.CreateModel(
            name="StoredClaim",
            fields=[
                ("natural_key", _key()),
                ("order_no", _text(64)),
                ("state", _text(8)),
                ("fingerprint", models.BinaryField()),
                ("owner", models.BinaryField()),
                ("generation", models.BigIntegerField()),
                ("attempts", models.BigIntegerField()),
                ("lease_until", models.FloatField()),
                ("first_seen", models.FloatField()),
                ("updated", models.FloatField()),
                ("retain_until", models.FloatField()),
                ("last_error", _text(512)),
                ("result", _text(256)),
            ],
            options={
                "db_table": "wxnotify_claims",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["state", "updated"], name="wxnotify_claims_state"),
                    models.Index(fields=["order_no"], name="wxnotify_claims_order"),
                ],
                "verbose_name": "delivery",
                "verbose_name_plural": "deliveries",
            },
        ),
        migrations.CreateModel(
            name="StoredNotification",
            fields=[
                ("natural_key", _key()),
                ("notification", models.BinaryField()),
                ("received", models.FloatField()),
                ("due", models.FloatField()),
                ("hand_overs", models.BigIntegerField()),
            ],
            options={
                "db_table": "wxnotify_inbox",
                "default_permissions": (),
                "indexes": [models.Index(fields=["due"], name="wxnotify_inbox_due")],
            },
        ),
    )
