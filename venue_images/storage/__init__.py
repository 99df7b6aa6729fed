"""Where image bytes are kept: one file per kind of storage, chosen by the scheme of ``STORAGE_URL``."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from venue_images.errors import SettingsError
from venue_images.storage.base import Storage, StoredObject
from venue_images.storage.local import LocalStorage
from venue_images.storage.memory import MemoryStorage

__all__ = ["STORAGES", "Storage", "StoredObject", "open_storage"]

#: By scheme: makes the storage from its URL. Raises :class:`SettingsError` when the URL can't be meant.
STORAGES: dict[str, Callable[[str], Storage]] = {
    "file": LocalStorage.from_url,
    "memory": MemoryStorage.from_url,
}


def open_storage(url: str) -> Storage:
    """The storage at ``url``; nothing is contacted yet."""
    scheme = urlsplit(url).scheme
    if scheme not in STORAGES:
        known = ", ".join(f"{name}://" for name in sorted(STORAGES))
        raise SettingsError(f"STORAGE_URL={url!r}: a storage of this kind is not known; use one of {known}.")
    return STORAGES[scheme](url)
