"""What is special about a store on Django's own connections: atomic blocks, tests, threads, SQLite's lock."""

from __future__ import annotations

import importlib
import itertools
import sqlite3
import sys
import threading
import time
import unittest
from contextlib import closing, contextmanager, suppress
from functools import partial

import pytest

from wxnotify.errors import ClaimLost, ConfigurationError, StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, CompleteOutcome, State
from wxnotify.testing import APPID, KEY, MCH_ID, notification

pytest.importorskip("tests.django_shop.databases")  # sets Django up

import django.test
from django.db import (
    IntegrityError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)

from wxnotify import Expected, Merchant, Receiver
from wxnotify.stores.django import DjangoStore

from ..django_shop.databases import ALIASES, need
from ..django_shop.models import Effect, Order

KEEP = 3 * 86_400.0
_owners = itertools.count(1)


@pytest.fixture(params=ALIASES)
def alias(request):
    return need(request.param)


@pytest.fixture
def store(alias):
    return DjangoStore(alias, timeout=10)


@pytest.fixture
def sqlite_store():
    return DjangoStore(need("default"), timeout=0.5)


def claim(store, key="key", lease=30.0):
    return store.claim(key, fingerprint=b"f" * 32, owner=next(_owners).to_bytes(16, "big"), lease=lease)


def settle(store, held, *, before=lambda connection: None, after=lambda connection: None):
    """Have the effect and complete in one transaction, with something else before or after."""
    with store.transaction() as connection:
        bound = store.bind(connection)
        Effect.objects.using(store.using).create(natural_key=held.key)
        before(connection)
        outcome = bound.complete(held, retain=KEEP)
        after(connection)
    return outcome


def effects(store):
    return Effect.objects.using(store.using).count()


class Mine(Exception):
    pass


# --- atomic blocks ------------------------------------------------------------------

