"""Geoapify: finding a venue, handing its links on, and a key that stays in the query of its API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.providers.asking import ask, venue
from venue_images import place_matching
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import PlaceCandidate
from venue_images.providers.geoapify import Geoapify
from venue_images.providers.wikimedia_commons import WikimediaCommons
from venue_images.sandbox import Fault, Sandbox

from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "geoapify-test-key"
SEARCH, DETAILS = "/v1/geocode/search", "/v2/place-details"
NOWHERE: dict[str, Any] = {"latitude": None, "longitude": None}


@pytest.fixture
def geoapify(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    """The API at which the settings of Geoapify point."""
    set_environment(GEOAPIFY_BASE_URL=api.url, GEOAPIFY_API_KEY=KEY)
    return api


def places(**facts: Any) -> list[PlaceCandidate]:
    provider = Geoapify()
    return ask(provider, lambda api: provider.find_places(venue(**facts), api))


def ids(place_id: str = "sandbox-fabric") -> Mapping[str, str]:
    provider = Geoapify()
    return ask(provider, lambda api: provider.find_ids(venue(provider_ids={"geoapify": place_id}), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def details(media: Any) -> dict[str, Any]:
    return {"features": [{"properties": {"feature_type": "details", "wiki_and_media": media}}]}


# Finding the venue


def test_a_venue_is_found_by_its_name_near_its_place(sandbox: Sandbox) -> None:
    sandbox.offer("geoapify", "fabric", "Fabric", latitude=51.5, longitude=-0.1, place_id="51ab")
    [place] = places(name="Fabric")
    assert place == PlaceCandidate("51ab", "Fabric", 51.5, -0.1)
    match = place_matching.best_match(venue(name="Fabric"), [place])
    assert match
    assert match.is_sure
    [hit] = sandbox.hits("/geoapify/*")
    assert "text=Fabric, London" in hit.query
    assert "bias=proximity:-0.100000,51.500000" in hit.query


def test_a_venue_without_coordinates_is_looked_for_by_name_alone(geoapify: ScriptedApi) -> None:
    geoapify.answer(SEARCH, {"features": []})
    assert places(name="Fabric", city="", **NOWHERE) == []
    [path] = geoapify.paths
    assert path == f"{SEARCH}?text=Fabric&limit=5&apiKey={KEY}"


@pytest.mark.parametrize(
    ("properties", "place"),
    [
        ({"place_id": "x"}, PlaceCandidate("x", "")),
        ({"place_id": "x", "name": None, "lat": "51.5", "lon": -0.1}, PlaceCandidate("x", "", None, -0.1)),
        ({"place_id": "x", "name": "A\0", "lat": 51, "lon": True}, PlaceCandidate("x", "A", 51.0)),
        ({"place_id": "x", "name": "A", "lat": 91.0, "lon": 0}, PlaceCandidate("x", "A", None, 0.0)),
        ({"place_id": "x", "name": "A", "lat": 1, "lon": 2}, PlaceCandidate("x", "A", 1.0, 2.0)),
    ],
)
def test_an_odd_place_is_as_good_as_it_can_be(geoapify: ScriptedApi, properties: object, place: PlaceCandidate) -> None:
    geoapify.answer(SEARCH, {"features": [{"properties": properties}, {"properties": {"name": "no id"}}, {}, None, 7]})
    assert places() == [place]


def test_coordinates_beyond_all_numbers_are_none(geoapify: ScriptedApi) -> None:
    geoapify.answer(SEARCH, b'{"features": [{"properties": {"place_id": "x", "lat": NaN, "lon": 1e999}}]}')
    assert places() == [PlaceCandidate("x", "")]


# Handing on


def test_the_links_of_a_place_are_handed_on(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", place_id="Q885")
    assert ids() == {"wikidata": "Q885", "wikimedia_commons": "Category:Sandbox fabric"}


def test_the_links_lead_wikimedia_commons_to_the_photos(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=2, place_id="Q885")
    commons, handed_on = WikimediaCommons(), ids()
    for name in handed_on:
        record = venue(provider_ids={name: handed_on[name]}, **NOWHERE)
        photos = ask(commons, lambda api, record=record: commons.list_photos(record, api))  # type: ignore[misc]
        assert [photo.photo_id for photo in photos] == ["File:Sandbox fabric 301.jpg", "File:Sandbox fabric 302.jpg"]


def test_a_venue_without_an_id_costs_no_call(sandbox: Sandbox) -> None:
    assert ids("") == {}
    assert sandbox.calls == {}


@pytest.mark.parametrize(
    "place_id",
    ["odd-web-page", "odd-http-image", "odd-words", "odd-nothing", "odd-null", "unknown", "sandbox-unlinked"],
)
def test_what_names_no_item_and_no_file_of_commons_is_not_handed_on(sandbox: Sandbox, place_id: str) -> None:
    assert ids(place_id) == {}


@pytest.mark.parametrize("place_id", ["odd-file-title", "odd-file-page", "odd-original", "odd-thumb"])
def test_an_image_that_is_a_file_of_commons_is_handed_on_as_its_title(sandbox: Sandbox, place_id: str) -> None:
    assert ids(place_id) == {"wikimedia_commons": "File:Venue front.jpg"}


@pytest.mark.parametrize(
    ("image", "link"),
    [
        ("http://commons.m.wikimedia.org/wiki/File:T%C3%B6m_(1).jpg?uselang=de#x", "File:Töm (1).jpg"),
        ("https://commons.wikimedia.org/wiki/Special:FilePath/A_b.jpg?width=300", "File:A b.jpg"),
        ("https://commons.wikimedia.org.evil.example/wiki/File:A.jpg", None),
        ("https://en.wikipedia.org/wiki/File:A.jpg", None),
        ("https://upload.wikimedia.org/wikipedia/en/3/3f/A.jpg", None),
        ("https://commons.wikimedia.org/wiki/Category:A", None),
        ("https://commons.wikimedia.org/wiki/File:A%7CB.jpg", None),
        ("File:A|File:B", None),
        ("file:a.jpg", None),
        (["File:A.jpg"], None),
    ],
)
def test_only_files_of_commons_itself_are_handed_on(geoapify: ScriptedApi, image: object, link: str | None) -> None:
    geoapify.answer(DETAILS, details({"image": image}))
    assert ids() == ({"wikimedia_commons": link} if link else {})


def test_the_link_goes_before_the_image(geoapify: ScriptedApi) -> None:
    geoapify.answer(DETAILS, details({"wikimedia_commons": "Category:Fabric", "image": "File:A.jpg"}))
    assert ids() == {"wikimedia_commons": "Category:Fabric"}


@pytest.mark.parametrize("body", [{}, {"features": {}}, {"features": [{"properties": []}]}, details([]), details("x")])
def test_an_answer_without_links_hands_nothing_on(geoapify: ScriptedApi, body: object) -> None:
    geoapify.answer(DETAILS, body)
    assert ids() == {}


# Errors and the key


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "not_found"),
        (401, "provider_key"),
        (403, "provider_key"),
        (429, "rate_limited"),
        (500, "service_unavailable"),
        (503, "service_unavailable"),
        (504, "gateway_timeout"),
    ],
)
@pytest.mark.parametrize(("path", "question"), [(DETAILS, ids), (SEARCH, places)])
def test_a_refusal_has_the_type_of_its_status_and_never_repeats_the_key(
    geoapify: ScriptedApi, path: str, question: Callable[[], object], status: int, error_type: str
) -> None:
    geoapify.answer(path, {"statusCode": status, "error": "Error", "message": f"Not with {KEY}."}, status)
    error = error_of(question)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message.startswith(f"Geoapify answered {status}: ")
    assert KEY not in error.message


def test_a_long_explanation_is_cut_without_leaving_half_a_key(geoapify: ScriptedApi) -> None:
    geoapify.answer(DETAILS, {"message": "x" * 190 + KEY + "y" * 50}, 400)
    assert error_of(ids).message == f"Geoapify answered 400: {'x' * 190}…{'y' * 9}."


@pytest.mark.parametrize("body", [b"<html>", [], {"message": 7}, {"message": None}])
def test_a_refusal_without_words_is_one_too(geoapify: ScriptedApi, body: object) -> None:
    geoapify.answer(DETAILS, body, 400)
    assert error_of(ids).message == "Geoapify answered 400."


def test_a_limit_that_is_reached_tells_when_to_come_back(sandbox: Sandbox) -> None:
    sandbox.script("/geoapify/*", Fault("status", status=429, retry_after=30))
    error = error_of(ids)
    assert (error.error_type, error.retry_after) == (ErrorType.RATE_LIMITED, 30)


@pytest.mark.parametrize("body", [[], None, 7, b"", b"<html>"])
def test_an_answer_that_is_no_list_of_places_is_an_error(geoapify: ScriptedApi, body: object) -> None:
    for path, question in ((DETAILS, ids), (SEARCH, places)):
        geoapify.answer(path, body)
        assert error_of(question).error_type == ErrorType.UNKNOWN_ERROR


@pytest.mark.parametrize("key", ["", "wrong-key"])
def test_a_wrong_or_missing_key_stops_the_provider(
    sandbox: Sandbox, set_environment: Callable[..., None], key: str
) -> None:
    set_environment(GEOAPIFY_API_KEY=key)
    error = error_of(ids)
    assert error.error_type == ErrorType.PROVIDER_KEY
    assert "wrong-key" not in error.message


def test_the_key_goes_to_its_own_api_alone(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", place_id="Q885")
    commons, record = WikimediaCommons(), venue(provider_ids=dict(ids()))
    ask(commons, lambda api: commons.list_photos(record, api))
    assert {hit.carried_key for hit in sandbox.hits("/geoapify/*")} == {True}
    assert {hit.carried_key for hit in sandbox.hits("/wikimedia_commons/*")} == {False}


def test_it_has_no_photos(sandbox: Sandbox) -> None:
    provider = Geoapify()
    assert not provider.info.has_photos
    assert (
        ask(provider, lambda api: provider.list_photos(venue(provider_ids={"geoapify": "sandbox-fabric"}), api)) == []
    )
    assert sandbox.calls == {}
