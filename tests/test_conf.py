"""The settings: their defaults, and one line for each mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from venue_images.conf import Settings, provider_setting, settings, unwanted_providers
from venue_images.errors import SettingsError


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, set_environment: Callable[..., None]) -> None:
    """Nothing is set."""
    for name in ("VENUE_IMAGES_HOME", "DATABASE_URL", "STORAGE_URL", "VENUE_IMAGES_TRUSTED_HOSTS"):
        monkeypatch.delenv(name, raising=False)


def problem() -> str:
    with pytest.raises(SettingsError) as raised:
        settings()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_defaults_are_those_of_the_contract(plain: None) -> None:
    found = settings()
    assert (found.max_images_per_venue, found.max_attempts) == (25, 3)
    assert (found.max_bytes, found.max_pixels) == (25 * 1024 * 1024, 50_000_000)
    assert found.cleanup_cron == "0 4 * * *"
    assert (found.host_concurrency, found.contact) == (16, "")
    assert found.trusted_hosts == frozenset()
    assert found.database_url == ""
    assert found.home.is_absolute()
    assert found.effective_storage_url == (found.home / "images").as_uri()


def test_the_environment_decides(set_environment: Callable[..., None], tmp_path: Path) -> None:
    set_environment(
        VENUE_IMAGES_HOME=str(tmp_path),
        DATABASE_URL="postgresql://db.example/name",
        STORAGE_URL="memory://",
        VENUE_IMAGES_TRUSTED_HOSTS=" Images.internal , 127.0.0.1:8001,,",
        VENUE_IMAGES_MAX_IMAGES_PER_VENUE="7",
        VENUE_IMAGES_MAX_ATTEMPTS="5",
        VENUE_IMAGES_HOST_CONCURRENCY="3",
        VENUE_IMAGES_CONTACT="Ana Ruiz <photos@venues.example>",
        VENUE_IMAGES_CLEANUP_CRON=" 30 2 * * 1 ",
    )
    found = settings()
    assert found.home == tmp_path
    assert found.database_url == "postgresql://db.example/name"
    assert found.effective_storage_url == "memory://"
    assert found.trusted_hosts == {"images.internal", "127.0.0.1:8001"}
    assert (found.max_images_per_venue, found.max_attempts) == (7, 5)
    assert (found.host_concurrency, found.contact) == (3, "Ana Ruiz <photos@venues.example>")
    assert found.cleanup_cron == "30 2 * * 1"


@pytest.mark.parametrize("off", ["", "  "])
def test_an_empty_time_turns_the_nightly_cleanup_off(set_environment: Callable[..., None], off: str) -> None:
    set_environment(VENUE_IMAGES_CLEANUP_CRON=off)
    assert settings().cleanup_cron == ""


def test_a_home_may_be_relative_or_begin_with_a_tilde(
    set_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    set_environment(VENUE_IMAGES_HOME="~/photos")
    assert settings().home == tmp_path / "photos"
    set_environment(VENUE_IMAGES_HOME="photos")
    assert settings().home == Path.cwd() / "photos"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VENUE_IMAGES_MAX_ATTEMPTS", "0"),
        ("VENUE_IMAGES_MAX_ATTEMPTS", "many"),
        ("VENUE_IMAGES_MAX_ATTEMPTS", "101"),
        ("VENUE_IMAGES_MAX_ATTEMPTS", ""),
        ("VENUE_IMAGES_MAX_IMAGES_PER_VENUE", "0"),
        ("VENUE_IMAGES_MAX_IMAGES_PER_VENUE", "2.5"),
        ("VENUE_IMAGES_MAX_BYTES", "-1"),
        ("VENUE_IMAGES_MAX_PIXELS", "0"),
        ("VENUE_IMAGES_DOWNLOAD_TIMEOUT", "nan"),
        ("VENUE_IMAGES_DOWNLOAD_TIMEOUT", "inf"),
        ("VENUE_IMAGES_DOWNLOAD_TIMEOUT", "0"),
        ("VENUE_IMAGES_HOST_CONCURRENCY", "0"),
        ("VENUE_IMAGES_HOST_CONCURRENCY", "1001"),
        ("VENUE_IMAGES_CONTACT", "ana@venues.example\r\nX-Key: 1"),
        ("VENUE_IMAGES_CONTACT", "Café <ana@venues.example>"),
        ("VENUE_IMAGES_CONTACT", " "),
        ("VENUE_IMAGES_DEBUG", "perhaps"),
        ("VENUE_IMAGES_HOME", "~nobody-of-this-name/photos"),
        ("VENUE_IMAGES_CLEANUP_CRON", "at night"),
        ("VENUE_IMAGES_CLEANUP_CRON", "61 4 * * *"),
        ("VENUE_IMAGES_CLEANUP_CRON", "0 4 * * * *"),
        ("VENUE_IMAGES_CLEANUP_CRON", "0 4 * *"),
        ("VENUE_IMAGES_CLEANUP_CRON", "@daily"),
        ("VENUE_IMAGES_CLEANUP_CRON", "0 4 31 2 *"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_in_one_line(
    set_environment: Callable[..., None], name: str, value: str
) -> None:
    set_environment(**{name: value})
    message = problem()
    assert message.startswith(f"{name}={value!r}: ")
    assert len(message) < 200


def test_all_wrong_settings_are_named_at_once(set_environment: Callable[..., None]) -> None:
    set_environment(VENUE_IMAGES_MAX_ATTEMPTS="x", VENUE_IMAGES_MAX_BYTES="y")
    assert "VENUE_IMAGES_MAX_ATTEMPTS='x'" in problem()
    assert "VENUE_IMAGES_MAX_BYTES='y'" in problem()


@given(st.text(alphabet="0123456789*/-, @LWmonJ#?", max_size=20))
def test_any_text_for_the_nightly_time_is_taken_or_refused(text: str) -> None:
    try:
        accepted = Settings(cleanup_cron=text).cleanup_cron
    except ValidationError:
        return
    assert len(accepted.split()) in (0, 5)


def test_a_provider_has_its_settings(set_environment: Callable[..., None]) -> None:
    set_environment(GOOGLE_PLACES_API_KEY="secret", GOOGLE_PLACES_BASE_URL="")
    assert provider_setting("google_places", "API_KEY") == "secret"
    assert provider_setting("google_places", "BASE_URL") is None
    assert provider_setting("foursquare", "API_KEY") is None


def test_the_line_break_that_a_key_from_a_file_ends_with_is_not_part_of_it(
    set_environment: Callable[..., None],
) -> None:
    set_environment(GOOGLE_PLACES_API_KEY=" secret\n", FOURSQUARE_API_KEY=" \n")
    assert provider_setting("google_places", "API_KEY") == "secret"
    assert provider_setting("foursquare", "API_KEY") is None


def test_the_providers_whose_photos_the_owner_does_not_want_are_those_that_he_named(
    set_environment: Callable[..., None],
) -> None:
    assert unwanted_providers() == []
    set_environment(
        YELP_STORAGE_POLICY="none",
        UNSPLASH_STORAGE_POLICY=" hotlink ",
        GOOGLE_PLACES_STORAGE_POLICY="store",
        PEXELS_STORAGE_POLICY="",
    )
    assert unwanted_providers() == ["unsplash", "yelp"]
