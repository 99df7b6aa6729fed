"""The commands that stay: ``up`` with its children, the sign-in link, the demo."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Command, free_port


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextlib.contextmanager
def running_up(command: Command) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    line = command.line("up", "--port", free_port(), "--json")
    with subprocess.Popen(
        line, env=command.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as up:
        try:
            assert up.stdout
            yield up, json.loads(up.stdout.readline())
        finally:
            up.terminate()
            up.wait(30)


def children_of(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "venue_images.cli.child" in arguments_of(child)]


def arguments_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.ZombieProcess:
        return []


def visit(url: str, browser: urllib.request.OpenerDirector) -> str:
    with browser.open(url, timeout=10) as page:
        return str(page.geturl())


def new_browser() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def test_up_serves_signs_in_once_and_ends_with_its_children(command: Command) -> None:
    with running_up(command) as (up, told):
        assert "/login/" in visit(f"{told['url']}admin/", new_browser())

        link = command.json("login-link", "--base-url", told["url"])
        assert (link["user"], link["expires_in_seconds"]) == ("operator", 600)
        assert visit(link["url"], new_browser()).endswith("/admin/venue-images/stats")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            visit(link["url"], new_browser())

        children = children_of(up.pid)
        assert len(children) == 2
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
        assert not any(child.is_running() for child in children)


def test_up_starts_a_dead_child_again(command: Command) -> None:
    with running_up(command) as (up, _):
        [worker] = [child for child in children_of(up.pid) if "worker" in arguments_of(child)]
        worker.kill()
        wait_until(lambda: any("worker" in arguments_of(child) for child in children_of(up.pid) if child != worker))


def test_no_child_outlives_an_up_that_is_killed(command: Command) -> None:
    with running_up(command) as (up, _):
        children = children_of(up.pid)
        assert len(children) == 2
        up.kill()
        up.wait(10)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive


def test_the_demo_proves_what_it_tells(command: Command, empty_home: Path) -> None:
    facts = command.json("demo", "--no-serve", "--venues", 12, VENUE_IMAGES_HOME=str(empty_home), STORAGE_URL="ftp://x")
    assert facts["problems"] == []
    assert facts["venues"] == 12
    assert facts["recovered"] == facts["recoverable"] > 0
    assert facts["metered_calls_recovery"] == 0
    assert facts["left_for_review"] > 0
