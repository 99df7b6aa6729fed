"""The addresses of the standalone site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from sesame.views import LoginView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="venue_images:stats"), name="home"),
    path("sign-in/", LoginView.as_view(), name="sign-in"),
    # Before the admin, whose last pattern takes everything below /admin/.
    path("admin/venue-images/", include("venue_images.dashboard.urls")),
    path("admin/", admin.site.urls),
]
