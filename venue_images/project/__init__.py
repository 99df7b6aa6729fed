"""The standalone site: Django's settings, addresses and server entry point."""

from __future__ import annotations

import os


def setup() -> None:
    """Make Django ready in a script or a shell: call this once, then import what you need.

    Raises :class:`venue_images.errors.UserError` when a setting is wrong or the database can't start.
    """
    import django  # noqa: PLC0415 - nothing of Django is loaded before it is asked for

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "venue_images.project.settings")
    django.setup()
