"""What ``manage.py check`` finds."""

from __future__ import annotations

import functools
import subprocess
import sys
import types
from contextlib import contextmanager

import pytest

pytest.importorskip("tests.django_shop.databases")  # sets Django up

import django
from django.conf import settings
from django.core import checks
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from wxnotify import Expected, Merchant, Receiver
from wxnotify.adapters.django import async_notify_view, notify_view
from wxnotify.errors import ConfigurationError
from wxnotify.stores.django import DjangoStore
from wxnotify.stores.memory import MemoryStore
from wxnotify.testing import APPID, KEY, MCH_ID

from ..django_shop.databases import environment, need

OWN_KEY = "0123456789abcdefghijklmnopqrstuv"


def receiver_on(using="default", key=OWN_KEY):
    return Receiver(Merchant(MCH_ID, APPID, key), DjangoStore(using), expect=lambda payment: Expected(100))


#: What WXNOTIFY["receiver"] names in these tests.
receiver = receiver_on()
store = receiver._setup.store


def make_receiver():
    return receiver


def make_nothing():
    return None


def make_without_key():
    return Merchant(MCH_ID, APPID, "")


def make_with_a_secret_in_its_error():
    raise RuntimeError(f"cannot use {OWN_KEY}")


HERE = __name__


@contextmanager
def project(*urlpatterns, view=None, **changed):
    """A project with the given URLs, or with */notify* leading to *view*."""
    module = types.ModuleType("urls_of_a_test")
    patterns = list(urlpatterns) or [path("notify", view or notify_view(receiver))]
    module.urlpatterns = patterns
    with override_settings(ROOT_URLCONF=module, **changed):
        yield


@contextmanager
def database(alias, **changed):
    """Change settings of one database."""
    configured = connections.settings[alias]
    before = {name: configured.get(name) for name in changed}
    configured.update(changed)
    try:
        yield
    finally:
        configured.update(before)


def found(*, databases=None, **changed):
    """Give the ids of what the checks find."""
    with override_settings(**changed):
        tags = ["database"] if databases else ["wxnotify"]
        messages = checks.run_checks(tags=tags, databases=databases)
    for message in messages:
        assert message.hint
        assert OWN_KEY not in f"{message}"
        assert KEY not in f"{message}"
    return sorted(
        message.id.removeprefix("wxnotify.") for message in messages if message.id.startswith("wxnotify")
    )


def test_a_project_that_is_in_order_has_nothing_to_be_told():
    with project():
        assert found() == []
        assert (
            found(WXNOTIFY={"receiver": f"{HERE}.receiver", "notify_url": "https://shop.example/notify"})
            == []
        )


def test_manage_py_check_runs_them_all(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.django_shop.manage", "check", "--database", "default"],
        capture_output=True,
        text=True,
        env=environment(need("default")),
        check=True,
    )
    assert "wxnotify.W003" in run.stderr
    assert KEY not in run.stderr
    assert "1 issue" in run.stderr


# --- the settings and the receiver ----------------------------------------------------------


@pytest.mark.parametrize("wrong", ["receiver", ["receiver"], {"reciever": f"{HERE}.receiver"}, {1: 2}])
def test_settings_that_mean_nothing_are_an_error(wrong):
    with project():
        assert found(WXNOTIFY=wrong) == ["E001"]


@pytest.mark.parametrize("name", ["receiver", "make_receiver"])
def test_the_receiver_is_found_by_its_name_or_a_function(name):
    with project(path("other", lambda request: HttpResponse())):
        assert found(WXNOTIFY={"receiver": f"{HERE}.{name}"}) == ["W010"]


@pytest.mark.parametrize(
    "name",
    ["nothing", "store", "make_nothing", "make_without_key", "make_with_a_secret_in_its_error"],
)
def test_a_receiver_that_cannot_be_used_is_an_error(name):
    with project():
        assert found(WXNOTIFY={"receiver": f"{HERE}.{name}"}) == ["E002"]


def test_the_error_says_why_if_it_is_no_secret():
    with project(), override_settings(WXNOTIFY={"receiver": f"{HERE}.make_without_key"}):
        (message,) = checks.run_checks(tags=["wxnotify"])
    assert "ConfigurationError: the merchant key is empty" in message.msg
    with pytest.raises(ConfigurationError):
        make_without_key()


