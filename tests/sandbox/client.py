"""What a client of the sandbox asks."""

from __future__ import annotations

import aiohttp

from venue_images.sandbox import Sandbox

PHOTO = "/blue-note/1.jpg"
DETAILS = "/v1/places/sandbox-blue-note"


async def fetch(client: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with client.get(url, allow_redirects=False) as response:
        return response.status, await response.read()


async def ask_google(
    client: aiohttp.ClientSession, sandbox: Sandbox, path: str, mask: str = "id,photos", **query: str
) -> tuple[int, dict[str, object]]:
    headers = {"X-Goog-Api-Key": sandbox.environment()["GOOGLE_PLACES_API_KEY"], "X-Goog-FieldMask": mask}
    url = sandbox.api_url("google_places") + path
    async with client.get(url, headers=headers, params=query, allow_redirects=False) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else dict(response.headers)


async def first_photo_name(client: aiohttp.ClientSession, sandbox: Sandbox) -> str:
    _, details = await ask_google(client, sandbox, DETAILS)
    photos = details["photos"]
    assert isinstance(photos, list)
    return str(photos[0]["name"])
