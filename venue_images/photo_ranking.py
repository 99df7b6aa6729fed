"""Which photos are worth having: the score of one, and the choice among many."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Sequence

from venue_images import photo_urls
from venue_images.providers.base import Photo

#: Pixels from which more do not count.
FULL_SIZE = 4_000_000
UNKNOWN_SIZE_SCORE = 0.1


def score(width: int | None, height: int | None) -> float:
    """0 to 1: 0.7 for the size, 0.3 for the shape; 0.1 when the size is not known."""
    if not width or not height:
        return UNKNOWN_SIZE_SCORE
    return 0.7 * min(width * height / FULL_SIZE, 1) + _aspect_score(width / height)


def _aspect_score(aspect: float) -> float:
    if 1.3 <= aspect <= 1.8:  # noqa: PLR2004 - the borders are the rule
        return 0.30
    if 1.0 <= aspect < 1.3 or 1.8 < aspect <= 2.4:  # noqa: PLR2004
        return 0.25
    return 0.20


def best(offers: Sequence[Photo], limit: int) -> list[Photo]:
    """The ``limit`` best photos; of two equal ones the earlier, so offers come in the order of their providers."""
    return sorted(offers, key=lambda photo: -score(photo.width, photo.height))[: max(limit, 0)]


def cleaned(offers: Iterable[Photo], own: str, known: Container[str] = ()) -> list[Photo]:
    """The photos with addresses that can be stored, each address once, without those whose hash is ``known``.

    ``own`` names the provider whose addresses are the owner's. An address that is no http(s) URL stays as it is: it
    becomes an image that says so, instead of disappearing.
    """
    kept: dict[str, Photo] = {}
    for photo in offers:
        try:
            clean = dataclasses.replace(photo, url=photo_urls.clean(photo.url, own=photo.provider == own))
            identity = photo_urls.normalise(clean.url)
        except photo_urls.InvalidUrlError:
            clean, identity = photo, photo.url
        if photo_urls.hash_of_text(identity) not in known:
            kept.setdefault(identity, clean)
    return list(kept.values())
