"""The tables of a :class:`~wxnotify.stores.sqlite.SQLiteStore`; what is asked of them is in ``_sql.py``."""

from __future__ import annotations

from typing import Final

# Without NOT NULL, SQLite takes NULL for a primary key, and any number of them.
CREATE: Final = (
    """
    CREATE TABLE IF NOT EXISTS main."{claims}" (
        natural_key TEXT NOT NULL PRIMARY KEY,
        order_no TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'released', 'done')),
        fingerprint BLOB NOT NULL,
        owner BLOB NOT NULL,
        generation INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        lease_until REAL NOT NULL,
        first_seen REAL NOT NULL,
        updated REAL NOT NULL,
        retain_until REAL NOT NULL,
        last_error TEXT NOT NULL,
        result TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # For purge and records, which would else read the whole table.
    """CREATE INDEX IF NOT EXISTS main."{claims}_state" ON "{claims}" (state, updated)""",
    """CREATE INDEX IF NOT EXISTS main."{claims}_order" ON "{claims}" (order_no)""",
    """
    CREATE TABLE IF NOT EXISTS main."{inbox}" (
        natural_key TEXT NOT NULL PRIMARY KEY,
        notification BLOB NOT NULL,
        received REAL NOT NULL,
        due REAL NOT NULL,
        hand_overs INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS main."{inbox}_due" ON "{inbox}" (due)""",
)
