"""``wikimedia_commons``: photos of Wikimedia Commons, found through Wikidata, a link, or their coordinates. No key.

Every file has a free licence of its own; files whose licence is missing or none of ``FREE_LICENCE`` are passed over, and
so is what is no photo (drawings, scans, videos), although some of it has thumbnails. Only a few thumbnail widths are
served: the address of one is made here and refused with 400 should the list change.
https://www.mediawiki.org/wiki/API:Imageinfo · https://www.mediawiki.org/wiki/Wikimedia_APIs/Access_policy
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from venue_images.downloads import parse_retry_after
from venue_images.errors import ErrorType, ProviderError, UploadError
from venue_images.providers.base import (
    ApiAnswer,
    HostLimit,
    Photo,
    PlainProvider,
    ProviderApi,
    ProviderInfo,
    VenueRecord,
    items_of,
    plain_text,
)
from venue_images.providers.commons_files import CommonsFile, object_in

API = "/w/api.php"
WIKIDATA = "wikidata"
#: An item of Wikidata; a longer number can't be one.
ITEM = re.compile(r"Q[1-9][0-9]{0,9}")
#: Titles as MediaWiki allows them; a ``|`` would be two of them.
FILE_TITLE = re.compile(r"File:[^|#<>\[\]{}\x00-\x1f\x7f]{1,240}")
CATEGORY_TITLE = re.compile(r"Category:[^|#<>\[\]{}\x00-\x1f\x7f]{1,240}")
#: Metres within which a photo is taken for one of the venue: across the street, not around the corner.
NEARBY = 100
#: Files asked for in one category, and nearby.
MOST_FILES = 20
#: Titles that one call takes.
MOST_TITLES = 50
#: A thumbnail is asked for at the smallest width, because larger ones are given only for larger originals.
IMAGE_INFO = MappingProxyType(
    {
        "action": "query",
        "format": "json",
        "formatversion": "2",
        "redirects": "1",
        "prop": "imageinfo",
        "iiprop": "url|size|mime|extmetadata",
        "iiurlwidth": "250",
        "iiextmetadatafilter": "Artist|Credit|LicenseShortName",
    }
)
BUSY = frozenset({"maxlag", "readonly"})
UNKNOWN = frozenset({"missingtitle", "no-such-entity"})


class WikimediaCommons(PlainProvider):
    info = ProviderInfo(
        name="wikimedia_commons",
        code="wc",
        title="Wikimedia Commons",
        base_url="https://commons.wikimedia.org",
        other_apis=MappingProxyType({WIKIDATA: "https://www.wikidata.org"}),
        storage_policy="store",
        terms="Every file is under a free licence of its own; its author and licence have to be shown with it.",
        terms_url="https://commons.wikimedia.org/wiki/Commons:Reusing_content_outside_Wikimedia",
        priority=30,
        # Unconfirmed: what the documentation says is not known here; the owner's row changes it.
        limit_per_minute=120,
        hosts=MappingProxyType({"upload.wikimedia.org": HostLimit(concurrency=1, per_second=1)}),
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        """1. Wikidata's image and the linked file, 2. the categories, 3. what was taken nearby; each file once."""
        claims = await self._claims(venue.provider_ids.get(WIKIDATA, ""), api)
        link = venue.provider_ids.get(self.info.name, "")
        files = [f"File:{name}" for name in _values(claims, "P18")]
        categories = [f"Category:{name}" for name in _values(claims, "P373")]
        found = [file for file in await self._by_title([*files, link], api) if file]
        for category in dict.fromkeys(filter(CATEGORY_TITLE.fullmatch, [link, *categories])):
            found += await self._members(category, api)
        found += await self._nearby(venue, api)
        by_title: dict[str, CommonsFile] = {}
        for file in found:
            by_title.setdefault(file.title, file)
        return [file.photo(self.info.name) for file in by_title.values()]

    async def refresh(self, stale: Sequence[Photo], _venue: VenueRecord, api: ProviderApi) -> list[Photo | None]:
        files = await self._by_title([photo.photo_id for photo in stale], api)
        return [file.photo(self.info.name) if file else None for file in files]

    def api_error(self, answer: ApiAnswer) -> ProviderError | None:
        if answer.status == HTTPStatus.FORBIDDEN:
            message = (
                "Wikimedia Commons refuses our User-Agent: set VENUE_IMAGES_CONTACT to where you can be reached, "
                "a page or an e-mail address."
            )
            return ProviderError(ErrorType.PROVIDER_KEY, message, http_status=answer.status)
        error = object_in(answer.data, "error")
        if answer.status != HTTPStatus.OK or not error:
            return None
        code, reason = (plain_text(str(error.get(name))) for name in ("code", "info"))
        return ProviderError(
            _error_type(code),
            f"Wikimedia Commons answered with the error {code[:50]}: {reason[:200].rstrip('.')}.",
            http_status=answer.status,
            retry_after=parse_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC)),
        )

    def classify(self, error: UploadError) -> ErrorType:
        """400 is the answer to a width that is served no more: a new address costs nothing."""
        if error.http_status == HTTPStatus.BAD_REQUEST:
            return ErrorType.URL_EXPIRED
        return error.error_type

    async def _claims(self, item: str, api: ProviderApi) -> dict[str, Any]:
        """What Wikidata says of the venue; nothing when there is no such item."""
        if not ITEM.fullmatch(item):
            return {}
        params = {"action": "wbgetentities", "format": "json", "ids": item, "props": "claims"}
        try:
            answer = await self._ask(api, params, at=WIKIDATA)
        except ProviderError as error:
            if error.error_type is ErrorType.NOT_FOUND:
                return {}
            raise
        # An item that was merged into another one may stand under either id.
        entities = list(object_in(answer, "entities").values())
        return object_in(entities[0], "claims") if entities else {}

    async def _by_title(self, titles: Sequence[str], api: ProviderApi) -> list[CommonsFile | None]:
        """The file of each title, in the same order; None where there is no photo that may be kept."""
        files: dict[str, CommonsFile | None] = {}
        wanted = list(dict.fromkeys(filter(FILE_TITLE.fullmatch, titles)))
        for start in range(0, len(wanted), MOST_TITLES):
            some = wanted[start : start + MOST_TITLES]
            query = object_in(await self._ask(api, {**IMAGE_INFO, "titles": "|".join(some)}), "query")
            by_title = {file.title: file for file in _files(query)}
            files |= {title: by_title.get(_final_title(title, query)) for title in some}
        return [files.get(title) for title in titles]

    async def _members(self, category: str, api: ProviderApi) -> list[CommonsFile]:
        return await self._generated(
            api,
            {"generator": "categorymembers", "gcmtitle": category, "gcmtype": "file", "gcmlimit": str(MOST_FILES)},
        )

    async def _nearby(self, venue: VenueRecord, api: ProviderApi) -> list[CommonsFile]:
        if venue.latitude is None or venue.longitude is None:
            return []
        return await self._generated(
            api,
            {
                "generator": "geosearch",
                "ggscoord": f"{venue.latitude:.6f}|{venue.longitude:.6f}",
                "ggsradius": str(NEARBY),
                "ggsnamespace": "6",
                "ggslimit": str(MOST_FILES),
            },
        )

    async def _generated(self, api: ProviderApi, generator: Mapping[str, str]) -> list[CommonsFile]:
        return _files(object_in(await self._ask(api, {**IMAGE_INFO, **generator}), "query"))

    async def _ask(self, api: ProviderApi, params: Mapping[str, str], at: str = "") -> Any:
        answer = await api.get_json(API, params=params, at=at)
        if not isinstance(answer, dict):
            raise ProviderError(ErrorType.UNKNOWN_ERROR, "Wikimedia Commons answered with something that is no result.")
        return answer


