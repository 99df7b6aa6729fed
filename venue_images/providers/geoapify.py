"""``geoapify``: finds a venue and hands its links to Wikidata and Wikimedia Commons on; it has no photos of its own.

The links are tags of OpenStreetMap. Its ``image`` tag may name anything, a web page or a file that is gone, without size,
author or licence: it is of use only where it names a file of Commons, which knows all of them.
https://apidocs.geoapify.com/docs/place-details/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import (
    ApiAnswer,
    PlaceCandidate,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    items_of,
    plain_text,
)
from venue_images.providers.commons_files import object_in
from venue_images.providers.wikimedia_commons import CATEGORY_TITLE, FILE_TITLE, ITEM

MOST_PLACES = 5
#: The longest explanation that is kept; cut only after the key is gone, so that no half of it stays.
MAX_REASON = 200
#: The addresses that a file of Commons has: its page, its download, its thumbnails.
COMMONS_URLS = (
    re.compile(
        r"https?://commons\.(?:m\.)?wikimedia\.org/wiki/(?:File:|Special:FilePath/)(?P<name>[^/?#]+)(?:[?#].*)?"
    ),
    re.compile(
        r"https?://upload\.wikimedia\.org/wikipedia/commons/(?:thumb/)?[0-9a-f]/[0-9a-f]{2}/(?P<name>[^/?#]+).*"
    ),
)
#: What a status means here; the others mean what they say.
STATUS_TYPES = {
    HTTPStatus.BAD_REQUEST: ErrorType.NOT_FOUND,
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorType.SERVICE_UNAVAILABLE,
}


class Geoapify(PlainProvider):
    info = ProviderInfo(
        name="geoapify",
        code="ga",
        title="Geoapify",
        base_url="https://api.geoapify.com",
        needs_key=True,
        has_photos=False,
        storage_policy="none",
        terms="Geoapify hands on links to Wikidata and Commons; it has no photos of its own.",
        terms_url="https://www.geoapify.com/terms-and-conditions/",
        geocode=True,
        limit_per_second=5,
        limit_per_day=3000,
    )

    async def find_places(self, venue: VenueRecord, api: ProviderApi) -> list[PlaceCandidate]:
        params = {"text": ", ".join(filter(None, (venue.name, venue.city))), "limit": str(MOST_PLACES)}
        if venue.latitude is not None and venue.longitude is not None:
            params["bias"] = f"proximity:{venue.longitude:.6f},{venue.latitude:.6f}"
        places = await self._ask(api, "/v1/geocode/search", params)
        return [_candidate(place) for place in places if plain_text(place.get("place_id"))]

    async def find_ids(self, venue: VenueRecord, api: ProviderApi) -> Mapping[str, str]:
        place_id = venue.provider_ids.get(self.info.name)
        if not place_id:
            return {}
        features = await self._ask(api, "/v2/place-details", {"id": place_id, "features": "details"})
        details = next((place for place in features if place.get("feature_type") == "details"), {})
        media = object_in(details, "wiki_and_media")
        ids = {"wikidata": _item(media.get("wikidata")), "wikimedia_commons": _commons_link(media)}
        return {provider: found for provider, found in ids.items() if found}

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        try:
            error_type = STATUS_TYPES[HTTPStatus(answer.status)]
        except (ValueError, KeyError):
            return None
        said = plain_text(answer.data.get("message")) if isinstance(answer.data, dict) else ""
        key = provider_setting(self.info.name, "API_KEY")
        reason = (said.replace(key, "…") if key else said)[:MAX_REASON].rstrip(".")
        message = f"Geoapify answered {answer.status}{reason and ': '}{reason}."
        return ProviderError(error_type, message, http_status=answer.status)

    async def _ask(self, api: ProviderApi, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """The properties of each feature that the API answers with; it takes its key in the query alone."""
        key = provider_setting(self.info.name, "API_KEY") or ""
        answer = await api.get_json(path, params={**params, "apiKey": key})
        if not isinstance(answer, dict):
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Geoapify answered with something that is no list of places.")
        return [object_in(feature, "properties") for feature in items_of(answer, "features")]


def _candidate(place: Mapping[str, Any]) -> PlaceCandidate:
    return PlaceCandidate(
        place_id=place.get("place_id") or "",
        name=place.get("name") or "",
        latitude=place.get("lat"),
        longitude=place.get("lon"),
    )


def _item(value: Any) -> str:
    return value if isinstance(value, str) and ITEM.fullmatch(value) else ""


def _commons_link(media: Mapping[str, Any]) -> str:
    """``File:…`` or ``Category:…``: the link itself, or else the image where it is a file of Commons."""
    link, image = plain_text(media.get("wikimedia_commons")), plain_text(media.get("image"))
    if FILE_TITLE.fullmatch(link) or CATEGORY_TITLE.fullmatch(link):
        return link
    title = image if image.startswith("File:") else _title_of_url(image)
    return title if FILE_TITLE.fullmatch(title) else ""


def _title_of_url(url: str) -> str:
    names = [match["name"] for pattern in COMMONS_URLS if (match := pattern.fullmatch(url))]
    return f"File:{plain_text(unquote(names[0]))}".replace("_", " ") if names else ""
