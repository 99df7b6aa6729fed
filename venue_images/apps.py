"""The Django app: what has to be there after ``migrate``, and the checks of the settings."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.db.models.signals import post_migrate

from venue_images.conf import provider_setting, settings
from venue_images.errors import SettingsError

HINT = "venue-images doctor explains every setting."


class VenueImagesConfig(AppConfig):
    name = "venue_images"
    verbose_name = "Venue Images"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_prepare_database, sender=self)


def _prepare_database(using: str, **_: Any) -> None:
    """Install or upgrade the job engine's tables, and add a row for every new provider."""
    # The registry and the job queue need the models, which are not loaded yet when this module is.
    from venue_images import job_queue, providers  # noqa: PLC0415

    job_queue.install(using)
    providers.add_missing_rows(using)


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    try:
        settings()
    except SettingsError as error:
        return [Error(str(error), hint=HINT, id="venue_images.E001")]
    return []


@register()
def check_policies(**_: Any) -> list[CheckMessage]:
    # As above.
    from venue_images import providers  # noqa: PLC0415

    wrong = [
        f"{name.upper()}_STORAGE_POLICY={policy!r}: must be {', '.join(providers.POLICIES)}."
        for name in providers.PROVIDERS
        if (policy := provider_setting(name, "STORAGE_POLICY")) and policy not in providers.POLICIES
    ]
    return [Error(problem, hint=HINT, id="venue_images.E002") for problem in wrong]
