"""Wikimedia Commons: where photos are looked for, which are kept, at which address, and what its errors mean."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.providers.asking import ask, venue
from venue_images.downloads import user_agent
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers import Photo
from venue_images.providers.commons_files import CommonsFile, text_of_html
from venue_images.providers.wikimedia_commons import NEARBY, WikimediaCommons
from venue_images.sandbox import Fault, Sandbox
from venue_images.sandbox.commons_files import ODDITIES

from .conftest import ScriptedApi

pytestmark = pytest.mark.usefixtures("jobs")

API = "/wikimedia_commons/w/api.php"
WIKIDATA = "/wikimedia_commons/wikidata/w/api.php"
NOWHERE: dict[str, Any] = {"latitude": None, "longitude": None}
#: Degrees of latitude.
METRE = 1 / 111_195
INFO = {
    "url": "https://upload.wikimedia.example/wikipedia/commons/3/3f/X.jpg",
    "thumburl": "https://upload.wikimedia.example/wikipedia/commons/thumb/3/3f/X.jpg/250px-X.jpg?utm_source=api",
    "descriptionurl": "https://commons.wikimedia.example/wiki/File:X.jpg",
    "width": 4000,
    "height": 3000,
    "mime": "image/jpeg",
    "extmetadata": {"Artist": {"value": "<a>Ana</a>"}, "LicenseShortName": {"value": "CC BY-SA 4.0"}},
}


@pytest.fixture
def commons(api: ScriptedApi, set_environment: Callable[..., None]) -> ScriptedApi:
    """The API at which the settings of Commons and Wikidata point."""
    set_environment(WIKIMEDIA_COMMONS_BASE_URL=api.url, WIKIDATA_BASE_URL=f"{api.url}/wikidata")
    return api


def listed(ids: dict[str, str] | None = None, **facts: Any) -> list[Photo]:
    provider = WikimediaCommons()
    return ask(provider, lambda api: provider.list_photos(venue(provider_ids=ids or {}, **facts), api))


def refreshed(titles: list[str]) -> list[Photo | None]:
    provider = WikimediaCommons()
    stale = [Photo("wikimedia_commons", url="https://old.example/1.jpg", photo_id=title) for title in titles]
    return ask(provider, lambda api: provider.refresh(stale, venue(), api))


def error_of(work: Callable[[], object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        work()
    return raised.value


def names(photos: list[Photo]) -> list[str]:
    return [photo.photo_id for photo in photos]


def file(**info: Any) -> CommonsFile | None:
    return CommonsFile.read({"title": "File:X.jpg", "imageinfo": [{**INFO, **info}]})


def photo_file(**info: Any) -> CommonsFile:
    found = file(**info)
    assert found
    return found


def body_of(url: str, client: str = "VenueImages/1 (tests@venues.example)") -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": client})  # noqa: S310 - the sandbox speaks http
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        body: bytes = response.read()
        return body


# Where photos are looked for


def test_photos_near_the_venue_are_listed_nearest_first(sandbox: Sandbox) -> None:
    for slug, metres in (("far", NEARBY + 5), ("beside", 60), ("fabric", 5)):
        sandbox.offer("wikimedia_commons", slug, slug, photos=2, latitude=51.5 + metres * METRE, longitude=-0.1)
    assert names(listed()) == [
        "File:Sandbox fabric 301.jpg",
        "File:Sandbox fabric 302.jpg",
        "File:Sandbox beside 301.jpg",
        "File:Sandbox beside 302.jpg",
    ]


def test_no_more_than_twenty_are_asked_for_nearby(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=30, latitude=51.5, longitude=-0.1)
    assert len(listed()) == 20


def test_the_image_that_wikidata_names_comes_first_and_its_category_follows(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric_club", "Fabric", photos=3, place_id="Q885")
    assert names(listed({"wikidata": "Q885"}, **NOWHERE)) == [f"File:Sandbox fabric club 30{n}.jpg" for n in (1, 2, 3)]
    assert [hit.path for hit in sandbox.hits("/wikimedia_commons/*")] == [WIKIDATA, API, API]


def test_a_linked_file_is_listed_however_it_is_spelt(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric")
    assert names(listed({"wikimedia_commons": "File:Sandbox_fabric_302.jpg"}, **NOWHERE)) == [
        "File:Sandbox fabric 302.jpg"
    ]


def test_a_linked_category_is_listed(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=30)
    assert len(listed({"wikimedia_commons": "Category:Sandbox fabric"}, **NOWHERE)) == 20


def test_a_file_that_is_found_in_every_way_is_listed_once_and_takes_one_call_each_way(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", place_id="Q885", latitude=51.5, longitude=-0.1)
    found = listed({"wikidata": "Q885", "wikimedia_commons": "File:Sandbox fabric 302.jpg"})
    assert names(found) == [f"File:Sandbox fabric 30{number}.jpg" for number in (1, 2, 3)]
    assert sandbox.calls == {"wikimedia_commons": 4}


@pytest.mark.parametrize("item", ["", "885", "Q", "Q0", "q885", "Q885|Q886", "Q" + "9" * 20])
def test_an_item_that_can_be_none_is_not_asked_for(sandbox: Sandbox, item: str) -> None:
    assert listed({"wikidata": item}, **NOWHERE) == []
    assert sandbox.calls == {}


@pytest.mark.parametrize("link", ["", "sandbox-1", "Sandbox fabric 301.jpg", "File:", "File:a|File:b", "Category:[x]"])
def test_a_link_that_can_be_none_is_not_followed(sandbox: Sandbox, link: str) -> None:
    assert listed({"wikimedia_commons": link}, **NOWHERE) == []
    assert sandbox.calls == {}


def test_an_item_without_image_or_without_existence_costs_no_other_photo(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=1, latitude=51.5, longitude=-0.1)
    sandbox.offer("wikimedia_commons", "bare", "Bare", photos=0, place_id="Q5")
    assert len(listed({"wikidata": "Q5"})) == len(listed({"wikidata": "Q6"})) == 1


def test_an_item_that_wikidata_refuses_costs_no_other_photo(commons: ScriptedApi) -> None:
    commons.answer("/wikidata/w/api.php", {"error": {"code": "no-such-entity", "info": "No."}})
    commons.answer("/w/api.php", {"query": {"pages": [{"title": "File:X.jpg", "imageinfo": [INFO]}]}})
    assert names(listed({"wikidata": "Q5"})) == ["File:X.jpg"]


def test_the_preferred_image_of_an_item_is_listed_first_and_a_merged_item_is_understood(commons: ScriptedApi) -> None:
    def claim(value: Any, rank: str) -> dict[str, Any]:
        return {"mainsnak": {"datavalue": {"value": value}}, "rank": rank}

    claims = [
        claim("Old.jpg", "deprecated"),
        claim("B.jpg", "normal"),
        claim({}, "normal"),
        claim("A.jpg", "preferred"),
    ]
    commons.answer("/wikidata/w/api.php", {"entities": {"Q7": {"id": "Q7", "claims": {"P18": claims}}}})
    pages = [{"title": f"File:{name}.jpg", "imageinfo": [INFO]} for name in ("B", "Old", "A")]
    commons.answer("/w/api.php", {"query": {"pages": pages}})
    assert names(listed({"wikidata": "Q5"}, **NOWHERE)) == ["File:A.jpg", "File:B.jpg"]


def test_a_file_that_was_renamed_is_found_under_its_new_name(commons: ScriptedApi) -> None:
    query = {
        "normalized": [{"from": "File:old_name.jpg", "to": "File:Old name.jpg"}],
        "redirects": [
            {"from": "File:Old name.jpg", "to": "File:X.jpg"},
            {"from": "File:X.jpg", "to": "File:Old name.jpg"},
            {"from": "File:X.jpg", "to": "File:X.jpg"},
        ],
        "pages": [{"title": "File:X.jpg", "imageinfo": [INFO]}],
    }
    commons.answer("/w/api.php", {"query": query})
    assert names(listed({"wikimedia_commons": "File:old_name.jpg"}, **NOWHERE)) == ["File:X.jpg"]


# Which photos, and what is told of them


def test_everything_that_has_to_be_shown_is_kept(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", latitude=51.5, longitude=-0.1)
    first, second, third = listed()
    assert (first.attribution, first.licence) == ("Ana Ruiz", "CC BY-SA 4.0")
    assert (second.attribution, second.licence) == ("Jonas Weber & Mei Tanaka", "CC BY 2.0")
    assert (third.attribution, third.licence) == ("Unknown author", "Public domain")
    assert first.page_url == "https://commons.wikimedia.example/wiki/File:Sandbox_fabric_301.jpg"
    width, height = sandbox.photo_size("/fabric/301.jpg")
    assert (first.width, first.height) == (2 * width, 2 * height)


def test_what_is_no_photo_hidden_or_not_free_is_passed_over(sandbox: Sandbox) -> None:
    found = listed({"wikimedia_commons": "Category:Sandbox oddities"}, **NOWHERE)
    usable = (len(ODDITIES) - 1, len(ODDITIES))
    assert names(found) == [f"File:Sandbox oddities {300 + number}.jpg" for number in usable]
    assert all("/thumb/" not in photo.url for photo in found)
    assert all(body_of(photo.url).startswith(b"\xff\xd8") for photo in found)


@pytest.mark.parametrize(
    "licence",
    [
        *("CC0", "CC BY 2.0", "CC BY-SA 3.0 de", "CC BY-SA 4.0,3.0,2.5,2.0,1.0", "CC-BY-SA-3.0", "cc by 4.0"),
        *("CC BY-SA", "Public domain", "Public Domain Mark 1.0", "PD", "PD-old-70", "No restrictions"),
    ],
)
def test_a_free_licence_is_accepted(licence: str) -> None:
    assert photo_file(extmetadata={"LicenseShortName": {"value": licence}}).licence == licence


@pytest.mark.parametrize(
    "licence",
    [
        *("CC BY-NC 4.0", "CC BY-ND 4.0", "CC BY-NC-SA 2.0", "CC BYE", "GFDL", "Fair use", "© all rights reserved"),
        *("", "Not public domain", "PDF", None, 7, ["CC0"]),
    ],
)
def test_any_other_licence_is_not_accepted(licence: object) -> None:
    assert file(extmetadata={"LicenseShortName": {"value": licence}}) is None


@pytest.mark.parametrize("extmetadata", [None, [], {}, {"LicenseShortName": "CC0"}, "CC0"])
def test_a_file_of_which_no_licence_is_known_is_not_accepted(extmetadata: object) -> None:
    assert file(extmetadata=extmetadata) is None


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Ana", "Ana"),
        ('<a href="//x" title="a &gt; b">Ana</a>, <i>Tom</i>', "Ana, Tom"),
        ("<p>Ana</p><p>Tom<br>Mei</p>", "Ana Tom Mei"),
        ("&lt;Ana&gt; &amp;&nbsp;T&ouml;m", "<Ana> & Töm"),
        ("<style>.a > b {color: red}</style>Ana\n\n Ruiz", "Ana Ruiz"),
        ("a < b", "a < b"),
        ("<<<<", "<<<<"),
        ("<!-- x -->Ana", "Ana"),
        ("Nul \0 &#0; \ud800", "Nul � ?"),
        (None, ""),
        (7, ""),
    ],
)
def test_markup_becomes_what_a_reader_sees(markup: object, text: str) -> None:
    assert text_of_html(markup) == text


def test_the_credit_stands_in_for_an_author_who_is_not_named() -> None:
    facts = {
        "LicenseShortName": {"value": "CC0"},
        "Artist": {"value": "<b></b>"},
        "Credit": {"value": "The <b>museum</b>"},
    }
    assert photo_file(extmetadata=facts).artist == "The museum"


@pytest.mark.parametrize(
    "info",
    [
        {"mime": ["image/jpeg"]},
        {"mime": None},
        {"mime": "image/tiff"},
        {"url": None},
        {"url": ""},
        {"url": 7},
        {"filehidden": True},
        {"filemissing": True},
    ],
)
def test_a_file_without_what_a_photo_needs_is_passed_over(info: dict[str, Any]) -> None:
    assert file(**info) is None


@pytest.mark.parametrize("info", [{"width": "x"}, {"width": True}, {"width": None}, {"height": []}, {"thumburl": 7}])
def test_an_odd_value_costs_no_photo(info: dict[str, Any]) -> None:
    assert photo_file(**info).photo("wikimedia_commons").url


# The address


@pytest.mark.parametrize(
    ("width", "thumb"),
    [(251, 250), (330, 250), (331, 330), (1280, 960), (1281, 1280), (1920, 1280), (1921, 1920), (9000, 1920)],
)
def test_the_largest_width_that_is_served_and_smaller_than_the_original_is_taken(width: int, thumb: int) -> None:
    folder = "https://upload.wikimedia.example/wikipedia/commons/thumb/3/3f/X.jpg"
    assert photo_file(width=width).best_url == f"{folder}/{thumb}px-X.jpg"


@pytest.mark.parametrize(
    "info",
    [
        {"width": 250},
        {"width": None},
        {"thumburl": None},
        {"thumburl": ""},
        {"thumburl": "https://upload.wikimedia.example/wikipedia/commons/3/3f/X.jpg?utm_source=api"},
        {"thumburl": "https://upload.wikimedia.example/thumb/X.jpg/lossy-page1-250px-X.jpg"},
    ],
)
def test_the_original_is_taken_where_no_thumbnail_fits(info: dict[str, Any]) -> None:
    assert photo_file(**info, url=f"{INFO['url']}?utm_source=api").best_url == INFO["url"]


def test_the_address_leads_to_the_photo(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=1, latitude=51.5, longitude=-0.1)
    [photo] = listed()
    assert photo.url.endswith("/1920px-Sandbox_fabric_301.jpg")
    assert body_of(photo.url) == sandbox.photo_bytes("/fabric/301.jpg")


@pytest.mark.parametrize("width", [800, 1600, 3840])
def test_a_width_that_is_not_served_is_refused_and_means_that_the_address_has_to_be_made_again(
    sandbox: Sandbox, width: int
) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=1, latitude=51.5, longitude=-0.1)
    [photo] = listed()
    with pytest.raises(urllib.error.HTTPError) as refused:
        body_of(photo.url.replace("1920px", f"{width}px"))
    with refused.value as answer:
        assert (answer.status, b"w.wiki/GHai" in answer.read()) == (400, True)
    error = UploadError(ErrorType.HTTP_ERROR, "no", http_status=400)
    assert WikimediaCommons().classify(error) == ErrorType.URL_EXPIRED


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(404, ErrorType.NOT_FOUND), (429, ErrorType.RATE_LIMITED), (503, ErrorType.SERVICE_UNAVAILABLE)],
)
def test_other_failures_of_the_image_host_mean_what_they_say(status: int, error_type: ErrorType) -> None:
    assert WikimediaCommons().classify(UploadError(error_type, "no", http_status=status)) == error_type


def test_new_addresses_are_had_with_one_call_in_the_order_of_the_old_ones(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric")
    titles = ["File:Sandbox fabric 302.jpg", "File:Gone.jpg", "", "File:Sandbox fabric 301.jpg", "no title"]
    titles.append(titles[0])
    found = refreshed(titles)
    assert [photo and photo.photo_id for photo in found] == [titles[0], None, None, titles[3], None, titles[0]]
    assert all(body_of(photo.url) for photo in found if photo)
    assert sandbox.calls == {"wikimedia_commons": 1}


def test_more_than_fifty_addresses_take_more_calls(sandbox: Sandbox) -> None:
    sandbox.offer("wikimedia_commons", "fabric", "Fabric", photos=51)
    assert all(refreshed([f"File:Sandbox fabric {301 + index}.jpg" for index in range(51)]))
    assert sandbox.calls == {"wikimedia_commons": 2}


# Errors


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("maxlag", "service_unavailable"),
        ("readonly", "service_unavailable"),
        ("internal_api_error_DBQueryError", "service_unavailable"),
        ("ratelimited", "rate_limited"),
        ("missingtitle", "not_found"),
        ("badvalue", "unknown_error"),
        (["odd"], "unknown_error"),
        (None, "unknown_error"),
    ],
)
def test_an_error_inside_a_success_is_an_error(commons: ScriptedApi, code: object, error_type: str) -> None:
    commons.answer("/w/api.php", {"error": {"code": code, "info": "Not today."}}, headers={"Retry-After": "7"})
    error = error_of(listed)
    assert (error.error_type, error.http_status, error.retry_after) == (error_type, 200, 7)
    assert error.message == f"Wikimedia Commons answered with the error {code}: Not today."


def test_an_overload_that_the_sandbox_pretends_is_an_error(sandbox: Sandbox) -> None:
    sandbox.script(API, Fault("status", status=200, retry_after=5))
    error = error_of(listed)
    assert (error.error_type, error.retry_after) == (ErrorType.SERVICE_UNAVAILABLE, 5)


def test_an_overload_of_wikidata_is_an_error_because_photos_would_be_missing(sandbox: Sandbox) -> None:
    sandbox.script(WIKIDATA, Fault("status", status=200))
    assert error_of(lambda: listed({"wikidata": "Q5"})).error_type == ErrorType.SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "error_type"), [(429, "rate_limited"), (500, "server_error"), (503, "service_unavailable")]
)
def test_a_refusal_has_the_type_of_its_status_and_the_time_that_was_asked_for(
    sandbox: Sandbox, status: int, error_type: str
) -> None:
    sandbox.script(API, Fault("status", status=status, retry_after=600))
    error = error_of(listed)
    assert (error.error_type, error.http_status, error.retry_after) == (error_type, status, 600)


@pytest.mark.parametrize("path", [API, WIKIDATA])
def test_a_refused_user_agent_stops_the_provider_and_says_which_setting_helps(sandbox: Sandbox, path: str) -> None:
    sandbox.script(path, Fault("status", status=403))
    error = error_of(lambda: listed({"wikidata": "Q5"}))
    assert (error.error_type, error.http_status) == (ErrorType.PROVIDER_KEY, 403)
    assert "VENUE_IMAGES_CONTACT" in error.message


def test_both_apis_are_told_who_asks(sandbox: Sandbox, set_environment: Callable[..., None]) -> None:
    set_environment(VENUE_IMAGES_CONTACT="tests@venues.example")
    listed({"wikidata": "Q5"})
    hits = sandbox.hits("/wikimedia_commons/*")
    assert {hit.path for hit in hits} == {API, WIKIDATA}
    assert {hit.headers["User-Agent"] for hit in hits} == {user_agent()}
    assert "tests@venues.example" in user_agent()
    assert not any(hit.carried_key for hit in hits)


@pytest.mark.parametrize("client", ["", "Python/3.11 aiohttp/3.14", "curl/8"])
def test_the_sandbox_refuses_whoever_does_not_say_who_it_is(sandbox: Sandbox, client: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        body_of(f"{sandbox.api_url('wikimedia_commons')}/w/api.php", client)
    with refused.value as answer:
        assert answer.status == 403


@pytest.mark.parametrize("body", [[], None, 7, "text", b"", b"<html>"])
def test_an_answer_that_is_no_result_is_an_error(commons: ScriptedApi, body: object) -> None:
    commons.answer("/w/api.php", body)
    error = error_of(listed)
    assert error.error_type == ErrorType.UNKNOWN_ERROR
    assert "Wikimedia Commons" in error.message


@pytest.mark.parametrize(
    "query", [None, [], {}, {"pages": {}}, {"pages": [None, 7, {}, {"title": 7, "missing": True}]}]
)
def test_a_result_without_files_is_empty(commons: ScriptedApi, query: object) -> None:
    commons.answer("/w/api.php", {"batchcomplete": True, "query": query})
    commons.answer("/wikidata/w/api.php", {"entities": query})
    assert listed({"wikidata": "Q5", "wikimedia_commons": "File:X.jpg"}) == []
