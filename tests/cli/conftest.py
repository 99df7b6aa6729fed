"""The console command in a process of its own, with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from venue_images.sandbox import Sandbox

OURS = ("VENUE_IMAGES_", "DJANGO_", "DATABASE_URL", "STORAGE_URL", "PYTHON")


@dataclass
class Command:
    """Runs ``venue-images`` with these settings and no others."""

    home: Path
    settings: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return {**inherited, **self.settings, "VENUE_IMAGES_HOME": str(self.home)}

    def line(self, *arguments: object) -> list[str]:
        return [str(Path(sys.executable).with_name("venue-images")), *map(str, arguments)]

    def run(self, *arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            self.line(*arguments),
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def json(self, *arguments: object, status: int = 0, **settings: str) -> dict[str, Any]:
        """What it says with ``--json``: exactly one object."""
        ended = self.run(*arguments, "--json", **settings)
        assert ended.returncode == status, ended.stderr
        answer = json.loads(ended.stdout)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="module")
def photo_host() -> Iterator[Sandbox]:
    sandbox = Sandbox(seed=1)
    with sandbox.in_thread():
        yield sandbox


@pytest.fixture(scope="module")
def command(photo_host: Sandbox) -> Iterator[Command]:
    """One home for all tests of a module, whose database runs until the last has ended."""
    with new_home() as home:
        command = Command(home, photo_host.environment())
        line = command.line("serve", "--port", free_port(), "--json")
        with subprocess.Popen(line, env=command.environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            assert json.loads(server.stdout.readline())["pid"] == server.pid
            yield command
            server.terminate()
            assert server.wait(30) == 0


@pytest.fixture
def empty_home() -> Iterator[Path]:
    with new_home() as home:
        yield home


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """Not below pytest's own folder, which every new run of pytest closes to the user that the database runs as."""
    with tempfile.TemporaryDirectory(prefix="venue-images-home-", ignore_cleanup_errors=True) as home:
        yield Path(home) / "home"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
