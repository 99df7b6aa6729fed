"""Who may see the pages and press their buttons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

View = Callable[..., HttpResponseBase]

RETRY = "venue_images.retry_uploads"
ENRICH = "venue_images.enrich_venues"
MANAGE = "venue_images.manage_providers"


def staff_page(view: View) -> View:
    """Signed-in staff see the page; everybody else is sent to the sign-in, also from the middle of a refresh."""
    guarded = admin.site.admin_view(view)

    @functools.wraps(view)
    def page(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        if is_refresh(request) and not admin.site.has_permission(request):
            sign_in = redirect_to_login(request.get_full_path(), reverse("admin:login"))
            return HttpResponseClientRedirect(sign_in.url)
        return guarded(request, *arguments, **named)

    return page


def staff_file(view: View) -> View:
    """Like a page, but the browser may keep the answer."""
    return admin.site.admin_view(view, cacheable=True)


def staff_action(permission: str) -> Callable[[View], View]:
    """Only a POST by signed-in staff does something; without the permission it answers 403."""

    def decorate(view: View) -> View:
        return require_POST(admin.site.admin_view(permission_required(permission, raise_exception=True)(view)))

    return decorate


def is_refresh(request: HttpRequest) -> bool:
    """Whether htmx asks for the changing part of the page alone."""
    return bool(HtmxDetails(request))
