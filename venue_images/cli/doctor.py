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

    database.load()
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
    if settings().database_url:
        return Check("tables", ERROR, "missing or of an older version: run venue-images migrate")
    return Check("tables", WARNING, "not there yet: the first command that needs them makes them")


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


def _providers() -> Iterator[Check]:
    # As above: the models need Django.
    from venue_images.discovery import obstacle, policy_of  # noqa: PLC0415
    from venue_images.models import Provider as Row  # noqa: PLC0415
    from venue_images.providers import PROVIDERS  # noqa: PLC0415

    active = dict(Row.objects.values_list("name", "active"))
    for name, provider in PROVIDERS.items():
        is_active = active.get(name, provider.info.active)
        problem = obstacle(provider) if is_active else None
        facts = [
            "active" if is_active else "off",
            *(["key set" if provider_setting(name, "API_KEY") else "no key"] if provider.info.needs_key else []),
            *filter(None, [provider_setting(name, "BASE_URL") or provider.info.base_url]),
            f"photos: {policy_of(provider)}",
        ]
        message = ", ".join(facts) + (f". {problem}" if problem else "")
        yield Check(f"provider {name}", WARNING if problem else OK, message)


def _workers() -> Iterator[Check]:
    from django.utils import timezone  # noqa: PLC0415 - as above

    from venue_images.models import Worker  # noqa: PLC0415
    from venue_images.monitor import WORKER_SILENCE  # noqa: PLC0415

    alive = Worker.objects.filter(kind="worker", heartbeat_at__gt=timezone.now() - WORKER_SILENCE).count()
    message = f"{alive} running" if alive else "none is running, queued jobs wait: start venue-images up or worker"
    yield Check("workers", OK if alive else WARNING, message)


GROUPS: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
    ("version", _versions),
    ("settings", _settings),
    ("home folder", _home),
    ("database", _database),
    ("storage", _storage),
    ("providers", _providers),
    ("workers", _workers),
)


def _show(checks: list[Check]) -> None:
    for check in checks:
        output.say(f"{check.status:<8} {check.name}: {check.message}")
