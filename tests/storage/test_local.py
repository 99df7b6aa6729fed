"""The folder: its URL, its keys, its errors, and what a crash leaves.

Real faults are used where a test may make them: a file in the way, a link, a limit of the process, a folder of another
user. A full or read-only disk needs a mount of its own, so for those the translation alone is tested.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from venue_images.errors import ErrorType, SettingsError, UploadError
from venue_images.storage.local import LocalStorage, _upload_error

KEY = "venues/blue-note/ct-0123456789abcdef.jpg"
NOBODY = 65534

PUT_UNDER_A_LIMIT = """
import asyncio, os, resource, sys
from pathlib import Path
from venue_images.errors import UploadError
from venue_images.storage.local import LocalStorage

async def main():
    storage = LocalStorage(Path(sys.argv[1]))
    await storage.get("anything")
    {limit}
    try:
        await storage.put("venues/a/b.jpg", b"x" * 1_000_000, "image/jpeg")
    except UploadError as error:
        print(error.error_type, error, sep="|")

asyncio.run(main())
"""
FILE_SIZE_LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
ALL_FILES_OPEN = """
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass
"""
PUT_FOR_EVER = """
import asyncio, hashlib, itertools, os, sys
from pathlib import Path
from venue_images.storage.local import LocalStorage

async def main():
    storage = LocalStorage(Path(sys.argv[1]))
    for number in itertools.count():
        body = hashlib.sha256(os.urandom(8)).digest() * 100_000
        await storage.put(f"venues/crash/{hashlib.sha256(body).hexdigest()}.jpg", body, "image/jpeg")

