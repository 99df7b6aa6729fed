"""Every error type, made by a real fault on the whole way: import, enrichment, row, statistics."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.catalogue import import_venue
from venue_images import orchestrator, stats
from venue_images.errors import ErrorClass, ErrorType
from venue_images.models import Operation, UploadAttempt, UploadStatus, VenueImage
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")

PERMANENT, FAILED = UploadStatus.PERMANENTLY_FAILED, UploadStatus.FAILED
MAX_BYTES = 2 * 1024 * 1024

#: What a photo host does, the error type that it stands for, and the HTTP status that is noted.
HOST_FAULTS = [
    (Fault("status", status=429), "rate_limited", 429),
    (Fault("status", status=503), "service_unavailable", 503),
    (Fault("status", status=502), "bad_gateway", 502),
    (Fault("status", status=504), "gateway_timeout", 504),
    (Fault("status", status=408), "network_timeout", 408),
    (Fault("delay", delay=20), "network_timeout", None),
    (Fault("drip", chunk=1, interval=0.2), "network_timeout", None),
    (Fault("drop"), "network_error", None),
    (Fault("short_body"), "truncated_body", None),
    (Fault("status", status=404), "not_found", 404),
    (Fault("status", status=410), "gone", 410),
    (Fault("status", status=403), "forbidden", 403),
    (Fault("status", status=401), "auth_error", 401),
    (Fault("status", status=451), "legal", 451),
    (Fault("expired", status=410), "gone", 410),
    (Fault("too_large", size=MAX_BYTES + 1), "file_too_large", 200),
    (Fault("too_large_undeclared", size=4 * MAX_BYTES), "file_too_large", 200),
    (Fault("endless"), "file_too_large", 200),
    (Fault("too_many_pixels"), "too_many_pixels", 200),
    (Fault("html"), "not_an_image", 200),
    (Fault("garbage"), "not_an_image", 200),
    (Fault("empty"), "not_an_image", 200),
    (Fault("error_json"), "not_an_image", 200),
    (Fault("corrupt"), "corrupt_image", 200),
    (Fault("redirect", location="ftp://photos.example/1.jpg"), "invalid_provider_url", None),
    (Fault("redirect", location="/bar/1.jpg"), "invalid_provider_url", None),
    (Fault("redirect", location="http://10.0.0.1/1.jpg"), "blocked_address", None),
    (Fault("redirect", location="http://169.254.169.254/latest/meta-data"), "blocked_address", None),
    (Fault("status", status=500), "server_error", 500),
    (Fault("status", status=400), "http_error", 400),
    (Fault("status", status=418), "http_error", 418),
    (Fault("status", status=206), "http_error", 206),
]

#: What no fault of a host, a disk or a provider makes on an image, and the test that makes it another way.
ELSEWHERE = {
    "worker_lost": ("test_worker.py", "test_killed_workers_lose_nothing"),
    "unknown_error": ("test_upload_failures.py", "test_an_error_that_nobody_has_thought_of_loses_nothing"),
    "provider_key": ("providers/test_google_places.py", "test_a_refusal_has_the_type_of_its_status"),
    "provider_quota": ("providers/test_google_places.py", "test_a_refusal_has_the_type_of_its_status"),
}
#: Made by the tests below that are not about a host's answer.
BELOW = {"download_failed", "storage_unavailable", "storage_config", "url_expired"}


@pytest.fixture(autouse=True)
def small_limits(set_environment: Callable[..., None]) -> None:
    set_environment(VENUE_IMAGES_DOWNLOAD_TIMEOUT="1", VENUE_IMAGES_MAX_BYTES=str(MAX_BYTES))


def enriched(folder: Path, url: str) -> VenueImage:
    """The one image of a venue that was imported and enriched."""
    result = orchestrator.enrich_venue_sync(import_venue(folder, "bar", [url]))
    image = VenueImage.objects.get()
    assert (result.images_tried, result.images_uploaded, result.images_failed) == (1, 0, 1)
    assert result.failure_breakdown == {image.error_type: 1}
    return image


def assert_failed(image: VenueImage, error_type: str, http_status: int | None) -> None:
    """The row, the attempt, the operation and the statistics say the same."""
    error_class = ErrorType(error_type).error_class
    given_up = error_class is ErrorClass.PERMANENT
    attempts = 0 if error_class is ErrorClass.BLOCKED else 1
    assert (image.error_type, image.http_status) == (error_type, http_status)
    assert (image.upload_status, image.retry_count) == (PERMANENT if given_up else FAILED, attempts)
    assert (image.storage_key, image.url, image.claim_token) == ("", "", None)
    assert image.error_message
    assert "\n" not in image.error_message
    attempt = UploadAttempt.objects.get()
    assert (attempt.error_type, attempt.http_status) == (error_type, http_status)
    operation = Operation.objects.get()
    assert (operation.state, operation.failure_breakdown) == (Operation.State.FAILED, {error_type: 1})
    assert_counted(image.provider, error_type, error_class)


def assert_counted(provider: str, error_type: str, error_class: ErrorClass) -> None:
    summary = stats.summary_stats()
    assert (summary["total_venues_with_failures"], summary["total_failed_images"]) == (1, 1)
    assert (summary["total_uploaded_images"], summary["average_failure_rate"]) == (0, 100.0)
    assert {
        ErrorClass.TRANSIENT: summary["venues_with_transient"],
        ErrorClass.PERMANENT: summary["venues_with_permanent"],
        ErrorClass.AMBIGUOUS: summary["venues_with_ambiguous"],
    } == {each: int(each is error_class) for each in (ErrorClass.TRANSIENT, ErrorClass.PERMANENT, ErrorClass.AMBIGUOUS)}
    assert summary["top_error_types"] == [{"provider": provider, "error_type": error_type, "count": 1}]
    [row] = stats.failure_breakdown()
    assert (row["error_class"], row["retryable"]) == (error_class, int(error_class is ErrorClass.TRANSIENT))


def test_every_error_type_is_made_by_a_fault_or_tested_elsewhere() -> None:
    here = {error_type for _, error_type, _ in HOST_FAULTS} | BELOW
    assert here | set(ELSEWHERE) == set(map(str, ErrorType))
    assert here.isdisjoint(ELSEWHERE)
    for file, name in ELSEWHERE.values():
        assert f"def {name}(" in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize(("fault", "error_type", "http_status"), HOST_FAULTS)
def test_what_a_host_does_becomes_its_error_type(
    sandbox: Sandbox, tmp_path: Path, fault: Fault, error_type: str, http_status: int | None
) -> None:
    url = sandbox.photo_url("bar/1.jpg")
    sandbox.script(url, fault)
    assert_failed(enriched(tmp_path, url), error_type, http_status)
    assert len(sandbox.hits(url)) == 1


@pytest.mark.parametrize(
    ("url", "error_type"),
    [
        ("http://127.0.0.1/1.jpg", "blocked_address"),
        ("http://169.254.169.254/latest/meta-data", "blocked_address"),
        ("http://[::1]/1.jpg", "blocked_address"),
        ("http://2130706433/1.jpg", "invalid_provider_url"),
        ("https://photos.invalid/1.jpg", "network_error"),
    ],
)
def test_an_address_that_can_not_be_asked_becomes_its_error_type(tmp_path: Path, url: str, error_type: str) -> None:
    assert_failed(enriched(tmp_path, url), error_type, None)


def test_a_port_where_nobody_listens_is_a_network_error(
    tmp_path: Path, set_environment: Callable[..., None], unused_port: int
) -> None:
    set_environment(VENUE_IMAGES_TRUSTED_HOSTS="127.0.0.1")
    assert_failed(enriched(tmp_path, f"http://127.0.0.1:{unused_port}/1.jpg"), "network_error", None)


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def babbling_host(set_environment: Callable[..., None]) -> Iterator[str]:
    """``host:port`` of a server that does not speak HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"220 mail.example ESMTP ready\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        set_environment(VENUE_IMAGES_TRUSTED_HOSTS=host)
        yield host
        thread.join()