def test_the_key_of_the_tests_is_warned_of_in_production():
    with project(view=notify_view(receiver_on(key=[OWN_KEY, KEY]))):
        assert found() == ["W003"]
        assert found(DEBUG=True) == []


def test_another_store_has_no_database_to_be_checked():
    other = Receiver(Merchant(MCH_ID, APPID, OWN_KEY), MemoryStore(), expect=lambda payment: Expected(100))
    with project(view=notify_view(other)):
        assert found() == []


# --- the database ---------------------------------------------------------------------------


def test_an_alias_that_is_not_there_is_an_error():
    with project(view=notify_view(receiver_on("nowhere"))):
        assert found() == ["E003"]
        assert found(databases=["default"]) == []


def test_a_database_of_another_kind_is_an_error():
    with project(view=notify_view(receiver_on("dummy"))):
        assert found() == ["E004"]


def test_autocommit_that_is_off_is_an_error():
    with project(), database("default", AUTOCOMMIT=False):
        assert found() == ["E005"]


class ToOther:
    """Send what is of this library to another database."""

    def db_for_write(self, model, **hints):
        return "other" if model._meta.app_label == "wxnotify" else None

    db_for_read = db_for_write


class Nowhere:
    """Make no table of this library."""

    def allow_migrate(self, db, app_label, **hints):
        return False if app_label == "wxnotify" else None


class OrdersToOther:
    """Send the orders to another database."""

    def db_for_write(self, model, **hints):
        return "other" if model._meta.app_label == "shop" else None


def test_a_router_that_looks_elsewhere_is_an_error():
    with project():
        assert found(DATABASE_ROUTERS=[f"{HERE}.ToOther"]) == ["E006"]
    with project(view=notify_view(receiver_on("other"))):
        assert found() == ["E006"]
        assert (
            found(DATABASE_ROUTERS=[f"{HERE}.ToOther"], WXNOTIFY={"models": ["wxnotify.StoredClaim"]}) == []
        )


def test_a_router_that_makes_no_tables_is_an_error():
    with project():
        assert found(DATABASE_ROUTERS=[f"{HERE}.Nowhere"]) == ["E007"]


def test_a_model_that_is_written_elsewhere_is_an_error():
    with project():
        assert found(WXNOTIFY={"models": ["shop.Order"]}) == []
        assert found(WXNOTIFY={"models": ["shop.Order"]}, DATABASE_ROUTERS=[f"{HERE}.OrdersToOther"]) == [
            "E008"
        ]


def test_models_on_another_database_are_warned_of_where_nobody_says_what_a_handler_changes():
    elsewhere = [f"{HERE}.OrdersToOther"]
    with project():
        assert found(DATABASE_ROUTERS=elsewhere) == ["W009"]
        assert found(DATABASE_ROUTERS=elsewhere, WXNOTIFY={"models": ["wxnotify.StoredClaim"]}) == []
    with project(view=notify_view(receiver_on("other"))):
        assert found(DATABASE_ROUTERS=[f"{HERE}.ToOther"]) == ["W009"]


@pytest.mark.parametrize("label", ["shop.Ordre", "shp.Order", "Order"])
def test_a_model_that_is_not_installed_is_an_error(label):
    with project():
        assert found(WXNOTIFY={"models": [label]}) == ["E001"]


@pytest.mark.parametrize("alias", ["postgresql", "mariadb"])
def test_a_server_that_is_connected_to_without_end_is_warned_of(alias):
    with project(view=notify_view(receiver_on(alias))):
        assert found() == ["E006"]  # the routers of this shop say default
        with database(alias, OPTIONS={"charset": "utf8mb4"} if alias == "mariadb" else {}):
            assert found() == ["E006", "W004"]


