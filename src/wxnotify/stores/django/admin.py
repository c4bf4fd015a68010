"""
The deliveries in the admin: to be read and searched, never changed.

A row that somebody changes by hand is a payment lost or handled twice, so nobody
may, superusers included.
"""

from __future__ import annotations

import time
from datetime import datetime
from datetime import timezone as datetime_timezone
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.text import Truncator

from .models import StoredClaim


class StateFilter(admin.SimpleListFilter):
    """Choose by state; "stuck" is what is pending and whose lease has run out."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Name the choices."""
        return [
            ("stuck", "stuck: pending, and the lease ran out"),
            ("pending", "pending: somebody is at it"),
            ("released", "released: the handler failed"),
            ("done", "done"),
        ]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave the chosen ones."""
        chosen = self.value()
        if chosen == "stuck":
            return queryset.filter(state="pending", lease_until__lte=time.time())
        return queryset.filter(state=chosen) if chosen else queryset


@admin.register(StoredClaim)
class DeliveryAdmin(admin.ModelAdmin):
    """What became of each payment."""

    list_display = ("state", "order_no", "attempts", "first_seen_at", "changed_at", "lease", "error")
    list_display_links = ("order_no", "first_seen_at")
    list_filter = (StateFilter,)
    search_fields = ("order_no", "natural_key")  # get_search_results() says how
    search_help_text = "an order number, whole; or a part of a key, for instance a transaction_id"
    ordering = ("-updated",)
    # Two counts of a table that may have millions of rows, for nothing.
    show_full_result_count = False
    fields = (
        "state",
        "order_no",
        "natural_key",
        "attempts",
        "generation",
        "first_seen_at",
        "changed_at",
        "lease",
        "kept_until",
        "last_error",
        "result",
        "content",
    )
    readonly_fields = fields

    def has_add_permission(self, request: Any) -> bool:
        """Let nobody."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Let nobody."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Let nobody; ``wxnotify_purge`` forgets what is over."""
        return False

    def get_search_results(self, request: Any, queryset: QuerySet[Any], search_term: str) -> Any:
        """Find an order by its number, which is indexed, or else a part of a key."""
        term = search_term.strip()
        if not term:
            return queryset, False
        of_order = queryset.filter(order_no=term)
        return (of_order if of_order.exists() else queryset.filter(natural_key__contains=term)), False

    @admin.display(description="first seen", ordering="first_seen")
    def first_seen_at(self, claim: StoredClaim) -> str:
        """When it was first claimed."""
        return _local(claim.first_seen)

    @admin.display(description="last change", ordering="updated")
    def changed_at(self, claim: StoredClaim) -> str:
        """When it last changed."""
        return _local(claim.updated)

    @admin.display(description="lease", ordering="lease_until")
    def lease(self, claim: StoredClaim) -> str:
        """Until when its holder has it."""
        if claim.state != "pending":
            return ""
        over = claim.lease_until <= time.time()
        return f"{'ran out' if over else 'until'} {_local(claim.lease_until)}"

    @admin.display(description="last error")
    def error(self, claim: StoredClaim) -> str:
        """What the last failed handler raised, as much as fits into a line."""
        return Truncator(claim.last_error).chars(80)

    @admin.display(description="kept until")
    def kept_until(self, claim: StoredClaim) -> str:
        """Until when it is remembered at least."""
        return _local(claim.retain_until) if claim.state == "done" else "while it is not done"

    @admin.display(description="SHA-256 of its content")
    def content(self, claim: StoredClaim) -> str:
        """What tells two messages with one key apart."""
        return bytes(claim.fingerprint).hex()


def _local(seconds: float) -> str:
    """Write a time as the site does, to the second."""
    moment = datetime.fromtimestamp(seconds, datetime_timezone.utc)
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
