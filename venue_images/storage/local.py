"""``file:///dir``: keeps images in a folder of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from venue_images.errors import ErrorType, SettingsError, UploadError
from venue_images.storage.base import StoredObject

#: Where the site shows local images; a path, because only the site knows its own host.
PUBLIC_PATH = "/admin/venue-images/media/"
SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
#: Starts the name of a file that is being written. No key may hold it, so an unfinished file is never an object.
UNFINISHED = "~"

#: What a person has to mend, and how; every other error may pass by itself.
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EFBIG: "raise the limit for the size of a file",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it readable and writable for this user",
    errno.EPERM: "make it readable and writable for this user",
    errno.ENOENT: "a part of the path is missing and can't be made; choose another STORAGE_URL",
    errno.ENOTDIR: "a part of the path is a file or a link; move it away or choose another STORAGE_URL",
    errno.ELOOP: "it holds a symbolic link where an image should be; remove the link",
    errno.EISDIR: "it holds a folder where an image should be; remove the folder",
    errno.ENAMETOOLONG: "the name is too long for this disk",
}
#: What file systems answer that know no hard links.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class LocalStorage:
    """A storage in one folder, which the first put creates.

    Folders are opened one inside the other without following links, so no key and no link leads out of the folder.
    A bad key is a mistake of the program: :class:`ValueError`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_url(cls, url: str) -> LocalStorage:
        """The storage of ``file:///absolute/folder``. Raises :class:`SettingsError`."""
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost"):
            raise SettingsError(f"STORAGE_URL={url!r}: a folder of another host; use file:///absolute/folder.")
        if not path.strip("/") or not path.startswith("/") or "\0" in path or parts.query or parts.fragment:
            raise SettingsError(f"STORAGE_URL={url!r}: names no absolute folder; use file:///absolute/folder.")
        folder = Path(path)
        with contextlib.suppress(OSError):  # a folder that can't be looked at is explained by the first put
            if folder.exists() and not folder.is_dir():
                raise SettingsError(f"STORAGE_URL={url!r}: is a file; name a folder.")
        return cls(folder)

    async def put(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - a folder keeps no types
        return await asyncio.to_thread(self._put, _segments(key), body)

    async def get(self, key: str) -> bytes | None:
        return await asyncio.to_thread(self._get, _segments(key))

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, _segments(key))

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        start = prefix.rpartition("/")[0]
        folders = self._walk(_segments(start) if start else (), prefix)
        while (found := await asyncio.to_thread(next, folders, None)) is not None:
            for stored in found:
                yield stored

    def public_url(self, key: str) -> str:
        """The path under which the site serves the object; it has no host."""
        return PUBLIC_PATH + "/".join(_segments(key))

    async def close(self) -> None:
        """Nothing to give back."""

    def _put(self, segments: tuple[str, ...], body: bytes) -> bool:
        with self._translated(), self._opened(segments[:-1], create=True) as folder:
            if _holds(folder, segments[-1]):
                return False
            unfinished = f"{UNFINISHED}{secrets.token_hex(8)}"
            try:
                _write(folder, unfinished, body)
                created = _publish(folder, unfinished, segments[-1])
                os.fsync(folder)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(unfinished, dir_fd=folder)
            return created

    def _get(self, segments: tuple[str, ...]) -> bytes | None:
        with (
            self._translated(),
            contextlib.suppress(FileNotFoundError),
            self._opened(segments[:-1]) as folder,
            _open_file(folder, segments[-1], "rb") as file,
        ):
            return file.read()
        return None

    def _delete(self, segments: tuple[str, ...]) -> None:
        with self._translated(), contextlib.suppress(FileNotFoundError), self._opened(segments[:-1]) as folder:
            os.unlink(segments[-1], dir_fd=folder)

    def _walk(self, segments: tuple[str, ...], prefix: str) -> Iterator[tuple[StoredObject, ...]]:
        """The objects, folder by folder."""
        with self._translated(), contextlib.suppress(FileNotFoundError), self._opened(segments) as top:
            for path, folders, files, folder in os.fwalk(".", onerror=_raise_unless_gone, dir_fd=top):
                base = "".join(f"{part}/" for part in (*segments, *Path(path).parts))
                folders[:] = [name for name in folders if _fits(f"{base}{name}/", name, prefix)]
                yield tuple(_stored(base, [name for name in files if _fits(base + name, name, prefix)], folder))

    @contextlib.contextmanager
    def _opened(self, segments: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the folder below the storage's own; raises :class:`FileNotFoundError` when it is missing."""
        if create:
            self.folder.mkdir(parents=True, exist_ok=True)
        current = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for segment in segments:
                inner = _open_folder(current, segment, create=create)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _upload_error(self.folder, error) from error


def _segments(key: str) -> tuple[str, ...]:
    segments = tuple(key.split("/"))
    if not all(SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise ValueError(f"{key!r} is no storage key: letters, digits, '.', '_' and '-' between single slashes")
    return segments


def _open_folder(parent: int, name: str, *, create: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    os.fsync(parent)
    return os.open(name, flags, dir_fd=parent)


def _holds(folder: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISREG(found.st_mode):
        return True
    code = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ELOOP
    raise OSError(code, os.strerror(code), name)


def _open_file(folder: int, name: str, mode: str) -> IO[bytes]:
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666, dir_fd=folder)

    return open(name, mode, opener=opener)


def _write(folder: int, name: str, body: bytes) -> None:
    with _open_file(folder, name, "xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _publish(folder: int, unfinished: str, name: str) -> bool:
    """Give the finished file its name; False when another put was first."""
    try:
        os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _publish_by_rename(folder, unfinished, name)
    return True


def _publish_by_rename(folder: int, unfinished: str, name: str) -> bool:
    """A rename replaces what is there, so the look before it needs a lock; the kernel drops that of a dead process."""
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        if _holds(folder, name):
            return False
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        return True
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


def _fits(path: str, name: str, prefix: str) -> bool:
    return SEGMENT.fullmatch(name) is not None and path.startswith(prefix)


def _stored(base: str, names: list[str], folder: int) -> Iterator[StoredObject]:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield StoredObject(base + name, found.st_size)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _upload_error(folder: Path, error: OSError) -> UploadError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if remedy := REMEDIES.get(error.errno or 0):
        return UploadError(ErrorType.STORAGE_CONFIG, f"The image folder {folder} can't be used ({reason}): {remedy}.")
    return UploadError(ErrorType.STORAGE_UNAVAILABLE, f"The image folder {folder} does not answer ({reason}).")
