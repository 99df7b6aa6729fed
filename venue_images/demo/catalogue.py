"""The demo's venues: real places, with photos that the sandbox offers, and what goes wrong with them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from venue_images.demo.stage import DOWNLOAD_TIMEOUT, PHOTO_HOSTS
from venue_images.errors import ErrorType
from venue_images.sandbox import Fault, Sandbox, openverse
from venue_images.sandbox.google_places import FIRST_PHOTO
from venue_images.sandbox.photos import SAMPLE

#: Venues that arrive after the recovery, for the operator to click.
LATECOMERS = 8
#: Every so many venues one is known to Google Places too, with so many photos.
KNOWN_TO_GOOGLE = 3
GOOGLE_PHOTOS = 3
#: The same for Openverse, which is searched by name and asks for no key.
KNOWN_TO_OPENVERSE = 5
OPENVERSE_PHOTOS = 2
#: Every so many venues one has no trouble at all.
ALL_WELL = 4
#: Seconds that a rate-limited host asks for.
RETRY_AFTER = 6
EXTENSIONS = ("jpg", "jpg", "jpg", "webp", "png")

#: Goes wrong once, then well.
PASSING: tuple[tuple[Fault, ErrorType], ...] = (
    (Fault("status", status=429, retry_after=RETRY_AFTER), ErrorType.RATE_LIMITED),
    (Fault("status", status=502), ErrorType.BAD_GATEWAY),
    (Fault("delay", delay=DOWNLOAD_TIMEOUT + 1), ErrorType.NETWORK_TIMEOUT),
    (Fault("reset"), ErrorType.TRUNCATED_BODY),
    (Fault("drop"), ErrorType.NETWORK_ERROR),
    (Fault("short_body"), ErrorType.TRUNCATED_BODY),
    (Fault("status", status=503), ErrorType.SERVICE_UNAVAILABLE),
)
#: Goes wrong always.
LASTING: tuple[tuple[Fault, ErrorType], ...] = (
    (Fault("status", status=404), ErrorType.NOT_FOUND),
    (Fault("corrupt"), ErrorType.CORRUPT_IMAGE),
    (Fault("status", status=500), ErrorType.SERVER_ERROR),
    (Fault("status", status=410), ErrorType.GONE),
    (Fault("html"), ErrorType.NOT_AN_IMAGE),
)
OUTAGE = PASSING[-1]


@dataclass
class DemoVenue:
    """One line of the catalogue, its photos' paths in the sandbox, and the error type that each bad one stands for."""

    line: dict[str, Any]
    paths: list[str]
    passing: dict[str, ErrorType] = field(default_factory=dict)
    lasting: dict[str, ErrorType] = field(default_factory=dict)


def make_venues(sandbox: Sandbox, count: int) -> list[DemoVenue]:
    """The first venues of the sample, their photos and faults; the faults are in force from now on."""
    rng = random.Random(sandbox.seed)
    lines = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    passing, lasting = itertools.cycle(PASSING), itertools.cycle(LASTING)
    venues = [_venue(sandbox, rng, line, number) for number, line in enumerate(lines[:count])]
    for number, venue in enumerate(venues):
        if number == 1:
            _all_fail(sandbox, venue)
        elif number % ALL_WELL:
            _some_fail(sandbox, venue, passing, lasting, with_lasting=number % 2 == 1)
    return venues


def write(venues: Sequence[DemoVenue], file: Path) -> None:
    """The catalogue as a file to import."""
    file.write_text("".join(json.dumps(venue.line, ensure_ascii=False) + "\n" for venue in venues), encoding="utf-8")


def _venue(sandbox: Sandbox, rng: random.Random, line: dict[str, Any], number: int) -> DemoVenue:
    slug = line["slug"]
    paths = [f"/{slug}/{photo}.{rng.choice(EXTENSIONS)}" for photo in range(1, rng.randint(3, 6) + 1)]
    photos = []
    for path in paths:
        width, height = sandbox.photo_size(path)
        url = sandbox.photo_url(path, host=rng.randrange(PHOTO_HOSTS))
        photos.append({"url": url, "width": width, "height": height, "attribution": "The Venue Images sandbox"})
    line |= {"photos": photos}
    if number % KNOWN_TO_GOOGLE == 0:
        place = sandbox.place(f"sandbox-{slug}", photos=GOOGLE_PHOTOS)
        line["provider_ids"] |= {"google_places": place.id}
        paths += [f"/{slug}/{FIRST_PHOTO + photo}.jpg" for photo in range(GOOGLE_PHOTOS)]
    if number % KNOWN_TO_OPENVERSE == 0:
        sandbox.offer("openverse", slug, line["name"], photos=OPENVERSE_PHOTOS)
        paths += [f"/{slug}/{openverse.FIRST_PHOTO + photo}.jpg" for photo in range(OPENVERSE_PHOTOS)]
    return DemoVenue(line, paths)


def _all_fail(sandbox: Sandbox, venue: DemoVenue) -> None:
    for path in venue.paths:
        _fails(sandbox, path, OUTAGE, venue.passing, times=1)


def _some_fail(
    sandbox: Sandbox,
    venue: DemoVenue,
    passing: Iterator[tuple[Fault, ErrorType]],
    lasting: Iterator[tuple[Fault, ErrorType]],
    *,
    with_lasting: bool,
) -> None:
    """The last photo fails for a while, which is a provider's where there are any, and the first for good."""
    _fails(sandbox, venue.paths[-1], next(passing), venue.passing, times=1)
    if with_lasting:
        _fails(sandbox, venue.paths[0], next(lasting), venue.lasting, times=None)


def _fails(
    sandbox: Sandbox, path: str, how: tuple[Fault, ErrorType], book: dict[str, ErrorType], *, times: int | None
) -> None:
    fault, error_type = how
    sandbox.script(path, fault, times)
    book[path] = error_type
