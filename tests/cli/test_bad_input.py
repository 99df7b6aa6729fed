"""Everything that a person may get wrong: one line that says what to do, exit status 1 or 2, no traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from venue_images.sandbox import Sandbox

NO_DATABASE = "postgresql://somebody:hush@127.0.0.1:1/nothing"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nonsense"], 2, "No such command"),
        (["enrich", "--nonsense"], 2, "venue-images enrich --help"),
        (["import"], 2, "Missing argument"),
        (["import", "/nowhere/venues.jsonl"], 1, "does not exist"),
        (["import", "venues.txt"], 2, ".jsonl or .csv"),
        (["export", "/nowhere/out.jsonl"], 1, "can't be written"),
        (["enrich", "no-such-venue"], 1, "There is no venue 'no-such-venue'"),
        (["enrich", "--now", "--providers", "nobody"], 2, "There is no provider 'nobody'"),
        (["enrich", "--all", "--stale"], 2, "leave out"),
        (["enrich", "--retry-failed-only", "--force"], 2, "leave out"),
        (["retry", "999999", "--now"], 1, "There is no venue"),
        (["cleanup", "--now", "--dry-run"], 2, "choose one"),
        (["enrich", "--refresh-urls"], 2, "say --all"),
        (["enrich", "x", "--refresh-urls", "--force"], 2, "leave out"),
        (["enrich", "x", "--up-to", "1"], 2, "--refresh-urls"),
        (["enrich", "x", "--refresh-urls", "--up-to", "-1"], 2, "--up-to"),
        (["providers", "nonsense"], 2, "nonsense"),
        (["providers", "list", "openverse"], 2, "list takes nothing more"),
        (["providers", "enable"], 2, "providers enable NAME"),
        (["providers", "enable", "nobody"], 2, "There is no provider 'nobody'"),
        (["providers", "enable", "openverse", "priority=1"], 2, "nothing more"),
        (["providers", "set", "openverse"], 2, "key=value"),
        (["providers", "set", "openverse", "priority"], 2, "no key=value"),
        (["providers", "set", "openverse", "priority=high"], 2, "priority=high: must be a whole number"),
        (["providers", "set", "openverse", "name=x"], 2, "no 'name' to set"),
        (["providers", "try", "nobody"], 2, "There is no service 'nobody'"),
        (["failures", "--by", "weather"], 2, "--by"),
        (["login-link", "--user", "nobody"], 1, "There is no active user"),
        (["login-link", "--base-url", "example"], 2, "http://host:port"),
        (["serve", "--port", "99999"], 2, "--port"),
    ],
)
def test_it_says_what_to_do(command: Command, arguments: list[str], status: int, says: str) -> None:
    ended = command.run(*arguments, "--json")
    assert ended.returncode == status
    assert says in json.loads(ended.stdout)["error"]
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("settings", "status", "says"),
    [
        ({"VENUE_IMAGES_MAX_ATTEMPTS": "many"}, 2, "VENUE_IMAGES_MAX_ATTEMPTS"),
        ({"DATABASE_URL": "mysql://localhost/x"}, 2, "DATABASE_URL must look like"),
        ({"DATABASE_URL": NO_DATABASE}, 1, "The database does not answer"),
        ({"VENUE_IMAGES_HOME": "/proc/nowhere"}, 1, "VENUE_IMAGES_HOME"),
    ],
)
def test_a_wrong_setting_is_named(command: Command, settings: dict[str, str], status: int, says: str) -> None:
    ended = command.run("enrich", "--now", **settings)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert says in ended.stderr
    assert "hush" not in ended.stderr
    assert command.json("doctor", status=1, **settings)["checks"]


def test_a_storage_that_is_not_known_is_named(command: Command) -> None:
    ended = command.run("cleanup", "--now", STORAGE_URL="ftp://somewhere")
    assert ended.returncode == 2
    assert "STORAGE_URL" in ended.stderr


def test_a_key_that_is_missing_is_named(command: Command) -> None:
    ended = command.run("enrich", "--providers", "google_places", "--now", GOOGLE_PLACES_API_KEY="")
    assert ended.returncode == 1
    assert "set GOOGLE_PLACES_API_KEY" in ended.stderr


def test_bad_lines_cost_no_good_one(command: Command, tmp_path: Path) -> None:
    lines = [
        '{"slug": "good", "name": "Good"}',
        '{"slug": "broken"',
        '{"slug": "far", "name": "Far", "latitude": 123, "longitude": 0}',
        '{"slug": "good", "name": "Twice"}',
        '{"slug": "mail", "name": "Mail", "photos": [{"url": "mailto:x@example.com"}]}',
    ]
    (tmp_path / "venues.jsonl").write_text("\n".join(lines))
    answer = command.json("import", tmp_path / "venues.jsonl", status=1)
    assert {rejected["line"] for rejected in answer["rejected"]} == {2, 3, 4, 5}
    assert command.run("import", tmp_path / "venues.jsonl").stdout.count("\nline ") == 4


def test_a_folder_that_can_not_be_used_fails_the_command_and_not_the_photos(
    command: Command, photo_host: Sandbox, tmp_path: Path
) -> None:
    venue = {"slug": "no-room", "name": "No Room", "photos": [{"url": photo_host.photo_url("no-room/1.webp")}]}
    (tmp_path / "venues.jsonl").write_text(json.dumps(venue))
    command.json("import", tmp_path / "venues.jsonl")
    (tmp_path / "file").touch()
    ended = command.run("enrich", "no-room", "--now", STORAGE_URL=(tmp_path / "file" / "images").as_uri())
    assert ended.returncode == 1
    assert "could not be stored" in ended.stderr


@pytest.mark.parametrize("name", ["serve", "up", "demo"])
def test_a_busy_port_is_said_before_anything_starts(command: Command, name: str, empty_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command.run(name, "--port", port, VENUE_IMAGES_HOME=str(empty_home))
    assert ended.returncode == 1
    assert f"Port {port} is busy" in ended.stderr
    assert not empty_home.exists()


def test_the_demo_leaves_a_home_alone_that_is_not_its_own(command: Command) -> None:
    assert command.run("stats").returncode == 0
    ended = command.run("demo", "--no-serve")
    assert ended.returncode == 1
    assert "not the demo's" in ended.stderr
