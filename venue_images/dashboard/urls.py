"""The addresses under ``/admin/venue-images/``; include them before the admin's own."""

from __future__ import annotations

from django.urls import path

from venue_images.dashboard import media, views

app_name = "venue_images"

urlpatterns = [
    path("stats", views.stats_page, name="stats"),
    path("stats/retry-failed-uploads", views.retry_failed_uploads, name="retry_failed_uploads"),
    path("stats/enqueue-enrichment", views.enqueue_enrichment, name="enqueue_enrichment"),
    path("stats/refresh-urls", views.refresh_urls, name="refresh_urls"),
    path("stats/try-now", views.try_now, name="try_now"),
    path("media/<path:key>", media.stored_image, name="media"),
]