VERBS = {
    "claim": lambda store, held: claim(store, "other"),
    "complete": lambda store, held: store.complete(held, retain=KEEP),
    "release": lambda store, held: store.release(held, error="boom"),
    "extend": lambda store, held: store.extend(held, 30),
    "purge": lambda store, held: store.purge(KEEP, 1),
    "find": lambda store, held: store.find("key"),
    "records": lambda store, held: list(store.records()),
    "fetch": lambda store, held: store.fetch("key"),
    "handed": lambda store, held: store.handed("key", again_in=1),
    "due": lambda store, held: store.due(1),
    "remove": lambda store, held: store.remove("key"),
    "transaction": lambda store, held: settle(store, held),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_in_an_atomic_block_is_refused(store, verb):
    held = claim(store)
    with transaction.atomic(using=store.using), pytest.raises(ConfigurationError, match="atomic block"):
        VERBS[verb](store, held)
    assert [record.state for record in store.records()] == [State.PENDING]


def test_a_verb_in_an_atomic_block_of_another_database_is_not(store):
    need("other")
    with transaction.atomic(using="other"):
        held = claim(store)
    assert store.complete(held, retain=KEEP) is CompleteOutcome.DONE


def test_a_verb_outside_of_autocommit_is_refused_and_the_transaction_left_alone(store):
    wrapper = connections[store.using]
    wrapper.set_autocommit(False)
    try:
        Effect.objects.using(store.using).create(natural_key="mine")
        with pytest.raises(ConfigurationError, match="not in autocommit"):
            claim(store)
        with pytest.raises(ConfigurationError, match="not in autocommit"), store.transaction():
            pytest.fail("it has begun")
        wrapper.commit()
    finally:
        wrapper.rollback()
        wrapper.set_autocommit(True)
    assert effects(store) == 1
    assert store.find("key") is None


def test_the_merchants_connection_is_as_it_was(store):
    wrapper = connections[store.using]
    wrapper.ensure_connection()
    driver = wrapper.connection
    settle(store, claim(store))
    assert wrapper.connection is driver
    assert wrapper.get_autocommit()
    assert not wrapper.in_atomic_block
    assert "get_new_connection" not in vars(wrapper)


# --- Django's TestCase ----------------------------------------------------------------


def run_as_test_case(alias, test):
    """Run *test* as a test of Django's TestCase, with the class's own atomic block around it."""

    class Inside(django.test.TestCase):
        databases = frozenset({alias})

        def test(self):
            test()

    result = unittest.TestResult()
    unittest.TestSuite([Inside("test")]).run(result)
    assert result.testsRun == 1
    return [text for _, text in result.failures + result.errors]


def test_in_a_test_of_djangos_all_verbs_work_and_nothing_is_left(store):
    def test():
        held = claim(store)
        assert claim(store).outcome is ClaimOutcome.IN_PROGRESS
        assert settle(store, held) is CompleteOutcome.DONE
        assert store.find("key").state is State.DONE
        assert effects(store) == 1
        with pytest.raises(ClaimLost):
            settle(store, held)
        assert effects(store) == 1

    assert run_as_test_case(store.using, test) == []
    assert store.find("key") is None
    assert effects(store) == 0


def test_in_a_test_of_djangos_an_atomic_block_of_ones_own_is_refused(store):
    def test():
        with transaction.atomic(using=store.using), pytest.raises(ConfigurationError, match="atomic block"):
            claim(store)

    assert run_as_test_case(store.using, test) == []


def test_in_a_test_of_djangos_a_verb_that_fails_leaves_the_test_usable(store):
    def test():
        broken = DjangoStore(store.using)
        broken._verbs._statements.update(
            dict.fromkeys(broken._verbs._statements, "SELECT no_such_column FROM wxnotify_claims")
        )
        with pytest.raises(StoreUnavailable):
            broken.find("key")
        assert claim(store).outcome is ClaimOutcome.ACQUIRED

    assert run_as_test_case(store.using, test) == []


# --- bind -----------------------------------------------------------------------------


def test_the_connection_of_djangos_own_name_can_be_bound():
    store = DjangoStore(need("default"))
    held = claim(store)
    with transaction.atomic():
        assert store.bind(connection).complete(held, retain=KEEP) is CompleteOutcome.DONE
    assert store.find("key").state is State.DONE


def test_a_connection_of_another_database_is_refused(store):
    need("other")
    with transaction.atomic(using="other"), pytest.raises(ConfigurationError, match="'other'"):
        store.bind(connections["other"])


def test_what_is_no_connection_is_refused(store):
    with store.transaction() as connection, pytest.raises(ConfigurationError, match=r"store\.transaction"):
        store.bind(connection.connection)


def test_a_connection_in_no_transaction_is_refused(store):
    with pytest.raises(ConfigurationError, match="not in a transaction"):
        store.bind(connections[store.using])


def test_another_threads_connection_is_refused(store):
    others = []
    thread = threading.Thread(target=lambda: others.append(connections[store.using]))
    thread.start()
    thread.join()
    with transaction.atomic(using=store.using), pytest.raises(ConfigurationError, match="another thread"):
        store.bind(others[0])


def test_an_atomic_block_that_commits_nothing_is_refused(store):
    wrapper = connections[store.using]
    wrapper.set_autocommit(False)
    try:
        with transaction.atomic(using=store.using), pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            store.bind(wrapper)
    finally:
        wrapper.rollback()
        wrapper.set_autocommit(True)


def test_atomic_blocks_inside_the_handlers_transaction_are_its_own_affair(store):
    def inner(connection):
        with transaction.atomic(using=store.using):
            Effect.objects.using(store.using).create(natural_key="kept")
        with suppress(Mine), transaction.atomic(using=store.using):
            Effect.objects.using(store.using).create(natural_key="undone")
            raise Mine

    assert settle(store, claim(store), before=inner) is CompleteOutcome.DONE
    keys = Effect.objects.using(store.using).values_list("natural_key", flat=True)
    assert sorted(keys) == ["kept", "key"]


# --- a handler that spoils its transaction -----------------------------------------------


def catch_an_error(connection):
    """Go on after a database error, as Django says one must not."""
    orders = Order.objects.using(connection.alias)
    orders.create(number="A")
    with suppress(IntegrityError):
        orders.create(number="A")


def catch_an_error_of_sql(connection):
    with connection.cursor() as cursor, suppress(ProgrammingError):
        cursor.execute("SELECT no_such_column FROM shop_order")


def set_rollback(connection):
    transaction.set_rollback(True, using=connection.alias)


def commit_by_sql(connection):
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")
        cursor.execute("BEGIN")


def roll_back_by_driver(connection):
    connection.connection.rollback()


def alter_a_table(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE made_by_handler (a INTEGER)")
        cursor.execute("DROP TABLE made_by_handler")


def close(connection):
    connection.close()


@pytest.mark.parametrize("spoil", [catch_an_error, set_rollback, commit_by_sql, roll_back_by_driver, close])
def test_a_spoilt_transaction_is_told_fail_and_never_success(store, spoil):
    answers = deliver_spoilt(store, spoil)
    assert answers[0] == ("handler_failed", 500)
    assert answers[1] == ("handled", 200)
    assert store.find(next(store.records()).key).state is State.DONE


def deliver_spoilt(store, spoil):
    """Deliver one payment twice, whose first handling *spoil* spoils; give what was told."""
    events, spoils = [], [spoil]
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY), store, expect=lambda payment: Expected(100), on_event=events.append
    )

    @receiver.on("payment", transaction=store.transaction)
    def ship(payment, connection):
        Effect.objects.using(store.using).create(natural_key=payment.key)
        if spoils:
            spoils.pop()(connection)

    replies = [receiver.receive(notification()) for _ in range(2)]
    return [(event.code, reply.status) for event, reply in zip(events, replies, strict=True)]


