"""The scene of the demo: a home folder of its own, an environment that leads nowhere else, and the sandbox."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from venue_images.cli import database, ports
from venue_images.conf import settings
from venue_images.demo.drawing import DrawnPhotos
from venue_images.errors import UserError
from venue_images.sandbox import Sandbox

#: Shows that a folder is the demo's, and is locked by the demo that uses it.
MARK = "venue-images-demo"
#: Seconds that a download may take; the demo's time-outs last as long.
DOWNLOAD_TIMEOUT = 3
KEPT = ("VENUE_IMAGES_HOME", "VENUE_IMAGES_SECRET_KEY")
PHOTO_HOSTS = 3


@dataclass(frozen=True)
class Stage:
    home: Path
    sandbox: Sandbox
    photos: DrawnPhotos

    @property
    def log(self) -> Path:
        """Where the children's logs go."""
        return self.home / "demo.log"


@contextlib.contextmanager
def staged(seed: int, *, port: int | None) -> Iterator[Stage]:
    """Everything that the story needs before its first step; ``port`` has to be free.

    Raises :class:`UserError` when it is not, when another demo runs, or when the home folder is somebody's own.
    """
    if port is not None:
        ports.listen(ports.LOCAL, port).close()
    home = _home()
    with _owned(home), DrawnPhotos(seed) as photos:
        sandbox = Sandbox(seed)
        sandbox.photos = photos
        with sandbox.in_thread(hosts=PHOTO_HOSTS):
            _set_environment(home, sandbox)
            yield Stage(home, sandbox, photos)


def open_empty_database(stage: Stage) -> None:
    """Start the embedded database, give it its tables and remove what a former demo left."""
    database.load()
    database.migrate()
    # Importable only now that Django is loaded.
    from django.db import connection  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE venue_images_venue, venue_images_cleanuprun, venue_images_providerusage, venue_images_worker, "
            "venue_images_providerspend, venue_images_ratebucket, venue_images_circuit, "
            "pgqueuer, pgqueuer_log, pgqueuer_statistics RESTART IDENTITY CASCADE"
        )
        # The real Openverse takes 20 calls a minute without a key; nobody wants to watch that.
        cursor.execute(
            "UPDATE venue_images_provider SET limit_per_second = NULL, limit_per_minute = NULL, limit_per_hour = NULL, "
            "limit_per_day = NULL WHERE name <> 'google_places'"
        )
    shutil.rmtree(stage.home / "images", ignore_errors=True)
    stage.log.unlink(missing_ok=True)


def _home() -> Path:
    if chosen := os.environ.get("VENUE_IMAGES_HOME"):
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_data_path("venue-images") / "demo"


@contextlib.contextmanager
def _owned(home: Path) -> Iterator[None]:
    mark = home / MARK
    if (home / "postgres").exists() and not mark.exists():
        raise UserError(f"{home} holds data that is not the demo's: set VENUE_IMAGES_HOME to an empty folder for it.")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = mark.open("a")
    except OSError as error:
        raise UserError(
            f"The home folder {home} can't be used ({error.strerror}): set VENUE_IMAGES_HOME to a folder you may write."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another demo runs in {home}: stop it first.") from None
        yield


def _set_environment(home: Path, sandbox: Sandbox) -> None:
    """What the owner has set must neither change the story nor be reached by it."""
    for name in list(os.environ):
        own = name.startswith("VENUE_IMAGES_") and name not in KEPT
        if own or name in ("DATABASE_URL", "STORAGE_URL") or name.endswith("_STORAGE_POLICY"):
            del os.environ[name]
    os.environ |= {
        "VENUE_IMAGES_HOME": str(home),
        "VENUE_IMAGES_DOWNLOAD_TIMEOUT": str(DOWNLOAD_TIMEOUT),
        "VENUE_IMAGES_CLEANUP_CRON": "",
        "VENUE_IMAGES_LOG_LEVEL": "WARNING",
        **sandbox.environment(),
    }
    settings.cache_clear()
