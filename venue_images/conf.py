"""The settings: read from the environment once, typed, and checked before anything runs."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from croniter import CroniterError, croniter
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from venue_images.errors import SettingsError

MEBIBYTE = 1024 * 1024
CRON_FIELDS = 5


class Settings(BaseSettings):
    """The settings of ``interface.md``; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="VENUE_IMAGES_", frozen=True, extra="ignore", env_ignore_empty=False)

    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("venue-images"))
    #: Empty: the embedded PostgreSQL in ``home``.
    database_url: str = Field(default="", validation_alias="DATABASE_URL")
    #: Empty: the folder ``images`` in ``home``.
    storage_url: str = Field(default="", validation_alias="STORAGE_URL")
    #: ``host`` or ``host:port`` that may resolve to a private address.
    trusted_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    max_images_per_venue: int = Field(default=25, ge=1, le=1000)
    max_bytes: int = Field(default=25 * MEBIBYTE, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    #: Attempts an image in all, the first included.
    max_attempts: int = Field(default=3, ge=1, le=100)
    #: Five fields, UTC; empty turns the nightly cleanup off.
    cleanup_cron: str = "0 4 * * *"
    #: The longest that one download may take, connecting included.
    download_timeout: float = Field(default=30.0, gt=0, le=3600)
    #: Downloads at once from one photo host, over all workers, unless its row or its provider says otherwise.
    host_concurrency: int = Field(default=16, ge=1, le=1000)
    #: An e-mail address or a URL by which providers can reach the owner; goes out with every request.
    contact: str = Field(default="", max_length=200, pattern=r"^[!-~]*( [!-~]+)*$")
    #: Names that the web server answers to.
    allowed_hosts: Annotated[frozenset[str], NoDecode] = frozenset({"localhost", "127.0.0.1", "[::1]"})
    #: Extra information in error pages; for development alone.
    debug: bool = False

    @field_validator("trusted_hosts", "allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if value == Path():
            return platformdirs.user_data_path("venue-images")
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError("the home of that user is not known: write the whole path") from None

    @field_validator("cleanup_cron", mode="after")
    @classmethod
    def _valid_cron(cls, value: str) -> str:
        value = value.strip()
        if value and not _comes_round(value):
            raise ValueError("not a cron expression of five fields, such as '0 4 * * *'")
        return value

    @property
    def effective_storage_url(self) -> str:
        return self.storage_url or (self.home / "images").as_uri()


def _comes_round(expression: str) -> bool:
    """Whether it is a cron expression of five fields with a next time: the 31st of February has none."""
    try:
        return len(expression.split()) == CRON_FIELDS and croniter(expression).get_next() > 0
    except (CroniterError, KeyError):
        return False


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises :class:`SettingsError` with one line that names every setting that can't be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(detail) for detail in error.errors())) from None


def _problem(detail: Any) -> str:
    field = str(detail["loc"][0])
    name = field if field.isupper() else f"VENUE_IMAGES_{field.upper()}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}={detail['input']!r}: {message[0].lower()}{message[1:]}"


def provider_setting(provider: str, name: str) -> str | None:
    """The setting ``<PROVIDER>_<NAME>`` (API_KEY, BASE_URL, STORAGE_POLICY), or None when it is not set."""
    return os.environ.get(f"{provider}_{name}".upper(), "").strip() or None


def unwanted_providers() -> list[str]:
    """The providers whose photos the owner does not want to be stored: ``<PROVIDER>_STORAGE_POLICY`` says so.

    What a provider's terms say on their own decides about new photos only; the owner's word also about known ones.
    """
    suffix = "_STORAGE_POLICY"
    return sorted(
        name.removesuffix(suffix).lower()
        for name, value in os.environ.items()
        if name.endswith(suffix) and value.strip() in ("hotlink", "none")
    )