@pytest.mark.parametrize("spoil", [catch_an_error, set_rollback, roll_back_by_driver, close])
def test_nothing_of_a_spoilt_transaction_is_kept(store, spoil):
    with pytest.raises((ConfigurationError, StoreUnavailable)):
        settle(store, claim(store), before=spoil)
    assert effects(store) == 0
    assert store.find("key").state is State.PENDING


def test_a_transaction_marked_for_rollback_says_so(store):
    with pytest.raises(ConfigurationError, match="nothing of this transaction can be committed"):
        settle(store, claim(store), before=catch_an_error)


def test_what_is_rolled_back_after_the_completion_is_found_out_by_asking(store):
    held = claim(store)
    assert settle(store, held, after=set_rollback) is CompleteOutcome.DONE
    assert store.find("key").state is State.PENDING
    assert effects(store) == 0


def test_a_connection_that_is_closed_after_the_completion_has_committed_nothing(store):
    held = claim(store)
    with pytest.raises(StoreUnavailable, match="closed inside the transaction"):
        settle(store, held, after=close)
    assert store.find("key").state is State.PENDING
    assert effects(store) == 0


def test_postgresql_is_told_fail_for_an_error_of_sql_that_was_caught():
    store = DjangoStore(need("postgresql"))
    with pytest.raises(StoreUnavailable, match="transaction is aborted"):
        settle(store, claim(store), before=catch_an_error_of_sql)
    assert effects(store) == 0


@pytest.mark.parametrize("spoil", [commit_by_sql, roll_back_by_driver])
def test_whoever_ends_the_transaction_is_told_so(store, spoil):
    held = claim(store)
    with pytest.raises(ConfigurationError, match="has ended"):
        settle(store, held, before=spoil)
    assert store.find("key").state is State.PENDING


def test_a_claim_that_is_lost_is_not_taken_for_a_transaction_that_ended(store):
    stale = claim(store, lease=0.001)
    time.sleep(0.01)
    claim(store)
    with pytest.raises(ClaimLost):
        settle(store, stale)


def test_a_completion_repeated_in_another_transaction_is_refused(store):
    held = claim(store)
    with store.transaction() as connection:
        bound = store.bind(connection)
        bound.complete(held, retain=KEEP)
        assert bound.complete(held, retain=KEEP) is CompleteOutcome.ALREADY
    with store.transaction(), pytest.raises(ConfigurationError, match="its atomic block has"):
        bound.complete(held, retain=KEEP)


