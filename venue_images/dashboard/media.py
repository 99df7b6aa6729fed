"""Images of a storage that has no public address, for the thumbnails of the admin."""

from __future__ import annotations

import re

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from venue_images.conf import settings
from venue_images.dashboard.access import staff_file
from venue_images.errors import UploadError
from venue_images.storage import open_storage

CONTENT_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
}
#: The keys that uploads make; anything else is not there.
KEY = re.compile(rf"venues/[-\w]+/[a-z]{{2}}-[0-9a-f]{{16}}\.({'|'.join(CONTENT_TYPES)})", re.ASCII)
#: Seconds that the browser of a member of staff may keep an image.
MAX_AGE = 3600


@require_safe
@staff_file
def stored_image(_request: HttpRequest, key: str) -> HttpResponse:
    """The bytes of one stored image; 404 for whatever is none."""
    match = KEY.fullmatch(key)
    body = async_to_sync(_read)(key) if match else None
    if match is None or body is None:
        raise Http404("There is no such stored image.")
    response = HttpResponse(body, content_type=CONTENT_TYPES[match[1]])
    response.headers["X-Content-Type-Options"] = "nosniff"
    patch_cache_control(response, private=True, max_age=MAX_AGE)
    return response


async def _read(key: str) -> bytes | None:
    storage = open_storage(settings().effective_storage_url)
    try:
        return await storage.get(key)
    except UploadError:
        return None
    finally:
        await storage.close()
