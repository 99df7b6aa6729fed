"""One venue that every pretended provider knows, for tests of them all together."""

from __future__ import annotations

from typing import Any

from venue_images.models import Provider
from venue_images.sandbox import Sandbox

SLUG, NAME, CITY = "blue-note", "Blue Note", "New York"
LATITUDE, LONGITUDE = 40.7309, -74.0006
#: Those that are asked with an id; the others search.
BY_ID = ("google_places", "foursquare", "yelp")
SEARCHED = ("wikimedia_commons", "openverse", "unsplash", "pexels", "mapillary")


def known_everywhere(sandbox: Sandbox, slug: str = SLUG, name: str = NAME) -> dict[str, Any]:
    """Let every provider have photos of a venue, switch all of them on, and return its line of the catalogue."""
    for provider in SEARCHED:
        sandbox.offer(provider, slug, name, latitude=LATITUDE, longitude=LONGITUDE)
    Provider.objects.update(active=True)
    return {
        "slug": slug,
        "name": name,
        "city": CITY,
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
        "provider_ids": dict.fromkeys(BY_ID, f"sandbox-{slug}"),
        "photos": [{"url": sandbox.photo_url(f"{slug}/1.jpg")}],
    }
