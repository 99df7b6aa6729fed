"""The whole way by commands, as a newcomer types them: import, enrich, look, clean up, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from venue_images.sandbox import Fault, Sandbox

PATHS = [f"blue-note/{number}.webp" for number in range(1, 6)]


def write_catalogue(file: Path, sandbox: Sandbox, slug: str = "blue-note", paths: list[str] = PATHS) -> Path:
    venue = {"slug": slug, "name": slug, "photos": [{"url": sandbox.photo_url(path)} for path in paths]}
    file.write_text(json.dumps(venue) + "\n")
    return file


@pytest.fixture(scope="module")
def enriched(command: Command, photo_host: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``enrich --now`` says of a venue of which two photos fail for a while, one for good and one unclearly."""
    photo_host.script(PATHS[0], Fault("status", status=503), times=1)
    photo_host.script(PATHS[1], Fault("status", status=429, retry_after=1), times=1)
    photo_host.script(PATHS[2], Fault("status", status=404))
    photo_host.script(PATHS[3], Fault("status", status=500))
    file = write_catalogue(tmp_path_factory.mktemp("catalogue") / "venues.jsonl", photo_host)
    command.json("import", file)
    return command.json("enrich", "--now")


def test_import_says_what_it_did_and_repeating_it_changes_nothing(
    command: Command, photo_host: Sandbox, tmp_path: Path
) -> None:
    file = write_catalogue(tmp_path / "venues.jsonl", photo_host, slug="village-vanguard", paths=[])
    first, second = command.json("import", file), command.json("import", file)
    assert first == {
        "venues_created": 1,
        "venues_updated": 0,
        "images_created": 0,
        "images_unchanged": 0,
        "rejected_count": 0,
        "rejected": [],
    }
    assert second == {**first, "venues_created": 0}


def test_enrich_now_says_what_failed_and_ends_well(enriched: dict[str, Any]) -> None:
    assert enriched == {
        "venues": enriched["venues"],
        "images_discovered": 5,
        "images_uploaded": 1,
        "images_failed": 4,
        "images_hotlinked": 0,
        "metered_calls": 0,
        "cost_usd": 0.0,
        "failure_breakdown": {"service_unavailable": 1, "rate_limited": 1, "not_found": 1, "server_error": 1},
    }


def test_the_click_recovers_what_can_come_back_and_the_export_has_it(
    command: Command, photo_host: Sandbox, enriched: dict[str, Any], tmp_path: Path
) -> None:
    stats = command.json("stats")
    assert (stats["total_failed_images"], stats["total_uploaded_images"]) == (4, 1)
    assert set(stats) == {
        "total_venues_with_failures",
        "total_failed_images",
        "total_uploaded_images",
        "average_failure_rate",
        "venues_with_transient",
        "venues_with_permanent",
        "venues_with_ambiguous",
        "top_error_types",
    }
    preview = command.json("cleanup", "--dry-run")
    assert (preview["venues"], preview["images"], preview["metered_calls"]) == (1, 2, 0)

    report = command.json("cleanup", "--now")
    assert {name: report[name] for name in ("images_retried", "images_recovered", "metered_calls")} == {
        "images_retried": 2,
        "images_recovered": 2,
        "metered_calls": 0,
    }
    assert (report["permanent_logged"], report["ambiguous_skipped"]) == (1, 1)

    file = tmp_path / "out.jsonl"
    assert command.json("export", file)["images"] == 5
    venues = [json.loads(line) for line in file.read_text().splitlines()]
    images = {image["provider_url"]: image for venue in venues for image in venue["images"]}
    for path in (PATHS[0], PATHS[1], PATHS[4]):
        stored = command.home / "images" / images[photo_host.photo_url(path)]["storage_key"]
        assert stored.read_bytes() == photo_host.photo_bytes(path)
    assert [len(photo_host.hits(path)) for path in PATHS] == [2, 2, 1, 1, 1]

    again = command.json("retry", "blue-note", "--image", images[photo_host.photo_url(PATHS[3])]["id"], "--now")
    assert again["failure_breakdown"] == {"server_error": 1}


def test_failures_can_be_grouped(command: Command, enriched: dict[str, Any]) -> None:
    rows = command.json("failures", "--by", "error")["rows"]
    assert {"not_found", "server_error"} <= {row["error_type"] for row in rows}
    assert command.json("failures")["rows"][0]["slug"] == "blue-note"


def test_json_may_stand_before_the_command(command: Command) -> None:
    ended = command.run("--json", "monitor")
    assert set(json.loads(ended.stdout)) == {"providers", "services", "alerts"}


def test_without_json_it_is_plain_text_of_at_most_80_columns(command: Command, enriched: dict[str, Any]) -> None:
    for arguments in (["stats"], ["failures"], ["cleanup", "--dry-run"]):
        ended = command.run(*arguments)
        assert ended.returncode == 0
        assert "\x1b" not in ended.stdout + ended.stderr
        assert 0 < max(map(len, ended.stdout.splitlines())) <= 80


def test_jobs_are_queued_and_a_draining_worker_does_them(command: Command, enriched: dict[str, Any]) -> None:
    queued = command.json("cleanup")
    assert queued["already_queued"] is False
    assert command.json("cleanup") == {"run_id": queued["run_id"], "already_queued": True}
    assert command.json("enrich", "blue-note", "--force")["queued"] == 1
    assert command.json("enrich", "blue-note", "--force")["queued"] == 0
    assert command.json("worker", "--drain") == {"drained": True}
    assert command.json("cleanup")["already_queued"] is False


def test_doctor_finds_nothing_wrong(command: Command) -> None:
    checks = command.json("doctor", GOOGLE_PLACES_API_KEY="a-secret-key")["checks"]
    assert {check["status"] for check in checks} <= {"ok", "warning"}
    assert {"database", "tables", "storage", "clock", "provider google_places", "workers"} <= {
        check["name"] for check in checks
    }
    assert "a-secret-key" not in json.dumps(checks)


def test_migrate_says_that_there_is_nothing_to_do(command: Command, enriched: dict[str, Any]) -> None:
    assert command.json("migrate") == {"applied": []}
