"""
Every statement of the stores in SQL databases, and what differs from one database to the next.

Each is a transaction of its own, decides by itself whether it changes anything,
and can be repeated when its acknowledgement was lost. The rules behind them,
each with what happens otherwise:

- Every change names what it found (owner, generation, state); a row that is not
  like that any more is not changed.
- The clock is the database's. ``{now}`` is its time in seconds since 1970, a
  double, and never a timestamp type: those shift with the session's time zone.
- A duplicate is answered by a plain SELECT. ``ON CONFLICT DO UPDATE`` would lock
  the row and write to the log for each of them, even where it changes nothing.
- The key's column compares bytes (``COLLATE "C"``, VARBINARY). In MySQL's usual
  collations 'Abc' equals 'abc' and 'x' equals 'x '. And MySQL's INSERT is a plain
  one whose duplicate-key error is caught: INSERT IGNORE cuts what is too long.

``{claims}`` and ``{inbox}`` stand for the tables; parameters go by name, as ``:name``.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_PURGE: Final = """
    DELETE FROM {claims} WHERE natural_key IN (
        SELECT natural_key FROM {claims}
        WHERE state = 'done' AND updated < {now} - :older_than AND retain_until < {now} LIMIT :limit)
    AND state = 'done'"""


class Dialect(NamedTuple):
    """What differs from one database to the next."""

    #: The database's clock: seconds since 1970, a double.
    now: str
    #: What follows the VALUES of an INSERT, so that a key that is taken is no error.
    on_conflict: str = "ON CONFLICT (natural_key) DO NOTHING"
    #: How a batch is purged.
    purge: str = _PURGE
    #: Whether the key is stored as bytes.
    binary_key: bool = False
    #: Whether a look costs next to nothing, so that a duplicate is better found without the write lock.
    look_first: bool = False


_POSTGRESQL_NOW: Final = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS double precision)"
POSTGRESQL: Final = Dialect(
    _POSTGRESQL_NOW,
    # A clock that stands still for the statement, so that the index can be searched by it.
    purge=_PURGE.replace("{now}", _POSTGRESQL_NOW.replace("clock", "statement")),
)
MYSQL: Final = Dialect(
    "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)",
    on_conflict="",
    # It takes no LIMIT in a subquery, and needs none.
    purge="""
        DELETE FROM {claims}
        WHERE state = 'done' AND updated < {now} - :older_than AND retain_until < {now} LIMIT :limit""",
    binary_key=True,
)
SQLITE: Final = Dialect("((julianday('now') - 2440587.5) * 86400.0)", look_first=True)

# What a record is read from; ``{record}`` in what follows.
_RECORD: Final = (
    "natural_key, order_no, state, generation, attempts, first_seen, updated, lease_until, last_error, "
    "fingerprint, result"
)
NOW: Final = "SELECT {now}"
READ: Final = """
    SELECT state, fingerprint, owner, generation, attempts, lease_until, result, {now}
    FROM {claims} WHERE natural_key = :key"""
FIND: Final = """
    SELECT {record}
    FROM {claims} WHERE natural_key = :key"""

INSERT: Final = """
    INSERT INTO {claims} (
        natural_key, order_no, state, fingerprint, owner, generation, attempts,
        lease_until, first_seen, updated, retain_until, last_error, result)
    VALUES (
        :key, :order_no, 'pending', :fingerprint, :owner, 1, 1,
        {now} + :lease, {now}, {now}, 0.0, '', '')
    {on_conflict}"""
# A new holder leaves the fingerprint, the order, the first sight and the last error as they are.
TAKE: Final = """
    UPDATE {claims}
    SET state = 'pending', owner = :owner, generation = :generation, attempts = :attempts,
        lease_until = {now} + :lease, updated = {now}
    WHERE natural_key = :key
        AND state = :was_state AND owner = :was_owner AND generation = :was_generation
        AND (state <> 'pending' OR owner = :owner OR lease_until <= {now})"""

# Compare-and-set: each matches the row if the claim was still held.
COMPLETE: Final = """
    UPDATE {claims} SET state = 'done', updated = {now}, retain_until = {now} + :retain, result = :result
    WHERE natural_key = :key AND owner = :owner AND generation = :generation AND state = 'pending'"""
RELEASE: Final = """
    UPDATE {claims} SET state = 'released', updated = {now}, last_error = :error
    WHERE natural_key = :key AND owner = :owner AND generation = :generation AND state = 'pending'"""
EXTEND: Final = """
    UPDATE {claims} SET lease_until = {now} + :lease, updated = {now}
    WHERE natural_key = :key AND owner = :owner AND generation = :generation AND state = 'pending'"""
# And if it was not held: what became of it, unless it has had a successor.
LEFT_AS: Final = """
    SELECT state FROM {claims} WHERE natural_key = :key AND owner = :owner AND generation = :generation"""

BY_ORDER: Final = """
    SELECT {record}
    FROM {claims} WHERE order_no = :order_no AND natural_key > :after
    ORDER BY natural_key LIMIT :limit"""
# All of them, in the table's own order: by state and time, each row would be looked up somewhere else.
BY_KEY: Final = """
    SELECT {record}
    FROM {claims} WHERE natural_key > :after AND updated <= :until
    ORDER BY natural_key LIMIT :limit"""
BY_STATE: Final = """
    SELECT {record}
    FROM {claims} WHERE state = :state AND updated <= :until
        AND (updated > :after_updated OR (updated = :after_updated AND natural_key > :after))
    ORDER BY updated, natural_key LIMIT :limit"""

PUT: Final = """
    INSERT INTO {inbox} (natural_key, notification, received, due, hand_overs)
    VALUES (:key, :notification, {now}, {now} + :again_in, 0)
    {on_conflict}"""
FETCH: Final = "SELECT notification FROM {inbox} WHERE natural_key = :key"
HANDED: Final = """
    UPDATE {inbox} SET due = {now} + :again_in, hand_overs = hand_overs + 1 WHERE natural_key = :key"""
DUE: Final = "SELECT natural_key, hand_overs FROM {inbox} WHERE due <= {now} ORDER BY due LIMIT :limit"
REMOVE: Final = "DELETE FROM {inbox} WHERE natural_key = :key"

_ALL: Final = (
    NOW, READ, FIND, INSERT, TAKE, COMPLETE, RELEASE, EXTEND, LEFT_AS, BY_ORDER, BY_KEY, BY_STATE,
    PUT, FETCH, HANDED, DUE, REMOVE,
)  # fmt: skip


def prepare(dialect: Dialect, claims: str, inbox: str) -> dict[str, str]:
    """
    Give every statement as this database wants it, by its template.

    Args:
        dialect: The database's.

        claims: The claims' table, quoted.

        inbox: The inbox's table, quoted.
    """
    return {
        template: template.replace("{claims}", claims)
        .replace("{inbox}", inbox)
        .replace("{record}", _RECORD)
        .replace("{now}", dialect.now)
        .replace("{on_conflict}", dialect.on_conflict)
        for template in (*_ALL, dialect.purge)
    }
