"""The address of a photo: checked, freed of keys, and made comparable."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: Query parameters that carry a secret at one of the providers; cut before anything is stored.
SECRET_PARAMETERS = frozenset(
    {"key", "apikey", "api_key", "access_token", "accesstoken", "client_id", "client_secret", "token", "app_code"}
)
#: Query parameters that only count visits; two URLs that differ in them are one photo.
TRACKING_PARAMETERS = re.compile(r"^(utm_\w+|fbclid|gclid)$")
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 4096


class InvalidUrlError(ValueError):
    """Not an address that a photo can be downloaded from; the text says why."""


def clean(url: str) -> str:
    """The URL without keys and fragment, ready to be stored and requested.

    Raises :class:`InvalidUrlError` for anything that is no http(s) URL.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise InvalidUrlError(f"{shorten(url)!r} is no URL ({error})") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise InvalidUrlError(f"{shorten(url)!r} is no http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrlError(f"{parts.scheme}://…@{parts.hostname}/… carries a user name or password")
    if len(url) > MAX_URL_LENGTH or re.search(r"[\s\x00-\x1f\\]", url.strip()):
        raise InvalidUrlError(f"{shorten(url)!r} has a blank, a backslash or a control character, or is too long")
    query = "&".join(pair for pair in parts.query.split("&") if not _is_secret(pair)) if parts.query else ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def normalise(url: str) -> str:
    """The form in which two addresses of one photo are equal: for comparing, never for requesting."""
    parts = urlsplit(clean(url))
    netloc = (parts.hostname or "").rstrip(".").lower()
    if ":" in netloc:
        netloc = f"[{netloc}]"
    if parts.port and parts.port != DEFAULT_PORTS[parts.scheme]:
        netloc = f"{netloc}:{parts.port}"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode(sorted(pair for pair in pairs if not TRACKING_PARAMETERS.match(pair[0])))
    return urlunsplit(("https", netloc, parts.path, query, ""))


def url_hash(url: str) -> str:
    """First 16 hex digits of the SHA-256 of the normalised URL: names the photo within its venue."""
    return hashlib.sha256(normalise(url).encode()).hexdigest()[:16]


def host_of(url: str) -> str:
    """``host``, or ``host:port`` when the port is not the scheme's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.port and parts.port != DEFAULT_PORTS.get(parts.scheme):
        return f"{host}:{parts.port}"
    return host


def shorten(url: str, length: int = 80) -> str:
    """The URL for a message: without its query, which may hold a key, and not too long."""
    plain = url.split("?", 1)[0]
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"


def _is_secret(pair: str) -> bool:
    return pair.split("=", 1)[0].lower() in SECRET_PARAMETERS
