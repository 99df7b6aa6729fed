"""The entry point for an ASGI server."""

from __future__ import annotations

import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "venue_images.project.settings")

# WhiteNoise hands static files over as plain iterators. Django reads them in a thread, which is right for files of
# this size, and warns for each one.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

application = get_asgi_application()