def test_mysql_that_commits_for_a_table_is_found_out():
    store = DjangoStore(need("mariadb"))
    held = claim(store)
    with pytest.raises(ConfigurationError, match="nor alter tables"):
        settle(store, held, before=alter_a_table)
    assert store.find("key").state is State.PENDING


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_database_that_does_not_commit_for_a_table_lets_it_be(alias):
    store = DjangoStore(need(alias))
    assert settle(store, claim(store), before=alter_a_table) is CompleteOutcome.DONE


def test_what_the_handler_raises_comes_through_and_rolls_back(store):
    def fail(connection):
        raise Mine

    with pytest.raises(Mine):
        settle(store, claim(store), after=fail)
    assert effects(store) == 0
    assert not connections[store.using].in_atomic_block


# --- after the commit -------------------------------------------------------------------


def test_what_is_left_for_after_the_commit_has_all_the_time_it_wants(alias):
    store, seen = DjangoStore(alias, timeout=0.3), []

    def afterwards():
        time.sleep(0.5)
        seen.append(effects(store))

    held = claim(store)
    settle(store, held, before=lambda connection: transaction.on_commit(afterwards, using=alias))
    assert seen == [1]


def test_what_is_raised_after_the_commit_undoes_nothing(store):
    def afterwards():
        raise Mine

    with pytest.raises(Mine):
        settle(
            store,
            claim(store),
            before=lambda connection: transaction.on_commit(afterwards, using=store.using),
        )
    assert store.find("key").state is State.DONE
    assert effects(store) == 1


def test_a_database_error_after_the_commit_is_no_failed_commit(store):
    def afterwards():
        catch = Order.objects.using(store.using)
        catch.create(number="A")
        catch.create(number="A")

    with pytest.raises(IntegrityError):
        settle(
            store,
            claim(store),
            before=lambda connection: transaction.on_commit(afterwards, using=store.using),
        )
    assert store.find("key").state is State.DONE


def test_a_delivery_whose_hook_fails_is_handled(store):
    def spoil(connection):
        transaction.on_commit(lambda: 1 / 0, using=store.using)

    assert deliver_spoilt(store, spoil) == [("handled", 200), ("duplicate", 200)]


# --- threads ----------------------------------------------------------------------------


def in_a_thread(action):
    """Call *action* in a thread of its own; give its result."""
    results = []

    def work():
        try:
            results.append(action())
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


@contextmanager
def connections_that_live(alias, seconds):
    connections.settings[alias]["CONN_MAX_AGE"] = seconds
    try:
        yield
    finally:
        connections.settings[alias]["CONN_MAX_AGE"] = 0


def test_a_job_in_a_thread_leaves_no_connection_behind(store):
    def work():
        return store.in_thread(lambda: claim(store).outcome), connections[store.using].connection

    assert in_a_thread(work) == (ClaimOutcome.ACQUIRED, None)


def test_a_job_that_raises_leaves_none_either(store):
    def fail():
        claim(store)
        raise Mine

    def work():
        with pytest.raises(Mine):
            store.in_thread(fail)
        return connections[store.using].connection

    assert in_a_thread(work) is None


def test_a_connection_that_may_live_on_is_kept_until_it_is_too_old(store):
    wrapper_of = partial(connections.__getitem__, store.using)

    def use():
        claim(store)
        return wrapper_of().connection

    def work():
        first, second = store.in_thread(use), store.in_thread(use)
        wrapper_of().close_at = 0
        return first, second, store.in_thread(use)

    with connections_that_live(store.using, 60):
        first, second, third = in_a_thread(work)
    assert first is second
    assert third is not second


# --- SQLite -----------------------------------------------------------------------------


@contextmanager
def another_connection(store):
    """A connection of another process, in effect, to the store's file."""
    path = connections.settings[store.using]["NAME"]
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)) as other:
        yield other


def test_a_locked_file_is_told_in_time(sqlite_store):
    with another_connection(sqlite_store) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            claim(sqlite_store)
        with pytest.raises(StoreUnavailable, match="locked"), sqlite_store.transaction():
            pytest.fail("it has begun")
        assert time.monotonic() - began < 2 * 0.5 + 1
        assert not connections["default"].in_atomic_block
    assert claim(sqlite_store).outcome is ClaimOutcome.ACQUIRED


