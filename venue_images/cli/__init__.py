"""The command ``venue-images``: each command reads its options, calls one function and shows what it returns.

``commands`` declares them all and loads nothing of Django, so that ``--help`` is quick and starts no database. With
``--json`` stdout is one JSON object, also when something went wrong: ``{"error": …}``.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

from venue_images.cli import mistakes, output
from venue_images.cli.commands import app

__all__ = ["app", "main"]

STOPPED = 130
TERMINATED = 143


def main() -> NoReturn:
    """Run the command of this process's arguments and end the process with its exit status."""
    arguments = list(sys.argv[1:])
    # Taken out by hand: it may stand anywhere, and a mistake in the other arguments has to be told in JSON too.
    output.use_json("--json" in arguments)
    arguments = [argument for argument in arguments if argument != "--json"]
    if not arguments and not output.is_json():
        arguments = ["--help"]
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = app(arguments, prog_name="venue-images", standalone_mode=False) or 0
    except BrokenPipeError:
        # Whoever read our output has gone; nothing may be written any more, not even when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the outermost place: what is unexpected is shown whole
        status = _failed(error)
    if status == STOPPED:
        output.fail("Stopped.")
    sys.exit(status)


def _failed(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return STOPPED
    explained = mistakes.explain(error)
    if explained is None:
        traceback.print_exception(error)
        output.fail(
            f"Unexpected {type(error).__name__}: this is a mistake in Venue Images; the lines above show where."
        )
        return 1
    output.fail(explained.message)
    return explained.exit_status


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as at the end of a command, so that the embedded database is given back."""
    sys.exit(TERMINATED)
