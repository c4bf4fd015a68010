"""
Django in this process, and the shop's databases: made when a test first needs them, dropped at the end.

Import this before anything of Django's that needs settings.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
from contextlib import ExitStack
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_shop.settings"
django.setup()

# ruff: noqa: E402 - only now is there anything to import

from django.conf import settings
from django.core.management import call_command
from django.db import connections
from tests import servers

#: Where claims may be kept.
ALIASES = ("default", "postgresql", "mariadb")
_MAKE = {"postgresql": servers.postgresql_database, "mariadb": servers.mariadb_database}
_at_exit = ExitStack()
atexit.register(_at_exit.close)
_at_exit.callback(shutil.rmtree, os.path.dirname(settings.DATABASES["default"]["NAME"]), ignore_errors=True)


@cache
def _made(alias: str) -> dict[str, Any]:
    """Make the database and its tables; give what another process must know of it."""
    told: dict[str, Any] = {}
    if alias in _MAKE:
        parts = urlsplit(_at_exit.enter_context(_MAKE[alias]()))
        told = {
            "NAME": parts.path.lstrip("/"),
            "HOST": parts.hostname,
            "PORT": parts.port,
            "USER": parts.username or "",
            "PASSWORD": parts.password or "",
        }
        # Every thread's connection has this same dictionary.
        connections.settings[alias].update(told)
    _at_exit.callback(connections.close_all)
    call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    return told


def need(alias: str) -> str:
    """Make sure of a database and empty it, or skip the test; give its alias."""
    from wxnotify.stores.django.models import StoredClaim, StoredNotification

    from .models import Effect, Order

    _made(alias)
    for model in (StoredClaim, StoredNotification, Effect, Order):
        model._base_manager.using(alias).all().delete()
    return alias


def environment(alias: str) -> dict[str, str]:
    """Give what another process needs in its environment, to find the databases where they are."""
    return {
        **os.environ,
        "WXNOTIFY_DJANGO_SHOP": json.dumps({alias: _made(alias)}),
        "WXNOTIFY_DJANGO_SHOP_ALIAS": alias,
        "WXNOTIFY_DJANGO_SHOP_FILES": os.path.dirname(settings.DATABASES["default"]["NAME"]),
    }
