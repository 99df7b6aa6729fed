"""What the owner decides about the providers and their hosts, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.forms import ModelForm
from django.utils.html import format_html

from venue_images import circuits, monitor, rate_limits
from venue_images.admin.tables import BigTable, ModelAdmin, ProviderFilter, ReadOnly, page_link
from venue_images.dashboard import words
from venue_images.models import Circuit, Provider, ProviderSpend
from venue_images.providers import PROVIDERS

if TYPE_CHECKING:
    from django.http import HttpRequest


@admin.register(Provider)
class ProviderAdmin(ModelAdmin):
    list_display = (
        "title",
        "active",
        "priority",
        "metered",
        "cost_per_search",
        "cost_per_call",
        "cost_per_image",
        "monthly_budget_usd",
        "limits",
    )
    list_filter = ("active", "metered")
    readonly_fields = ("name", "terms")
    fieldsets = (
        (None, {"fields": ("name", "terms", "active", "priority", "geocode")}),
        (
            "Prices in US dollars",
            {
                "fields": ("metered", "cost_per_search", "cost_per_call", "cost_per_image", "monthly_budget_usd"),
                "description": "The budget is for a calendar month (UTC); recovery goes on without it. Empty: no limit.",
            },
        ),
        (
            "API calls allowed",
            {
                "fields": ("limit_per_second", "limit_per_minute", "limit_per_hour", "limit_per_day"),
                "description": "What the provider allows us, over all workers. Empty: no limit.",
            },
        ),
    )

    @admin.display(description="provider", ordering="name")
    def title(self, provider: Provider) -> str:
        return monitor.title_of(provider.name)

    @admin.display(description="API calls allowed")
    def limits(self, provider: Provider) -> str:
        limits = ((window, getattr(provider, f"limit_per_{window}")) for window in rate_limits.WINDOWS)
        return ", ".join(f"{limit:,} a {window}" for window, limit in limits if limit is not None) or "-"

    @admin.display(description="terms")
    def terms(self, provider: Provider) -> str:
        """Why its photos are kept or not, and where that can be read."""
        if provider.name not in PROVIDERS:
            return "-"
        info = PROVIDERS[provider.name].info
        return format_html("{} {}", info.terms, page_link(info.terms_url, "Read the terms")) if info.terms else "-"

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """The registry says which providers there are."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False


@admin.register(ProviderSpend)
class ProviderSpendAdmin(ReadOnly, ModelAdmin):
    list_display = ("title", "month", "calls", "cost_usd")
    list_filter = (ProviderFilter,)
    ordering = ("-month", "provider")

    @admin.display(description="provider", ordering="provider")
    def title(self, spend: ProviderSpend) -> str:
        return monitor.title_of(spend.provider)


#: What the owner sets for a photo host.
CHOSEN = ("concurrency", "limit_per_second")
#: What the workers notice of any service.
NOTICED = ("state", "what", "message", "failures", "opened_at", "try_at", "retry_tokens")


@admin.register(Circuit)
class CircuitAdmin(BigTable):
    """The services outside: providers, photo hosts and the storage."""

    list_display = ("service", "state", "what", "try_at", *CHOSEN)
    list_filter = ("state",)
    search_fields = ("service",)
    ordering = ("service",)
    fieldsets = (
        (None, {"fields": ("service",)}),
        (
            "Limits of a photo host",
            {"fields": CHOSEN, "description": "Over all workers. Empty: what its provider says, or the usual."},
        ),
        ("Noticed by the workers", {"fields": NOTICED}),
    )

    @admin.display(description="error type", ordering="error_type")
    def what(self, circuit: Circuit) -> str:
        return words.of_error(circuit.error_type) if circuit.error_type else "-"

    def get_readonly_fields(self, _request: HttpRequest, circuit: Model | None = None) -> tuple[str, ...]:
        is_host = isinstance(circuit, Circuit) and circuit.service.startswith(circuits.of_host(""))
        return ("service", *NOTICED) if is_host else ("service", *NOTICED, *CHOSEN)

    def save_model(self, _request: HttpRequest, circuit: Circuit, form: ModelForm[Circuit], _change: bool) -> None:
        """Write what was chosen alone: the workers may have noticed something since the form was opened."""
        circuit.save(update_fields=form.changed_data)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """A service has its row once it has been asked."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False
