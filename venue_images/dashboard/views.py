"""The statistics page and its buttons."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.db import Error as DatabaseError
from django.shortcuts import redirect, render

from venue_images import cleanup_scheduler, enrichment_job, owner_actions
from venue_images.dashboard import words
from venue_images.dashboard.access import ENRICH, MANAGE, RETRY, is_refresh, staff_action, staff_page
from venue_images.dashboard.figures import figures
from venue_images.errors import UserError, VenueImagesError
from venue_images.models import Trigger

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

TITLE = "Venue Image Provider Statistics"
#: What can keep a job from being queued and is no mistake of this program.
ENQUEUE_ERRORS = (DatabaseError, VenueImagesError, OSError)
#: What a connection error may quote.
SECRETS = re.compile(r"(?i)(?<=://)[^\s@/]+@|(?<=password=)\S+")
MAX_REASON = 200
#: Nobody agrees to more with one click.
MOST_USD = 1_000_000


@staff_page
def stats_page(request: HttpRequest) -> HttpResponse:
    """The page, or for htmx only the part that changes."""
    may = {
        "may_retry": request.user.has_perm(RETRY),
        "may_enrich": request.user.has_perm(ENRICH),
        "may_manage": request.user.has_perm(MANAGE),
    }
    if is_refresh(request):
        return render(request, "venue_images/_refresh.html", {**may, **figures(), "refresh": True})
    surroundings = {
        **admin.site.each_context(request),
        "title": TITLE,
        "layout_has_htmx": apps.is_installed("unfold"),
    }
    return render(request, "venue_images/stats.html", {**surroundings, **may, **figures()})


@staff_action(RETRY)
def retry_failed_uploads(request: HttpRequest) -> HttpResponse:
    """Queue one cleanup; pressing twice queues no second one."""
    with _failure_told(request, "enqueue cleanup job"):
        enqueued = cleanup_scheduler.enqueue(trigger=Trigger.BUTTON, user=request.user)
        if enqueued.already_queued:
            messages.info(request, "A cleanup job is already queued or running - nothing was added")
        else:
            messages.success(request, "✅ Cleanup job enqueued - will scan venues and retry failed uploads")
    return redirect("venue_images:stats")


@staff_action(ENRICH)
def enqueue_enrichment(request: HttpRequest) -> HttpResponse:
    """Queue the enrichment of every venue that is due; a venue that waits already is not queued again."""
    with _failure_told(request, "enqueue enrichment"):
        queued = enrichment_job.enqueue()
        if queued:
            venues = words.count(queued, "stale venue")
            messages.success(request, f"✅ Enrichment enqueued - {venues} will be checked for new photos")
        else:
            messages.info(request, "No stale venues to enrich - all are up to date or queued already")
    return redirect("venue_images:stats")


@staff_action(MANAGE)
def try_now(request: HttpRequest) -> HttpResponse:
    """Let the next request try a stopped service without waiting; pressing twice does the same again."""
    service = request.POST.get("service", "")
    with _failure_told(request, "try the service"), _refusal_told(request):
        venues = owner_actions.try_now(service)
        come = f"{words.count(venues, 'venue')} waiting for it will be taken up" if venues else "no venue waits for it"
        messages.success(request, f"✅ {words.of_service(service)} will be tried by the next request - {come}")
    return redirect("venue_images:stats")


@staff_action(ENRICH)
def refresh_urls(request: HttpRequest) -> HttpResponse:
    """Queue new URLs for the expired ones of one provider, for the price that the button showed and no more."""
    provider, price = request.POST.get("provider", ""), _price(request.POST.get("up_to_usd", ""))
    with _failure_told(request, "refresh the URLs"), _refusal_told(request):
        asked = owner_actions.refresh_urls(provider=provider, up_to_usd=price)
        if asked.queued:
            what = f"{words.count(asked.images, 'image')} in {words.count(asked.venues, 'venue')}"
            cost = f"{words.count(asked.calls, 'call')}, {words.usd(asked.cost_usd)}"
            messages.success(request, f"✅ New URLs enqueued for {what}: {cost}")
        else:
            messages.info(request, "No URL to refresh - new ones came in the meantime, or are enqueued already")
    return redirect("venue_images:stats")


def _price(text: str) -> Decimal:
    """The US dollars that somebody agreed to; whatever is no price was not sent by our page."""
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise BadRequest("up_to_usd is no price.") from None
    if not price.is_finite() or not 0 <= price <= MOST_USD:
        raise BadRequest("up_to_usd is no price.")
    return price


@contextlib.contextmanager
def _refusal_told(request: HttpRequest) -> Iterator[None]:
    """Hand on what the person at the page can decide or mend."""
    try:
        yield
    except UserError as error:
        messages.warning(request, str(error))


@contextlib.contextmanager
def _failure_told(request: HttpRequest, what: str) -> Iterator[None]:
    """Say in one line why it could not be done; the log has all of it."""
    try:
        yield
    except ENQUEUE_ERRORS as error:
        logger.exception("dashboard.action_failed action=%s", what)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        messages.error(request, f"❌ Failed to {what}: {SECRETS.sub('…', lines[0])[:MAX_REASON]}")
