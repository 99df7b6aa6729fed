"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from venue_images import conf
from venue_images.sandbox import Sandbox


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call it with settings; they hold for this test."""

    def set_(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        conf.settings.cache_clear()

    conf.settings.cache_clear()
    yield set_
    monkeypatch.undo()
    conf.settings.cache_clear()


@pytest.fixture
def sandbox(set_environment: Callable[..., None]) -> Iterator[Sandbox]:
    """A running sandbox, and the environment that leads to it."""
    sandbox = Sandbox(seed=1)
    with sandbox.in_thread():
        set_environment(**sandbox.environment())
        yield sandbox


@pytest.fixture
def jobs(transactional_db: None) -> Iterator[None]:
    """The real database, committed to, with an empty job queue; Django's own flush does not know the engine's tables."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics, pgqueuer_schedules")