def _error_type(code: str) -> ErrorType:
    if code in BUSY or code.startswith("internal_api_error"):
        return ErrorType.SERVICE_UNAVAILABLE
    if code == "ratelimited":
        return ErrorType.RATE_LIMITED
    return ErrorType.NOT_FOUND if code in UNKNOWN else ErrorType.UNKNOWN_ERROR


def _values(claims: Mapping[str, Any], prop: str) -> list[str]:
    """The texts that an item states for a property, preferred ones first, without what is out of date."""
    statements = [claim for claim in items_of(claims, prop) if claim.get("rank") != "deprecated"]
    statements.sort(key=lambda claim: claim.get("rank") != "preferred")
    values = [object_in(object_in(claim, "mainsnak"), "datavalue").get("value") for claim in statements]
    return [value for value in values if isinstance(value, str)]


def _files(query: Mapping[str, Any]) -> list[CommonsFile]:
    """The photos among the pages, in the order of the search where it gives one."""
    pages = sorted(items_of(query, "pages"), key=_place_in_search)
    return [file for file in map(CommonsFile.read, pages) if file]


def _place_in_search(page: Mapping[str, Any]) -> int:
    index = page.get("index")
    return index if isinstance(index, int) else 0


def _final_title(title: str, query: Mapping[str, Any]) -> str:
    """What the title is called in the answer, which spells it its own way and follows files that were renamed."""
    steps = [*items_of(query, "normalized"), *items_of(query, "redirects")]
    moves = {plain_text(step.get("from")): plain_text(step.get("to")) for step in steps}
    while title in moves:
        title = moves.pop(title)
    return title