def test_a_file_that_is_free_again_in_time_was_not_locked(sqlite_store):
    with another_connection(sqlite_store) as other:

        def while_locked(action):
            other.execute("BEGIN IMMEDIATE")
            free = threading.Timer(0.1, other.execute, ["ROLLBACK"])
            free.start()
            try:
                return action()
            finally:
                free.join()

        held = while_locked(lambda: claim(sqlite_store))
        assert while_locked(lambda: settle(sqlite_store, held)) is CompleteOutcome.DONE


def test_the_handlers_transaction_has_the_write_lock_from_the_beginning(sqlite_store):
    with another_connection(sqlite_store) as other:
        with sqlite_store.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")


def test_the_files_own_busy_timeout_is_restored(sqlite_store):
    settle(sqlite_store, claim(sqlite_store))
    with connections["default"].cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchall() == [(5000,)]


@pytest.mark.parametrize(
    ("pragma", "problem"),
    [("synchronous = NORMAL", "power is lost"), ("journal_mode = MEMORY", "journal on disk")],
)
def test_a_connection_that_may_lose_a_commit_is_refused(sqlite_store, pragma, problem):
    held = claim(sqlite_store)
    with connections["default"].cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
    try:
        with pytest.raises(ConfigurationError, match=problem):
            settle(sqlite_store, held)
    finally:
        connections["default"].close()
    assert settle(sqlite_store, held) is CompleteOutcome.DONE


def test_a_database_in_memory_is_for_tests_and_good_enough():
    need("memory")
    store = DjangoStore("memory")
    assert settle(store, claim(store)) is CompleteOutcome.DONE


# --- what cannot work -------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, 61, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ConfigurationError, match="timeout"):
        DjangoStore(timeout=timeout)


def test_an_unknown_alias_is_refused_when_it_is_used():
    with pytest.raises(ConfigurationError, match="no such alias"):
        DjangoStore("nowhere").find("key")


def test_a_database_of_another_kind_is_refused():
    with pytest.raises(ConfigurationError, match="keeps no claims in unknown"):
        DjangoStore("dummy").find("key")


def test_a_table_that_is_missing_is_told_as_such(store):
    with connections[store.using].cursor() as cursor:
        cursor.execute("ALTER TABLE wxnotify_claims RENAME TO away")
    try:
        with pytest.raises(ConfigurationError, match="migrations"):
            claim(store)
    finally:
        with connections[store.using].cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO wxnotify_claims")
    assert claim(store).outcome is ClaimOutcome.ACQUIRED


@pytest.mark.parametrize(
    ("module", "missing"), [("wxnotify.stores.django", "django"), ("wxnotify.adapters.django", "django.db")]
)
def test_without_django_the_extra_is_named(monkeypatch, module, missing):
    loaded = importlib.import_module(module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "wxpay-notify\[django\]"'):
        importlib.reload(loaded)


# --- characters -------------------------------------------------------------------------


def test_an_emoji_is_stored_over_a_connection_that_cannot_say_it():
    store = DjangoStore(need("mariadb"))
    options = connections.settings["mariadb"]["OPTIONS"]
    connections["mariadb"].close()
    options["charset"] = "utf8"
    try:
        held = store.claim("💰", fingerprint=b"f" * 32, owner=b"o" * 16, lease=30, order_no="A💰")
        store.release(held, error="💥")
        # It cannot be shown either.
        assert store.find("💰")[:2] == ("💰", "A?")
    finally:
        options["charset"] = "utf8mb4"
        connections["mariadb"].close()
    record = store.find("💰")
    assert (record.order_no, record.last_error) == ("A💰", "💥")


def test_a_late_error_of_the_commit_is_told_as_such(sqlite_store, monkeypatch):
    def fail():
        raise OperationalError("disk I/O error")

    held = claim(sqlite_store)
    with pytest.raises(StoreUnavailable, match=r"committing: .*disk I/O"):
        settle(
            sqlite_store,
            held,
            after=lambda connection: monkeypatch.setattr(connection, "commit", fail),
        )
    monkeypatch.undo()
    assert sqlite_store.find("key").state is State.PENDING
    assert effects(sqlite_store) == 0
