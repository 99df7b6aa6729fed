"""The photos of the sandbox: drawn, encoded for real, always the same for the same seed and path."""

from __future__ import annotations

import functools
import io
import json
import random
import re
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from venue_images.sandbox import inside, outside
from venue_images.sandbox.painting import PALETTES, Canvas, Palette, mix

SAMPLE = Path(__file__).with_name("venues.jsonl")
CACHE_BYTES = 128 * 1024 * 1024
#: Whatever stands before the venue is the size that is asked for, which makes no difference here.
PHOTO_PATH = re.compile(
    r"/?(?:[\w./,-]+/)?(?P<slug>[\w-]+)/(?P<number>\d{1,9})\.(?P<extension>jpe?g|png|webp)", re.ASCII
)
JPEG_SIZES = ((1600, 1200), (1600, 1067), (1200, 1600), (1600, 900), (1440, 1080))
#: PNG and WebP take longer to encode.
SMALL_SIZES = ((1024, 768), (960, 720))
CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

Scene = Callable[[Canvas, str], None]
SCENES: tuple[Scene, ...] = (
    outside.front,
    inside.stage,
    inside.bar,
    inside.audience,
    outside.night,
    inside.sign,
)


@dataclass(frozen=True)
class PhotoPath:
    """What the path of a photo says: ``/<venue-slug>/<number>.<jpg|png|webp>``."""

    slug: str
    number: int
    extension: str

    @classmethod
    def parse(cls, path_or_url: str) -> PhotoPath:
        """Raises ValueError when no photo can have this path."""
        match = PHOTO_PATH.fullmatch(urlsplit(path_or_url).path)
        if not match:
            raise ValueError(f"{path_or_url!r} is no photo: write /<venue-slug>/<number>.<jpg|png|webp>")
        return cls(match["slug"], int(match["number"]), match["extension"])

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.extension]

    @property
    def venue_name(self) -> str:
        """The name in the sample catalogue, or what the slug makes of it."""
        if self.slug in _sample_names():
            return _sample_names()[self.slug]
        return " ".join(word[:1].upper() + word[1:] for word in re.split(r"[-_]+", self.slug) if word) or "Venue"


@functools.cache
def _sample_names() -> dict[str, str]:
    """Names by slug, without accents: the font of the lettering is plain ASCII."""
    venues = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    plain = {venue["slug"]: unicodedata.normalize("NFKD", venue["name"]) for venue in venues}
    names = {
        slug: "".join(filter(lambda letter: not unicodedata.combining(letter), name)) for slug, name in plain.items()
    }
    return {slug: name for slug, name in names.items() if name.isascii()}


class Photos:
    """Draws photos when they are first asked for, and keeps the latest; safe to use from several threads."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._made: OrderedDict[PhotoPath, bytes] = OrderedDict()
        self._made_bytes = 0

    def size(self, photo: PhotoPath) -> tuple[int, int]:
        """Width and height in pixels."""
        sizes = JPEG_SIZES if photo.content_type == "image/jpeg" else SMALL_SIZES
        return self._rng("size", photo.slug, photo.number).choice(sizes)

    def made(self, photo: PhotoPath) -> bytes | None:
        """The encoded photo if it has been drawn lately."""
        return self._made.get(photo)

    def encoded(self, photo: PhotoPath) -> bytes:
        """The encoded photo; drawing one takes some 50 ms."""
        with self._lock:
            if photo not in self._made:
                self._keep(photo, self._draw(photo))
            self._made.move_to_end(photo)
            return self._made[photo]

    def _keep(self, photo: PhotoPath, body: bytes) -> None:
        self._made[photo] = body
        self._made_bytes += len(body)
        while self._made_bytes > CACHE_BYTES and len(self._made) > 1:
            self._made_bytes -= len(self._made.popitem(last=False)[1])

    def _draw(self, photo: PhotoPath) -> bytes:
        rng = self._rng("picture", photo.slug, photo.number)
        canvas = Canvas(self.size(photo), self._palette(photo.slug), rng)
        SCENES[(photo.number - 1) % len(SCENES)](canvas, photo.venue_name)
        return _encode(canvas.finish(grain=photo.content_type != "image/png"), photo.content_type)

    def _palette(self, slug: str) -> Palette:
        """One of the palettes, shifted a little towards a colour of the venue's own."""
        rng = self._rng("palette", slug)
        base = rng.choice(PALETTES)
        own = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        sky = (mix(base.sky[0], own, 0.05), mix(base.sky[1], own, 0.10), mix(base.sky[2], own, 0.06))
        return Palette(sky, mix(base.wall, own, 0.10), mix(base.neon, own, 0.08), base.lamp)

    def _rng(self, *parts: str | int) -> random.Random:
        return random.Random(":".join(map(str, (self._seed, *parts))))


def _encode(image: Image.Image, content_type: str) -> bytes:
    encoded = io.BytesIO()
    match content_type:
        case "image/png":
            image.save(encoded, "PNG", compress_level=4)
        case "image/webp":
            image.save(encoded, "WEBP", quality=82, method=1)
        case _:
            image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()
