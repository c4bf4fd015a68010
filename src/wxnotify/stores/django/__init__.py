"""
Django: claims and the inbox in a database of the project.

An app, for INSTALLED_APPS: ``"wxnotify.stores.django"``. ``migrate`` makes its
tables, ``check`` looks for what would lose payments, the admin lists the
deliveries, ``wxnotify_purge`` forgets old ones, ``wxnotify_claims`` lists the open
ones. The view for ``urls.py`` is in ``wxnotify/adapters/django.py``.
"""

from __future__ import annotations

try:
    import django as django
except ModuleNotFoundError as error:
    raise ImportError('this needs Django: pip install "wxpay-notify[django]"') from error

from .store import DjangoStore

__all__ = ["DjangoStore"]
