"""``doctor``: checks everything that the system stands on, and says what to mend; nothing that is broken stops it."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from venue_images import __version__, photo_urls
from venue_images.cli import mistakes, output
from venue_images.conf import Settings, provider_setting, settings
from venue_images.errors import UploadError
from venue_images.storage import open_storage

OK, WARNING, ERROR = "ok", "warning", "error"
#: Seconds that the database's clock may differ from this machine's.
CLOCK_DIFFERENCE = 5
PROBE = b"venue-images doctor"


@dataclass(frozen=True)
class Check:
    name: str
    status: str
    message: str


def doctor() -> int:
    """Exit status 1 when a check found an error."""
    checks = [check for group in GROUPS for check in _safely(*group)]
    output.finish({"checks": [asdict(check) for check in checks]}, lambda: _show(checks))
    return 1 if any(check.status == ERROR for check in checks) else 0


def _safely(name: str, group: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from group()
    except Exception as error:
        explained = mistakes.explain(error)
        if explained is None:
            raise
        yield Check(name, ERROR, explained.message)


def _versions() -> Iterator[Check]:
    yield Check("version", OK, f"Venue Images {__version__}, Python {platform.python_version()}, {platform.system()}")


def _settings() -> Iterator[Check]:
    known = settings()
    for name, field in Settings.model_fields.items():
        variable = str(field.validation_alias or f"VENUE_IMAGES_{name.upper()}")
        origin = "set" if variable in os.environ else "default"
        yield Check(variable, OK, f"{_shown(getattr(known, name))} ({origin})")
    kept = "set" if os.environ.get("VENUE_IMAGES_SECRET_KEY") else f"kept in {known.home / 'secret_key'}"
    yield Check("VENUE_IMAGES_SECRET_KEY", OK, kept)


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "none"
    if isinstance(value, str) and "://" in value:
        return photo_urls.shorten(value, 200)
    return str(value) or "none"


def _home() -> Iterator[Check]:
    home = settings().home
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
        yield Check("home folder", OK, f"{home} can be written")


def _database() -> Iterator[Check]:
    # Imported here, because Django's settings have to be right for it, and the other checks shall run when they are not.
    from django.db import connection  # noqa: PLC0415

    from venue_images.cli import database  # noqa: PLC0415

    database.load_and_prepare()
    before = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), clock_timestamp()")
        version, clock = cursor.fetchone() or ("", before)
    where = "of your own" if settings().database_url else "embedded"
    yield Check("database", OK, f"PostgreSQL {version}, {where}")
    yield _tables(database.is_behind())
    away = abs((clock - before).total_seconds())
    yield Check("clock", WARNING if away > CLOCK_DIFFERENCE else OK, f"{away:.1f} s away from the database's")


def _tables(is_behind: bool) -> Check:
    if not is_behind:
        return Check("tables", OK, "up to date, the job engine's included")
    return Check("tables", ERROR, "missing or of an older version: run venue-images migrate")


def _storage() -> Iterator[Check]:
    url = settings().effective_storage_url
    try:
        problem = asyncio.run(_probe(url))
    except UploadError as error:
        problem = error.message
    shown = photo_urls.shorten(url, 200)
    yield Check("storage", ERROR if problem else OK, problem or f"{shown}: wrote, read and deleted a probe")


async def _probe(url: str) -> str | None:
    """What is wrong with the storage; None: nothing."""
    storage, key = open_storage(url), f"doctor-{secrets.token_hex(8)}.txt"
    try:
        await storage.put(key, PROBE, "text/plain")
        body = await storage.get(key)
        await storage.delete(key)
        if body != PROBE:
            return "The storage gave back something else than what was stored: it can't be trusted."
        if await storage.get(key) is not None:
            return "The storage still has an object that was deleted: allow deleting."
    finally:
        await storage.close()
    return None


def _contact() -> Iterator[Check]:
    if contact := settings().contact:
        yield Check("contact", OK, f"providers can reach you: {contact}")
    else:
        message = (
            "none: set VENUE_IMAGES_CONTACT to an e-mail address or a URL; Wikimedia asks for one and may block you"
        )
        yield Check("contact", WARNING, message)


def _providers() -> Iterator[Check]:
    from venue_images import monitor  # noqa: PLC0415 - the models need Django

    for provider in monitor.provider_usage():
        policy = provider["policy"]
        is_bold = provider["has_photos"] and KEEPS.get(policy["value"], 0) > KEEPS[policy["default"]]
        is_idle = provider["state"] == "not_kept" and provider["needs_key"]
        is_stopped = provider["state"] in ("stopped", "trying")
        status = WARNING if is_bold or is_idle or is_stopped else OK
        yield Check(f"provider {provider['name']}", status, _of_provider(provider, is_bold=is_bold))


#: How much of a photo each policy keeps.
KEEPS = {"none": 0, "hotlink": 1, "store": 2}


def _of_provider(provider: dict[str, Any], *, is_bold: bool) -> str:
    """State, address, and what is done with its photos, and why."""
    policy = provider["policy"]
    facts = [provider["state"].replace("_", " "), *filter(None, [_address(provider["name"])])]
    if provider["needs_key"] and provider["state"] != "no_key":
        facts.append("key set" if provider["configured"] else "no key")
    if provider["has_photos"]:
        by_default = "by its terms" if policy["terms"] else "by default"
        whose = "as you set it" if policy["is_overridden"] else by_default
        facts.append(f"photos: {policy['value']}, {whose}")
    else:
        facts.append("only tells ids")
    # What keeps it from being asked quotes its terms already.
    why = [provider["state_reason"] if provider["active"] else ""]
    if policy["terms"] not in why[0]:
        why.append(policy["terms"])
    if is_bold:
        why.append(f"Its terms, as we read them, mean {policy['default']}: you answer for it.")
    return " ".join(filter(None, [f"{', '.join(facts)}.", *why, policy["terms_url"]]))


def _address(name: str) -> str:
    from venue_images.providers import PROVIDERS  # noqa: PLC0415 - as above

    url = provider_setting(name, "BASE_URL") or (PROVIDERS[name].info.base_url if name in PROVIDERS else "")
    return photo_urls.shorten(url, 200)


def _circuits() -> Iterator[Check]:
    from venue_images import monitor  # noqa: PLC0415 - as above

    unwell = monitor.services()
    for service in unwell:
        yield Check(service["service"], WARNING, service["state_reason"])
    if not unwell:
        yield Check("circuits", OK, "neither the storage nor a photo host is stopped")


def _workers() -> Iterator[Check]:
    from django.utils import timezone  # noqa: PLC0415 - as above

    from venue_images.alerts import WORKER_SILENCE  # noqa: PLC0415
    from venue_images.models import Worker  # noqa: PLC0415

    alive = Worker.objects.filter(kind="worker", heartbeat_at__gt=timezone.now() - WORKER_SILENCE).count()
    message = f"{alive} running" if alive else "none is running, queued jobs wait: start venue-images up or worker"
    yield Check("workers", OK if alive else WARNING, message)


GROUPS: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
    ("version", _versions),
    ("settings", _settings),
    ("home folder", _home),
    ("database", _database),
    ("storage", _storage),
    ("contact", _contact),
    ("providers", _providers),
    ("circuits", _circuits),
    ("workers", _workers),
)


def _show(checks: list[Check]) -> None:
    for check in checks:
        output.say(f"{check.status:<8} {check.name}: {check.message}")
