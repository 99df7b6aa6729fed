"""``memory://``: keeps images in this process; for tests and demonstrations."""

from __future__ import annotations

from collections.abc import AsyncIterator

from venue_images.storage.base import StoredObject


class MemoryStorage:
    """A storage that forgets everything when the process ends."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    @classmethod
    def from_url(cls, _url: str) -> MemoryStorage:
        return cls()

    async def put(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    async def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    async def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        for key, body in sorted(self.objects.items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(body))

    def public_url(self, key: str) -> str:
        return f"memory://{key}"

    async def close(self) -> None:
        """Nothing to give back."""
