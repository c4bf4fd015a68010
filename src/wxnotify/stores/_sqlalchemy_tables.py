"""
The tables of the SQLAlchemy stores, for PostgreSQL, MySQL, MariaDB and SQLite.

The statements on them are in ``_sql_statements.py``, which also says why a key is
kept as bytes and a time as a double.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import conv

from ..errors import ConfigurationError, shown

_MYSQL: Final = ("mysql", "mariadb")
# Compared byte for byte, in every database.
_KEY: Final = (
    Text().with_variant(Text(collation="C"), "postgresql").with_variant(mysql.VARBINARY(1024), *_MYSQL)
)
_BYTES: Final = LargeBinary().with_variant(mysql.VARBINARY(64), *_MYSQL)
# An ordinary LargeBinary ends at 64 KiB there.
_NOTIFICATION: Final = LargeBinary().with_variant(mysql.MEDIUMBLOB(), *_MYSQL)

# Whatever the database's default: transactions, and any character of an error's text.
_OPTIONS: Final[dict[str, Any]] = {
    f"{dialect}_{option}": value
    for dialect in _MYSQL
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
} | {"sqlite_with_rowid": False}


class Tables(NamedTuple):
    """The two tables; made by :func:`claim_tables`."""

    claims: Table
    inbox: Table


def claim_tables(
    metadata: MetaData,
    *,
    claims: str = "wxnotify_claims",
    inbox: str = "wxnotify_inbox",
    schema: str | None = None,
) -> Tables:
    """
    Add the store's tables to your ``MetaData``, so that Alembic sees them.

    Args:
        metadata: Yours, such as ``Base.metadata``.

        claims: The name of the claims' table, an ASCII identifier.

        inbox: The name of the inbox's table, likewise.

        schema: Theirs; the metadata's own if left out.

    Returns:
        What to give :class:`SQLAlchemyStore` as *tables*.

    Raises:
        ConfigurationError: If a name cannot be used.

    Example:
        >>> from sqlalchemy import MetaData
        >>> metadata = MetaData()
        >>> tables = claim_tables(metadata)
        >>> sorted(metadata.tables)
        ['wxnotify_claims', 'wxnotify_inbox']
    """
    for name in (claims, inbox, schema or claims):
        if not re.fullmatch("(?!sqlite_)[a-z_][a-z0-9_]{0,47}", name, re.ASCII | re.IGNORECASE):
            raise ConfigurationError(
                f"table {shown(name)}: must be an ASCII identifier of 1 to 48 characters"
            )
    return Tables(
        Table(
            claims,
            metadata,
            Column("natural_key", _KEY, primary_key=True),
            Column("order_no", String(64), nullable=False),
            Column("state", String(16), nullable=False),
            Column("fingerprint", _BYTES, nullable=False),
            Column("owner", _BYTES, nullable=False),
            Column("generation", Integer, nullable=False),
            Column("attempts", Integer, nullable=False),
            Column("lease_until", Double, nullable=False),
            Column("first_seen", Double, nullable=False),
            Column("updated", Double, nullable=False),
            Column("retain_until", Double, nullable=False),
            Column("last_error", Text, nullable=False),
            Column("result", String(256), nullable=False),
            CheckConstraint("state IN ('pending', 'released', 'done')", name=conv(f"{claims}_state_known")),
            # For purge and records, which would else read the whole table.
            Index(f"{claims}_state", "state", "updated"),
            Index(f"{claims}_order", "order_no"),
            schema=schema,
            **_OPTIONS,
        ),
        Table(
            inbox,
            metadata,
            Column("natural_key", _KEY, primary_key=True),
            Column("notification", _NOTIFICATION, nullable=False),
            Column("received", Double, nullable=False),
            Column("due", Double, nullable=False),
            Column("hand_overs", Integer, nullable=False),
            Index(f"{inbox}_due", "due"),
            schema=schema,
            **_OPTIONS,
        ),
    )
