"""Whether a place is the venue: by its name and by where it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venue_images import place_matching
from venue_images.place_matching import FAR, NEAR, SURE
from venue_images.providers.base import PlaceCandidate, VenueRecord

#: Degrees of latitude that are a metre.
METRE = 360 / (2 * math.pi * place_matching.EARTH_RADIUS)
LONDON = (51.5205, -0.1027)

degrees = st.none() | st.floats(-180, 180)


def venue(name: str, place: tuple[float | None, float | None] = LONDON) -> VenueRecord:
    return VenueRecord(1, "slug", name, "London", *place, provider_ids={})


def candidate(name: str, metres: float | None = 0.0, place_id: str = "id") -> PlaceCandidate:
    """A place so many metres north of London's; None: nobody knows where."""
    if metres is None:
        return PlaceCandidate(place_id, name)
    return PlaceCandidate(place_id, name, LONDON[0] + metres * METRE, LONDON[1])


def is_sure(ours: str, *theirs: PlaceCandidate) -> bool:
    match = place_matching.best_match(venue(ours), theirs)
    assert match
    return match.is_sure


# Names


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Café Müller", "CAFE MULLER"),
        ("Café Müller", "Cafe\u0301 Mu\u0308ller"),
        ("Straße 17", "STRASSE 17"),
        ("The Old Vic", "Old Vic"),
        ("Old Vic, The", "The Old Vic"),
        ("Le Chat Noir", "Chat Noir"),
        ("Museum of Modern Art", "Modern Art Museum"),
        ("Ronnie Scott's", "Ronnie Scotts"),
        ("Ronnie Scott’s", "Ronnie Scott's"),
        ("AC/DC Bar", "AC-DC  bar"),
        ("東京タワー", "東京タワー"),
        ("The The", "the the"),
    ],
)
def test_names_that_mean_the_same_are_alike(ours: str, theirs: str) -> None:
    assert place_matching.name_likeness(ours, theirs) == 1.0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Fabric", "Heaven"),
        ("Odeon", "Everyman"),
        ("Museum of Modern Art", "Museum of Natural History"),
        ("The Crown", "The Anchor"),
        ("東京タワー", "大阪城"),
    ],
)
def test_names_that_have_little_in_common_are_never_sure(ours: str, theirs: str) -> None:
    assert place_matching.name_likeness(ours, theirs) < SURE
    assert not is_sure(ours, candidate(theirs))


def test_a_name_within_a_longer_one_is_nearly_the_same_when_it_has_two_words() -> None:
    assert place_matching.name_likeness("Royal Albert Hall", "Royal Albert Hall of Arts and Sciences") == 0.9
    assert place_matching.name_likeness("Blue Note", "Blue Note Jazz Club New York") == 0.9
    assert place_matching.name_likeness("Odeon", "Odeon Luxe Leicester Square") < SURE


@pytest.mark.parametrize(("ours", "theirs"), [("", "Fabric"), ("Fabric", ""), ("", ""), ("!!!", "???")])
def test_a_name_without_words_is_like_nothing(ours: str, theirs: str) -> None:
    assert place_matching.name_likeness(ours, theirs) == 0.0


@given(st.text(), st.text())
def test_the_likeness_of_names_lies_between_nothing_and_one(ours: str, theirs: str) -> None:
    assert 0.0 <= place_matching.name_likeness(ours, theirs) <= 1.0


@given(st.text())
def test_a_name_with_a_word_is_like_itself(name: str) -> None:
    assert place_matching.name_likeness(name, name) in {0.0, 1.0}


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Inside the Royal Albert Hall, London", "Royal Albert Hall", True),
        ("File:Royal_Albert-Hall (2019).jpg", "The Royal Albert Hall", False),
        ("Albert Hall", "Royal Albert Hall", False),
        ("Anything", "", False),
        ("Fabrications", "Fabric", False),
    ],
)
def test_a_text_mentions_a_name_when_it_has_all_its_words(text: str, name: str, expected: bool) -> None:
    assert place_matching.mentions(text, name) is expected


