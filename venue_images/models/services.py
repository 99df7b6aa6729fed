"""What is outside: the providers with the owner's choices, what was asked and paid, and whether it may be asked now."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from venue_images.models.catalogue import Venue


class Provider(models.Model):
    """The owner's choices for one provider of the registry; the row is made by ``migrate``."""

    name = models.CharField(max_length=50, primary_key=True)
    active = models.BooleanField(default=True)
    #: Lower is asked first and wins between equal photos.
    priority = models.PositiveSmallIntegerField(default=100)
    metered = models.BooleanField(default=False)
    #: US dollars for a search by name, for a call that lists photos, and for the address of one photo.
    cost_per_search = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    cost_per_call = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    cost_per_image = models.DecimalField(max_digits=10, decimal_places=6, default=0)
    #: US dollars a calendar month (UTC) after which enrichment asks no more; None: no limit.
    monthly_budget_usd = models.DecimalField(max_digits=10, decimal_places=2, null=True, blank=True)
    #: Whether the venue is looked for by name and coordinates when its id is not known.
    geocode = models.BooleanField(default=False)
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


class ProviderSpend(models.Model):
    """What one provider was asked and paid in one calendar month (UTC)."""

    provider = models.CharField(max_length=50)
    #: The first day of the month.
    month = models.DateField()
    calls = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("provider", "month"), name="provider_spend_once"),)

    def __str__(self) -> str:
        return f"{self.provider} {self.month:%Y-%m} ${self.cost_usd}"


class ProviderCheck(models.Model):
    """How far one provider has been asked about one venue."""

    venue = models.ForeignKey(Venue, on_delete=models.CASCADE, related_name="provider_checks")
    provider = models.CharField(max_length=50)
    #: When it last answered, or refused for good.
    checked_at = models.DateTimeField(null=True, blank=True)
    #: When it was last asked, whatever came of it.
    tried_at = models.DateTimeField(null=True, blank=True)
    #: When it may be asked again after a limit or a passing failure; None: nothing is left to ask.
    due_at = models.DateTimeField(null=True, blank=True)
    #: Passing failures since it last answered.
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: How sure the place that was found for the venue is, 0 to 1; None: none was looked for.
    confidence = models.FloatField(null=True, blank=True)
    #: Why it was not asked, or why a place was not used.
    note = models.TextField(blank=True, default="", db_default="")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("venue", "provider"), name="provider_check_once"),)
        indexes = (
            models.Index(fields=("provider", "due_at"), condition=Q(due_at__isnull=False), name="provider_check_due"),
        )

    def __str__(self) -> str:
        return f"{self.provider} for venue {self.venue_id}"


class RateBucket(models.Model):
    """How many requests one service was granted lately, for one window; see ``rate_limits``."""

    #: ``provider:<name>`` or ``host:<host>``.
    service = models.CharField(max_length=270)
    #: ``second``, ``minute``, ``hour`` or ``day``.
    window = models.CharField(max_length=10)
    #: Requests granted in each slice of the window, the newest first.
    granted = ArrayField(models.IntegerField(), default=list)
    #: The number of the newest slice, counted from 1970.
    newest = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("service", "window"), name="rate_bucket_once"),)

    def __str__(self) -> str:
        return f"{self.service} {self.window}"


class Circuit(models.Model):
    """Whether a service outside may be asked: a provider's API, a photo host or the storage; see ``circuits``."""

    class State(models.TextChoices):
        CLOSED = "closed"
        OPEN = "open"
        HALF_OPEN = "half_open"

    #: ``provider:<name>``, ``host:<host>`` or ``storage``.
    service = models.CharField(max_length=270, primary_key=True)
    state = models.CharField(max_length=10, choices=State, default=State.CLOSED, db_default=State.CLOSED)
    #: Failures in a row.
    failures = models.PositiveIntegerField(default=0, db_default=0)
    #: Why it is open: an error type, and a sentence.
    error_type = models.CharField(max_length=40, blank=True, default="", db_default="")
    message = models.TextField(blank=True, default="", db_default="")
    opened_at = models.DateTimeField(null=True, blank=True)
    #: Nobody asks before; then one request may try. None while it is closed.
    try_at = models.DateTimeField(null=True, blank=True)
    #: Seconds from one try to the next; doubles while they fail.
    pause = models.FloatField(default=0, db_default=0)
    #: What is left for retries that fail, and when that was reckoned.
    retry_tokens = models.FloatField(default=500, db_default=500)
    reckoned_at = models.DateTimeField(default=timezone.now, db_default=Now())
    #: The owner's limits for a photo host; None: what its provider says, or the usual.
    concurrency = models.PositiveSmallIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    limit_per_second = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    #: Downloads at once that each worker may do, by its id.
    leases = models.JSONField(default=dict, db_default=models.Value({}, output_field=models.JSONField()))

    class Meta:
        ordering = ("service",)
        verbose_name = "service"
        permissions = (("manage_providers", "Can switch providers and try a stopped service"),)

    def __str__(self) -> str:
        return f"{self.service} {self.state}"
