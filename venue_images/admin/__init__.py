"""The rows in the admin: venues, providers and hosts can be edited, what the jobs write can only be read."""

from __future__ import annotations

from venue_images.admin import catalogue, people, providers, runs

__all__ = ["catalogue", "people", "providers", "runs"]
