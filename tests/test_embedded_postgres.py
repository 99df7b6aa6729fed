"""One server for all processes of a home: it comes with the first, goes with the last, and survives being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

USER = """
import sys
from pathlib import Path
from venue_images import embedded_postgres
from venue_images.errors import UserError
home = Path(sys.argv[1])
try:
    print(embedded_postgres.socket_folder(home), flush=True)
except UserError as error:
    sys.exit(str(error))
for line in sys.stdin:
    embedded_postgres.revive(home)
    print("revived", flush=True)
"""


class User:
    """A process that uses the server of a home until it is told to leave."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.data = home / "postgres"

    def joined(self) -> User:
        """Once it uses the server."""
        self.folder = self._line()
        if not self.folder:
            pytest.fail(self.message())
        return self

    def message(self) -> str:
        """What it said when it could not start; its exit status is 1."""
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 1, errors
        return errors.strip()

    def revive(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("revive\n")
        self.process.stdin.flush()
        assert self._line() == "revived"

    def leave(self) -> None:
        _, errors = self.process.communicate(timeout=20)
        assert (self.process.returncode, errors) == (0, "")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(host=self.folder, user="postgres", dbname="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home whose database is made once; between two tests its server does not run."""
    home = Path(tempfile.mkdtemp(prefix="venue-images-home-"))
    yield home
    shutil.rmtree(home)


@pytest.fixture
def user(home: Path) -> Iterator[Callable[[], User]]:
    """Start users of the home; whatever happens, nothing of them stays."""
    users: list[User] = []

    def start() -> User:
        users.append(User(home))
        return users[-1]

    yield start
    for each in users:
        each.kill()
    if (pid := server_pid(home)) and is_server(pid):
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)


def server_pid(home: Path) -> int | None:
    try:
        return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return None


def running(home: Path) -> int:
    pid = server_pid(home)
    assert pid
    assert is_server(pid)
    return pid


def is_server(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_server(pid):
        assert time.monotonic() < deadline, "the server still runs"
        time.sleep(0.02)


def kill_server(home: Path) -> int:
    pid = running(home)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    return pid


def test_processes_that_start_at_once_share_one_server_and_it_stops_with_the_last(
    home: Path, user: Callable[[], User]
) -> None:
    users = [user() for _ in range(4)]
    first, *others = [each.joined() for each in users]
    pid = running(home)
    assert {each.folder for each in others} == {first.folder}
    first.execute("CREATE TABLE shared AS SELECT 42 AS answer")
    assert others[0].execute("SELECT answer FROM shared") == [(42,)]

    first.leave()
    for each in others[:-1]:
        each.leave()
    assert running(home) == pid
    others[-1].leave()

    assert not is_server(pid)
    assert server_pid(home) is None


def test_a_killed_user_does_not_keep_the_server_for_ever(home: Path, user: Callable[[], User]) -> None:
    killed = user().joined()
    pid = running(home)
    killed.kill()
    assert running(home) == pid

    last = user().joined()
    assert running(home) == pid
    last.leave()
    assert not is_server(pid)


def test_a_killed_user_is_not_waited_for_by_the_others(home: Path, user: Callable[[], User]) -> None:
    killed, other = user().joined(), user().joined()
    pid = running(home)
    killed.kill()
    other.leave()
    assert not is_server(pid)


def test_a_killed_server_recovers_its_data_at_the_next_start(home: Path, user: Callable[[], User]) -> None:
    first = user().joined()
    first.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    first.kill()
    kill_server(home)

    second = user().joined()
    assert second.execute("SELECT count(*), sum(number) FROM kept") == [(1000, 500500)]
    pid = running(home)
    second.leave()
    assert not is_server(pid)


def test_a_server_started_anew_beside_a_living_user_stops_with_that_user(home: Path, user: Callable[[], User]) -> None:
    old = user().joined()
    killed = kill_server(home)
    new = user().joined()
    pid = running(home)
    assert pid != killed

    new.leave()
    assert old.execute("SELECT 1") == [(1,)]
    old.leave()
    assert not is_server(pid)


def test_a_user_revives_the_killed_server_and_stops_it_at_the_end(home: Path, user: Callable[[], User]) -> None:
    only = user().joined()
    killed = kill_server(home)
    only.revive()
    pid = running(home)
    assert pid != killed
    assert only.execute("SELECT 1") == [(1,)]
    only.revive()
    assert running(home) == pid
    only.leave()
    assert not is_server(pid)


@pytest.mark.parametrize("stranger", ["another program", "the server of another home"])
def test_a_pid_file_that_names_a_stranger_is_not_believed(
    home: Path, user: Callable[[], User], tmp_path_factory: pytest.TempPathFactory, stranger: str
) -> None:
    user().joined().kill()
    kill_server(home)
    neighbour = None
    if stranger == "another program":
        pid = os.getpid()
    else:
        neighbour = User(tmp_path_factory.mktemp("neighbour")).joined()
        pid = running(neighbour.data.parent)
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        file = home / "postgres" / name
        _, *rest = file.read_text().splitlines(keepends=True)
        file.write_text("".join([f"{pid}\n", *rest]))

    visitor = user().joined()

    assert visitor.execute("SELECT 1") == [(1,)]
    assert running(home) != pid
    visitor.leave()
    assert server_pid(home) is None
    assert psutil.pid_exists(pid)
    if neighbour:
        assert neighbour.execute("SELECT 1") == [(1,)]
        neighbour.leave()


@pytest.mark.parametrize("content", ["", "4711", "no number\n" * 8])
def test_a_pid_file_that_makes_no_sense_is_not_believed(home: Path, user: Callable[[], User], content: str) -> None:
    (home / "postgres").mkdir(exist_ok=True)
    (home / "postgres" / "postmaster.pid").write_text(content)
    visitor = user().joined()
    assert visitor.execute("SELECT 1") == [(1,)]
    visitor.leave()
    assert server_pid(home) is None


def test_a_home_that_can_not_be_written_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = User(tmp_path / "file" / "home").message()
    assert "VENUE_IMAGES_HOME" in message
    assert "\n" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    message = User(tmp_path).message()
    assert "VENUE_IMAGES_HOME" in message
    assert "\n" not in message


def test_a_database_that_can_not_start_is_one_line_that_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    message = User(tmp_path).message()
    assert "DATABASE_URL" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["with a blank", "with 'quotes' & (brackets)", "é世界", "long/" + "x" * 100])
def test_any_name_of_a_home_works(tmp_path: Path, name: str) -> None:
    only = User(tmp_path / name).joined()
    assert only.execute("SELECT 1") == [(1,)]
    pid = running(tmp_path / name)
    only.leave()
    assert not is_server(pid)
