"""What the commands say: tables for people, or one JSON object; progress and remarks go to stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

_json: ContextVar[bool] = ContextVar("json", default=False)

#: Rows of a table for people; JSON has them all.
MOST_ROWS = 50


def use_json(wanted: bool) -> None:
    _json.set(wanted)


def is_json() -> bool:
    return _json.get()


def say(text: str = "") -> None:
    """A line for people: on stdout, or on stderr when stdout is for JSON."""
    stream = sys.stderr if is_json() else sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


def remark(text: str) -> None:
    """A line beside the result, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def fail(message: str) -> None:
    """Why the command could not do it: on stderr, and with ``--json`` also as ``{"error": …}``."""
    remark(message)
    if is_json():
        _write_json({"error": message})


def finish(result: Mapping[str, Any], show: Callable[[], None]) -> None:
    """The result of the command: as JSON, or as ``show`` shows it to people."""
    if is_json():
        _write_json(result)
    else:
        show()


def figures(values: Mapping[str, Any]) -> None:
    """Names and values, one pair a line."""
    table(("", ""), [(name.replace("_", " "), _readable(value)) for name, value in values.items()])


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """A table; numbers stand to the right. A long one is cut."""
    # Rich takes a tenth of a second to load, which JSON need not wait for.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=is_json(), highlight=False)
    lines = box.SIMPLE_HEAD if console.is_terminal else None
    drawn = Table(box=lines, show_header=any(columns), title=title or None, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        is_number = bool(rows) and isinstance(rows[0][number], int | float | Decimal)
        drawn.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows[:MOST_ROWS]:
        drawn.add_row(*(Text(_readable(cell)) for cell in row))
    console.print(drawn)
    if rows[MOST_ROWS:]:
        say(f"… and {len(rows) - MOST_ROWS:,} more: --json lists all.")


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr; the function inside is told how much of how much is done."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _readable(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() | Decimal():
            return f"{value:,.4f}".rstrip("0").rstrip(".")
        case dict():
            return ", ".join(f"{name} {_readable(part)}" for name, part in value.items()) or "none"
        case _:
            return str(value)


def _write_json(result: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(result, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case date():
            return value.isoformat()
        case UUID() | Path():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no form in JSON")
