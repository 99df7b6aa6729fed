"""The nouns: venue, image, provider, cleanup run, operation, attempt, worker.

The image row is the truth; jobs are disposable. Web pages read these models through the ORM; the upload path writes
images with the set-based SQL of ``image_ledger``.
"""

from __future__ import annotations

import uuid

from django.conf import settings as django_settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from venue_images.conf import settings
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
        return self.filter(
            upload_status=UploadStatus.FAILED,
            error_type__in=retried_types(on_request=include_ambiguous),
            retry_count__lt=settings().max_attempts,
        )

    def for_review(self) -> VenueImageQuerySet:
        """What only a person can decide: given up, a permanent error, or no attempt left."""
        return self.filter(
            Q(upload_status=UploadStatus.PERMANENTLY_FAILED)
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


class Provider(models.Model):
    """The owner's choices for one provider of the registry; the row is made by ``migrate``."""

    name = models.CharField(max_length=50, primary_key=True)
    active = models.BooleanField(default=True)
    #: Lower is asked first and wins between equal photos.
    priority = models.PositiveSmallIntegerField(default=100)
    metered = models.BooleanField(default=False)
    #: US dollars that one photo costs.
    cost_per_image = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    #: API calls that the provider allows in each window; None: no limit.
    limit_per_second = models.PositiveIntegerField(null=True, blank=True)
    limit_per_minute = models.PositiveIntegerField(null=True, blank=True)
    limit_per_hour = models.PositiveIntegerField(null=True, blank=True)
    limit_per_day = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        ordering = ("priority", "name")

    def __str__(self) -> str:
        return self.name


class ProviderUsage(models.Model):
    """API calls to one provider within one second; a counter, not a log."""

    provider = models.CharField(max_length=50)
    second = models.DateTimeField()
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("provider", "second"), name="provider_usage_once"),)

    def __str__(self) -> str:
        return f"{self.provider} {self.second:%H:%M:%S} {self.calls}"


class Trigger(models.TextChoices):
    """Where a run or an operation was asked for."""

    BUTTON = "button"
    NIGHTLY = "nightly"
    COMMAND = "command"
    API = "api"


class CleanupRun(models.Model):
    """One scan of all failures and the retries that it queued."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"

    state = models.CharField(max_length=20, choices=State, default=State.QUEUED)
    trigger = models.CharField(max_length=20, choices=Trigger, default=Trigger.COMMAND)
    requested_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    include_ambiguous = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    #: Venues with failures that the scan looked at.
    venues_scanned = models.PositiveIntegerField(default=0)
    #: Venues with transient failures: one retry job each.
    venues_queued = models.PositiveIntegerField(default=0)
    #: Images that were left alone, by reason.
    permanent_logged = models.PositiveIntegerField(default=0)
    ambiguous_skipped = models.PositiveIntegerField(default=0)
    message = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"cleanup run {self.pk}"


class Operation(models.Model):
    """What one job did to one venue."""

    class Kind(models.TextChoices):
        ENRICHMENT = "enrichment"
        RETRY = "retry"

    class State(models.TextChoices):
        RUNNING = "running"
        #: Every image that was tried is stored.
        SUCCEEDED = "succeeded"
        #: Some are, some are not.
        PARTIAL = "partial"
        FAILED = "failed"

    venue = models.ForeignKey(Venue, on_delete=models.CASCADE, related_name="operations")
    run = models.ForeignKey(CleanupRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="operations")
    kind = models.CharField(max_length=20, choices=Kind)
    state = models.CharField(max_length=20, choices=State, default=State.RUNNING)
    #: Who is at it; a running operation of a dead worker is swept.
    worker_id = models.UUIDField(null=True, blank=True)
    started_at = models.DateTimeField(default=timezone.now, db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    images_discovered = models.PositiveIntegerField(default=0, db_default=0)
    images_uploaded = models.PositiveIntegerField(default=0, db_default=0)
    images_failed = models.PositiveIntegerField(default=0, db_default=0)
    images_hotlinked = models.PositiveIntegerField(default=0, db_default=0)
    metered_calls = models.PositiveIntegerField(default=0, db_default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0, db_default=0)
    #: By provider name: ``{photos, calls, metered_calls, cost_usd, seconds, error_type, error}``.
    provider_results = models.JSONField(default=dict)
    #: Images that failed, by error type.
    failure_breakdown = models.JSONField(default=dict)
    message = models.TextField(blank=True, default="", db_default="")

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("run",), name="operation_run"),
            models.Index(fields=("worker_id",), condition=Q(state="running"), name="operation_running"),
            models.Index(fields=("venue", "-id"), name="operation_venue"),
        )

    def __str__(self) -> str:
        return f"{self.kind} of venue {self.venue_id}"


class UploadAttempt(models.Model):
    """One try at one image and its outcome."""

    image = models.ForeignKey(VenueImage, on_delete=models.CASCADE, related_name="attempts")
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="attempts")
    started_at = models.DateTimeField()
    host = models.CharField(max_length=260, blank=True, default="")
    #: None: the image was stored.
    error_type = models.CharField(max_length=40, null=True)
    error_message = models.TextField(blank=True, default="")
    http_status = models.PositiveSmallIntegerField(null=True)
    byte_size = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("image", "id"), name="upload_attempt_image"),)

    def __str__(self) -> str:
        return f"attempt at image {self.image_id}"


class Worker(models.Model):
    """A process that uploads images, and when it was last heard of."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    #: ``worker`` takes jobs; ``command`` does the work of one command.
    kind = models.CharField(max_length=20)
    hostname = models.CharField(max_length=260)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now, db_default=Now())
    heartbeat_at = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta:
        ordering = ("started_at",)

    def __str__(self) -> str:
        return f"{self.kind} {self.hostname}:{self.pid}"
