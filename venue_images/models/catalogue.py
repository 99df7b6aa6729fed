"""The catalogue: its venues, and one row for each image of a venue.

The image row is the truth; jobs are disposable. Web pages read these models through the ORM; the upload path writes
images with the set-based SQL of ``image_ledger``.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from venue_images.conf import settings, unwanted_providers
from venue_images.errors import ErrorClass, retried_types, types_of


class Venue(models.Model):
    """A place of the catalogue."""

    slug = models.SlugField(max_length=200, unique=True)
    name = models.CharField(max_length=300)
    city = models.CharField(max_length=200, blank=True, default="")
    #: Degrees, WGS 84.
    latitude = models.FloatField(null=True, blank=True)
    longitude = models.FloatField(null=True, blank=True)
    #: The venue's id at each provider, by provider name.
    provider_ids = models.JSONField(default=dict, blank=True)
    #: Photos that the catalogue itself lists, as imported: ``{url, width, height, attribution}``.
    photos = models.JSONField(default=list, blank=True)
    #: What the import did not know, kept as it came.
    extra = models.JSONField(default=dict, blank=True)
    #: When the providers were last asked; None: never.
    images_checked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_default=Now())
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())

    class Meta:
        ordering = ("name", "id")
        permissions = (("enrich_venues", "Can queue the enrichment of venues"),)

    def __str__(self) -> str:
        return self.name


class UploadStatus(models.TextChoices):
    """The states of an image; ``docs/architecture.md`` draws the ways between them."""

    #: Known, not tried yet.
    PENDING = "pending"
    #: Claimed by a worker that is at it.
    UPLOADING = "uploading"
    #: In the storage.
    UPLOADED = "uploaded"
    #: The last attempt failed; ``error_type`` tells whether it will be tried again.
    FAILED = "failed"
    #: Given up: a permanent error, or the attempts are used up.
    PERMANENTLY_FAILED = "permanently_failed"
    #: Shown from the provider's own URL, as its terms want it; never downloaded.
    HOTLINKED = "hotlinked"


FAILING = (UploadStatus.FAILED, UploadStatus.PERMANENTLY_FAILED)


class VenueImageQuerySet(models.QuerySet["VenueImage"]):
    """The words of the pages, each defined once."""

    def failing(self) -> VenueImageQuerySet:
        """Not stored, and no longer on the way."""
        return self.filter(upload_status__in=FAILING)

    def retryable(self, *, include_ambiguous: bool = False) -> VenueImageQuerySet:
        """What a cleanup retries: a transient failure with attempts left; if asked to, an ambiguous or blocked one."""
        retryable = self.filter(
            upload_status=UploadStatus.FAILED,
            error_type__in=retried_types(on_request=include_ambiguous),
            retry_count__lt=settings().max_attempts,
        )
        unwanted = unwanted_providers()
        return retryable.exclude(provider__in=unwanted) if unwanted else retryable

    def for_review(self) -> VenueImageQuerySet:
        """What only a person can decide: given up, a permanent error, no attempt left, or not wanted any more."""
        return self.filter(
            Q(upload_status=UploadStatus.PERMANENTLY_FAILED)
            | Q(upload_status=UploadStatus.FAILED, provider__in=unwanted_providers())
            | Q(upload_status=UploadStatus.FAILED, error_type__in=types_of(ErrorClass.PERMANENT))
            | Q(
                upload_status=UploadStatus.FAILED,
                error_type__in=types_of(ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS),
                retry_count__gte=settings().max_attempts,
            )
        )

    def ambiguous(self) -> VenueImageQuerySet:
        """Failed in a way that says neither "again" nor "never", with attempts left."""
        return self.filter(
            upload_status=UploadStatus.FAILED,
            error_type__in=types_of(ErrorClass.AMBIGUOUS),
            retry_count__lt=settings().max_attempts,
        )


class VenueImage(models.Model):
    """One photo of one venue: where it comes from, how far its upload is, what is stored."""

    venue = models.ForeignKey(Venue, on_delete=models.CASCADE, related_name="images")
    #: The name of the provider in the registry.
    provider = models.CharField(max_length=50)
    #: The photo's id at the provider; empty when it has none.
    provider_photo_id = models.CharField(max_length=500, blank=True, default="")
    #: Where the photo is downloaded from; carries no key.
    provider_url = models.TextField()
    #: First 16 hex digits of the SHA-256 of the normalised URL: the photo's identity within its venue.
    url_hash = models.CharField(max_length=16)
    #: ``host`` or ``host:port`` of the URL.
    host = models.CharField(max_length=260, blank=True, default="")
    #: When the provider gave the URL; short-lived URLs age from here.
    url_obtained_at = models.DateTimeField(default=timezone.now, db_default=Now())

    upload_status = models.CharField(max_length=20, choices=UploadStatus, default=UploadStatus.PENDING)
    error_type = models.CharField(max_length=40, null=True, blank=True)
    error_message = models.TextField(blank=True, default="", db_default="")
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    #: Failed attempts so far. An attempt whose worker died is not counted.
    retry_count = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: Our own back-off; somebody who asks now does not wait for it.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    #: The host's Retry-After; never undercut.
    not_before = models.DateTimeField(null=True, blank=True)

    #: Who is at it: set by claim, compared by settle.
    claim_token = models.UUIDField(null=True, blank=True)
    worker_id = models.UUIDField(null=True, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)

    #: Public address of the stored image; for a hotlinked one the provider's.
    url = models.TextField(blank=True, default="", db_default="")
    storage_key = models.TextField(blank=True, default="", db_default="")
    sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")
    byte_size = models.BigIntegerField(null=True, blank=True)
    content_type = models.CharField(max_length=50, blank=True, default="", db_default="")
    #: Pixels: what the provider promises until the photo is stored, what it really has from then on.
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    #: 0 to 1, higher is better; see ``photo_ranking``.
    score = models.FloatField(default=0.1, db_default=0.1)
    attribution = models.TextField(blank=True, default="", db_default="")
    licence = models.TextField(blank=True, default="", db_default="")
    #: The photo's page at the provider.
    page_url = models.TextField(blank=True, default="", db_default="")
    #: What the provider wants called once because the photo was chosen, and when that was done.
    report_path = models.TextField(blank=True, default="", db_default="")
    reported_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_default=Now())
    uploaded_at = models.DateTimeField(null=True, blank=True)

    objects = VenueImageQuerySet.as_manager()

    class Meta:
        ordering = ("venue_id", "-score", "id")
        permissions = (("retry_uploads", "Can retry failed uploads"),)
        constraints = (
            models.UniqueConstraint(fields=("venue", "url_hash"), name="venue_image_once"),
            models.CheckConstraint(
                condition=~Q(upload_status=UploadStatus.UPLOADED) | ~Q(storage_key="") | ~Q(url=""),
                name="venue_image_uploaded_is_stored",
            ),
            models.CheckConstraint(
                condition=~Q(upload_status__in=FAILING) | Q(error_type__isnull=False),
                name="venue_image_failure_has_type",
            ),
        )
        indexes = (
            models.Index(
                fields=("venue",),
                include=("provider", "error_type", "retry_count", "upload_status", "not_before"),
                condition=Q(upload_status__in=FAILING),
                name="venue_image_failing",
            ),
            models.Index(
                fields=("venue",),
                condition=Q(upload_status=UploadStatus.FAILED, error_type="worker_lost"),
                name="venue_image_lost",
            ),
            models.Index(
                fields=("venue",),
                include=("upload_status", "worker_id", "created_at"),
                condition=Q(upload_status__in=(UploadStatus.PENDING, UploadStatus.UPLOADING)),
                name="venue_image_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider} {self.url_hash}"
