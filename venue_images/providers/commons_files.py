"""A file of Wikimedia Commons: whether it is a photo that may be kept, where it is, and who has to be named."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from venue_images.providers.base import Photo, items_of, plain_text

#: What is taken for a photo.
PHOTO_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
#: The widths, in pixels, at which thumbnails are served and that are of use here.
THUMB_WIDTHS = (250, 330, 500, 960, 1280, 1920)
THUMB_URL = re.compile(r"(?P<folder>.+/)[0-9]+px-(?P<name>[^/]+)")
#: Short names of licences that let a photo be copied and cut by anybody.
FREE_LICENCE = re.compile(
    r"(?!.*\b(?:NC|ND)\b)"
    r"(?:CC[ -]?0(?:[ -]1\.0)?|CC[ -]BY(?:[ -]SA)?(?:[ -][0-9].*)?|public domain.*|PD(?:[ -].*)?|no restrictions)",
    re.IGNORECASE,
)
#: Longer credits are cut; they are whole web pages by then.
MAX_CREDIT_HTML = 10_000
UNSEEN = re.compile(
    r"<(style|script)\b[^<>]*>[^<]*</\1>|<(\w+)\b[^<>]*display:\s*none[^<>]*>[^<>]*</\2>", re.IGNORECASE
)
LINE_END = re.compile(r"<(?:br|/?(?:p|div|li|ul|ol|td|tr))\b[^<>]*>", re.IGNORECASE)
TAG = re.compile(r"<[^<>]*>")


def object_in(answer: Any, name: str) -> dict[str, Any]:
    """The object ``name`` of a JSON answer; an empty one when something else stands there."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def text_of_html(value: Any) -> str:
    """What a reader sees of a piece of HTML, in one line."""
    if not isinstance(value, str):
        return ""
    visible = LINE_END.sub(" ", UNSEEN.sub("", value[:MAX_CREDIT_HTML]))
    return " ".join(plain_text(html.unescape(TAG.sub("", visible))).split())


@dataclass(frozen=True)
class CommonsFile:
    """A photo under a free licence."""

    title: str
    #: Where the original is, and a thumbnail of any width; the latter is the former for small files.
    url: str
    thumb_url: str
    #: Pixels of the original; 0 when they are not known.
    width: int
    height: int
    artist: str
    licence: str
    page_url: str

    @classmethod
    def read(cls, page: dict[str, Any]) -> CommonsFile | None:
        """A page of an answer with ``imageinfo``; None for what is missing, no photo, or not free."""
        found = next(iter(items_of(page, "imageinfo")), {})
        facts = object_in(found, "extmetadata")
        licence = _fact(facts, "LicenseShortName")
        title, url = plain_text(page.get("title")), _without_query(found.get("url"))
        if not (title and url and _is_photo(found) and FREE_LICENCE.fullmatch(licence)):
            return None
        return cls(
            title=title,
            url=url,
            thumb_url=_without_query(found.get("thumburl")),
            width=_whole(found.get("width")),
            height=_whole(found.get("height")),
            artist=_fact(facts, "Artist") or _fact(facts, "Credit"),
            licence=licence,
            page_url=plain_text(found.get("descriptionurl")),
        )

    @property
    def best_url(self) -> str:
        """The largest thumbnail that is smaller than the original, which is spared where there is one."""
        widths = [width for width in THUMB_WIDTHS if width < self.width]
        thumb = THUMB_URL.fullmatch(self.thumb_url)
        if not widths or not thumb:
            return self.url
        return f"{thumb['folder']}{widths[-1]}px-{thumb['name']}"

    def photo(self, provider: str) -> Photo:
        return Photo(
            provider=provider,
            url=self.best_url,
            photo_id=self.title,
            width=self.width,
            height=self.height,
            attribution=self.artist,
            licence=self.licence,
            page_url=self.page_url,
        )


def _is_photo(found: dict[str, Any]) -> bool:
    is_gone = found.get("filemissing") or found.get("filehidden")
    return not is_gone and plain_text(found.get("mime")) in PHOTO_TYPES


def _fact(facts: dict[str, Any], name: str) -> str:
    return text_of_html(object_in(facts, name).get("value"))


def _without_query(value: Any) -> str:
    """The address without the parameters that count visits."""
    return plain_text(value).partition("?")[0]


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
