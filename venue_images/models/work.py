"""What was done and by whom: cleanup runs, operations, attempts, workers."""

from __future__ import annotations

import uuid

from django.conf import settings as django_settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from venue_images.models.catalogue import Venue, VenueImage


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
    #: What asking the providers again would have cost for the images that a retry recovered.
    saved_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0, db_default=0)
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
