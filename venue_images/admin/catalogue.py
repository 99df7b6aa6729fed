"""Venues and their images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from venue_images import monitor
from venue_images.admin.tables import BigTable, ProviderFilter, ReadOnly, ReadOnlyInline, page_link
from venue_images.dashboard import words
from venue_images.errors import ErrorType
from venue_images.models import ProviderCheck, UploadAttempt, UploadStatus, Venue, VenueImage

if TYPE_CHECKING:
    from django.http import HttpRequest


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


class ProviderCheckInline(ReadOnlyInline):
    model = ProviderCheck
    fields = ("title", "checked_at", "due_at", "failures", "confidence", "note")
    readonly_fields = ("title",)

    @admin.display(description="provider")
    def title(self, check: ProviderCheck) -> str:
        return monitor.title_of(check.provider)


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
    inlines = (ProviderCheckInline,)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Venues come with the import."""
        return False

    @admin.display(description="images")
    def images_of_venue(self, venue: Venue) -> str:
        address = reverse("admin:venue_images_venueimage_changelist")
        link = '<a href="{}?venue__id__exact={}" class="underline">Show the images of this venue</a>'
        return format_html(link, address, venue.pk)


class AttemptInline(ReadOnlyInline):
    model = UploadAttempt
    fields = ("started_at", "error_type", "error_message", "http_status", "byte_size", "seconds")


@admin.register(VenueImage)
class VenueImageAdmin(ReadOnly, BigTable):
    list_display = ("__str__", "venue", "upload_status", "error_type", "retry_count", "failed_at", "credit")
    list_filter = ("upload_status", ErrorTypeFilter, ProviderFilter)
    list_select_related = ("venue",)
    search_fields = ("venue__slug__exact",)
    search_help_text = "The slug of a venue, exactly."
    raw_id_fields = ("venue",)
    readonly_fields = ("preview", "credit")
    inlines = (AttemptInline,)

    def get_fields(self, request: HttpRequest, image: Model | None = None) -> list[Any]:
        """The photo and who has to be named with it come first."""
        fields = super().get_fields(request, image)
        return [*self.readonly_fields, *(field for field in fields if field not in self.readonly_fields)]

    @admin.display(description="preview")
    def preview(self, image: VenueImage) -> str:
        if image.upload_status != UploadStatus.UPLOADED or not image.url.startswith(("/", "https://", "http://")):
            return "-"
        style = "max-width: 100%; max-height: 240px"
        return format_html('<img src="{}" alt="{}" loading="lazy" style="{}">', image.url, str(image), style)

    @admin.display(description="credit")
    def credit(self, image: VenueImage) -> str:
        """Who has to be named, the licence and the photo's page, as the terms want them beside the photo."""
        texts = [text for text in (image.attribution, image.licence, page_link(image.page_url)) if text]
        style = "display: block; min-width: 12rem; max-width: 26rem; white-space: normal; overflow-wrap: anywhere"
        credit = format_html_join(" · ", "{}", ([text] for text in texts))
        return format_html('<span style="{}">{}</span>', style, credit) if texts else "-"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "venue__id__exact" or super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]
