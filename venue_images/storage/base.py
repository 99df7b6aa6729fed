"""The contract of a storage. It knows keys and bytes, nothing of venues.

Every storage passes ``tests/storage/test_contract.py``; how to add one: ``docs/adding-a-storage.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """One object: its key and its size in bytes."""

    key: str
    size: int


class Storage(Protocol):
    """Keeps bytes under keys such as ``venues/blue-note/ct-0123456789abcdef.jpg``.

    Every method raises :class:`venue_images.errors.UploadError` with ``storage_unavailable`` for what will pass and
    ``storage_config`` for what a person has to mend (wrong key, no bucket, read-only or full disk); nothing else.
    """

    async def put(self, key: str, body: bytes, content_type: str) -> bool:
        """Store ``body`` unless the key is there already; True when this call created the object.

        An object appears whole or not at all. False leaves what is there untouched: the caller compares.
        """
        ...

    async def get(self, key: str) -> bytes | None:
        """The bytes, or None when there is no such object."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; one that is not there is fine."""
        ...

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """The objects whose key starts with ``prefix``, in no order."""
        ...

    def public_url(self, key: str) -> str:
        """The address under which the object can be shown; empty when it has none."""
        ...

    async def close(self) -> None: ...
