"""Django and the database, made ready for a command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from venue_images import embedded_postgres, project
from venue_images.apps import check_policies
from venue_images.errors import SettingsError

#: Names the lock that lets one process migrate at a time.
MIGRATION_LOCK = 0x56494D4D


def load(*, log_level: str = "WARNING") -> None:
    """Load Django; the embedded database starts with it. Raises :class:`UserError`."""
    os.environ.setdefault("VENUE_IMAGES_LOG_LEVEL", log_level)
    project.setup()
    if problems := check_policies():
        raise SettingsError(" ".join(problem.msg for problem in problems))


def load_and_prepare(*, log_level: str = "WARNING") -> None:
    """Load Django, and give an embedded database its tables; one of the owner's own waits for ``migrate``."""
    load(log_level=log_level)
    if embedded_postgres.in_use() and is_behind():
        migrate()


def migrate() -> list[str]:
    """Bring the tables up to date, the job engine's included; the names of the migrations that were missing."""
    with _alone():
        missing = pending()
        call_command("migrate", interactive=False, verbosity=0)
    return missing


def pending() -> list[str]:
    """The migrations that the database has not seen."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def is_behind() -> bool:
    return not _has_job_tables() or bool(pending())


def _has_job_tables() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('pgqueuer') IS NOT NULL")
        row = cursor.fetchone()
    return bool(row and row[0])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
