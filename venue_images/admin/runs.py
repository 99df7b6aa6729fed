"""What was done: cleanup runs and operations."""

from __future__ import annotations

from django.contrib import admin

from venue_images.admin.tables import BigTable, ModelAdmin, ReadOnly
from venue_images.models import CleanupRun, Operation


@admin.register(Operation)
class OperationAdmin(ReadOnly, BigTable):
    list_display = (
        "__str__",
        "venue",
        "state",
        "started_at",
        "images_discovered",
        "images_uploaded",
        "images_failed",
        "metered_calls",
        "cost_usd",
        "saved_usd",
    )
    list_filter = ("kind", "state")
    list_select_related = ("venue",)
    search_fields = ("venue__slug__exact",)
    search_help_text = "The slug of a venue, exactly."
    raw_id_fields = ("venue", "run")


@admin.register(CleanupRun)
class CleanupRunAdmin(ReadOnly, ModelAdmin):
    list_display = ("__str__", "state", "trigger", "requested_by", "created_at", "finished_at", "venues_queued")
    list_filter = ("state", "trigger")
    list_select_related = ("requested_by",)
