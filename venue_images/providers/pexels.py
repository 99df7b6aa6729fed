"""``pexels``: good photos of a topic, found by text. Free, and its licence lets them be kept.

https://www.pexels.com/api/documentation/
"""

from __future__ import annotations

from pydantic import BaseModel, Field, OnErrorOmit, ValidationError

from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError
from venue_images.providers.base import Photo, PlainProvider, ProviderApi, ProviderInfo, VenueRecord

#: The longest side of ``large2x``, in pixels; a smaller original is offered as it is.
LARGE_SIDE = 1880


class Sources(BaseModel):
    original: str = Field(pattern=r"^https?://")
    large2x: str = Field(pattern=r"^https?://")


class Result(BaseModel):
    """One photo, as far as it is of use."""

    id: int
    src: Sources
    url: str = ""
    photographer: str = ""
    width: int | None = None
    height: int | None = None

    @property
    def file_url(self) -> str:
        is_small = self.width and self.height and max(self.width, self.height) <= LARGE_SIDE
        return self.src.original if is_small else self.src.large2x


class Found(BaseModel):
    photos: list[OnErrorOmit[Result]]


class Pexels(PlainProvider):
    info = ProviderInfo(
        name="pexels",
        code="px",
        title="Pexels",
        base_url="https://api.pexels.com",
        needs_key=True,
        terms="The Pexels licence lets photos be kept and changed; the photographer and Pexels have to be named.",
        terms_url="https://www.pexels.com/license/",
        # Its photos fit the topic but seldom show the venue itself: the owner decides whether that is good enough.
        active=False,
        priority=90,
        limit_per_hour=200,
    )

    async def list_photos(self, venue: VenueRecord, api: ProviderApi) -> list[Photo]:
        query = {
            "query": f"{venue.name} {venue.city}".strip(),
            "per_page": "10",
            "orientation": "landscape",
            # At least four megapixels.
            "size": "small",
        }
        key = provider_setting(self.info.name, "API_KEY") or ""
        answer = await api.get_json("/v1/search", params=query, headers={"Authorization": key})
        try:
            found = Found.model_validate(answer).photos
        except ValidationError:
            message = "Pexels answered with something that is no list of photos."
            raise ProviderError(ErrorType.UNKNOWN_ERROR, message) from None
        return [self._photo(result) for result in found]

    def _photo(self, result: Result) -> Photo:
        return Photo(
            provider=self.info.name,
            url=result.file_url,
            photo_id=str(result.id),
            width=result.width,
            height=result.height,
            attribution=f"{result.photographer}, photos provided by Pexels".removeprefix(", "),
            licence="Pexels License",
            page_url=result.url,
        )
