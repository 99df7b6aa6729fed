"""Signing in to the pages, reading what they say, and the rows that make them say it."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from tests.factories import make_image
from venue_images.errors import ErrorType
from venue_images.models import Circuit, UploadStatus, Venue

PAGE = "/admin/venue-images/stats"


def sign_in(*permissions: str, staff: bool = True, strict: bool = False) -> Client:
    user = User.objects.create_user("somebody", is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=strict)
    client.force_login(user)
    return client


def text_of(response: Any) -> str:
    """What a person reads on the page, or in a piece of its HTML, in one line."""
    html = response if isinstance(response, str) else response.content.decode()
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def flashes(response: Any) -> list[tuple[str, str]]:
    return [(message.level_tag, str(message)) for message in get_messages(response.wsgi_request)]


def panel_of(response: Any, name: str) -> str:
    """The HTML of the section or card whose heading has this id, after ``venue-images-``; empty when there is none."""
    pattern = rf'<(section|article)\b[^>]*aria-labelledby="venue-images-{name}".*?</\1>'
    found = re.search(pattern, response.content.decode(), flags=re.DOTALL)
    return found[0] if found else ""


def stop(service: str, message: str = "It answers 503.", *, seconds: int = 600, **fields: Any) -> Circuit:
    """Open the circuit of a service, to be tried after ``seconds``."""
    now = timezone.now()
    known: dict[str, Any] = {"state": Circuit.State.OPEN, "error_type": ErrorType.SERVICE_UNAVAILABLE, "failures": 10}
    times = {"opened_at": now - timedelta(minutes=5), "try_at": now + timedelta(seconds=seconds)}
    return Circuit.objects.create(service=service, message=message, **{**known, **times, **fields})


def expire(venue: Venue, images: int) -> None:
    """Give the venue photos of Google Places whose addresses have expired."""
    for _ in range(images):
        make_image(venue, UploadStatus.FAILED, ErrorType.URL_EXPIRED, provider="google_places")
