"""Understands one line of a catalogue: a venue, the photos it lists, and the records of the replaced system."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from django.utils.text import slugify
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from venue_images import photo_urls
from venue_images.catalog.files import Record
from venue_images.catalog.old_records import image_of
from venue_images.models import UploadStatus, VenueImage

SLUG_LENGTH = 200
SURROGATE = re.compile("[\ud800-\udfff]")
#: How deep a value that is kept as it came may be nested.
MAX_DEPTH = 50
#: Problems of one line that are told.
MAX_PROBLEMS = 3
#: What an export adds; the rows of the database are the truth, so an import passes over it.
EXPORTED_KEY = "images"


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _own_url(url: str) -> str:
    return photo_urls.clean(url, own=True)


def _empty_list(value: Any) -> Any:
    return [] if value is None else value


def _empty_dict(value: Any) -> Any:
    return {} if value is None else value


Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Pixels = Annotated[Annotated[int, Field(ge=1, le=2**31 - 1)] | None, BeforeValidator(_no_truth_value)]


class PhotoFields(BaseModel):
    """A photo that the catalogue lists; what is not known here is kept."""

    model_config = ConfigDict(str_strip_whitespace=True, extra="allow")

    url: Annotated[str, AfterValidator(_own_url)]
    width: Pixels = None
    height: Pixels = None
    attribution: str | None = None
    licence: str | None = None


class VenueFields(BaseModel):
    """The fields of a line that are known."""

    model_config = ConfigDict(str_strip_whitespace=True)

    slug: str | None = Field(default=None, max_length=SLUG_LENGTH)
    name: str | None = Field(default=None, max_length=300)
    city: str | None = Field(default=None, max_length=200)
    latitude: Annotated[Latitude | None, BeforeValidator(_no_truth_value)] = None
    longitude: Annotated[Longitude | None, BeforeValidator(_no_truth_value)] = None
    provider_ids: Annotated[dict[str, str | None], BeforeValidator(_empty_dict)] = {}
    photos: Annotated[list[PhotoFields], BeforeValidator(_empty_list)] = []
    venue_images: Annotated[list[Any], BeforeValidator(_empty_list)] = []

    @model_validator(mode="after")
    def _together(self) -> VenueFields:
        if not self.slug and not self.name:
            raise ValueError("has no name: expected a name, a slug, or both")
        if self.slug and not re.fullmatch(r"[-a-zA-Z0-9_]+", self.slug):
            raise ValueError(f"slug: {self.slug!r} may hold only letters without accents, digits, - and _")
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude, longitude: expected both or neither")
        return self


@dataclass(frozen=True)
class VenueLine:
    """One venue as its line describes it; what the line does not mention is not in ``values``."""

    line: int
    slug: str
    slug_is_given: bool
    #: Fields of the model by name; ``provider_ids`` maps to None what the venue no longer has.
    values: dict[str, Any]
    extra: dict[str, Any]
    #: Records of the replaced system, as rows that have no venue yet; each photo once.
    images: list[VenueImage]
    #: Records that can't be kept, and why; the rest of the line can.
    problems: list[str]


def parse(record: Record) -> VenueLine:
    """The venue of this line; raises :class:`ValueError` with one line that says what is expected."""
    _check_storable(record.fields)
    known = {key: value for key, value in record.fields.items() if key in VenueFields.model_fields}
    try:
        fields = VenueFields.model_validate(known)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None
    images, problems = _old_images(fields.venue_images)
    return VenueLine(
        line=record.line,
        slug=fields.slug or make_slug(fields.name or "", fields.city or ""),
        slug_is_given=bool(fields.slug),
        values=_values(fields),
        extra={key: value for key, value in record.fields.items() if key not in known and key != EXPORTED_KEY},
        images=images,
        problems=problems,
    )


def make_slug(name: str, city: str) -> str:
    """A slug from the name; from a hash of both when most of the name has no form in ASCII. The same every time."""
    slug = slugify(name)[:SLUG_LENGTH].strip("-_")
    letters = sum(map(str.isalnum, name[:SLUG_LENGTH]))
    if slug and 2 * sum(map(str.isalnum, slug)) >= letters:
        return slug
    return "venue-" + hashlib.sha256(f"{name}\n{city}".encode()).hexdigest()[:8]


def _values(fields: VenueFields) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": fields.name or None,
        "city": fields.city or "",
        "latitude": fields.latitude,
        "longitude": fields.longitude,
        "provider_ids": {name: value or None for name, value in fields.provider_ids.items()},
        "photos": [photo.model_dump(exclude_none=True) for photo in fields.photos],
    }
    given = fields.model_fields_set - (set() if fields.name else {"name"})
    return {name: value for name, value in values.items() if name in given}


def _old_images(records: list[Any]) -> tuple[list[VenueImage], list[str]]:
    images: dict[str, VenueImage] = {}
    problems = []
    for number, record in enumerate(records):
        try:
            image = image_of(record)
        except ValidationError as error:
            problems.append(f"venue_images[{number}]: {_explain(error)}")
        except ValueError as error:
            problems.append(f"venue_images[{number}]: {error}")
        else:
            known = images.setdefault(image.url_hash, image)
            if image.upload_status == UploadStatus.UPLOADED != known.upload_status:
                images[image.url_hash] = image
    return list(images.values()), problems


def _check_storable(value: Any, depth: int = 0) -> None:
    """Raise :class:`ValueError` for what PostgreSQL can't keep in text or JSON."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds a NUL character: remove it")
        if SURROGATE.search(value):
            raise ValueError("holds bytes or characters that are not UTF-8 text: save the file as UTF-8")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that is too large")
    elif isinstance(value, dict | list):
        if depth == MAX_DEPTH:
            raise ValueError("is nested too deeply")
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_storable(item, depth + 1)


def _explain(error: ValidationError) -> str:
    problems = [_problem(detail) for detail in error.errors(include_url=False)]
    return "; ".join(problems[:MAX_PROBLEMS])


def _problem(detail: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] not in ("value_error", "missing"):
        message = f"{message[0].lower()}{message[1:]} (is {photo_urls.shorten(repr(detail['input']), 60)})"
    return f"{where}: {message}" if where else message
