"""
System checks: what would lose payments, or break the store's promise, said before it does.

``manage.py check`` runs them; those that ask a database, with ``--database ALIAS``.
The settings they read are in ``_configured.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections, router

from . import _configured as configured
from ._bound import why_sqlite_may_forget
from ._views import Obstacle, notification_views, obstacles, obstacles_before, view_at
from .store import DIALECTS

_TABLES: Final = ("wxnotify_claims", "wxnotify_inbox")
#: By vendor, how to ask whether a commit is on the disk once it is acknowledged, and what is wrong if not.
_DURABLE: Final = {
    "postgresql": ("SELECT current_setting('synchronous_commit') <> 'off'", "synchronous_commit is off"),
    "mysql": (
        "SELECT @@innodb_flush_log_at_trx_commit = 1",
        "innodb_flush_log_at_trx_commit is not 1",
    ),
}
_KNOWN: Final = 'it takes "receiver", "notify_url" and "models", all of them optional'


def register() -> None:
    """Let ``manage.py check`` run the checks."""
    checks.register(check_receivers, "wxnotify")
    checks.register(check_views, "wxnotify")
    # Not under our own tag, by which they would run without --database.
    checks.register(check_tables, checks.Tags.database)


def check_receivers(**_: object) -> list[checks.CheckMessage]:
    """Check the settings, the receivers and their stores, without asking a database."""
    found = list(_check_settings())
    receivers = _receivers()
    for receiver in receivers:
        found += _check_keys(receiver)
    for alias in _aliases(receivers):
        found += _check_alias(alias)
    return found


def check_views(**_: object) -> list[checks.CheckMessage]:
    """Check that notifications reach their views."""
    found: list[checks.CheckMessage] = []
    views = [(f"The view at {one.route}", one.view) for one in notification_views()]
    url = configured.setting("notify_url")
    if url is not None:
        subject = f"The notify_url {url}"
        found += (_message(subject, obstacle) for obstacle in obstacles_before(url))
        view = view_at(url)
        if view is not None and view not in [one for _, one in views]:
            views.append((f"The view at {url}", view))
    elif not views:
        found.append(
            checks.Warning(
                "No URL leads to a view for notifications.",
                hint='Add path("wechat/notify", notify_view(receiver)) to urls.py; notify_view is in '
                "wxnotify.adapters.django. If the view is one of your own, name its address as "
                'WXNOTIFY["notify_url"].',
                id="wxnotify.W010",
            )
        )
    for subject, view in views:
        found += (_message(subject, obstacle) for obstacle in obstacles(view))
    return found


def check_tables(databases: Iterable[str] | None = None, **_: object) -> list[checks.CheckMessage]:
    """Check the tables in those of *databases* that a store uses."""
    found: list[checks.CheckMessage] = []
    for alias in _aliases(_receivers()) & set(databases or ()) & set(connections):
        found += _check_tables(connections[alias])
    return found


def _message(subject: str, obstacle: Obstacle) -> checks.CheckMessage:
    kind = checks.Warning if obstacle.id.startswith("W") else checks.Error
    return kind(f"{subject} {obstacle.problem}.", hint=obstacle.hint, id=f"wxnotify.{obstacle.id}")


def _receivers() -> list[Any]:
    """Give the receivers of the views and of the settings, each once; what cannot be imported is left out."""
    found = [one.receiver for one in notification_views()]
    with suppress(Exception):  # _check_settings() says so
        found.append(configured.named_receiver())
    return list({id(one): one for one in found if one is not None}.values())


def _aliases(receivers: list[Any]) -> set[str]:
    return {store.using for store in map(configured.store_of, receivers) if store is not None}


def _check_settings() -> Iterator[checks.CheckMessage]:
    problem = configured.problem_with_settings()
    if problem:
        yield checks.Error(f"{problem}.", hint=f"WXNOTIFY is a dictionary; {_KNOWN}.", id="wxnotify.E001")
    for label, model in configured.named_models():
        if model is None:
            yield checks.Error(
                f"WXNOTIFY names the model {label!r}, which is not installed.",
                hint='Write it as "app_label.ModelName".',
                id="wxnotify.E001",
            )
    try:
        configured.named_receiver()
    except Exception as error:
        yield checks.Error(
            f"The receiver {configured.setting('receiver')} cannot be used. {configured.said(error)}",
            hint='WXNOTIFY["receiver"] is the dotted path of a Receiver, or of a function that gives one. '
            "Import it yourself to see where it fails: manage.py shell.",
            id="wxnotify.E002",
        )


def _check_keys(receiver: Any) -> Iterator[checks.CheckMessage]:
    if settings.DEBUG:
        return
    for mch_id in configured.with_test_keys(receiver):
        yield checks.Warning(
            f"Merchant {mch_id} has the key of wxnotify.testing, with which anybody can forge a payment.",
            hint="Configure the APIv2 key from the merchant console.",
            id="wxnotify.W003",
        )


def _check_alias(alias: str) -> Iterator[checks.CheckMessage]:
    if alias not in connections:
        yield checks.Error(
            f"The store uses the database {alias!r}, which is not in DATABASES.",
            hint="Give DjangoStore(using=...) the alias that the handler's models are written to.",
            id="wxnotify.E003",
        )
        return
    connection = connections[alias]
    if connection.vendor not in DIALECTS:
        yield checks.Error(
            f"The store uses the database {alias!r}, which is {connection.vendor}.",
            hint="Keep claims and orders in PostgreSQL, MySQL, MariaDB or SQLite.",
            id="wxnotify.E004",
        )
        return
    if not connection.settings_dict["AUTOCOMMIT"]:
        yield checks.Error(
            f"AUTOCOMMIT is off for {alias!r}, so nobody commits a claim.",
            hint="Leave it on; atomic() opens transactions.",
            id="wxnotify.E005",
        )
    yield from _check_routers(alias)
    yield from _check_options(connection)


def _check_routers(alias: str) -> Iterator[checks.CheckMessage]:
    claim = apps.get_model("wxnotify", "StoredClaim")
    routed = router.db_for_write(claim)
    if routed != alias:
        yield checks.Error(
            f"The store uses {alias!r}, and the routers send its tables to {routed!r}, where the admin and "
            "the commands look.",
            hint=f"Let DATABASE_ROUTERS answer {alias!r} for the app 'wxnotify', or give DjangoStore "
            f"using={routed!r}.",
            id="wxnotify.E006",
        )
    if not router.allow_migrate_model(alias, claim):
        yield checks.Error(
            f"The routers let no table of the app 'wxnotify' be made on {alias!r}, where the store is.",
            hint="Let allow_migrate allow it.",
            id="wxnotify.E007",
        )
    for label, model in configured.named_models():
        written = alias if model is None else router.db_for_write(model)
        if written != alias:
            yield checks.Error(
                f"{label} is written to {written!r} and the store uses {alias!r}: what a handler does to it "
                "and the completion are not one transaction.",
                hint=f"Give DjangoStore(using={written!r}), or route the model to {alias!r}.",
                id="wxnotify.E008",
            )
    if routed == alias and not configured.setting("models"):
        yield from _check_unnamed_models(alias)


def _check_unnamed_models(alias: str) -> Iterator[checks.CheckMessage]:
    for model in apps.get_models():
        if model._meta.app_label == "wxnotify" or model.__module__.startswith("django."):
            continue
        written = router.db_for_write(model)
        if written != alias:
            yield checks.Warning(
                f"{model._meta.label}, for one, is written to {written!r} and the store uses {alias!r}. If a "
                "handler changes it, that and the completion are not one transaction.",
                hint='Name the models that your handlers change, and they are checked: WXNOTIFY["models"].',
                id="wxnotify.W009",
            )
            return


def _check_options(connection: Any) -> Iterator[checks.CheckMessage]:
    options = connection.settings_dict["OPTIONS"]
    limit = options.get("connect_timeout")
    if connection.vendor == "postgresql":
        limit = limit or os.environ.get("PGCONNECT_TIMEOUT")
    if connection.vendor != "sqlite" and not limit:
        yield checks.Warning(
            f"The database {connection.alias!r} has no connect_timeout. The store's own operations end in "
            "time, but your expectation and handler would wait for a server that does not answer.",
            hint='Add "OPTIONS": {"connect_timeout": 2}.',
            id="wxnotify.W004",
        )
    if connection.vendor == "mysql" and connection.get_connection_params()["charset"] != "utf8mb4":
        yield checks.Warning(
            f"Connections to {connection.alias!r} do not speak utf8mb4: an emoji in an error becomes '?'.",
            hint='Add "OPTIONS": {"charset": "utf8mb4"}, which is what Django 5 does.',
            id="wxnotify.W005",
        )


def _check_tables(connection: Any) -> Iterator[checks.CheckMessage]:
    missing = sorted(set(_TABLES) - set(connection.introspection.table_names()))
    if missing:
        # No error: migrate runs these checks before it makes the tables.
        yield checks.Warning(
            f"The database {connection.alias!r} has no table {' and no table '.join(missing)}.",
            hint=f"Run manage.py migrate wxnotify --database {connection.alias}.",
            id="wxnotify.W006",
        )
        return
    if connection.vendor == "mysql":
        yield from _check_engines(connection)
    problem = _why_it_may_forget(connection)
    if problem:
        yield checks.Warning(
            f"The database {connection.alias!r} may forget a payment that was answered SUCCESS: {problem}.",
            hint="Change that, at least for the connections that claims and orders are written on.",
            id="wxnotify.W008",
        )


def _check_engines(connection: Any) -> Iterator[checks.CheckMessage]:
    orders = [model._meta.db_table for _, model in configured.named_models() if model is not None]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT one.table_name, one.engine FROM information_schema.tables one "
            "LEFT JOIN information_schema.engines of_it ON of_it.engine = one.engine "
            "WHERE one.table_schema = DATABASE() AND one.table_name IN %s "
            "AND coalesce(of_it.transactions, 'NO') <> 'YES'",
            [[*_TABLES, *orders]],
        )
        for table, engine in cursor.fetchall():
            yield checks.Warning(
                f"The table {table} is in {engine}, which has no transactions: an effect and its completion "
                "do not stand or fall together.",
                hint=f"Execute ALTER TABLE {table} ENGINE = InnoDB.",
                id="wxnotify.W007",
            )


def _why_it_may_forget(connection: Any) -> str:
    """Say why the database may lose what it has committed; empty if it does not."""
    if connection.vendor == "sqlite":
        return why_sqlite_may_forget(connection)
    question, problem = _DURABLE[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(question)
        ((durable,),) = cursor.fetchall()
    return "" if durable else problem
