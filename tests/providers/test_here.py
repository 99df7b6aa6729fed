"""HERE: no photos, places by name, ids at other providers, and a key that no message tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.catalogue import import_venue
from venue_images import orchestrator, place_matching
from venue_images.errors import ErrorType, ProviderError
from venue_images.models import Operation
from venue_images.providers.base import PlaceCandidate
from venue_images.providers.here import Here
from venue_images.sandbox import Fault, Sandbox

from .asking import ask, venue
from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

KEY = "canary-here_Key-1"
DISCOVER, LOOKUP = "/discover/v1/discover", "/lookup/v1/lookup"
PLACE = "here:pds:place:276u33db-1"


@pytest.fixture
def here(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    """Two APIs that answer what the test wants, and the settings that lead there."""
    set_environment(HERE_BASE_URL=f"{api.url}/discover", HERE_LOOKUP_BASE_URL=f"{api.url}/lookup", HERE_API_KEY=KEY)
    return api


def found(**facts: Any) -> list[PlaceCandidate]:
    return ask(Here(), lambda api: Here().find_places(venue(**facts), api))


def ids(place_id: str = PLACE) -> Mapping[str, str]:
    asked = venue(provider_ids={"here": place_id} if place_id else {})
    return ask(Here(), lambda api: Here().find_ids(asked, api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def test_it_says_that_it_has_no_photos_and_asks_nothing(here: ScriptedApi) -> None:
    asked = venue(provider_ids={"here": PLACE})
    assert not Here.info.has_photos
    assert ask(Here(), lambda api: Here().list_photos(asked, api)) == []
    assert here.paths == []


# Places


def test_places_are_found_around_the_venue_and_streets_are_none(here: ScriptedApi) -> None:
    place = {"id": PLACE, "title": "Fabric", "resultType": "place", "position": {"lat": 51.5, "lng": -0.1}}
    here.answer(DISCOVER, {"items": [{**place, "resultType": "street"}, place, {"id": "h2", "title": "Fabrik"}]})
    assert found() == [PlaceCandidate(PLACE, "Fabric", 51.5, -0.1), PlaceCandidate("h2", "Fabrik")]
    assert here.paths == [f"{DISCOVER}?q=Fabric&at=51.5,-0.1&limit=5&apiKey={KEY}"]


def test_a_venue_without_coordinates_is_not_searched(here: ScriptedApi) -> None:
    assert found(latitude=None) == []
    assert here.paths == []


@pytest.mark.parametrize(
    "body",
    [[], {"items": None}, {"items": [7]}, {"items": [{"id": 7, "position": [1]}]}, {"items": [{"resultType": {}}]}],
)
def test_an_odd_search_finds_nothing_that_could_be_used(here: ScriptedApi, body: object) -> None:
    here.answer(DISCOVER, body)
    assert all(place == PlaceCandidate("", "") for place in found())


# Ids


def test_ids_at_our_other_providers_are_told(here: ScriptedApi) -> None:
    references = [
        {"supplier": {"id": "tripadvisor"}, "id": "17950139"},
        {"supplier": {"id": "yelp"}, "id": "K7hyL4"},
        {"supplier": {"id": "foursquare"}, "id": "4b05"},
    ]
    here.answer(LOOKUP, {"id": PLACE, "references": references})
    assert ids() == {"yelp": "K7hyL4", "foursquare": "4b05"}
    [path] = here.paths
    assert path == f"{LOOKUP}?id={PLACE}&apiKey={KEY}"


def test_a_venue_whose_place_is_not_known_is_not_looked_up(here: ScriptedApi) -> None:
    assert ids("") == {}
    assert here.paths == []


@pytest.mark.parametrize(
    "references",
    [
        None,
        "yelp",
        [7, None],
        [{"supplier": "yelp", "id": "x"}],
        [{"supplier": {"id": ["yelp"]}, "id": "x"}],
        [{"supplier": {"id": "yelp"}, "id": 7}],
        [{"supplier": {"id": "yelp"}}],
    ],
)
def test_odd_references_tell_nothing(here: ScriptedApi, references: object) -> None:
    here.answer(LOOKUP, {"references": references})
    assert ids() == {}


@pytest.mark.parametrize("body", [[], "none", 7])
def test_an_odd_place_tells_nothing(here: ScriptedApi, body: object) -> None:
    here.answer(LOOKUP, body)
    assert ids() == {}


def test_an_odd_id_adds_no_question(here: ScriptedApi) -> None:
    here.answer(LOOKUP, {})
    assert ids("x&apiKey=other#é") == {}
    [path] = here.paths
    assert path.count("&") == 1
    assert path.endswith(f"&apiKey={KEY}")


# Refusals


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "not_found"),
        (401, "provider_key"),
        (403, "provider_key"),
        (404, "not_found"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "service_unavailable"),
    ],
)
@pytest.mark.parametrize("work", [found, ids])
def test_no_refusal_tells_the_key_however_much_it_repeats(
    here: ScriptedApi, work: Callable[[], object], status: int, error_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    repeated = f"GET /v1/discover?q=Fabric&apiKey={KEY}"
    body = {"error": repeated, "title": repeated, "cause": repeated, "error_description": repeated}
    for path in (DISCOVER, LOOKUP):
        here.answer(path, body, status, {"Retry-After": "3"})
    error = error_of(work)
    assert (error.error_type, error.http_status) == (error_type, status)
    assert error.message.startswith(f"HERE answered {status}")
    assert KEY not in str(error) + caplog.text


def test_a_lost_connection_and_an_answer_that_is_no_json_do_not_tell_the_key(sandbox: Sandbox) -> None:
    for fault in (Fault("drop"), Fault("html"), Fault("redirect", location="/elsewhere")):
        sandbox.script("/here/v1/discover", fault, times=1)
        error = error_of(found)
        assert error.message.startswith("HERE ")
        assert "sandbox-here-key" not in str(error)


# Against the twin


def test_the_venue_is_found_and_handed_on(sandbox: Sandbox) -> None:
    sandbox.offer("here", "fabric", "Fabric", latitude=51.5002, longitude=-0.1)
    sandbox.offer("here", "pub", "The Crown", latitude=51.5001, longitude=-0.1)
    match = place_matching.best_match(venue(), found())
    assert match
    assert match.is_sure
    assert ids(match.candidate.place_id) == {"yelp": "sandbox-fabric"}


def test_a_venue_that_only_here_knows_gets_its_photos_from_the_provider_it_names(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    known = import_venue(tmp_path, "tate", [], provider_ids={"here": "here:pds:place:sandbox-tate"})
    result = orchestrator.enrich_venue_sync(known, providers=["here", "yelp"])
    assert (result.uploaded_by_provider, sandbox.calls) == ({"yelp": 5}, {"here": 1, "yelp": 1})
    answer = Operation.objects.get().provider_results["here"]
    assert answer["photos"] == 0
    assert "error_type" not in answer


def test_the_twin_does_not_know_every_id(sandbox: Sandbox) -> None:
    assert error_of(lambda: ids("here:pds:place:unheard-of")).message == "HERE answered 404: Not Found."
    assert error_of(lambda: ids("nonsense!")).message == "HERE answered 400: it does not understand this name or id."


def test_the_twin_refuses_a_wrong_key(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(HERE_API_KEY="wrong")
    assert error_of(found).error_type == ErrorType.PROVIDER_KEY
