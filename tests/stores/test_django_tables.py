"""The tables Django makes, and what the admin and the commands show of them."""

from __future__ import annotations

import io
import itertools
import re
from datetime import datetime, timedelta, timezone

import pytest

from wxnotify.idempotency import RETAIN_SECONDS

pytest.importorskip("tests.django_shop.databases")  # sets Django up

from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone as django_timezone

from wxnotify.stores.django import DjangoStore
from wxnotify.stores.django.models import StoredClaim, StoredNotification

from ..django_shop.databases import ALIASES, need
from ..django_shop.subject import move_back

_owners = itertools.count(1)
DAY = 86_400.0


@pytest.fixture
def store():
    return DjangoStore(need("default"))


def claim(store, key, order_no="", lease=30.0):
    owner = next(_owners).to_bytes(16, "big")
    return store.claim(key, fingerprint=b"f" * 32, owner=owner, lease=lease, order_no=order_no)


# --- the tables ---------------------------------------------------------------------------


def test_the_migrations_are_what_the_models_say():
    assert "No changes" in output("makemigrations", "wxnotify", check=True, dry_run=True)[0]


@pytest.mark.parametrize("alias", ALIASES)
def test_the_models_read_what_the_store_writes(alias):
    store = DjangoStore(need(alias))
    held = claim(store, "键/a 'b'", order_no="单1")
    store.release(held, error="💥 " + "x" * 600)
    stored = StoredClaim.objects.using(alias).get(natural_key="键/a 'b'")
    assert str(stored) == stored.natural_key == "键/a 'b'"
    assert (stored.order_no, stored.state, stored.generation, stored.attempts) == ("单1", "released", 1, 1)
    assert stored.last_error == "💥 " + "x" * 510
    assert stored.result == ""
    assert bytes(stored.fingerprint) == b"f" * 32
    assert bytes(stored.owner) == held.owner
    assert stored.updated == pytest.approx(store.find(held.key).updated.timestamp(), abs=1e-5)
    store.complete(claim(store, held.key), retain=RETAIN_SECONDS, result="💥" * 256)
    assert StoredClaim.objects.using(alias).get(natural_key=held.key).result == "💥" * 256
    with store.transaction() as connection:
        store.bind(connection).put("键", b"{}", again_in=60)
    waiting = StoredNotification.objects.using(alias).get()
    assert str(waiting) == "键"
    assert waiting.due - waiting.received == pytest.approx(60, abs=1)


@pytest.mark.parametrize("alias", ALIASES)
def test_lookups_are_by_bytes(alias):
    store = DjangoStore(need(alias))
    for key in ("Key", "key", "key ", "ke_"):
        claim(store, key, order_no=key)
    found = StoredClaim.objects.using(alias)
    assert found.get(natural_key="key").order_no == "key"
    assert found.get(order_no="Key").natural_key == "Key"
    assert {one.natural_key for one in found.filter(natural_key__contains="ke_")} == {"ke_"}


@pytest.mark.parametrize("alias", ALIASES)
def test_there_is_one_index_for_each_purpose(alias):
    need(alias)
    connection = connections[alias]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "wxnotify_claims")
    columns = sorted(one["columns"] for one in found.values() if one["index"] or one["primary_key"])
    assert columns == [["natural_key"], ["order_no"], ["state", "updated"]]


@pytest.mark.parametrize("alias", ALIASES)
def test_the_migration_can_be_undone_and_done(alias):
    need(alias)
    call_command("migrate", "wxnotify", "zero", database=alias, verbosity=0)
    assert "wxnotify_claims" not in connections[alias].introspection.table_names()
    call_command("migrate", "wxnotify", database=alias, verbosity=0)
    claim(DjangoStore(alias), "key")


def test_a_database_of_another_kind_gets_no_tables():
    with pytest.raises(ImproperlyConfigured, match="allow_migrate"):
        StoredClaim._meta.get_field("state").db_type(connections["dummy"])


# --- the admin ------------------------------------------------------------------------------

LIST = "/admin/wxnotify/storedclaim/"


@pytest.fixture
def deliveries(store):
    """One of each kind, and the key of each."""
    numbers = {"done": 420000, "released": 420001, "held": 420002, "stuck": 42009}
    keys = {kind: f"payment/1900000109/{number}/SUCCESS" for kind, number in numbers.items()}
    store.complete(claim(store, keys["done"], "A-1"), retain=RETAIN_SECONDS, result="wx<201410272009>")
    store.release(claim(store, keys["released"], "A-2"), error="<b>Boom</b> " + "x" * 100)
    claim(store, keys["held"], "A-3", lease=3_600)
    claim(store, keys["stuck"], "A-4", lease=1)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE wxnotify_claims SET lease_until = lease_until - 2 WHERE order_no = 'A-4'")
    return keys


@pytest.fixture
def client():
    client = Client()
    client.force_login(User.objects.create_superuser(f"root{next(_owners)}"))
    return client


def page(client, address=LIST, **parameters):
    response = client.get(address, parameters)
    assert response.status_code == 200
    return response.content.decode()


def orders(text):
    return sorted(set(re.findall(r">(A-\d)<", text)))


def test_the_admin_lists_deliveries(client, deliveries):
    text = page(client)
    assert orders(text) == ["A-1", "A-2", "A-3", "A-4"]
    assert "&lt;b&gt;Boom&lt;/b&gt;" in text
    assert "x" * 100 not in text
    assert "ran out 2" in text
    assert "until 2" in text


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("stuck", ["A-4"]),
        ("pending", ["A-3", "A-4"]),
        ("released", ["A-2"]),
        ("done", ["A-1"]),
    ],
)
def test_the_admin_filters_by_state(client, deliveries, state, shown):
    assert orders(page(client, state=state)) == shown


