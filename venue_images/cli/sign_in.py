"""``login-link``: a one-time link into the admin."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.urls import reverse
from sesame.utils import get_query_string

from venue_images.cli import output
from venue_images.errors import UsageError, UserError

OPERATOR = "operator"


def login_link(name: str | None, base_url: str) -> int:
    user = _user(name)
    link = link_for(user, base_url)
    result = {"url": link, "user": user.username, "expires_in_seconds": settings.SESAME_MAX_AGE}
    output.finish(result, lambda: output.say(link))
    output.remark(f"Signs in {user.username}, once, within {settings.SESAME_MAX_AGE // 60} minutes.")
    return 0


def link_for(user: User, base_url: str) -> str:
    """A link that signs the user in once. Raises :class:`UsageError` for a base URL that is none."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--base-url {base_url!r} is no address: write http://host:port.")
    return f"{base_url.rstrip('/')}{reverse('sign-in')}{get_query_string(user)}"


def operator() -> User:
    """The first superuser; one without a password is made when there is none."""
    user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if user is not None:
        return user
    if User.objects.filter(username=OPERATOR).exists():
        raise UserError(f"There is no active superuser, and {OPERATOR} is not one: name a user with --user.")
    return User.objects.create_superuser(OPERATOR)


def _user(name: str | None) -> User:
    if name is None:
        return operator()
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise UserError(f"There is no active user {name!r}: leave --user out for the first superuser.")
    return user
