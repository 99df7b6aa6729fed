"""What every test may ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from tests.nothing import serve_nothing
from venue_images import conf
from venue_images.sandbox import Sandbox


@pytest.fixture(scope="session", autouse=True)
def _providers_that_know_nothing() -> Iterator[None]:
    """The providers that need no key are reached, and have nothing: no test asks the world outside."""
    with serve_nothing() as url, pytest.MonkeyPatch.context() as patch:
        for name in ("WIKIMEDIA_COMMONS", "WIKIDATA", "OPENVERSE"):
            patch.setenv(f"{name}_BASE_URL", url)
        yield


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


@pytest.fixture
def images_folder(tmp_path: Path, set_environment: Callable[..., None]) -> Path:
    """A storage folder that this process and the workers share."""
    set_environment(STORAGE_URL=(tmp_path / "images").as_uri())
    return tmp_path / "images"


class Workers:
    """Worker processes on the test's database."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, **options: object) -> subprocess.Popen[bytes]:
        arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
        code = f"{SET_UP}; asyncio.run(worker.run_worker({arguments}))"
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **self._environment()})
        self.running.append(process)
        return process

    def drain(self) -> None:
        """One worker, until no job is due."""
        assert self.start(drain=True).wait(timeout=60) == 0

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.wait(timeout=30)

    @staticmethod
    def _environment() -> dict[str, str]:
        database = connection.settings_dict
        host = quote(str(database["HOST"]), safe="")
        return {
            "DATABASE_URL": f"postgresql://postgres@{host}/{database['NAME']}",
            "DJANGO_SETTINGS_MODULE": "venue_images.project.settings",
            "PYTHONWARNINGS": "default",
        }


SET_UP = "import asyncio; from venue_images.project import setup; setup(); from venue_images import worker"


@pytest.fixture
def workers(jobs: None, images_folder: Path) -> Iterator[Workers]:
    """Start workers; they are stopped at the end."""
    workers = Workers()
    yield workers
    workers.stop()
