"""What SQLiteStore does beyond the contract."""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
import threading
import time
import warnings
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wxnotify.errors import ClaimLost, ConfigurationError, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, State
from wxnotify.stores import sqlite
from wxnotify.stores.sqlite import SQLiteStore

KEY = "payment:1900000109:4200000001"
KEEP = 30 * 86_400.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


@pytest.fixture
def store(path):
    with SQLiteStore(path) as store:
        yield store


@pytest.fixture
def shop(path):
    """The merchant's own connection to the same file, with one unpaid order."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as shop:
        shop.execute("CREATE TABLE orders (number TEXT PRIMARY KEY, paid INTEGER NOT NULL)")
        shop.execute("INSERT INTO orders VALUES ('A-1', 0)")
        yield shop


def claim_key(store, key=KEY, owner=b"o" * 16, lease=30):
    return store.claim(key, fingerprint=bytes(32), owner=owner, lease=lease)


def pay(shop):
    shop.execute("UPDATE orders SET paid = paid + 1 WHERE number = 'A-1'")


def times_paid(shop):
    ((paid,),) = shop.execute("SELECT paid FROM orders").fetchall()
    return paid


def ask(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def rows(connection, statement):
    """Ask one of the store's own connections."""
    found, _ = connection.ask(statement)
    return found


@contextmanager
def code(expected, error=ConfigurationError, match=None):
    with pytest.raises(error, match=match) as refusal:
        yield
    assert refusal.value.code == expected


# --- what it is made with ----------------------------------------------------------


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_STRICT_SINCE", (99, 0, 0))
    with code("configuration", match="needs 3.37"):
        SQLiteStore(path)


@pytest.mark.parametrize("name", ["", ":memory:"])
def test_a_database_in_memory_is_refused(name):
    with code("configuration", match="MemoryStore"):
        SQLiteStore(name)


def test_a_missing_directory_is_named(tmp_path):
    with code("configuration", match="nowhere does not exist"):
        SQLiteStore(tmp_path / "nowhere" / "claims.db")


@pytest.mark.parametrize("timeout", [-1, 61, float("nan")])
def test_a_timeout_without_bounds_is_refused(path, timeout):
    with code("configuration", match="0 to 60"):
        SQLiteStore(path, timeout=timeout)


@pytest.mark.parametrize("table", ["", "a b", 'a"b', "1a", "a-b", "sqlite_claims", "支付", "a\n", "a;b"])
def test_a_table_name_that_is_no_identifier_is_refused(path, table):
    with code("configuration", match="ASCII identifier"):
        SQLiteStore(path, table=table)


@pytest.mark.parametrize("table", ["claims", "order", "_x1", "SELECT"])
def test_a_table_can_have_any_identifier_even_a_keyword(path, table):
    with SQLiteStore(path, table=table) as store:
        assert claim_key(store).outcome is ClaimOutcome.ACQUIRED
    assert ask(path, f'SELECT natural_key FROM "{table}"') == [(KEY,)]


def test_a_table_that_is_somebody_elses_is_refused(path, shop):
    with code("store_unavailable", StoreUnavailable, "no such column"):
        SQLiteStore(path, table="orders")
    assert times_paid(shop) == 0


def test_the_path_may_be_a_string_and_later_changes_of_directory_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SQLiteStore("claims.db") as store:
        monkeypatch.chdir("/")
        store.close()
        claim_key(store)
    assert ask(tmp_path / "claims.db", "SELECT natural_key FROM wxnotify_claims") == [(KEY,)]


def test_claims_outlive_the_store(path):
    with SQLiteStore(path) as store:
        store.complete(claim_key(store), retain=KEEP)
    with SQLiteStore(path) as store:
        assert claim_key(store, owner=b"p" * 16).outcome is ClaimOutcome.COMPLETED


def test_a_closed_store_opens_again(store):
    store.close()
    store.close()
    assert claim_key(store).outcome is ClaimOutcome.ACQUIRED


def test_a_store_that_is_dropped_leaves_no_connection_open(path):
    claim_key(SQLiteStore(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        gc.collect()
    path.unlink()


# --- the table ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "SET natural_key = NULL",
        "SET state = 'paid'",
        "SET owner = 'text'",
        "SET fingerprint = 'text'",
        "SET order_no = NULL",
        "SET generation = 'one'",
        "SET last_error = NULL",
        "SET lease_until = NULL",
    ],
)
def test_the_table_takes_nothing_of_another_shape(path, store, change):
    claim_key(store)
    with pytest.raises(sqlite3.IntegrityError):
        ask(path, f"UPDATE wxnotify_claims {change}")


