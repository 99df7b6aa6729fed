"""The pretended Google Places, seen by a client that knows nothing of it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.sandbox.client import DETAILS, ask_google, fetch, first_photo_name
from venue_images.sandbox import Fault, Sandbox


async def test_google_lists_photos_without_addresses(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    status, details = await ask_google(client, sandbox, DETAILS)

    photos = details["photos"]
    assert isinstance(photos, list)
    assert (status, details["id"], len(photos)) == (200, "sandbox-blue-note", 5)
    assert set(details) == {"id", "photos"}
    for photo in photos:
        assert photo["name"].startswith("places/sandbox-blue-note/photos/")
        assert photo["widthPx"] > 1000
        assert photo["heightPx"] > 1000
        assert photo["authorAttributions"][0]["displayName"]
        assert {"flagContentUri", "googleMapsUri"} < set(photo)


async def test_google_gives_the_address_of_a_photo(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    status, media = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600", skipHttpRedirect="true")
    uri = str(media["photoUri"])

    assert (status, media["name"]) == (200, f"{name}/media")
    assert uri.removeprefix("http://").split("/")[0] in sandbox.hosts
    assert (await fetch(client, uri)) == (200, sandbox.photo_bytes(uri))


async def test_google_redirects_to_the_photo(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    status, headers = await ask_google(client, sandbox, f"/v1/{name}/media", maxHeightPx="4800")

    assert status == 302
    assert str(headers["Location"]).endswith("/blue-note/101.jpg")


@pytest.mark.parametrize(
    "query",
    [{}, {"maxWidthPx": "0"}, {"maxWidthPx": "4801"}, {"maxHeightPx": "x"}, {"maxWidthPx": "9", "maxHeightPx": ""}],
)
async def test_google_wants_a_maximum_within_its_range(
    sandbox: Sandbox, client: aiohttp.ClientSession, query: dict[str, str]
) -> None:
    name = await first_photo_name(client, sandbox)

    status, error = await ask_google(client, sandbox, f"/v1/{name}/media", **query)

    assert (status, google_status(error)) == (400, "INVALID_ARGUMENT")


def google_status(body: dict[str, object]) -> str:
    error = body["error"]
    assert isinstance(error, dict)
    return str(error["status"])


@pytest.mark.parametrize("headers", [{}, {"X-Goog-Api-Key": "another"}])
async def test_google_wants_its_key(sandbox: Sandbox, client: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    async with client.get(sandbox.api_url("google_places") + DETAILS, headers=headers) as response:
        assert response.status == 403
        assert google_status(await response.json()) == "PERMISSION_DENIED"


async def test_google_wants_a_field_mask_of_fields_that_exist(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    for mask in ("", "id,colour"):
        status, error = await ask_google(client, sandbox, DETAILS, mask)
        assert (status, google_status(error)) == (400, "INVALID_ARGUMENT")


async def test_google_does_not_know_a_place(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    status, error = await ask_google(client, sandbox, "/v1/places/ChIJunknown")

    assert (status, google_status(error)) == (404, "NOT_FOUND")


async def test_a_place_has_as_many_photos_as_it_was_given(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.place("ChIJfew", slug="few", photos=0)
    sandbox.place("sandbox-many", photos=14)

    _, few = await ask_google(client, sandbox, "/v1/places/ChIJfew")
    _, many = await ask_google(client, sandbox, "/v1/places/sandbox-many")

    assert few == {"id": "ChIJfew"}
    assert len(str(many["photos"]).split("'name'")) == 11  # Google shows ten at most


async def test_a_stale_photo_name_is_refused(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    name = await first_photo_name(client, sandbox)

    sandbox.google_places.expire_photo_names()
    status, error = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600")

    assert status == 400
    assert "The photo resource in the request is invalid" in str(error)
    assert await first_photo_name(client, sandbox) != name


async def test_the_address_of_a_photo_expires(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.photo_uri_lifetime = 0.5
    name = await first_photo_name(client, sandbox)
    _, media = await ask_google(client, sandbox, f"/v1/{name}/media", maxWidthPx="1600", skipHttpRedirect="true")
    sandbox.photo_bytes(str(media["photoUri"]))

    early, _ = await fetch(client, str(media["photoUri"]))
    await asyncio.sleep(0.5)
    late, _ = await fetch(client, str(media["photoUri"]))

    assert (early, late) == (200, 403)


async def test_an_api_fails_in_its_own_words(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.script(f"/google_places{DETAILS}", Fault("status", status=503), times=1)
    sandbox.script("/google_places/*", Fault("status", status=429), times=1)

    answers = [await ask_google(client, sandbox, DETAILS) for _ in range(3)]

    assert [status for status, _ in answers] == [503, 429, 200]
    assert [google_status(body) for _, body in answers[:2]] == ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
