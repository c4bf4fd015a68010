"""
The table of a :class:`~wxnotify.stores.sqlite.SQLiteStore` and every statement on it.

``{table}`` stands for the table's name. Parameters go by name: those of a claim
are made by :func:`named`; ``:now`` is the store's clock, in seconds.
"""

from __future__ import annotations

from typing import Final

from ..idempotency import Claim

# Without NOT NULL, SQLite takes NULL for a primary key, and any number of them.
CREATE: Final = """
    CREATE TABLE IF NOT EXISTS main."{table}" (
        key TEXT NOT NULL PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('pending', 'released', 'done')),
        fingerprint BLOB NOT NULL,
        owner BLOB NOT NULL,
        generation INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        lease_until REAL NOT NULL,
        first_seen REAL NOT NULL,
        updated REAL NOT NULL,
        done_at REAL NOT NULL,
        retain_until REAL NOT NULL,
        last_error TEXT NOT NULL
    ) STRICT, WITHOUT ROWID"""
COLUMNS: Final = """SELECT name FROM pragma_table_info('{table}', 'main')"""

# For purge, which would else read the whole table under the write lock.
INDEX: Final = """
    CREATE INDEX IF NOT EXISTS main."{table}_done" ON "{table}" (done_at) WHERE state = 'done'"""

READ: Final = """
    SELECT state, fingerprint, owner, generation, attempts, lease_until, first_seen, updated, last_error
    FROM main."{table}" WHERE key = :key"""

# A new holder leaves the fingerprint, the first sight and the last error as they are.
TAKE: Final = """
    INSERT INTO main."{table}" VALUES (
        :key, 'pending', :fingerprint, :owner, :generation, :attempts, :now + :lease,
        :now, :now, 0.0, 0.0, '')
    ON CONFLICT (key) DO UPDATE SET
        state = 'pending', owner = excluded.owner, generation = excluded.generation,
        attempts = excluded.attempts, lease_until = excluded.lease_until, updated = excluded.updated"""

# Compare-and-set: each gives a row if the claim was still held, and then has changed it.
COMPLETE: Final = """
    UPDATE main."{table}"
    SET state = 'done', updated = :now, done_at = :now, retain_until = :now + :retain
    WHERE key = :key AND owner = :owner AND generation = :generation AND state = 'pending'
    RETURNING 1"""
RELEASE: Final = """
    UPDATE main."{table}"
    SET state = 'released', updated = :now, last_error = :error
    WHERE key = :key AND owner = :owner AND generation = :generation AND state = 'pending'
    RETURNING 1"""
EXTEND: Final = """
    UPDATE main."{table}"
    SET lease_until = :now + :lease, updated = :now
    WHERE key = :key AND owner = :owner AND generation = :generation AND state = 'pending'
    RETURNING 1"""

# And if it was not held: what became of it, unless it has had a successor.
LEFT_AS: Final = """
    SELECT state FROM main."{table}" WHERE key = :key AND owner = :owner AND generation = :generation"""

PURGE: Final = """
    DELETE FROM main."{table}" WHERE key IN (
        SELECT key FROM main."{table}"
        WHERE state = 'done' AND done_at < :now - :older_than AND retain_until < :now LIMIT :limit)
    RETURNING 1"""


def named(claim: Claim) -> dict[str, object]:
    """Return what identifies *claim*, and what a new one stores, by the statements' names."""
    return {
        "key": claim.key,
        "owner": claim.owner,
        "generation": claim.generation,
        "attempts": claim.attempts,
    }
