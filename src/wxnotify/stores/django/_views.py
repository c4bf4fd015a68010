"""
The views that notifications come to: where they are in the URLconf, and what would stand in their way.

WeChat Pay sends no CSRF token, logs in nowhere and follows no redirect. And a
view inside a transaction of Django's can settle nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.db import connections
from django.db.transaction import Atomic
from django.http.request import validate_host
from django.urls import Resolver404, get_resolver, is_valid_path, resolve
from django.utils.module_loading import import_string

_COMMON: Final = "django.middleware.common.CommonMiddleware"
_CSRF: Final = "django.middleware.csrf.CsrfViewMiddleware"
_LOGIN: Final = "django.contrib.auth.middleware.LoginRequiredMiddleware"  # since Django 5.1
_SECURITY: Final = "django.middleware.security.SecurityMiddleware"

_KEEP: Final = (
    "What notify_view() makes is exempt by itself, and stays so under decorators that keep a view's "
    "attributes, as functools.wraps does."
)
_NO_REDIRECT: Final = "WeChat Pay follows no redirect: send it"


class Found(NamedTuple):
    """A view that leads to a receiver."""

    route: str
    #: As the URLconf has it, with all its decorators.
    view: Any
    receiver: Any


class Obstacle(NamedTuple):
    """Something in the way of a notification."""

    #: Of the check.
    id: str
    #: The rest of a sentence.
    problem: str
    #: What to do.
    hint: str


def notification_views() -> list[Found]:
    """Find the views of ``wxnotify.adapters.django`` in the URLconf, decorated or not."""
    try:
        return list(_found(get_resolver().url_patterns, "/"))
    except Exception:
        return []  # Django's own checks say what is wrong with the URLconf


def _found(patterns: Any, prefix: str) -> Iterator[Found]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from _found(pattern.url_patterns, route)
            continue
        receivers = (getattr(one, "wxnotify_receiver", None) for one in _unwrapped(pattern.callback))
        receiver = next(filter(None, receivers), None)
        if receiver is not None:
            yield Found(route, pattern.callback, receiver)


def _unwrapped(view: Any) -> list[Any]:
    """Give the view and the functions in it, also those of a decorator that does not say what it wraps."""
    seen: list[Any] = []
    todo = [view]
    while todo:
        function = todo.pop()
        if function not in seen:
            seen.append(function)
            inner = [*_enclosed(function), getattr(function, "func", None)]
            todo += [one for one in inner if isinstance(one, (FunctionType, partial))]
    return seen


def _enclosed(function: Any) -> list[Any]:
    found: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        with suppress(ValueError):  # empty
            found.append(cell.cell_contents)
    return found


def obstacles(view: Any) -> Iterator[Obstacle]:
    """Say what keeps notifications from a view, as it is in the URLconf."""
    middleware = _middleware()
    if _CSRF in middleware and not getattr(view, "csrf_exempt", False):
        yield Obstacle(
            "E010",
            "is not exempt from CsrfViewMiddleware, which answers every notification with 403",
            f"Decorate it with csrf_exempt. {_KEEP}",
        )
    if _LOGIN in middleware and getattr(view, "login_required", True):
        yield Obstacle(
            "E011",
            "is not exempt from LoginRequiredMiddleware, which sends every notification to the login page",
            f"Decorate it with login_not_required. {_KEEP}",
        )
    exempt: set[str] = getattr(view, "_non_atomic_requests", set())
    for alias in connections:
        if connections.settings[alias]["ATOMIC_REQUESTS"] and alias not in exempt:
            yield Obstacle(
                "E012",
                f"is in a transaction, by ATOMIC_REQUESTS of {alias!r}, and no claim can be made",
                f"Decorate it with transaction.non_atomic_requests(using={alias!r}). {_KEEP}",
            )
    if any(isinstance(one, Atomic) for function in _unwrapped(view) for one in _enclosed(function)):
        yield Obstacle(
            "E013",
            "is in a transaction, by the decorator transaction.atomic, and no claim can be made",
            'Take it away. The handler has a transaction by on("payment", transaction=store.transaction).',
        )


def obstacles_before(url: str) -> Iterator[Obstacle]:
    """Say what keeps notifications to a notify_url from its view."""
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        yield _bad_url("is no http or https URL", "Give it as it is sent to WeChat Pay with each order.")
        return
    if parts.query or parts.fragment:
        yield _bad_url("has parameters, and WeChat Pay refuses it", "Leave out all that follows the path.")
    if not settings.DEBUG and not validate_host(host, settings.ALLOWED_HOSTS):
        yield Obstacle(
            "W014",
            "has a host that is not in ALLOWED_HOSTS: every notification is answered with 400",
            "Add the host, unless a proxy in front of Django puts another one in its place.",
        )
    path, middleware = _path(parts), _middleware()
    exempt = any(re.search(pattern, path.lstrip("/")) for pattern in settings.SECURE_REDIRECT_EXEMPT)
    if _SECURITY in middleware and settings.SECURE_SSL_REDIRECT and parts.scheme == "http" and not exempt:
        yield _bad_url("is redirected by SECURE_SSL_REDIRECT", f"{_NO_REDIRECT} the https URL.")
    if _COMMON in middleware and settings.PREPEND_WWW and not host.startswith("www."):
        yield _bad_url("is redirected by PREPEND_WWW", f"{_NO_REDIRECT} the URL with www.")
    if view_at(url) is not None:
        return
    if _COMMON in middleware and settings.APPEND_SLASH and is_valid_path(f"{path}/"):
        yield _bad_url(
            "is redirected by APPEND_SLASH, and the notification is lost on the way",
            f"{_NO_REDIRECT} the URL with the slash, or take the slash from the pattern in urls.py.",
        )
    else:
        yield _bad_url(
            "leads to no view: every notification is answered with 404",
            "Give the view of notify_view() this path in urls.py, or send the path it has with each order.",
        )


def view_at(url: str) -> Any:
    """Give the view a notify_url leads to; None if there is none."""
    try:
        return resolve(_path(urlsplit(url))).func
    except Resolver404:
        return None


def _path(parts: SplitResult) -> str:
    return parts.path.removeprefix((settings.FORCE_SCRIPT_NAME or "").rstrip("/")) or "/"


def _bad_url(problem: str, hint: str) -> Obstacle:
    return Obstacle("E014", problem, hint)


def _middleware() -> set[str]:
    """Give the dotted names of the middleware in use, and of what it inherits from."""
    names: set[str] = set()
    for path in settings.MIDDLEWARE:
        with suppress(ImportError):  # Django says so when it starts
            classes = getattr(import_string(path), "__mro__", ())
            names |= {f"{one.__module__}.{one.__name__}" for one in classes}
    return names
