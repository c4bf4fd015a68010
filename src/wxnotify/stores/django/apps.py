"""The Django app: its tables, its checks, its page in the admin."""

from __future__ import annotations

from django.apps import AppConfig


class WxnotifyConfig(AppConfig):
    """``"wxnotify.stores.django"`` in INSTALLED_APPS."""

    name = "wxnotify.stores.django"
    label = "wxnotify"
    verbose_name = "WeChat Pay notifications"

    def ready(self) -> None:
        """Register the system checks."""
        from .checks import register

        register()
