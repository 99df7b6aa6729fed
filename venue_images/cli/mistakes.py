"""What went wrong, in one line that says what to do. What is not known here is a mistake of the program."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from typer import TyperException

from venue_images.errors import UserError

#: What the database says when its tables are missing, or are of another version.
NOT_MIGRATED = {
    "42P01": "The database has no tables yet: run venue-images migrate.",
    "42703": "The database's tables are of another version: run venue-images migrate.",
}


@dataclass(frozen=True)
class Explained:
    message: str
    exit_status: int = 1


def explain(error: BaseException) -> Explained | None:
    """The line for a person and the exit status; None for what no user can have caused."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case UserError():
            return Explained(str(error), error.exit_status)
        case TyperException():
            # Typer tells the command that was typed wrongly, but not in its public types.
            command = getattr(getattr(error, "ctx", None), "command_path", "venue-images")
            return Explained(f"{error.format_message().rstrip('.')}. See {command} --help.", error.exit_code)
        case OSError():
            return _system(error)
        case Exception() if message := _database(error):
            return Explained(message)
    return None


def _system(error: OSError) -> Explained:
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f" ({error.filename})" if error.filename else ""
    return Explained(f"The system refused: {reason}{where}. Mend that and run the command again.")


def _database(error: Exception) -> str | None:
    """What the database complains about; None when it is not the database."""
    if "psycopg" not in sys.modules:
        return None
    import psycopg  # noqa: PLC0415 - loaded already by whoever met the error

    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error):
        return None
    if cause.sqlstate in NOT_MIGRATED:
        return NOT_MIGRATED[cause.sqlstate]
    if not isinstance(cause, psycopg.OperationalError):
        return None
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[-1].strip()
    if cause.sqlstate is None:
        return f"The database does not answer ({reason}): is it running, and is DATABASE_URL right?"
    return f"The database could not do it ({reason}): mend that and run the command again."
