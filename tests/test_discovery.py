"""Asking providers: all at once, each on its own, and only for what there is room for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from tests.catalogue import import_venue
from tests.factories import make_image
from tests.providers.asking import choices_of
from tests.runtimes import in_runtime
from venue_images import discovery, photo_urls, provider_api, venue_ledger
from venue_images.discovery import Asked, Usable
from venue_images.errors import ErrorType, UsageError, UserError
from venue_images.models import Provider as ProviderRow
from venue_images.models import UploadStatus, Venue
from venue_images.providers import PROVIDERS, Photo, Provider, ProviderApi, VenueRecord
from venue_images.providers.google_places import GooglePlaces
from venue_images.runtime import Runtime
from venue_images.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("transactional_db")

PLACES = "/google_places/v1/places"


@pytest.fixture
def twin(sandbox: Sandbox, set_environment: Callable[..., None]) -> Callable[[str], GooglePlaces]:
    """Another provider with an API like Google's, served by the sandbox."""

    def make(name: str) -> GooglePlaces:
        set_environment(**{f"{name.upper()}_BASE_URL": sandbox.api_url("google_places")})
        provider = GooglePlaces()
        provider.info = dataclasses.replace(GooglePlaces.info, name=name, code=name[:2], title=name.title())
        return provider

    return make


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call may take one second."""
    monkeypatch.setattr(provider_api, "TIMEOUT", 1)


def find(venue: Venue, providers: Sequence[Provider], limit: int = 25) -> tuple[list[Photo], dict[str, Asked]]:
    async def work(runtime: Runtime) -> tuple[list[Photo], list[Asked]]:
        async with runtime.pool.connection() as connection:
            loaded = await venue_ledger.load(connection, venue.pk)
        assert loaded
        asked = [Usable(provider, choices_of(provider)).asked_through(runtime) for provider in providers]
        return await discovery.find_photos(asked, loaded, limit), asked

    photos, asked = in_runtime(work)
    return photos, {one.name: one for one in asked}


def usable(names: Sequence[str] | None = None) -> list[str]:
    found = in_runtime(lambda runtime: discovery.usable_providers(runtime, names))
    return [one.name for one in found]


def place_of(name: str) -> str:
    return f"sandbox-{name}"


def names_of(photos: Sequence[Photo]) -> set[str]:
    return {photo.provider for photo in photos}


# All at once


def test_the_providers_are_asked_at_the_same_time_and_no_more_than_five_at_once(
    sandbox: Sandbox, twin: Callable[[str], GooglePlaces], tmp_path: Path
) -> None:
    names = [f"provider_{letter}" for letter in "abcdefg"]
    venue = import_venue(tmp_path, "fabric", [], provider_ids={name: place_of(name) for name in names})
    for name in names:
        sandbox.place(place_of(name), photos=0)
    sandbox.script(f"{PLACES}/*", Fault("delay", delay=0.4))

    started = time.monotonic()
    _, asked = find(venue, [twin(name) for name in names])

    assert time.monotonic() - started < 0.4 * 4
    assert [one.error for one in asked.values()] == [None] * 7
    times = [hit.monotonic for hit in sandbox.hits(f"{PLACES}/*")]
    assert times[4] - times[0] < 0.3
    assert times[5] - times[0] >= 0.38


@pytest.mark.parametrize(
    ("fault", "error_type"),
    [
        (Fault("status", status=400), "not_found"),
        (Fault("status", status=401), "provider_key"),
        (Fault("status", status=403), "provider_key"),
        (Fault("status", status=404), "not_found"),
        (Fault("status", status=429, retry_after=30), "rate_limited"),
        (Fault("status", status=500), "server_error"),
        (Fault("status", status=503), "service_unavailable"),
        (Fault("status", status=204), "http_error"),
        (Fault("drop"), "network_error"),
        (Fault("reset"), "network_error"),
        (Fault("short_body"), "network_error"),
        (Fault("html"), "unknown_error"),
        (Fault("empty"), "unknown_error"),
        (Fault("garbage"), "unknown_error"),
        (Fault("corrupt"), "unknown_error"),
        (Fault("too_large", size=6 * 1024 * 1024), "unknown_error"),
        (Fault("too_large_undeclared", size=6 * 1024 * 1024), "unknown_error"),
        (Fault("endless"), "unknown_error"),
        (Fault("redirect", location="/elsewhere"), "http_error"),
        (Fault("delay", delay=30), "network_timeout"),
        (Fault("drip", chunk=1, interval=0.2), "network_timeout"),
    ],
)
def test_a_provider_that_fails_costs_only_its_own_photos(  # noqa: PLR0917 - pytest names them all
    sandbox: Sandbox,
    twin: Callable[[str], GooglePlaces],
    tmp_path: Path,
    short_patience: None,
    fault: Fault,
    error_type: str,
) -> None:
    ids = {"well": place_of("well"), "ill": place_of("ill")}
    venue = import_venue(tmp_path, "fabric", [sandbox.photo_url("fabric/1.jpg")], provider_ids=ids)
    sandbox.place(ids["well"], photos=2)
    sandbox.script(f"{PLACES}/{ids['ill']}", fault)

    photos, asked = find(venue, [twin("ill"), PROVIDERS["catalog"], twin("well")])

    assert [photo.provider for photo in photos].count("well") == 2
    assert names_of(photos) == {"well", "catalog"}
    assert [name for name, one in asked.items() if one.error] == ["ill"]
    error = asked["ill"].error
    assert error
    assert error.error_type == error_type
    assert "Ill" in error.message
    assert sandbox.hits("/elsewhere") == []
    assert asked["ill"].to_json() | {"seconds": 0} == {
        "photos": 0,
        "calls": 1,
        "metered_calls": 1,
        "cost_usd": 0.0,
        "seconds": 0,
        "error_type": error_type,
        "error": error.message,
    }


class Careless(GooglePlaces):
    """An adapter with a mistake."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        raise self.error