def test_postgresqls_own_variable_will_do(monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with project(view=notify_view(receiver_on("postgresql"))), database("postgresql", OPTIONS={}):
        assert found() == ["E006"]


def test_mysql_connections_that_cannot_say_everything_are_warned_of():
    options = {"connect_timeout": 2, "charset": "utf8"}
    with project(view=notify_view(receiver_on("mariadb"))), database("mariadb", OPTIONS=options):
        assert found() == ["E006", "W005"]


# --- the tables, with --database --------------------------------------------------------------


def test_a_missing_table_is_warned_of_only_with_its_database():
    need("default")
    connections["memory"].close()
    with connections["other"].cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS wxnotify_inbox")
    with project(view=notify_view(receiver_on("other"))):
        assert found() == ["E006"]
        assert found(databases=["default"]) == []
        assert found(databases=["other"]) == ["W006"]


@pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])
def test_tables_that_are_there_are_in_order(alias):
    with project(view=notify_view(receiver_on(need(alias)))):
        assert found(databases=[alias]) == []


def test_a_table_without_transactions_is_warned_of():
    with project(view=notify_view(receiver_on(need("mariadb")))):
        with connections["mariadb"].cursor() as cursor:
            cursor.execute("ALTER TABLE shop_order ENGINE = MyISAM")
        try:
            assert found(databases=["mariadb"]) == []
            assert found(databases=["mariadb"], WXNOTIFY={"models": ["shop.Order"]}) == ["W007"]
        finally:
            with connections["mariadb"].cursor() as cursor:
                cursor.execute("ALTER TABLE shop_order ENGINE = InnoDB")


@pytest.mark.parametrize(
    ("alias", "statement"),
    [("default", "PRAGMA synchronous = OFF"), ("postgresql", "SET synchronous_commit = off")],
)
def test_a_database_that_may_lose_a_commit_is_warned_of(alias, statement):
    with project(view=notify_view(receiver_on(need(alias)))):
        with connections[alias].cursor() as cursor:
            cursor.execute(statement)
        try:
            assert found(databases=[alias]) == ["W008"]
        finally:
            connections[alias].close()


# --- the views -----------------------------------------------------------------------------------

LOGIN = "django.contrib.auth.middleware.LoginRequiredMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


def keeping(view):
    """A decorator as it should be."""

    @functools.wraps(view)
    def wrapper(request):
        return view(request)

    return wrapper


def forgetting(view):
    """A decorator that says nothing of what it decorates."""

    def wrapper(request):
        return view(request)

    return wrapper


def test_no_view_at_all_is_warned_of():
    with project(path("admin/", lambda request: HttpResponse())):
        assert found() == ["W010"]


def test_a_view_is_found_in_an_included_urlconf():
    inner = [path("notify", forgetting(notify_view(receiver)))]
    with project(path("wechat/", include(inner))):
        (message,) = checks.run_checks(tags=["wxnotify"])
    assert message.msg.startswith("The view at /wechat/notify ")


@pytest.mark.parametrize("make", [notify_view, async_notify_view])
def test_decorators_that_keep_attributes_do_no_harm(make):
    with project(view=keeping(functools.partial(keeping(make(receiver))))):
        assert found() == ["E010"]  # a partial has no attributes
    with project(view=keeping(keeping(make(receiver)))):
        assert found() == []


def test_a_view_that_calls_what_is_not_there_yet_or_itself_is_no_obstacle():
    def view(request):
        return later(request)

    with project(view=view, MIDDLEWARE=[]):
        assert found_for("https://shop.example/notify") == []
        later = view
        assert found_for("https://shop.example/notify") == []
        assert later is view


def test_csrf_in_the_way_is_an_error():
    with project(view=forgetting(notify_view(receiver))):
        assert found() == ["E010"]
        assert found(MIDDLEWARE=[]) == []
    with project(view=csrf_exempt(forgetting(notify_view(receiver)))):
        assert found() == []


def test_middleware_of_ones_own_is_seen_for_what_it_inherits_from():
    with project(view=forgetting(notify_view(receiver))):
        assert found(MIDDLEWARE=[f"{HERE}.OwnCsrf", f"{HERE}.function_middleware"]) == ["E010"]
        assert found(MIDDLEWARE=["no.such.Middleware"]) == []


class OwnCsrf(django.middleware.csrf.CsrfViewMiddleware):
    pass


def function_middleware(get_response):
    return get_response


if django.VERSION >= (5, 1):

    def test_a_login_in_the_way_is_an_error():
        from django.contrib.auth.decorators import login_not_required

        with project(), override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, LOGIN]):
            assert found() == []
        view = forgetting(notify_view(receiver))
        with project(view=view), override_settings(MIDDLEWARE=[LOGIN]):
            assert found() == ["E011"]
        with project(view=login_not_required(view)), override_settings(MIDDLEWARE=[LOGIN]):
            assert found() == []