asyncio.run(main())
"""


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "images")


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///srv/images", "/srv/images"),
        ("file:///srv/my%20photos%2Fall", "/srv/my photos/all"),
        ("file://localhost/srv/images/", "/srv/images"),
        ("file:///srv/caf%C3%A9", "/srv/café"),
    ],
)
def test_the_url_names_a_folder(url: str, folder: str) -> None:
    assert LocalStorage.from_url(url).folder == Path(folder)


@pytest.mark.parametrize(
    "url", ["file://other-host/srv", "file:relative/dir", "file://", "file:///", "file:///srv?x=1", "file:///a%00b"]
)
def test_a_url_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^STORAGE_URL=.*use file:///absolute/folder\.$"):
        LocalStorage.from_url(url)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        LocalStorage.from_url((tmp_path / "images").as_uri())


async def test_the_first_put_makes_the_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "a" / "b")
    assert await storage.get(KEY) is None
    assert not (tmp_path / "a").exists()
    assert await storage.put(KEY, b"photo", "image/jpeg")
    assert (tmp_path / "a" / "b" / KEY).read_bytes() == b"photo"


async def test_nothing_but_the_object_stays_behind(storage: LocalStorage) -> None:
    await storage.put(KEY, b"photo", "image/jpeg")
    await storage.put(KEY, b"other", "image/jpeg")
    assert names_in(storage.folder) == {KEY}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "a//b",
        "a/",
        "../a",
        "a/../../b",
        "a/./b",
        "..",
        "a\\b",
        "a b",
        "é.jpg",
        "a\0b",
        "~0a",
        "a\n",
    ],
)
async def test_a_bad_key_is_a_mistake_of_the_program(storage: LocalStorage, key: str) -> None:
    with pytest.raises(ValueError, match="is no storage key"):
        await storage.put(key, b"photo", "image/jpeg")
    with pytest.raises(ValueError, match="is no storage key"):
        await storage.get(key)
    with pytest.raises(ValueError, match="is no storage key"):
        await storage.delete(key)
    with pytest.raises(ValueError, match="is no storage key"):
        storage.public_url(key)
    assert not storage.folder.exists()


async def test_list_does_not_leave_the_folder(storage: LocalStorage) -> None:
    with pytest.raises(ValueError, match="is no storage key"):
        [stored async for stored in storage.list("../")]


async def test_a_link_to_another_folder_is_not_followed(storage: LocalStorage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    storage.folder.mkdir()
    (storage.folder / "venues").symlink_to(outside)
    for attempt in (
        storage.put("venues/new.jpg", b"photo", "image/jpeg"),
        storage.get("venues/secret.jpg"),
        storage.delete("venues/secret.jpg"),
    ):
        with pytest.raises(UploadError) as caught:
            await attempt
        assert caught.value.error_type == ErrorType.STORAGE_CONFIG
    assert [stored async for stored in storage.list("")] == []
    assert names_in(outside) == {"secret.jpg"}


async def test_a_link_to_another_file_is_not_followed(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    storage.folder.mkdir()
    (storage.folder / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(UploadError, match="remove the link"):
        await storage.get("a.jpg")
    with pytest.raises(UploadError, match="remove the link"):
        await storage.put("a.jpg", b"photo", "image/jpeg")
    assert [stored async for stored in storage.list("")] == []
    await storage.delete("a.jpg")
    assert (tmp_path / "secret.jpg").read_bytes() == b"secret"


async def test_the_folder_itself_may_be_a_link(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    storage.folder.symlink_to(tmp_path / "disk")
    assert await storage.put(KEY, b"photo", "image/jpeg")
    assert (tmp_path / "disk" / KEY).read_bytes() == b"photo"


def test_the_address_is_a_path_of_the_site(storage: LocalStorage) -> None:
    assert storage.public_url(KEY) == f"/admin/venue-images/media/{KEY}"


async def test_a_file_in_the_way_is_for_a_person_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = LocalStorage(tmp_path / "file" / "images")
    for attempt in (storage.put(KEY, b"photo", "image/jpeg"), storage.get(KEY), storage.delete(KEY)):
        with pytest.raises(UploadError, match="choose another STORAGE_URL") as caught:
            await attempt
        assert caught.value.error_type == ErrorType.STORAGE_CONFIG
        assert str(storage.folder) in caught.value.message
    with pytest.raises(UploadError, match="choose another STORAGE_URL"):
        [stored async for stored in storage.list("")]


async def test_a_folder_in_place_of_an_image_is_for_a_person_to_mend(storage: LocalStorage) -> None:
    (storage.folder / KEY).mkdir(parents=True)
    for attempt in (storage.put(KEY, b"photo", "image/jpeg"), storage.get(KEY)):
        with pytest.raises(UploadError, match="remove the folder") as caught:
            await attempt
        assert caught.value.error_type == ErrorType.STORAGE_CONFIG


async def test_a_name_too_long_for_the_disk_is_for_a_person_to_mend(storage: LocalStorage) -> None:
    with pytest.raises(UploadError) as caught:
        await storage.put("a" * 300, b"photo", "image/jpeg")
    assert caught.value.error_type == ErrorType.STORAGE_CONFIG
    assert names_in(storage.folder) == set()


def put_under_a_limit(folder: Path, limit: str) -> str:
    script = PUT_UNDER_A_LIMIT.format(limit=limit)
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_a_write_that_stops_half_way_leaves_nothing(tmp_path: Path) -> None:
    answer = put_under_a_limit(tmp_path, FILE_SIZE_LIMIT)
    assert answer.startswith("storage_config|")
    assert "raise the limit" in answer
    assert names_in(tmp_path) == set()


def test_too_many_open_files_will_pass(tmp_path: Path) -> None:
    answer = put_under_a_limit(tmp_path, ALL_FILES_OPEN)
    assert answer.startswith("storage_unavailable|")
    assert names_in(tmp_path) == set()


def test_a_folder_of_another_user_is_for_a_person_to_mend(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir(mode=0o555)
    is_root = os.geteuid() == 0
    answer = put_under_a_limit(folder, f"os.setegid({NOBODY}); os.seteuid({NOBODY})" if is_root else "pass")
    assert answer.startswith("storage_config|")
    assert "writable for this user" in answer
    assert str(folder) in answer


@pytest.mark.parametrize(
    ("code", "error_type", "remedy"),
    [
        (errno.ENOSPC, ErrorType.STORAGE_CONFIG, "free some space"),
        (errno.EDQUOT, ErrorType.STORAGE_CONFIG, "quota"),
        (errno.EROFS, ErrorType.STORAGE_CONFIG, "make it writable"),
        (errno.EIO, ErrorType.STORAGE_UNAVAILABLE, "does not answer"),
        (errno.ETIMEDOUT, ErrorType.STORAGE_UNAVAILABLE, "does not answer"),
        (errno.EMFILE, ErrorType.STORAGE_UNAVAILABLE, "does not answer"),
        (errno.ESTALE, ErrorType.STORAGE_UNAVAILABLE, "does not answer"),
    ],
)
def test_an_error_says_whether_it_passes_and_what_to_do(code: int, error_type: ErrorType, remedy: str) -> None:
    error = _upload_error(Path("/srv/images"), OSError(code, os.strerror(code)))
    assert error.error_type == error_type
    assert "/srv/images" in error.message
    assert remedy in error.message


async def test_a_disk_without_hard_links_keeps_the_promise(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert await storage.put(KEY, b"first", "image/jpeg") is True
    assert await storage.put(KEY, b"second", "image/jpeg") is False
    assert await storage.get(KEY) == b"first"
    assert names_in(storage.folder) == {KEY}


async def test_an_unfinished_file_is_no_object(storage: LocalStorage) -> None:
    await storage.put(KEY, b"photo", "image/jpeg")
    (storage.folder / "venues" / "blue-note" / "~0123456789abcdef").write_bytes(b"pho")
    assert [stored.key async for stored in storage.list("")] == [KEY]


async def test_a_killed_process_leaves_no_half_object(storage: LocalStorage) -> None:
    for already_written in range(10):
        kill_a_writer(storage.folder, already_written)
    stored_keys = [stored.key async for stored in storage.list("")]
    assert stored_keys
    for key in stored_keys:
        body = await storage.get(key)
        assert body is not None
        assert key == f"venues/crash/{hashlib.sha256(body).hexdigest()}.jpg"


def kill_a_writer(folder: Path, already_written: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PUT_FOR_EVER, str(folder)]) as process:
        wait_until_writing(folder, already_written)
        process.kill()


def wait_until_writing(folder: Path, already_written: int) -> None:
    """Return while a file is being written, after as many others."""
    leftovers = set(folder.glob("venues/crash/~*"))
    seen: set[Path] = set()
    deadline = time.monotonic() + 30
    while len(seen) <= already_written:
        assert time.monotonic() < deadline
        seen |= set(folder.glob("venues/crash/~*")) - leftovers
