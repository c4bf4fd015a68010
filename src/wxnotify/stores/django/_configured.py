"""
What the project says in its settings, and what can be seen of a receiver.

::

    WXNOTIFY = {
        "receiver": "shop.payments.receiver",              # or a function that gives it
        "notify_url": "https://shop.example/wechat/notify",  # as it is sent with each order
        "models": ["shop.Order"],                          # what the handler changes
    }

All of it is optional, and only the system checks read it: the more it says, the
more they can see. A receiver that a view of ``urls.py`` belongs to is found
without being named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import import_string

from ..._receiver import Receiver
from ..._signature import verify
from ..._wire import parse
from ...errors import ConfigurationError, NotifyError
from ...testing import notification
from .store import DjangoStore

_KEYS: Final = {"receiver", "notify_url", "models"}


def setting(name: str) -> Any:
    """Give what WXNOTIFY says; None if it says nothing."""
    configured = getattr(settings, "WXNOTIFY", None)
    return configured.get(name) if isinstance(configured, dict) else None


def problem_with_settings() -> str:
    """Say what is wrong with WXNOTIFY as such; empty if nothing is."""
    configured = getattr(settings, "WXNOTIFY", {})
    if not isinstance(configured, dict):
        return f"WXNOTIFY is a {type(configured).__name__}"
    unknown = sorted(map(repr, set(configured) - _KEYS))
    return f"WXNOTIFY has no key {', '.join(unknown)}" if unknown else ""


def named_receiver() -> Receiver | None:
    """
    Import the receiver that WXNOTIFY names.

    Raises:
        ImportError: If there is no such name.

        ConfigurationError: If it is no receiver, nor a function that gives one.

        Exception: What its module raised.
    """
    path = setting("receiver")
    if path is None:
        return None
    found = import_string(path)
    if not isinstance(found, Receiver) and callable(found):
        found = found()
    if not isinstance(found, Receiver):
        raise ConfigurationError(f"{type(found).__name__} is no Receiver, nor a function that gives one")
    return found


def named_models() -> Iterator[tuple[str, Any]]:
    """Give each model that WXNOTIFY names, with None where it is not installed."""
    for label in setting("models") or ():
        try:
            yield label, apps.get_model(label)
        except (LookupError, ValueError):
            yield label, None


def said(error: BaseException) -> str:
    """Say what went wrong in somebody's module, without what may be a secret."""
    if isinstance(error, (NotifyError, ImportError)):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def store_of(receiver: Receiver) -> DjangoStore | None:
    """Give the receiver's store, if it is one of Django's."""
    store = receiver._setup.store
    return store if isinstance(store, DjangoStore) else None


def with_test_keys(receiver: Receiver) -> Iterator[str]:
    """Give the ``mch_id`` of each merchant whose keys everybody can read in this library."""
    for mch_id, merchant in receiver._ring._by_mch_id.items():
        try:
            verify(parse(notification()), merchant.keys)
        except NotifyError:
            continue
        yield mch_id
