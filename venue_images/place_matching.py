"""Whether a place that a provider knows is the venue that was looked for. Pure: no provider, no database."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Protocol

#: From this confidence on a match is used.
SURE = 0.8
#: A second candidate that is nearly as good makes the first one doubtful.
LEAD = 0.05
#: Metres up to which a distance says "the same place", and from which it says "another one".
NEAR, FAR = 75.0, 1000.0
EARTH_RADIUS = 6_371_000.0
#: Words that tell no two venues apart.
COMMON_WORDS = frozenset(
    {"the", "a", "an", "le", "la", "les", "el", "il", "der", "die", "das", "de", "du", "of", "and"}
)


class Place(Protocol):
    """Anything with a name that may be somewhere; degrees, WGS 84."""

    @property
    def name(self) -> str: ...
    @property
    def latitude(self) -> float | None: ...
    @property
    def longitude(self) -> float | None: ...


class Candidate(Place, Protocol):
    """A place that a provider knows."""

    @property
    def place_id(self) -> str: ...


@dataclass(frozen=True)
class Match:
    """The best candidate, and how sure it is: 0 to 1."""

    candidate: Candidate
    confidence: float
    #: The runner-up is as good: which of them is meant can't be told.
    is_ambiguous: bool = False

    @property
    def is_sure(self) -> bool:
        return self.confidence >= SURE and not self.is_ambiguous


def best_match(venue: Place, candidates: Sequence[Candidate]) -> Match | None:
    """The candidate that is most likely the venue; None when there is none at all."""
    ranked = sorted(
        ((confidence(venue, candidate), candidate) for candidate in candidates if candidate.place_id),
        key=lambda pair: -pair[0],
    )
    if not ranked:
        return None
    best, candidate = ranked[0]
    rivals = [rival for score, rival in ranked[1:] if best - score < LEAD and rival.place_id != candidate.place_id]
    return Match(candidate, round(best, 3), is_ambiguous=bool(rivals))


def confidence(venue: Place, candidate: Place) -> float:
    """How likely the candidate is the venue: the likeness of the names, times what the distance says.

    Without coordinates on either side the name alone can't be sure: many places share one.
    """
    return name_likeness(venue.name, candidate.name) * _nearness(venue, candidate)


def name_likeness(one: str, other: str) -> float:
    """0 to 1: how alike two names are, without accents, case, punctuation, articles and the order of words."""
    ours, theirs = _words(one), _words(other)
    if not ours or not theirs:
        return 0.0
    letters = SequenceMatcher(None, " ".join(sorted(ours)), " ".join(sorted(theirs)), autojunk=False).ratio()
    shorter, longer = sorted((ours, theirs), key=len)
    contained = 0.9 if len(shorter) > 1 and shorter <= longer else 0.0
    return max(letters, contained)


def mentions(text: str, name: str) -> bool:
    """Whether the text has every word of the name that tells venues apart."""
    words = _words(name)
    return bool(words) and words <= _words(text)


def metres_between(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """The distance on a sphere (haversine), in metres; arguments in degrees."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_phi, half_lambda = (other_phi - phi) / 2, math.radians(other_longitude - longitude) / 2
    chord = math.sin(half_phi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_lambda) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(max(chord, 0.0), 1.0)))


def _nearness(venue: Place, candidate: Place) -> float:
    ours, theirs = (venue.latitude, venue.longitude), (candidate.latitude, candidate.longitude)
    if ours[0] is None or ours[1] is None or theirs[0] is None or theirs[1] is None:
        return 0.75
    metres = metres_between(ours[0], ours[1], theirs[0], theirs[1])
    if metres <= NEAR:
        return 1.0
    return max(0.0, 1.0 - (metres - NEAR) / (FAR - NEAR))


def _words(text: str) -> frozenset[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    words = re.findall(r"\w+", plain.replace("'", "").replace("’", ""))
    return frozenset(words) - COMMON_WORDS or frozenset(words)
