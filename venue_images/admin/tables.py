"""What the tables of the admin have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.utils.functional import cached_property
from django.utils.html import format_html

from venue_images.providers import PROVIDERS

#: Whether the admin wears the theme; a site around this app may have the plain one.
THEMED = apps.is_installed("unfold")

if TYPE_CHECKING:
    from django.http import HttpRequest

    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    RowPaginator = Paginator[Any]
else:
    RowPaginator = Paginator
    if THEMED:
        from unfold.admin import ModelAdmin, TabularInline
    else:
        from django.contrib.admin import ModelAdmin, TabularInline


class CappedPaginator(RowPaginator):
    """Counts no further than a person would turn pages: a table of millions is not counted for each look."""

    MAX_ROWS = 10_000

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows[: self.MAX_ROWS].count() if isinstance(rows, QuerySet) else len(rows)


class BigTable(ModelAdmin):
    """For tables with a row for every venue or more."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    # The order of the primary key: any other would sort the whole table.
    ordering = ("-id",)


class ReadOnly:
    """What the jobs write, people read."""

    def has_add_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False


class ReadOnlyInline(ReadOnly, TabularInline):
    extra = 0


class ProviderFilter(admin.SimpleListFilter):
    """By the providers of the registry; asking the table which ones occur would read all of it."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(name, provider.info.title) for name, provider in PROVIDERS.items()]

    def queryset(self, _request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(provider=self.value()) if self.value() else rows


def page_link(address: str, text: str = "Page of the photo") -> str:
    """A link that tells the page nothing of this site and vouches for nothing there; empty for what is no page."""
    if not address.startswith(("https://", "http://")):
        return ""
    rel = "noopener noreferrer nofollow"
    return format_html('<a href="{}" target="_blank" rel="{}" class="underline">{}</a>', address, rel, text)
