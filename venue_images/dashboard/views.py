"""The statistics page and its two buttons."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.db import Error as DatabaseError
from django.shortcuts import redirect, render
from django.utils import timezone

from venue_images import cleanup_scheduler, enrichment_job, monitor, stats
from venue_images.dashboard import words
from venue_images.dashboard.access import ENRICH, RETRY, is_refresh, staff_action, staff_page
from venue_images.errors import VenueImagesError
from venue_images.models import Trigger, Venue

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

TITLE = "Venue Image Provider Statistics"
#: Rows of the failure table that are open from the start.
FIRST_FAILURES = 6
#: What can keep a job from being queued and is no mistake of this program.
ENQUEUE_ERRORS = (DatabaseError, VenueImagesError, OSError)
#: What a connection error may quote.
SECRETS = re.compile(r"(?i)(?<=://)[^\s@/]+@|(?<=password=)\S+")
MAX_REASON = 200


@staff_page
def stats_page(request: HttpRequest) -> HttpResponse:
    """The page, or for htmx only the part that changes."""
    if is_refresh(request):
        return render(request, "venue_images/_refresh.html", {**_figures(), "refresh": True})
    surroundings = {
        **admin.site.each_context(request),
        "title": TITLE,
        "may_retry": request.user.has_perm(RETRY),
        "may_enrich": request.user.has_perm(ENRICH),
        "layout_has_htmx": apps.is_installed("unfold"),
    }
    return render(request, "venue_images/stats.html", {**surroundings, **_figures()})


@staff_action(RETRY)
def retry_failed_uploads(request: HttpRequest) -> HttpResponse:
    """Queue one cleanup; pressing twice queues no second one."""
    try:
        enqueued = cleanup_scheduler.enqueue(trigger=Trigger.BUTTON, user=request.user)
    except ENQUEUE_ERRORS as error:
        messages.error(request, f"❌ Failed to enqueue cleanup job: {_reason(error)}")
    else:
        if enqueued.already_queued:
            messages.info(request, "A cleanup job is already queued or running - nothing was added")
        else:
            messages.success(request, "✅ Cleanup job enqueued - will scan venues and retry failed uploads")
    return redirect("venue_images:stats")


@staff_action(ENRICH)
def enqueue_enrichment(request: HttpRequest) -> HttpResponse:
    """Queue the enrichment of every venue that is due; a venue that waits already is not queued again."""
    try:
        queued = enrichment_job.enqueue()
    except ENQUEUE_ERRORS as error:
        messages.error(request, f"❌ Failed to enqueue enrichment: {_reason(error)}")
    else:
        if queued:
            venues = "1 stale venue" if queued == 1 else f"{queued:,} stale venues"
            messages.success(request, f"✅ Enrichment enqueued - {venues} will be checked for new photos")
        else:
            messages.info(request, "No stale venues to enrich - all are up to date or queued already")
    return redirect("venue_images:stats")


def _figures() -> dict[str, Any]:
    """Everything that changes on the page, in a constant number of statements."""
    failures = [_failure(row) for row in stats.failure_breakdown()]
    return {
        "now": timezone.now(),
        "counts": stats.failure_counts(),
        "first_failures": failures[:FIRST_FAILURES],
        "more_failures": failures[FIRST_FAILURES:],
        "alerts": monitor.check_alerts(),
        "last_cleanup": monitor.last_cleanup(),
        "providers": [_provider(provider, failures) for provider in monitor.provider_usage()],
        "has_venues": Venue.objects.exists(),
    }


def _failure(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "provider_title": monitor.title_of(row["provider"]),
        "error_words": words.of_error(row["error_type"]),
        "class_words": words.of_class(row["error_class"]),
    }


def _provider(provider: dict[str, Any], failures: list[dict[str, Any]]) -> dict[str, Any]:
    failed = sum(row["count"] for row in failures if row["provider"] == provider["name"])
    return {**provider, "cost": words.usd(provider["cost_per_image"]), "images_failed": failed}


def _reason(error: Exception) -> str:
    """The error in one line that is safe to show; the log has all of it."""
    logger.error("dashboard.enqueue_failed", exc_info=error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return SECRETS.sub("…", lines[0])[:MAX_REASON]