def test_a_change_of_the_file_by_its_own_connections_is_synced_in_full(store):
    with store._connections.use() as connection:
        assert rows(connection, "PRAGMA synchronous") == [(2,)]


# --- the records -----------------------------------------------------------------------


@pytest.fixture
def now():
    """A clock that is moved by hand, in a list."""
    return [1_000.0]


@pytest.fixture
def timed(path, now):
    with SQLiteStore(path, clock=lambda: now[0]) as store:
        yield store


def test_a_lease_runs_to_its_end_and_no_further(timed, now):
    claim_key(timed)
    now[0] += 29.999
    assert claim_key(timed, owner=b"p" * 16).outcome is ClaimOutcome.IN_PROGRESS
    now[0] = 1_030.0
    assert claim_key(timed, owner=b"p" * 16).outcome is ClaimOutcome.ACQUIRED


def test_every_time_of_a_record_is_the_clocks(timed, now):
    claim = claim_key(timed)
    now[0] += 5
    timed.extend(claim, 60)
    assert [time.timestamp() for time in timed.find(KEY)[5:8]] == [1_000.0, 1_005.0, 1_065.0]


def test_records_of_one_state_come_longest_unchanged_first_and_all_of_them_by_their_keys(timed, now):
    claims = {}
    for key in "abcdef":
        claims[key] = claim_key(timed, key)
        now[0] += 1
    for key in "fa":
        timed.release(claims[key], error="boom")
        now[0] += 1
    for key in "eb":
        timed.complete(claims[key], retain=KEEP)
        now[0] += 1
    by_state = {state: [record.key for record in timed.records(state=state)] for state in State}
    assert by_state == {State.PENDING: ["c", "d"], State.RELEASED: ["f", "a"], State.DONE: ["e", "b"]}
    assert [record.key for record in timed.records()] == list("abcdef")
    assert [record.key for record in timed.records(older_than=2)] == ["a", "c", "d", "e", "f"]


def test_records_of_the_same_moment_are_all_there(timed, now):
    keys = sorted(f"key {number}" for number in range(401))
    for key in keys:
        claim_key(timed, key)
    assert [record.key for record in timed.records()] == keys
    now[0] += 10
    assert [record.key for record in timed.records(older_than=10)] == keys
    assert list(timed.records(older_than=10.001)) == []


# --- the journal ---------------------------------------------------------------------