@pytest.mark.parametrize(
    "error", [KeyError("photos"), TypeError(), RecursionError(), ValueError("AIza-key"), OSError(5)]
)
def test_a_mistake_in_an_adapter_costs_only_its_own_photos(sandbox: Sandbox, tmp_path: Path, error: Exception) -> None:
    venue = import_venue(tmp_path, "fabric", [sandbox.photo_url("fabric/1.jpg")])
    photos, asked = find(venue, [Careless(error), PROVIDERS["catalog"]])
    assert names_of(photos) == {"catalog"}
    found = asked["google_places"].error
    assert found
    assert found.error_type == ErrorType.UNKNOWN_ERROR
    assert "AIza" not in found.message


# The address of each photo


def google_venue(folder: Path, sandbox: Sandbox, photos: int, urls: Sequence[str] = ()) -> Venue:
    sandbox.place("sandbox-fabric", photos=photos)
    return import_venue(folder, "fabric", urls, provider_ids={"google_places": "sandbox-fabric"})


def test_an_address_is_asked_for_only_when_there_is_room(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = google_venue(tmp_path, sandbox, 10)
    photos, asked = find(venue, [PROVIDERS["google_places"]], limit=3)
    assert len(photos) == 3
    assert len(sandbox.hits(f"{PLACES}/sandbox-fabric/photos/*")) == 3
    assert asked["google_places"].api.metered_calls == sandbox.metered_calls["google_places"] == 4
    assert asked["google_places"].api.cost_usd == Decimal("0.021")


def test_a_photo_whose_address_can_not_be_had_costs_only_itself(
    sandbox: Sandbox, tmp_path: Path, short_patience: None
) -> None:
    venue = google_venue(tmp_path, sandbox, 5)
    place = sandbox.place("sandbox-fabric", photos=5)
    media = [f"/google_places/v1/{sandbox.google_places.photo_name(place, index)}/media" for index in range(5)]
    sandbox.script(media[0], Fault("status", status=429))
    sandbox.script(media[1], Fault("delay", delay=30))
    sandbox.script(media[2], Fault("error_json"))
    photos, asked = find(venue, [PROVIDERS["google_places"]])
    assert len(photos) == 2
    assert asked["google_places"].error


def test_a_refused_key_is_not_tried_for_every_photo(sandbox: Sandbox, tmp_path: Path) -> None:
    venue = google_venue(tmp_path, sandbox, 10)
    sandbox.script(f"{PLACES}/sandbox-fabric/photos/*", Fault("status", status=403))
    photos, asked = find(venue, [PROVIDERS["google_places"]])
    assert photos == []
    assert asked["google_places"].error
    assert asked["google_places"].error.error_type == ErrorType.PROVIDER_KEY
    assert len(sandbox.hits(f"{PLACES}/sandbox-fabric/photos/*")) <= discovery.PARALLEL


def test_the_same_photo_of_two_providers_is_one_photo(sandbox: Sandbox, tmp_path: Path) -> None:
    place = sandbox.place("sandbox-fabric", photos=2)
    path = sandbox.google_places.photo_path(place, 0)
    urls = [f"{sandbox.photo_url(path, host)}?utm_source=list" for host in range(3)]
    venue = google_venue(tmp_path, sandbox, 2, urls)
    photos, _ = find(venue, [PROVIDERS["catalog"], PROVIDERS["google_places"]])
    assert len(photos) == len({photo_urls.normalise(photo.url) for photo in photos}) == 4
    assert names_of(photos) == {"catalog", "google_places"}


def test_the_best_photos_of_all_providers_are_chosen(sandbox: Sandbox, tmp_path: Path) -> None:
    large = [{"url": sandbox.photo_url(f"fabric/{n}.jpg"), "width": 4000, "height": 3000} for n in range(1, 4)]
    small = [{"url": sandbox.photo_url(f"fabric/{n}.jpg"), "width": 40, "height": 30} for n in range(4, 9)]
    venue = import_venue(tmp_path, "fabric", [], photos=[*small, *large])
    photos, _ = find(venue, [PROVIDERS["catalog"]], limit=3)
    assert [photo.url for photo in photos] == [photo["url"] for photo in large]


def test_photos_that_are_known_take_no_room(sandbox: Sandbox, tmp_path: Path) -> None:
    urls = [sandbox.photo_url(f"fabric/{number}.jpg") for number in range(1, 7)]
    venue = import_venue(tmp_path, "fabric", urls)
    for url in urls[:4]:
        make_image(venue, UploadStatus.PERMANENTLY_FAILED, "gone", provider_url=f"{url}?utm_source=x")
    photos, _ = find(venue, [PROVIDERS["catalog"]], limit=2)
    assert [photo.url for photo in photos] == urls[4:]


@pytest.mark.parametrize("limit", [0, -5])
def test_without_room_nothing_is_chosen(sandbox: Sandbox, tmp_path: Path, limit: int) -> None:
    venue = google_venue(tmp_path, sandbox, 5, [sandbox.photo_url("fabric/1.jpg")])
    photos, _ = find(venue, list(PROVIDERS.values()), limit=limit)
    assert photos == []
    assert sandbox.hits(f"{PLACES}/sandbox-fabric/photos/*") == []


# Which providers


@pytest.fixture
def two_providers(sandbox: Sandbox) -> None:
    """The owner wants the catalogue's own photos and those of Google Places, and no others."""
    ProviderRow.objects.exclude(name__in=["catalog", "google_places"]).update(active=False)


def test_without_any_setting_the_providers_that_need_no_key_are_used() -> None:
    assert usable() == ["catalog", "wikimedia_commons", "openverse"]


def test_with_every_key_all_are_used_but_those_that_wait_for_the_owner(sandbox: Sandbox) -> None:
    names = usable()
    assert set(names) == {name for name, provider in PROVIDERS.items() if provider.info.active}
    priorities = [(PROVIDERS[name].info.priority, name) for name in names]
    assert priorities == sorted(priorities)


def test_active_providers_are_used_in_the_order_of_their_priority(two_providers: None) -> None:
    assert usable() == ["catalog", "google_places"]
    ProviderRow.objects.filter(name="google_places").update(priority=5)
    assert usable() == ["google_places", "catalog"]
    ProviderRow.objects.filter(name="catalog").update(active=False)
    assert usable() == ["google_places"]


def test_a_provider_of_another_version_is_passed_over(two_providers: None) -> None:
    ProviderRow.objects.create(name="provider_of_tomorrow")
    assert usable() == ["catalog", "google_places"]


def test_a_provider_without_its_key_is_left_out_and_naming_it_says_what_to_set(
    two_providers: None, set_environment: Callable[..., None]
) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="")
    assert usable() == ["catalog"]
    with pytest.raises(UserError, match="set GOOGLE_PLACES_API_KEY"):
        usable(["catalog", "google_places"])