def test_atomic_requests_in_the_way_is_an_error():
    view = forgetting(notify_view(receiver))
    with database("default", ATOMIC_REQUESTS=True), override_settings(MIDDLEWARE=[]):
        with project():
            assert found() == []
        with project(view=view):
            assert found() == ["E012"]
        with project(view=transaction.non_atomic_requests(view)):
            assert found() == []


def test_a_view_that_is_decorated_with_atomic_is_an_error():
    with project(view=transaction.atomic(notify_view(receiver))):
        assert found() == ["E013"]
    with project(view=keeping(transaction.atomic(using="other")(keeping(notify_view(receiver))))):
        assert found() == ["E013"]


def test_a_urlconf_that_cannot_be_imported_is_djangos_to_tell():
    with override_settings(ROOT_URLCONF="no.such.urls"):
        assert found() == ["W010"]


# --- the notify_url ---------------------------------------------------------------------------------


def found_for(url, **changed):
    return found(WXNOTIFY={"notify_url": url}, **changed)


@pytest.mark.parametrize(
    "url", ["", "/notify", "shop.example/notify", "ftp://shop.example/notify", "https:///x"]
)
def test_a_notify_url_that_is_none_is_an_error(url):
    with project(view=notify_view(receiver)):
        assert "E014" in found_for(url)


@pytest.mark.parametrize("url", ["https://shop.example/notify?shop=1", "https://shop.example/notify#1"])
def test_a_notify_url_with_parameters_is_an_error(url):
    with project():
        assert found_for(url) == ["E014"]


def test_a_notify_url_that_leads_nowhere_is_an_error():
    with project():
        assert found_for("https://shop.example/") == ["E014"]
        assert found_for("https://shop.example/notify/") == ["E014"]
        assert found_for("https://shop.example") == ["E014"]


def test_a_notify_url_without_its_slash_is_an_error():
    with project(path("notify/", notify_view(receiver))):
        assert found_for("https://shop.example/notify/") == []
        with override_settings(WXNOTIFY={"notify_url": "https://shop.example/notify"}):
            (message,) = checks.run_checks(tags=["wxnotify"])
    assert (message.id, "APPEND_SLASH" in message.msg) == ("wxnotify.E014", True)
    wanted = {"notify_url": "https://shop.example/notify"}
    with project(path("notify/", notify_view(receiver)), APPEND_SLASH=False, WXNOTIFY=wanted):
        (message,) = checks.run_checks(tags=["wxnotify"])
    assert (message.id, "404" in message.msg) == ("wxnotify.E014", True)


def test_redirects_before_the_view_are_errors():
    with project():
        assert found_for("http://shop.example/notify") == []
        assert found_for("http://shop.example/notify", SECURE_SSL_REDIRECT=True) == ["E014"]
        exempt = {"SECURE_SSL_REDIRECT": True, "SECURE_REDIRECT_EXEMPT": ["^notify$"]}
        assert found_for("http://shop.example/notify", **exempt) == []
        assert found_for("https://shop.example/notify", SECURE_SSL_REDIRECT=True) == []
        assert found_for("https://shop.example/notify", PREPEND_WWW=True) == ["E014"]
        assert found_for("https://www.shop.example/notify", PREPEND_WWW=True) == []


def test_a_host_that_is_not_allowed_is_warned_of():
    with project(ALLOWED_HOSTS=["shop.example"]):
        assert found_for("https://shop.example/notify") == []
        assert found_for("https://shop.exmaple/notify") == ["W014"]
        assert found_for("https://shop.exmaple/notify", DEBUG=True) == []


def test_the_prefix_the_project_is_mounted_at_is_not_in_its_urls():
    with project(FORCE_SCRIPT_NAME="/shop/"):
        assert found_for("https://shop.example/shop/notify") == []


def test_a_view_of_ones_own_is_checked_where_the_notify_url_leads():
    def own(request):
        return HttpResponse()

    with project(view=own):
        assert found() == ["W010"]
        assert found_for("https://shop.example/notify") == ["E010"]
    with project(view=csrf_exempt(own)):
        assert found_for("https://shop.example/notify") == []
