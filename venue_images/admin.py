"""The rows in the admin: venues and providers can be edited, what the jobs write can only be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import Group, User
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from venue_images.dashboard import words
from venue_images.errors import ErrorType
from venue_images.models import CleanupRun, Operation, Provider, UploadAttempt, UploadStatus, Venue, VenueImage
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


class ProviderFilter(admin.SimpleListFilter):
    """By the providers of the registry; asking the table which ones occur would read all of it."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(name, provider.info.title) for name, provider in PROVIDERS.items()]

    def queryset(self, _request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(provider=self.value()) if self.value() else rows


class ErrorTypeFilter(admin.SimpleListFilter):
    """By what went wrong, among the failing images alone."""

    title = "error type"
    parameter_name = "error_type"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(str(error_type), words.of_error(error_type)) for error_type in ErrorType]

    def queryset(self, _request: HttpRequest, rows: QuerySet[VenueImage]) -> QuerySet[VenueImage]:
        return (
            rows.filter(pk__in=VenueImage.objects.failing().filter(error_type=self.value())) if self.value() else rows
        )


@admin.register(Venue)
class VenueAdmin(BigTable):
    list_display = ("name", "city", "slug", "images_checked_at")
    search_fields = ("name", "city", "slug")
    # The slug names the stored files; ids and photos are checked by the import.
    readonly_fields = (
        "slug",
        "images_of_venue",
        "provider_ids",
        "photos",
        "extra",
        "images_checked_at",
        "created_at",
        "updated_at",
    )

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Venues come with the import."""
        return False

    @admin.display(description="images")
    def images_of_venue(self, venue: Venue) -> str:
        address = reverse("admin:venue_images_venueimage_changelist")
        return format_html('<a href="{}?venue__id__exact={}">Show the images of this venue</a>', address, venue.pk)


class AttemptInline(ReadOnly, TabularInline):
    model = UploadAttempt
    extra = 0
    fields = ("started_at", "error_type", "error_message", "http_status", "byte_size", "seconds")


@admin.register(VenueImage)
class VenueImageAdmin(ReadOnly, BigTable):
    list_display = ("__str__", "venue", "provider", "upload_status", "error_type", "retry_count", "failed_at")
    list_filter = ("upload_status", ErrorTypeFilter, ProviderFilter)
    list_select_related = ("venue",)
    search_fields = ("venue__slug__exact",)
    search_help_text = "The slug of a venue, exactly."
    raw_id_fields = ("venue",)
    readonly_fields = ("preview",)
    inlines = (AttemptInline,)

    @admin.display(description="preview")
    def preview(self, image: VenueImage) -> str:
        if image.upload_status != UploadStatus.UPLOADED or not image.url.startswith(("/", "https://", "http://")):
            return "-"
        style = "max-width: 100%; max-height: 240px"
        return format_html('<img src="{}" alt="{}" loading="lazy" style="{}">', image.url, str(image), style)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "venue__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]


@admin.register(Provider)
class ProviderAdmin(ModelAdmin):
    list_display = ("name", "active", "priority", "metered", "cost_per_image", "limit_per_second", "limit_per_minute")
    list_filter = ("active", "metered")
    readonly_fields = ("name",)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """The registry says which providers there are."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _row: Model | None = None) -> bool:
        return False


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


def _dress_people() -> None:
    """Give users and groups the theme's forms, unless the site around has its own admin for them."""
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm  # noqa: PLC0415 - only with unfold

    class UserAdmin(auth_admin.UserAdmin, ModelAdmin):  # type: ignore[type-arg]
        form = UserChangeForm
        add_form = UserCreationForm
        change_password_form = AdminPasswordChangeForm

    class GroupAdmin(auth_admin.GroupAdmin, ModelAdmin):
        pass

    dressed = ((User, auth_admin.UserAdmin, UserAdmin), (Group, auth_admin.GroupAdmin, GroupAdmin))
    for model, plain, themed in dressed:
        if admin.site.is_registered(model) and type(admin.site.get_model_admin(model)) is plain:
            admin.site.unregister(model)
            admin.site.register(model, themed)


if THEMED:
    _dress_people()
