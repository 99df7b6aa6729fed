"""Reads a catalogue file, ``.jsonl`` or ``.csv``, line by line, so that one broken line costs no other."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from venue_images.errors import UsageError, UserError

SUFFIXES = (".jsonl", ".csv")
#: Bytes that are looked at before anything is imported.
HEAD_SIZE = 64 * 1024
#: Longer lines are cut here, and rejected.
MAX_LINE_BYTES = 16 * 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: Columns whose empty cell means "not known".
VALUE_COLUMNS = frozenset({"slug", "name", "latitude", "longitude"})
#: Keys of a JSON line that no cell can hold.
JSON_ONLY_COLUMNS = frozenset({"photos", "provider_ids", "venue_images"})


@dataclass(frozen=True)
class Rejected:
    """A line that was not imported, or not whole: its number in the file, from 1, and what is wrong with it."""

    line: int
    error: str


@dataclass(frozen=True)
class Record:
    """What one line says, not checked yet, in the shape of a JSON line."""

    line: int
    fields: dict[str, Any]


class Line(NamedTuple):
    number: int
    text: str


def suffix_of(path: Path) -> str:
    """The format that the name stands for; raises :class:`UsageError` for any other."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: the name has to end in .jsonl or .csv.")
    return suffix


class CatalogFile:
    """A catalogue file; iterating over it gives its records and the lines that are none.

    Raises :class:`UserError` when the file as a whole can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suffix = suffix_of(path)
        #: Bytes read so far, and in all.
        self.done = 0
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(HEAD_SIZE)
        except OSError as error:
            raise self._unreadable(error) from None
        if not head.removeprefix(BYTE_ORDER_MARK).strip():
            raise UserError(f"{path} is empty: put one venue on each line.")
        if b"\0" in head or not any(_is_text(line) for line in head.splitlines()):
            raise UserError(f"{path} is not UTF-8 text: save it as UTF-8.")

    def __iter__(self) -> Iterator[Record | Rejected]:
        return self._json_records() if self.suffix == ".jsonl" else self._csv_records()

    def _json_records(self) -> Iterator[Record | Rejected]:
        for line in self._lines():
            if line.text.strip():
                try:
                    yield Record(line.number, _json_object(line.text))
                except ValueError as error:
                    yield Rejected(line.number, str(error))

    def _csv_records(self) -> Iterator[Record | Rejected]:
        rows = CsvRows(self._lines())
        columns = self._csv_columns(rows)
        while True:
            try:
                row = rows.read()
                if row is None:
                    return
                if any(cell.strip() for cell in row):
                    yield Record(rows.line, _csv_fields(columns, row))
            except csv.Error as error:
                rows.give_back()
                yield Rejected(rows.line, f"is no CSV ({error}): check its quotes")
            except ValueError as error:
                yield Rejected(rows.line, str(error))

    def _csv_columns(self, rows: CsvRows) -> list[str]:
        """The names of the columns. Raises :class:`UsageError`."""
        try:
            names = [name.strip() for name in rows.read() or []]
        except csv.Error as error:
            raise UsageError(f"{self.path}: line 1 is no CSV header ({error}): check its quotes.") from None
        columns = [name.lower() if _is_known(name.lower()) else name for name in names]
        if problem := _header_problem(columns):
            raise UsageError(f"{self.path}: {problem}.")
        return columns

    def _lines(self) -> Iterator[Line]:
        """The lines of the file with their ends; bytes that are not UTF-8 become lone surrogates."""
        try:
            with self.path.open("rb") as file:
                for number in itertools.count(1):
                    raw = self._next_line(file)
                    if not raw:
                        return
                    if number == 1:
                        raw = raw.removeprefix(BYTE_ORDER_MARK)
                    yield Line(number, raw.decode("utf-8", "surrogateescape"))
        except OSError as error:
            raise self._unreadable(error) from None

    def _next_line(self, file: BinaryIO) -> bytes:
        raw = rest = file.readline(MAX_LINE_BYTES + 1)
        self.done += len(raw)
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
            self.done += len(rest)
        return raw

    def _unreadable(self, error: OSError) -> UserError:
        if isinstance(error, FileNotFoundError):
            return UserError(f"{self.path} does not exist: check the name.")
        return UserError(f"{self.path} can't be read ({error.strerror}): name a file that you may read.")


class CsvRows:
    """Rows of a CSV file; knows the lines of the last one, and can give back all but its first."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._given_back: deque[Line] = deque()
        self._row: list[Line] = []

    @property
    def line(self) -> int:
        """Where the last row started."""
        return self._row[0].number

    def read(self) -> list[str] | None:
        """The next row, or None; raises :class:`csv.Error` for broken quotes."""
        self._row = []
        return next(csv.reader(self._texts(), strict=True), None)

    def give_back(self) -> None:
        """Read the last row's lines again, without its first: an open quote must not swallow the venues after it."""
        self._given_back.extendleft(reversed(self._row[1:]))

    def _texts(self) -> Iterator[str]:
        while True:
            line = self._given_back.popleft() if self._given_back else next(self._lines, None)
            if line is None:
                return
            self._row.append(line)
            yield line.text


def _is_text(line: bytes) -> bool:
    """Whether this is the start of a line of text; its last character may be cut in two."""
    try:
        return bool(codecs.getincrementaldecoder("utf-8")().decode(line).strip())
    except UnicodeDecodeError:
        return False


def _json_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_LINE_BYTES:
        raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is no JSON ({error.msg} at column {error.colno}): expected one venue, as {{…}}, on one line"
        ) from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object: expected one venue, as {…}, on one line")  # noqa: TRY004 - one error for a bad line
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number: leave the value out or write null")


def _is_known(column: str) -> bool:
    return column in VALUE_COLUMNS | JSON_ONLY_COLUMNS | {"city", "photo_urls"} or column.endswith("_id")


def _header_problem(columns: list[str]) -> str | None:
    if not {"slug", "name"} & set(columns):
        return "the first line has to name the columns, separated by commas, among them slug or name"
    if "" in columns:
        return f"column {columns.index('') + 1} has no name"
    if len(set(columns)) < len(columns):
        return f"the column {max(columns, key=columns.count)!r} is there twice"
    if given := JSON_ONLY_COLUMNS & set(columns):
        return f"a CSV file has no column {min(given)!r}: use photo_urls and <provider>_id, or a .jsonl file"
    if {"provider_url", "upload_status"} <= set(columns):
        return "it lists images, not venues: import the .jsonl export instead"
    return None


def _csv_fields(columns: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(columns):
        raise ValueError(f"has {len(row)} fields where the header has {len(columns)}: check its commas and quotes")
    fields: dict[str, Any] = {}
    ids: dict[str, str | None] = {}
    for column, cell in zip(columns, map(str.strip, row), strict=True):
        if column == "photo_urls":
            fields["photos"] = [{"url": url} for url in cell.split()]
        elif column.endswith("_id"):
            ids[column.removesuffix("_id")] = cell or None
        else:
            fields[column] = (cell or None) if column in VALUE_COLUMNS else cell
    return fields | ({"provider_ids": ids} if ids else {})
