"""``enrich --now`` in this process: which failures matter, who comes back, what is said before it costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from tests.catalogue import import_lines, import_venue
from tests.conftest import Workers
from venue_images import monitor
from venue_images.cli import cleaning, enriching
from venue_images.cli.enriching import Wish
from venue_images.errors import UsageError, UserError
from venue_images.models import Circuit, Provider, UploadStatus, Venue, VenueImage
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("jobs", "images_folder")
GOOGLE = {"google_places": "sandbox-odeon"}
OUT_OF_ORDER = Fault("status", status=500)


def only(*names: str) -> None:
    Provider.objects.exclude(name__in=names).update(active=False)


def uploaded() -> int:
    return VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).count()


def expired(sandbox: Sandbox, folder: Path) -> Venue:
    """A venue with five photos whose addresses have expired."""
    only("google_places")
    venue = import_venue(folder, "odeon", [], provider_ids=GOOGLE)
    sandbox.photo_uri_lifetime = 0
    assert enriching.enrich(Wish(), now=True) == 0
    sandbox.photo_uri_lifetime = 600
    return venue


def test_a_provider_that_fails_beside_others_is_a_remark(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.script("/openverse/v1/images/", OUT_OF_ORDER)
    import_venue(tmp_path, "odeon", [sandbox.photo_url("odeon/1.webp")])
    assert enriching.enrich(Wish(), now=True) == 0
    assert "Openverse could not be used for any venue: Openverse answered 500" in capsys.readouterr().err
    assert uploaded() == 1


def test_a_provider_that_was_named_has_to_answer(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.script("/openverse/v1/images/", OUT_OF_ORDER)
    import_venue(tmp_path, "odeon", [sandbox.photo_url("odeon/1.webp")])
    assert enriching.enrich(Wish(providers=["catalog", "openverse"]), now=True) == 1
    assert "Openverse could not be used for any venue" in capsys.readouterr().err


def test_one_of_them_has_to_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    only("openverse", "google_places")
    for path in ("/openverse/v1/images/", "/google_places/*"):
        sandbox.script(path, OUT_OF_ORDER)
    import_venue(tmp_path, "odeon", [], provider_ids=GOOGLE)
    assert enriching.enrich(Wish(), now=True) == 1


def test_a_key_that_is_refused_fails_the_command_and_is_named(
    sandbox: Sandbox,
    tmp_path: Path,
    set_environment: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="of-somebody-else")
    import_venue(tmp_path, "odeon", [sandbox.photo_url("odeon/1.webp")], provider_ids=GOOGLE)
    assert enriching.enrich(Wish(), now=True) == 1
    said = capsys.readouterr().err
    assert "Google Places could not be used for any venue:" in said
    assert "Mend GOOGLE_PLACES_API_KEY." in said
    assert "of-somebody-else" not in said
    assert uploaded() == 1


def test_venues_that_wait_for_a_limit_are_a_remark(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only("google_places")
    Provider.objects.update(limit_per_minute=None, limit_per_day=2)
    lines = [{"slug": f"odeon-{n}", "name": "Odeon", "provider_ids": {"google_places": f"sandbox-{n}"}} for n in (1, 2)]
    import_lines(tmp_path, lines)
    assert enriching.enrich(Wish(), now=True) == 0
    said = capsys.readouterr().err
    assert (
        "2 venues wait for Google Places's limit of 2 a day; the same command later goes on, or a worker when --now is left out."
        in said
    )
    assert sandbox.calls["google_places"] == 2


def test_the_command_comes_back_to_a_venue_whose_provider_wants_a_moment(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only("google_places")
    in_a_moment = timezone.now() + timedelta(seconds=2)
    Circuit.objects.create(
        service="provider:google_places", state="open", error_type="rate_limited", try_at=in_a_moment
    )
    import_venue(tmp_path, "odeon", [], provider_ids=GOOGLE)
    assert enriching.enrich(Wish(force=True), now=True) == 0
    assert uploaded() == 5
    assert min(hit.wall for hit in sandbox.hits("/google_places/*")) >= in_a_moment.timestamp()
    shown = capsys.readouterr()
    assert "wait" not in shown.err
    assert ["venues", "1"] in [line.split() for line in shown.out.splitlines()]


def test_geocode_finds_the_venue_where_its_id_is_not_known(sandbox: Sandbox, tmp_path: Path) -> None:
    only("google_places")
    sandbox.offer("google_places", "odeon", "odeon", place_id="sandbox-odeon", latitude=51.5, longitude=-0.1)
    venue = import_venue(tmp_path, "odeon", [], latitude=51.5, longitude=-0.1)
    assert enriching.enrich(Wish(), now=True) == 0
    assert uploaded() == 0
    assert enriching.enrich(Wish(names=[venue.slug], force=True, geocode=True), now=True) == 0
    assert uploaded() == 5
    venue.refresh_from_db()
    assert venue.provider_ids == GOOGLE


def test_new_addresses_are_bought_after_their_price_was_said(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venue = expired(sandbox, tmp_path)
    offer = monitor.get_provider_stats("google_places")["stale_urls"]
    capsys.readouterr()
    assert enriching.enrich(Wish(names=[venue.slug], refresh_urls=True), now=True) == 0
    assert f"New addresses for 5 photos of 1 venue: {offer['calls']} calls, $0.035." in capsys.readouterr().err
    assert uploaded() == 5


def test_new_addresses_are_not_bought_above_the_price_that_was_agreed_to(sandbox: Sandbox, tmp_path: Path) -> None:
    expired(sandbox, tmp_path)
    calls = sandbox.calls
    with pytest.raises(UserError, match=r"\$0\.035\. That is more than the \$0\.03 agreed to"):
        enriching.enrich(Wish(everything=True, refresh_urls=True, up_to=0.03), now=True)
    assert sandbox.calls == calls


def test_new_addresses_can_be_queued(
    sandbox: Sandbox, tmp_path: Path, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    expired(sandbox, tmp_path)
    capsys.readouterr()
    assert enriching.enrich(Wish(everything=True, refresh_urls=True, up_to=0.035), now=False) == 0
    assert capsys.readouterr().out == "1 jobs queued.\n"
    workers.drain()
    assert uploaded() == 5


def test_nothing_has_expired(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_venue(tmp_path, "odeon", [], provider_ids=GOOGLE)
    assert enriching.enrich(Wish(everything=True, refresh_urls=True), now=True) == 0
    assert "No photo needs a new address" in capsys.readouterr().err
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    "wish",
    [
        Wish(refresh_urls=True),
        Wish(refresh_urls=True, names=["odeon"], force=True),
        Wish(refresh_urls=True, everything=True, geocode=True),
        Wish(refresh_urls=True, names=["odeon"], stale=True),
        Wish(refresh_urls=True, names=["odeon"], retry_failed_only=True),
        Wish(names=["odeon"], up_to=1),
        Wish(retry_failed_only=True, geocode=True),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(wish: Wish) -> None:
    with pytest.raises(UsageError):
        enriching.enrich(wish, now=True)


def test_a_cleanup_says_what_it_saved(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only("google_places")
    for host in range(len(sandbox.hosts)):
        sandbox.script(sandbox.photo_url("odeon/*", host), Fault("status", status=503), times=1)
    import_venue(tmp_path, "odeon", [], provider_ids=GOOGLE)
    assert enriching.enrich(Wish(), now=True) == 0
    calls = sandbox.calls
    assert cleaning.cleanup(now=True, dry_run=False, include_ambiguous=False) == 0
    assert "Asking the providers again would have cost $0.035." in capsys.readouterr().out
    assert (uploaded(), sandbox.calls) == (5, calls)