# Distances


def test_distances_are_those_of_the_globe() -> None:
    between = place_matching.metres_between
    assert between(51.5074, -0.1278, 48.8566, 2.3522) == pytest.approx(343_556, rel=0.001)
    assert between(0, 179.999, 0, -179.999) == pytest.approx(222.4, rel=0.001)
    assert between(90, 0, 90, 123) == pytest.approx(0, abs=1e-6)
    assert between(0, 0, 0, 180) == pytest.approx(math.pi * place_matching.EARTH_RADIUS)


def test_degrees_that_no_place_has_are_a_distance_too() -> None:
    assert place_matching.metres_between(27.0, 22.817, 153.0, 202.817) == pytest.approx(0, abs=0.1)


@given(*[st.floats(-180, 180)] * 4)
def test_a_distance_is_never_more_than_half_around_the_globe(one: float, two: float, three: float, four: float) -> None:
    metres = place_matching.metres_between(one, two, three, four)
    assert 0 <= metres <= math.pi * place_matching.EARTH_RADIUS * 1.000001


@pytest.mark.parametrize(
    ("metres", "expected"), [(0, 1.0), (NEAR - 1, 1.0), ((NEAR + FAR) / 2, 0.5), (FAR, 0.0), (50_000, 0.0)]
)
def test_the_farther_away_the_less_likely(metres: float, expected: float) -> None:
    assert place_matching.confidence(venue("Fabric"), candidate("Fabric", metres)) == pytest.approx(expected, abs=0.001)


def test_the_same_name_around_the_corner_is_sure_and_in_the_next_street_is_not() -> None:
    assert is_sure("Fabric", candidate("Fabric", 60))
    assert not is_sure("Fabric", candidate("Fabric", 300))


@pytest.mark.parametrize("place", [(None, None), (51.5, None), (None, -0.1)])
def test_without_coordinates_no_match_is_sure(place: tuple[float | None, float | None]) -> None:
    match = place_matching.best_match(venue("Fabric", place), [candidate("Fabric")])
    assert match
    assert not match.is_sure
    assert not is_sure("Fabric", candidate("Fabric", None))


# The choice


def test_the_best_candidate_is_the_match() -> None:
    candidates = [candidate("Heaven", 0, "a"), candidate("Fabric", 10, "b"), candidate("Fabric", 900, "c")]
    match = place_matching.best_match(venue("Fabric"), candidates)
    assert match
    assert (match.candidate.place_id, match.is_sure, match.confidence) == ("b", True, 1.0)


def test_two_branches_of_one_chain_side_by_side_are_ambiguous() -> None:
    assert not is_sure("Pret A Manger", candidate("Pret A Manger", 20, "a"), candidate("Pret A Manger", 60, "b"))


def test_the_branch_in_another_part_of_town_is_no_rival() -> None:
    assert is_sure("Pret A Manger", candidate("Pret A Manger", 20, "a"), candidate("Pret A Manger", 800, "b"))


def test_one_place_that_is_named_twice_is_no_rival_of_its_own() -> None:
    assert is_sure("Fabric", candidate("Fabric", 0, "a"), candidate("Fabric", 5, "a"))


def test_candidates_without_an_id_are_of_no_use() -> None:
    assert place_matching.best_match(venue("Fabric"), []) is None
    assert place_matching.best_match(venue("Fabric"), [candidate("Fabric", 0, "")]) is None


@given(
    st.builds(venue, st.text(), st.tuples(degrees, degrees)),
    st.lists(st.builds(PlaceCandidate, st.sampled_from("abc"), st.text(), degrees, degrees), max_size=5),
)
def test_every_match_is_one_of_the_candidates_and_between_nothing_and_one(
    looked_for: VenueRecord, candidates: list[PlaceCandidate]
) -> None:
    match = place_matching.best_match(looked_for, candidates)
    assert (match is None) is (not candidates)
    if match:
        assert match.candidate in candidates
        assert 0.0 <= match.confidence <= 1.0
