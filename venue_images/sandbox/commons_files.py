"""The pretended files of Wikimedia Commons: how they are called, what is told of them, and where they lie."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from venue_images.sandbox.photos import PhotoPath
from venue_images.sandbox.twins import Offer, Surroundings, host_for

FIRST_PHOTO = 301
#: The original is told to be so many times as wide and high as what is delivered, at any width.
ORIGINAL_SCALE = 2
FILE_NAME = re.compile(r"Sandbox_(?P<slug>[\w-]+)_(?P<number>\d{1,9})\.jpg", re.ASCII)
ARTISTS = (
    '<a href="//commons.wikimedia.example/wiki/User:Ana" title="User:Ana">Ana Ruiz</a>',
    '<bdi><a href="https://www.wikidata.example/wiki/Q1">Jonas Weber</a></bdi> &amp; Mei&nbsp;Tanaka',
    'Unknown author<span style="display: none;">Unknown author</span>',
)
LICENCES = ("CC BY-SA 4.0", "CC BY 2.0", "Public domain", "CC0")
#: What is different about the files of ``Category:Sandbox oddities``, in their order; only the last two are usable.
ODDITIES: tuple[Mapping[str, Any], ...] = (
    {"mime": "image/svg+xml", "mediatype": "DRAWING"},
    {"mime": "application/pdf", "mediatype": "OFFICE"},
    {"mime": "video/webm", "mediatype": "VIDEO"},
    {"extmetadata": {}},
    {"extmetadata": {"LicenseShortName": {"value": "CC BY-NC-ND 2.0", "source": "commons-desc-page"}}},
    {"extmetadata": {"LicenseShortName": {"value": "Fair use", "source": "commons-desc-page"}}},
    {"filehidden": True},
    {"filemissing": True},
    {"thumburl": None, "thumberror": "Error creating thumbnail"},
    {"width": 200, "height": 150},
)
ODD = Offer("wikimedia_commons", "oddities", "Oddities", len(ODDITIES))


@dataclass(frozen=True)
class File:
    """One file of a venue; the first has the index 0."""

    slug: str
    index: int

    @property
    def name(self) -> str:
        """As it stands in addresses: ``Sandbox_fabric_301.jpg``."""
        return f"Sandbox_{self.slug}_{FIRST_PHOTO + self.index}.jpg"

    @property
    def title(self) -> str:
        return f"File:{self.name}".replace("_", " ")

    @property
    def photo(self) -> PhotoPath:
        return PhotoPath(self.slug, FIRST_PHOTO + self.index, "jpg")

    @property
    def oddity(self) -> Mapping[str, Any]:
        return ODDITIES[self.index] if self.slug == ODD.slug else {}

    @property
    def folder(self) -> str:
        """The two folders that a file lies in are the beginning of the MD5 of its name."""
        digest = hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()
        return f"{digest[0]}/{digest[:2]}"

    @property
    def path(self) -> str:
        return f"/wikipedia/commons/{self.folder}/{self.name}"

    def thumb_path(self, width: int) -> str:
        return f"/wikipedia/commons/thumb/{self.folder}/{self.name}/{width}px-{self.name}"


class Files:
    """All files, made from what the sandbox offers."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def of(self, offer: Offer | None) -> list[File]:
        return [File(offer.slug, index) for index in range(offer.photos)] if offer else []

    def of_slug(self, slug: str) -> list[File]:
        return self.of(ODD if slug == ODD.slug else self._surroundings.offers.by_slug("wikimedia_commons", slug))

    def find(self, name: str) -> File | None:
        """The file of this name, with underscores or blanks."""
        name = name.replace(" ", "_")
        match = FILE_NAME.fullmatch(name)
        return next((file for file in self.of_slug(match["slug"]) if file.name == name), None) if match else None

    def size(self, file: File) -> tuple[int, int]:
        """Width and height of the original."""
        width, height = self._surroundings.photos.size(file.photo)
        odd = file.oddity
        return odd.get("width", width * ORIGINAL_SCALE), odd.get("height", height * ORIGINAL_SCALE)

    def page(self, file: File, query: Mapping[str, str]) -> dict[str, Any]:
        """The file as a page of an answer."""
        page_id = int(hashlib.sha256(file.name.encode()).hexdigest()[:6], 16)
        page = {"pageid": page_id, "ns": 6, "title": file.title, "imagerepository": "local"}
        if query.get("prop") != "imageinfo":
            return page
        info = {**self._info(file), **self._thumb(file, int(query.get("iiurlwidth", "0"))), **file.oddity}
        return page | {"imageinfo": [{name: value for name, value in info.items() if value is not None}]}

    def _info(self, file: File) -> dict[str, Any]:
        width, height = self.size(file)
        artist, licence = ARTISTS[file.index % len(ARTISTS)], LICENCES[file.index % len(LICENCES)]
        return {
            "size": width * height // 3,
            "width": width,
            "height": height,
            "url": self._url(file, file.path),
            "descriptionurl": f"https://commons.wikimedia.example/wiki/File:{quote(file.name)}",
            "mime": "image/jpeg",
            "mediatype": "BITMAP",
            "extmetadata": {
                "Artist": {"value": artist, "source": "commons-desc-page"},
                "LicenseShortName": {"value": licence, "source": "commons-desc-page", "hidden": ""},
            },
        }

    def _thumb(self, file: File, width: int) -> dict[str, Any]:
        """A thumbnail, or the original where that is no larger; visits of either are counted."""
        if not width:
            return {}
        path = file.thumb_path(width) if width < self.size(file)[0] else file.path
        return {"thumburl": f"{self._url(file, path)}?utm_source=commons.wikimedia.example&utm_campaign=api"}

    def _url(self, file: File, path: str) -> str:
        return self._surroundings.photo_url(path, host=host_for(file.photo, self._surroundings))