def test_a_new_file_has_a_rollback_journal_where_wal_is_not_safe(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (99, 0, 0))
    with SQLiteStore(path) as store, store._connections.use() as connection:
        assert rows(connection, "PRAGMA journal_mode") == [("persist",)]
    assert ask(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_new_file_has_wal_where_it_is_safe(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (3, 37, 0))
    with SQLiteStore(path):
        pass
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_the_journal_of_a_file_that_exists_is_left_alone(path, shop, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (3, 37, 0))
    with SQLiteStore(path):
        pass
    assert ask(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_wal_file_is_warned_of_once_where_wal_is_not_safe(path, shop, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (99, 0, 0))
    shop.execute("PRAGMA journal_mode = WAL")
    with pytest.warns(RuntimeWarning, match=r"run SQLite 3\.51\.3 or newer") as warned:
        store = SQLiteStore(path)
    assert [warning.filename for warning in warned] == [__file__]
    with store:
        claim_key(store)
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_wal_file_is_no_cause_for_warning_where_it_is_safe(path, shop, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (3, 37, 0))
    shop.execute("PRAGMA journal_mode = WAL")
    with SQLiteStore(path) as store:
        claim_key(store)


# --- when the file cannot be used -------------------------------------------------------


def test_a_locked_file_is_refused_within_the_timeout(path, shop):
    with SQLiteStore(path, timeout=0.05) as store:
        shop.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        with code("store_unavailable", StoreUnavailable, r"locked by another connection for 0\.05 s"):
            claim_key(store)
        assert time.monotonic() - before < 5
        shop.execute("ROLLBACK")
        assert claim_key(store).outcome is ClaimOutcome.ACQUIRED


def test_a_commit_that_readers_hold_up_is_refused_and_leaves_nothing(path, monkeypatch):
    # Only with a rollback journal do readers hold up a writer.
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (99, 0, 0))
    with SQLiteStore(path, timeout=0.05) as store, closing(sqlite3.connect(path)) as reader:
        claim_key(store, "another")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM wxnotify_claims").fetchall()
        with code("store_unavailable", StoreUnavailable, "locked"):
            claim_key(store)
        reader.rollback()
        assert store.find(KEY) is None


def test_a_duplicate_is_told_off_though_a_writer_holds_the_file(path, shop):
    with SQLiteStore(path, timeout=0) as store:
        claim = claim_key(store)
        shop.execute("BEGIN IMMEDIATE")
        assert claim_key(store, owner=b"p" * 16).outcome is ClaimOutcome.IN_PROGRESS
        shop.execute("ROLLBACK")
        store.complete(claim, retain=KEEP)
        shop.execute("BEGIN IMMEDIATE")
        assert claim_key(store, owner=b"p" * 16).outcome is ClaimOutcome.COMPLETED


def test_a_claim_waits_for_a_short_transaction(path, shop):
    with SQLiteStore(path, timeout=30) as store:
        shop.execute("BEGIN IMMEDIATE")
        claims = []
        thread = threading.Thread(target=lambda: claims.append(claim_key(store)))
        thread.start()
        thread.join(0.05)
        assert not claims
        shop.execute("COMMIT")
        thread.join()
    assert claims[0].outcome is ClaimOutcome.ACQUIRED


@contextmanager
def rival_before(store, word, act):
    """Let a rival act whenever *store* is about to execute a statement with this word."""
    with store._connections.use() as connection:
        ask = connection.ask

    def ask_after_the_rival(sql, **parameters):
        if word in sql:
            act()
        return ask(sql, **parameters)

    connection.ask = ask_after_the_rival
    yield
    connection.ask = ask


def test_a_rival_between_the_look_and_the_insert_is_seen(path, store):
    with SQLiteStore(path) as other, rival_before(store, "INSERT", lambda: claim_key(other, owner=b"r" * 16)):
        assert claim_key(store)[2:5] == (ClaimOutcome.IN_PROGRESS, 1, 1)


@pytest.mark.parametrize("outcome", [ClaimOutcome.IN_PROGRESS, ClaimOutcome.COMPLETED])
def test_a_rival_between_the_look_and_the_take_over_is_seen(path, outcome):
    now = [1_000.0]
    with SQLiteStore(path, clock=lambda: now[0]) as store, SQLiteStore(path, clock=lambda: now[0]) as other:
        stale = claim_key(store)
        now[0] += 30

        def take_over_or_complete():
            if outcome is ClaimOutcome.COMPLETED:
                other.complete(stale, retain=KEEP)
            else:
                claim_key(other, owner=b"r" * 16)

        with rival_before(store, "SET state = 'pending'", take_over_or_complete):
            claim = claim_key(store, owner=b"p" * 16)
        assert claim.outcome is outcome
        assert claim.generation == (2 if outcome is ClaimOutcome.IN_PROGRESS else 1)


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, but long enough to have a header " * 100)
    with code("store_unavailable", StoreUnavailable, "not a database"):
        SQLiteStore(path)


def test_a_file_that_was_destroyed_is_refused_and_no_connection_kept(path, store):
    claim_key(store)
    store.close()
    whole = path.read_bytes()
    path.write_bytes(b"\0" * len(whole))
    for _ in range(2):
        with code("store_unavailable", StoreUnavailable):
            store.find(KEY)
    path.write_bytes(whole)
    assert store.find(KEY).state is State.PENDING


def test_a_path_that_cannot_be_opened_is_refused(tmp_path):
    with code("store_unavailable", StoreUnavailable, "unable to open"):
        SQLiteStore(tmp_path)


@contextmanager
def somebody_without_rights():
    """Root may write everything, so be nobody for a while."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_file_is_refused():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory, "claims.db")
        SQLiteStore(path).close()
        path.chmod(0o444)
        with somebody_without_rights(), code("store_unavailable", StoreUnavailable, "readonly"):
            claim_key(SQLiteStore(path))
        path.chmod(0o644)


def test_a_full_disk_is_refused_and_then_recovered_from(path, store):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    filler = claim_key(store, "filler")
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with code("store_unavailable", StoreUnavailable):
            for number in range(1_000):
                claim_key(store, f"{number:1000}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert claim_key(store).outcome is ClaimOutcome.ACQUIRED
    assert store.complete(filler, retain=KEEP) is CompleteOutcome.DONE


# --- connections ------------------------------------------------------------------------


def test_an_idle_connection_is_used_again(store):
    with store._connections.use() as first:
        pass
    with store._connections.use() as second:
        assert second is first


def test_two_threads_never_share_a_connection(store):
    with store._connections.use() as one, store._connections.use() as other:
        assert one is not other


def test_a_connection_that_failed_is_not_used_again(store):
    with pytest.raises(StoreUnavailable), store._connections.use() as first, first.transaction():
        first.ask("no SQL")
    with store._connections.use() as second, second.transaction():
        assert second is not first


def test_a_transaction_of_the_store_has_the_write_lock_from_the_start(path, store):
    with (
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as rival,
        store._connections.use() as connection,
        connection.transaction(),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        rival.execute("BEGIN IMMEDIATE")


def test_only_a_few_connections_are_kept(store):
    def nest(depth):
        with store._connections.use():
            return nest(depth - 1) if depth else None

    nest(20)
    assert [len(idle) for idle in store._connections._idle.values()] == [8]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_no_idle_connection_crosses_a_fork(path, store):
    claim = claim_key(store)
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork while threads run.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        inherited = [idle for idle in store._connections._idle.values() if idle]
        good = not inherited and store.complete(claim, retain=KEEP) is CompleteOutcome.DONE
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert claim_key(store, owner=b"p" * 16).outcome is ClaimOutcome.COMPLETED


def test_what_crosses_a_fork_unasked_is_neither_used_nor_closed(store, monkeypatch):
    with store._connections.use() as inherited:
        pass
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with store._connections.use() as own:
            assert own is not inherited
        store.close()
    with store._connections.use() as again:
        assert again is inherited
        assert rows(again, "SELECT 1") == [(1,)]


# --- in the caller's transaction -----------------------------------------------------------


def test_the_completion_commits_with_the_order(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    pay(shop)
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert store.find(KEY).state is State.PENDING
    shop.execute("COMMIT")
    assert store.find(KEY).state is State.DONE
    assert times_paid(shop) == 1
    assert store.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY


def test_the_completion_rolls_back_with_the_order(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    pay(shop)
    bound.complete(claim, retain=KEEP)
    shop.execute("ROLLBACK")
    assert store.find(KEY).state is State.PENDING
    assert times_paid(shop) == 0


def test_the_completion_leaves_the_transaction_open(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    store.bind(shop).complete(claim, retain=KEEP)
    assert shop.in_transaction
    shop.execute("ROLLBACK")


def test_a_bound_completion_can_be_repeated(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
    shop.execute("COMMIT")
    assert store.find(KEY).state is State.DONE


def test_a_second_transaction_for_what_is_done_is_lost(store, shop):
    claim = claim_key(store)
    store.complete(claim, retain=KEEP)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    pay(shop)
    with code("claim_lost", ClaimLost):
        bound.complete(claim, retain=KEEP)
    shop.execute("ROLLBACK")


@pytest.mark.parametrize("same", [{}, {"owner": b"x" * 16}, {"generation": 1}])
def test_a_lost_claim_raises_and_leaves_the_successor_untouched(path, shop, same):
    now = [1_000.0]
    with SQLiteStore(path, clock=lambda: now[0]) as store:
        stale = claim_key(store)
        now[0] += 30
        successor = claim_key(store, owner=b"p" * 16)
        before = store.find(KEY)
        shop.execute("BEGIN IMMEDIATE")
        bound = store.bind(shop)
        pay(shop)
        forged = successor._replace(**same) if same else stale
        with code("claim_lost", ClaimLost, "roll back"):
            bound.complete(forged, retain=KEEP)
        shop.execute("ROLLBACK")
        assert times_paid(shop) == 0
        assert store.find(KEY) == before
        assert store.complete(successor, retain=KEEP) is CompleteOutcome.DONE


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("begin_again", [False, True])
def test_a_handler_that_ends_the_transaction_is_found_out(store, shop, end, begin_again):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    pay(shop)
    shop.execute(end)
    if begin_again:
        shop.execute("BEGIN IMMEDIATE")
    with code("configuration", match="the handler must not commit or roll back"):
        bound.complete(claim, retain=KEEP)
    if begin_again:
        shop.execute("COMMIT")
    assert store.find(KEY).state is State.PENDING


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_nothing_is_put_into_the_inbox_in_another_transaction(store, shop, end):
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    shop.execute(end)
    shop.execute("BEGIN IMMEDIATE")
    with code("configuration", match="the handler must not commit or roll back"):
        bound.put(KEY, b"notification", again_in=60)
    shop.execute("COMMIT")
    assert store.fetch(KEY) is None


def test_a_transaction_that_can_be_marked_no_longer_is_refused(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)

    def allow_no_savepoint(action, operation, *_):
        denied = action == sqlite3.SQLITE_SAVEPOINT and operation == "BEGIN"
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    shop.set_authorizer(allow_no_savepoint)
    with code("store_unavailable", StoreUnavailable, "not authorized"):
        bound.complete(claim, retain=KEEP)
    shop.set_authorizer(lambda *_: sqlite3.SQLITE_OK)
    shop.execute("ROLLBACK")
    assert store.find(KEY).state is State.PENDING


def test_a_handler_that_closes_the_connection_is_found_out(path, store, shop):
    claim = claim_key(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        bound = store.bind(connection)
    with code("configuration", match="has ended"):
        bound.complete(claim, retain=KEEP)


def test_a_handler_may_use_savepoints_of_its_own(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    shop.execute("SAVEPOINT mine")
    pay(shop)
    shop.execute("ROLLBACK TO mine")
    pay(shop)
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    shop.execute("COMMIT")
    assert times_paid(shop) == 1


def test_a_bound_completion_refuses_a_short_retention(store, shop):
    claim = claim_key(store)
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    with code("configuration", match="48 h"):
        bound.complete(claim, retain=60)
    shop.execute("ROLLBACK")


def test_a_deferred_transaction_that_was_overtaken_is_unavailable(path, store, shop):
    claim = claim_key(store)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM orders").fetchall()
        bound = store.bind(connection)
        shop.execute("BEGIN IMMEDIATE")
        with code("store_unavailable", StoreUnavailable, "locked"):
            bound.complete(claim, retain=KEEP)
        shop.execute("ROLLBACK")


def test_the_implicit_transaction_of_python_will_do(path, store, shop):
    claim = claim_key(store)
    with closing(sqlite3.connect(path)) as connection:
        pay(connection)
        store.bind(connection).complete(claim, retain=KEEP)
        connection.commit()
    assert store.find(KEY).state is State.DONE
    assert times_paid(shop) == 1


def explode(*_):
    raise AssertionError("the caller's factory was used")


@pytest.mark.parametrize("text_factory", [bytes, bytearray, explode])
@pytest.mark.parametrize("row_factory", [sqlite3.Row, explode])
def test_the_callers_factories_do_not_matter(store, shop, row_factory, text_factory):
    claim = claim_key(store)
    shop.row_factory, shop.text_factory = row_factory, text_factory
    shop.execute("BEGIN IMMEDIATE")
    bound = store.bind(shop)
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.DONE
    assert bound.complete(claim, retain=KEEP) is CompleteOutcome.ALREADY
    shop.execute("COMMIT")
    shop.row_factory, shop.text_factory = None, str


def test_a_temporary_table_of_the_same_name_does_not_matter(store, shop):
    claim = claim_key(store)
    shop.execute("CREATE TEMP TABLE wxnotify_claims (key TEXT)")
    shop.execute("BEGIN IMMEDIATE")
    assert store.bind(shop).complete(claim, retain=KEEP) is CompleteOutcome.DONE
    shop.execute("COMMIT")
    assert store.find(KEY).state is State.DONE


# --- the store's own transaction ----------------------------------------------------------


def test_the_stores_transaction_can_be_bound_and_commits_at_its_end(store, shop):
    claim = claim_key(store)
    with store.transaction() as connection:
        bound = store.bind(connection)
        pay(connection)
        bound.complete(claim, retain=KEEP)
        assert times_paid(shop) == 0
    assert store.find(KEY).state is State.DONE
    assert times_paid(shop) == 1


@pytest.mark.parametrize("error", [KeyError("mine"), sqlite3.IntegrityError("mine"), KeyboardInterrupt()])
def test_the_stores_transaction_rolls_back_at_an_exception_and_lets_it_through(store, shop, error):
    def failing():
        with store.transaction() as connection:
            pay(connection)
            raise error

    with pytest.raises(type(error)) as raised:
        failing()
    assert raised.value is error
    assert times_paid(shop) == 0


def test_the_stores_transaction_waits_no_longer_than_it_may(path, shop):
    with SQLiteStore(path, timeout=0.05) as store:
        shop.execute("BEGIN IMMEDIATE")
        with code("store_unavailable", StoreUnavailable, "locked"), store.transaction():
            pytest.fail("it has not begun")
        shop.execute("ROLLBACK")
        with store.transaction() as connection:
            pay(connection)
    assert times_paid(shop) == 1


def test_the_stores_transaction_on_a_file_that_was_destroyed_is_refused(path, store):
    path.write_bytes(b"\0" * path.stat().st_size)
    with code("store_unavailable", StoreUnavailable, "not a database"), store.transaction():
        pytest.fail("it has not begun")


def test_a_commit_that_fails_is_told_and_nothing_of_it_stays(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as shop:
        # Made first, so that it has a rollback journal, where a reader holds up a commit.
        shop.execute("CREATE TABLE orders (number TEXT PRIMARY KEY, paid INTEGER NOT NULL)")
        shop.execute("INSERT INTO orders VALUES ('A-1', 0)")
        with SQLiteStore(path, timeout=0.05) as store:
            shop.execute("BEGIN")
            with code("store_unavailable", StoreUnavailable, "locked"), store.transaction() as connection:
                pay(connection)
                assert times_paid(shop) == 0
        shop.execute("ROLLBACK")
        assert times_paid(shop) == 0


# --- what bind refuses ---------------------------------------------------------------------


@pytest.mark.parametrize("connection", [None, "shop.db", object()])
def test_bind_refuses_what_is_no_connection(store, connection):
    with code("configuration", match="takes a sqlite3.Connection, not"):
        store.bind(connection)


def test_bind_refuses_a_connection_outside_a_transaction(store, shop):
    with code("configuration", match='execute "BEGIN IMMEDIATE" first'):
        store.bind(shop)


def test_bind_refuses_another_file(store, tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with code("configuration", match="not the store's file"):
            store.bind(other)


def test_bind_refuses_a_database_in_memory_with_the_file_attached(path, store):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
        other.execute("ATTACH ? AS shop", [str(path)])
        other.execute("BEGIN IMMEDIATE")
        with code("configuration", match="not the store's file"):
            store.bind(other)


def test_bind_refuses_a_second_file_that_would_not_commit_with_the_first(store, shop, tmp_path):
    shop.execute("ATTACH ? AS elsewhere", (str(tmp_path / "other.db"),))
    shop.execute("BEGIN IMMEDIATE")
    with code("configuration", match="another database is attached"):
        store.bind(shop)
    shop.execute("ROLLBACK")


def test_bind_knows_the_file_by_any_name(path, store, tmp_path):
    link = tmp_path / "link.db"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("no symbolic links")
    with closing(sqlite3.connect(link, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        store.bind(connection)
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_bind_refuses_a_connection_that_may_forget_a_commit(store, shop, synchronous):
    shop.execute(f"PRAGMA synchronous = {synchronous}")
    shop.execute("BEGIN IMMEDIATE")
    with code("configuration", match="PRAGMA synchronous = FULL"):
        store.bind(shop)
    shop.execute("ROLLBACK")


@pytest.mark.parametrize("journal", ["MEMORY", "OFF"])
def test_bind_refuses_a_connection_without_a_journal_on_disk(path, journal, monkeypatch):
    monkeypatch.setattr(sqlite, "_WAL_SAFE_SINCE", (99, 0, 0))
    with SQLiteStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("BEGIN IMMEDIATE")
        with code("configuration", match="without a journal on disk"):
            store.bind(connection)
        connection.execute("ROLLBACK")


def test_bind_refuses_a_closed_connection(path, store):
    connection = sqlite3.connect(path)
    connection.close()
    with code("store_unavailable", StoreUnavailable, "closed database"):
        store.bind(connection)


def test_a_refused_bind_leaves_the_transaction_as_it_was(store, shop):
    shop.execute("PRAGMA synchronous = OFF")
    shop.execute("BEGIN IMMEDIATE")
    pay(shop)
    with pytest.raises(ConfigurationError):
        store.bind(shop)
    shop.execute("COMMIT")
    assert times_paid(shop) == 1
