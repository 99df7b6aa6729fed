"""The address of a photo: checked, freed of keys, and made comparable."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

#: Query parameters that carry a secret at one of the providers; cut before anything is stored.
SECRET_PARAMETERS = frozenset(
    {"key", "apikey", "api_key", "access_token", "accesstoken", "client_id", "client_secret", "app_code"}
)
#: How every key of Google's begins; told from a catalogue's own ``?key=photos/1.jpg``.
GOOGLE_KEY_PREFIX = "AIza"
#: Query parameters that only count visits; two URLs that differ in them are one photo.
TRACKING_PARAMETERS = re.compile(r"^(utm_\w+|fbclid|gclid)$")
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 4096
#: Characters of a host name (RFC 1035, 2.3.4, without the root's dot).
MAX_HOST_LENGTH = 253


class InvalidUrlError(ValueError):
    """Not an address that a photo can be downloaded from; the text says why."""


def clean(url: str, *, own: bool = False) -> str:
    """The URL without keys and fragment, ready to be stored and requested.

    ``own`` is for the addresses of the owner's own catalogue, where ``key`` may well be the name of a file: it is cut
    only when it looks like a provider's key. Raises :class:`InvalidUrlError` for anything that is no http(s) URL.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise InvalidUrlError(f"{shorten(url)!r} is no URL") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or port == 0:
        raise InvalidUrlError(f"{shorten(url)!r} is no http(s) URL")
    if len(parts.hostname) > MAX_HOST_LENGTH:
        raise InvalidUrlError(f"{shorten(url)!r} has a host whose name is too long")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrlError(f"{parts.scheme}://…@{parts.hostname}/… carries a user name or password")
    if len(url) > MAX_URL_LENGTH or re.search(r"[\s\x00-\x1f\\]", url.strip()):
        raise InvalidUrlError(f"{shorten(url)!r} has a blank, a backslash or a control character, or is too long")
    query = "&".join(pair for pair in parts.query.split("&") if not _is_secret(pair, own=own))
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def normalise(url: str) -> str:
    """The form in which two addresses of one photo are equal: for comparing, never for requesting."""
    parts = urlsplit(clean(url, own=True))
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
    return hash_of_text(normalise(url))


def hash_of_text(text: str) -> str:
    """The same for an address that is no URL, so that it has a row too."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def host_of(url: str) -> str:
    """``host``, or ``host:port`` when the port is not the scheme's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.port and parts.port != DEFAULT_PORTS.get(parts.scheme):
        return f"{host}:{parts.port}"
    return host


def shorten(url: str, length: int = 80) -> str:
    """The URL for a message: not too long, and without password, query and fragment, which may hold a secret."""
    plain = re.sub(r"//[^/]*@", "//…@", re.split(r"[?#]", url, maxsplit=1)[0])
    return plain if len(plain) <= length else f"{plain[: length - 1]}…"


def _is_secret(pair: str, *, own: bool) -> bool:
    name, _, value = pair.partition("=")
    if own and name == "key":
        return value.startswith(GOOGLE_KEY_PREFIX)
    return name.lower() in SECRET_PARAMETERS