@pytest.mark.parametrize(
    ("term", "shown"),
    [
        ("A-2", ["A-2"]),
        (" A-2 ", ["A-2"]),
        ("420001", ["A-2"]),
        ("payment/1900000109/42009", ["A-4"]),
        ("a-2", []),
        ("A-", []),
        ("%", []),
        ("", ["A-1", "A-2", "A-3", "A-4"]),
    ],
)
def test_the_admin_finds_an_order_or_a_transaction(client, deliveries, term, shown):
    assert orders(page(client, q=term)) == shown


def test_the_admin_shows_times_as_the_site_does(client, store):
    claim(store, "key", "A-1")
    moment = store.find("key").first_seen
    with override_settings(TIME_ZONE="Asia/Shanghai"):
        django_timezone.get_default_timezone.cache_clear()
        try:
            assert (moment + timedelta(hours=8)).strftime("%Y-%m-%d %H:%M:%S") in page(client)
        finally:
            django_timezone.get_default_timezone.cache_clear()
    assert moment.tzinfo is timezone.utc
    assert datetime.now(timezone.utc) - moment < timedelta(minutes=1)


@pytest.mark.parametrize(("kind", "shown"), [("done", "done"), ("held", "while it is not done")])
def test_the_admin_shows_one_delivery_and_lets_nobody_change_it(client, deliveries, kind, shown):
    address = f"{LIST}{quote(deliveries[kind])}/change/"
    text = page(client, address)
    assert deliveries[kind] in text
    assert shown in text
    assert (b"f" * 32).hex() in text
    assert 'name="_save"' not in text
    assert client.post(address, {"state": "done"}).status_code == 403


def test_the_admin_shows_what_a_completion_said(client, deliveries):
    assert "wx&lt;201410272009&gt;" in page(client, f"{LIST}{quote(deliveries['done'])}/change/")


def test_nobody_adds_or_deletes_a_delivery(client, deliveries):
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(f"{LIST}{quote(deliveries['done'])}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [deliveries["done"]], "post": "yes"}
    client.post(LIST, chosen)
    assert StoredClaim.objects.count() == 4
    assert "delete" not in page(client).lower()


def test_who_may_not_view_sees_nothing(deliveries):
    user = User.objects.create_user(f"clerk{next(_owners)}", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(LIST).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_storedclaim"))
    assert orders(page(client)) == ["A-1", "A-2", "A-3", "A-4"]
    assert reverse("admin:wxnotify_storedclaim_changelist") == LIST


def test_there_is_no_permission_that_means_nothing():
    need("default")
    call_command("migrate", verbosity=0)
    given = Permission.objects.filter(content_type__app_label="wxnotify").values_list("codename", flat=True)
    assert list(given) == ["view_storedclaim"]


# --- the commands -------------------------------------------------------------------------------


def output(*arguments, **options):
    written = io.StringIO()
    call_command(*arguments, stdout=written, **options)
    return written.getvalue().splitlines()


def test_purge_forgets_in_batches_what_is_old_enough(store):
    for number in range(5):
        store.complete(claim(store, f"key {number}"), retain=3 * DAY)
    claim(store, "open")
    move_back("default", 5 * DAY)
    store.complete(claim(store, "young"), retain=3 * DAY)
    assert output("wxnotify_purge") == ["0 forgotten"]
    assert output("wxnotify_purge", "--older-than-days", "4", "--batch", "2") == ["5 forgotten"]
    assert {record.key for record in store.records()} == {"open", "young"}


@pytest.mark.parametrize(
    "arguments", [["--older-than-days", "1.9"], ["--batch", "0"], ["--database", "nowhere"]]
)
def test_purge_refuses_what_it_cannot_do(store, arguments):
    store.complete(claim(store, "key"), retain=3 * DAY)
    with pytest.raises(CommandError):
        output("wxnotify_purge", *arguments)
    assert store.find("key") is not None


def test_claims_lists_what_was_not_settled(deliveries):
    lines = output("wxnotify_claims")
    assert lines[0].split()[:2] == ["state", "order"]
    assert sorted(line.split()[1] for line in lines[1:-1]) == ["A-2", "A-3", "A-4"]
    assert lines[-1] == "3 shown"
    assert any("<b>Boom</b>" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--state", "done"], ["A-1"]),
        (["--state", "released"], ["A-2"]),
        (["--order", "A-1"], ["A-1"]),
        (["--order", "A-1", "--state", "pending"], []),
        (["--older-than", "3600"], []),
        (["--database", "default"], ["A-2", "A-3", "A-4"]),
    ],
)
def test_claims_lists_what_is_asked_for(deliveries, arguments, shown):
    lines = output("wxnotify_claims", *arguments)
    assert sorted(line.split()[1] for line in lines[1:-1]) == shown


def test_claims_says_when_there_may_be_more(deliveries):
    assert output("wxnotify_claims", "--limit", "2")[-1] == "2 shown, and there may be more"


def test_claims_lets_no_error_command_the_terminal(store):
    store.release(claim(store, "key"), error="\x1b[2J\nreleased  forged")
    lines = output("wxnotify_claims")
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)


def test_claims_says_that_a_database_cannot_be_asked():
    with pytest.raises(CommandError, match="no such alias"):
        output("wxnotify_claims", "--database", "nowhere")
