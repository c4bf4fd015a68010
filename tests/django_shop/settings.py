"""
A shop whose claims may be kept in any of its databases.

The databases on servers get their names when a test first needs them
(``databases.py``); another process is told them by ``WXNOTIFY_DJANGO_SHOP``.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from wxnotify.testing import KEY

try:
    import pymysql
except ModuleNotFoundError:
    pass
else:
    # Django wants mysqlclient, whose part PyMySQL can play, but for its version.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()

HERE = os.environ.get("WXNOTIFY_DJANGO_SHOP_FILES") or tempfile.mkdtemp(prefix="wxnotify-django-")


def _file(name: str, **options: Any) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(HERE) / name), "OPTIONS": options}


DATABASES: dict[str, dict[str, Any]] = {
    "default": {**_file("default.sqlite3"), "TEST": {"NAME": str(Path(HERE) / "test.sqlite3")}},
    "other": _file("other.sqlite3"),
    "memory": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "dummy": {"ENGINE": "django.db.backends.dummy"},
    "postgresql": {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"connect_timeout": 2}},
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        # What Django 5 does by itself.
        "OPTIONS": {"connect_timeout": 2, "charset": "utf8mb4"},
    },
}
for alias, changed in json.loads(os.environ.get("WXNOTIFY_DJANGO_SHOP", "{}")).items():
    DATABASES[alias].update(changed)

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None
ROOT_URLCONF = "tests.django_shop.urls"
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
STATIC_URL = "static/"
WECHAT_KEY = KEY

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "wxnotify.stores.django",
    "tests.django_shop",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
