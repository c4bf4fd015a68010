from __future__ import annotations

from django.contrib import admin
from django.urls import path

from wxnotify.adapters.django import async_notify_view, notify_view

from .payments import receiver

urlpatterns = [
    path("admin/", admin.site.urls),
    path("notify", notify_view(receiver)),
    path("notify-async", async_notify_view(receiver)),
]
