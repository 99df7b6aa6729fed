"""Django's settings of the standalone site; everything that an owner may change comes from the environment."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import dj_database_url
from django.urls import reverse_lazy

from venue_images import embedded_postgres
from venue_images.conf import settings as venue_images_settings
from venue_images.errors import SettingsError, UserError

_own = venue_images_settings()


def _database() -> dict[str, Any]:
    if not _own.database_url:
        folder = embedded_postgres.socket_folder(_own.home)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": embedded_postgres.DATABASE,
            "USER": "postgres",
            "HOST": str(folder),
        }
    try:
        parsed = dj_database_url.parse(_own.database_url)
    except (ValueError, KeyError):
        parsed = {}
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise SettingsError("DATABASE_URL must look like postgresql://user:password@host:5432/name.")
    return {**parsed}


def _publish(file: Path, text: str) -> None:
    """Put the file in place whole; of two processes that do it at once, the first one's stays."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    with contextlib.suppress(FileExistsError):
        os.link(new, file)
    new.unlink()


def _secret_key() -> str:
    if given := os.environ.get("VENUE_IMAGES_SECRET_KEY"):
        return given
    file = _own.home / "secret_key"
    try:
        _own.home.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _publish(file, secrets.token_urlsafe(50))
    except OSError as error:
        raise UserError(
            f"The secret key can't be kept in {file} ({error.strerror}): "
            "set VENUE_IMAGES_HOME to a folder you may write, or VENUE_IMAGES_SECRET_KEY."
        ) from None
    return file.read_text()


BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = _secret_key()
DEBUG = _own.debug
ALLOWED_HOSTS = sorted(_own.allowed_hosts)
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS if host != "*"]
ROOT_URLCONF = "venue_images.project.urls"
ASGI_APPLICATION = "venue_images.project.asgi.application"
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "venue_images",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "sesame.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("venue_images:stats")
# Sign-in links: once, and within ten minutes.
SESAME_MAX_AGE = 600
SESAME_ONE_TIME = True

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
# Static files come straight from the installed packages: nothing to collect.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

UNFOLD = {
    "SITE_TITLE": "Venue Images",
    "SITE_HEADER": "Venue Images",
    "SITE_URL": reverse_lazy("venue_images:stats"),
    "SITE_SYMBOL": "photo_library",
    "SHOW_HISTORY": True,
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "title": "Venue Images",
                "items": [
                    {"title": "Statistics", "icon": "monitoring", "link": reverse_lazy("venue_images:stats")},
                    {"title": "Venues", "icon": "stadium", "link": reverse_lazy("admin:venue_images_venue_changelist")},
                    {
                        "title": "Images",
                        "icon": "image",
                        "link": reverse_lazy("admin:venue_images_venueimage_changelist"),
                    },
                    {
                        "title": "Providers",
                        "icon": "cloud_download",
                        "link": reverse_lazy("admin:venue_images_provider_changelist"),
                    },
                ],
            },
            {
                "title": "People",
                "items": [
                    {"title": "Users", "icon": "person", "link": reverse_lazy("admin:auth_user_changelist")},
                    {"title": "Groups", "icon": "group", "link": reverse_lazy("admin:auth_group_changelist")},
                ],
            },
        ],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "venue_images": {"level": os.environ.get("VENUE_IMAGES_LOG_LEVEL", "INFO")},
        "django.request": {"level": "ERROR"},
        "uvicorn.access": {"level": "WARNING"},
        "pgqueuer": {"level": "WARNING"},
        # Each failed connection would be a line; what it means for the work is said by those who wait for it.
        "psycopg.pool": {"level": "ERROR"},
    },
}