def test_a_provider_whose_photos_may_not_be_kept_is_left_out_and_naming_it_says_why(
    two_providers: None, set_environment: Callable[..., None]
) -> None:
    set_environment(GOOGLE_PLACES_STORAGE_POLICY="none")
    assert usable() == ["catalog"]
    with pytest.raises(UserError, match="GOOGLE_PLACES_STORAGE_POLICY is none"):
        usable(["google_places"])


def test_what_a_providers_terms_forbid_is_left_out_and_naming_it_says_what_the_owner_may_set(
    two_providers: None, set_environment: Callable[..., None]
) -> None:
    set_environment(GOOGLE_PLACES_STORAGE_POLICY="")
    assert usable() == ["catalog"]
    with pytest.raises(UserError, match=r"because of its terms.*Set GOOGLE_PLACES_STORAGE_POLICY=store"):
        usable(["google_places"])


def test_a_provider_that_has_no_photos_is_used_whatever_its_policy_says(sandbox: Sandbox) -> None:
    assert PROVIDERS["geoapify"].info.storage_policy == "none"
    assert "geoapify" in usable()


def test_the_owners_row_goes_before_what_is_known_of_the_provider(sandbox: Sandbox) -> None:
    ProviderRow.objects.filter(name="google_places").update(cost_per_image="0.5", limit_per_day=3, geocode=True)
    [one] = in_runtime(lambda runtime: discovery.usable_providers(runtime, ["google_places"]))
    assert (one.choices.cost_per_image, one.choices.geocode) == (Decimal("0.5"), True)
    assert one.choices.limits == {"minute": 600, "day": 3}


def test_a_provider_whose_policy_makes_no_sense_is_left_out(
    sandbox: Sandbox, set_environment: Callable[..., None]
) -> None:
    set_environment(CATALOG_STORAGE_POLICY="perhaps")
    assert "catalog" not in usable()
    with pytest.raises(UserError, match="CATALOG_STORAGE_POLICY='perhaps': must be store, hotlink or none"):
        usable(["catalog"])


def test_naming_providers_chooses_them_even_inactive_ones_each_once(sandbox: Sandbox) -> None:
    assert usable(["google_places"]) == ["google_places"]
    assert usable(["google_places", "catalog", "google_places"]) == ["catalog", "google_places"]
    ProviderRow.objects.filter(name="google_places").update(active=False)
    assert usable(["google_places"]) == ["google_places"]
    assert usable([]) == []


def test_naming_a_provider_that_is_not_there_tells_those_that_are(sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match=f"no provider 'gogle'; known: {', '.join(sorted(PROVIDERS))}"):
        usable(["gogle"])