def test_a_host_that_does_not_speak_http_is_a_failed_download(tmp_path: Path, babbling_host: str) -> None:
    assert_failed(enriched(tmp_path, f"http://{babbling_host}/1.jpg"), "download_failed", None)


def test_a_disk_that_fails_is_an_unavailable_storage(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    assert_failed(enriched(tmp_path, sandbox.photo_url("bar/1.jpg")), "storage_unavailable", None)


def test_a_folder_that_can_not_be_used_is_a_storage_to_be_mended(
    sandbox: Sandbox, tmp_path: Path, images_folder: Path
) -> None:
    images_folder.mkdir()
    (images_folder / "venues").write_text("a file where the folder should be")
    assert_failed(enriched(tmp_path, sandbox.photo_url("bar/1.jpg")), "storage_config", None)


def test_an_address_of_google_that_has_run_out_is_an_expired_url(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.photo_uri_lifetime = 0.0
    sandbox.place("sandbox-bar", photos=1)
    venue = import_venue(tmp_path, "bar", [], provider_ids={"google_places": "sandbox-bar"})
    orchestrator.enrich_venue_sync(venue)
    assert_failed(VenueImage.objects.get(), "url_expired", 403)


def test_a_refused_key_is_told_by_the_operation_and_costs_no_image(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script("/google_places/*", Fault("status", status=403))
    venue = import_venue(
        tmp_path, "bar", [sandbox.photo_url("bar/1.jpg")], provider_ids={"google_places": "sandbox-bar"}
    )
    result = orchestrator.enrich_venue_sync(venue)
    assert (result.images_uploaded, result.images_failed) == (1, 0)
    answer = Operation.objects.get().provider_results["google_places"]
    assert (answer["error_type"], answer["photos"], answer["metered_calls"]) == ("provider_key", 0, 1)
    assert "403" in answer["error"]


def test_faults_side_by_side_do_not_colour_each_other(
    sandbox: Sandbox, tmp_path: Path, set_environment: Callable[..., None], images_folder: Path
) -> None:
    set_environment(VENUE_IMAGES_MAX_IMAGES_PER_VENUE="100")
    faults = [entry for entry in HOST_FAULTS if entry[0].location != "/bar/1.jpg"]
    bad = {sandbox.photo_url(f"bar/{number}.jpg"): fault for number, fault in enumerate(faults, start=1)}
    good = [sandbox.photo_url(f"bar/{number}.jpg") for number in range(101, 106)]
    for url, (fault, _, _) in bad.items():
        sandbox.script(url, fault)

    result = orchestrator.enrich_venue_sync(import_venue(tmp_path, "bar", [*bad, *good]))

    found = dict(VenueImage.objects.values_list("provider_url", "error_type"))
    assert found == {url: error_type for url, (_, error_type, _) in bad.items()} | dict.fromkeys(good)
    assert (result.images_uploaded, result.images_failed) == (len(good), len(bad))
    assert result.failure_breakdown == Operation.objects.get().failure_breakdown
    assert sum(result.failure_breakdown.values()) == len(bad)
    summary = stats.summary_stats()
    assert (summary["total_uploaded_images"], summary["total_failed_images"]) == (len(good), len(bad))
    for image in VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED):
        assert (images_folder / image.storage_key).read_bytes() == sandbox.photo_bytes(image.provider_url)
    assert len(list(images_folder.rglob("*.*"))) == len(good)
