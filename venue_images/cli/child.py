"""``python -m venue_images.cli.child COMMAND …``: a command that stops when its parent has ended."""

from __future__ import annotations

import os
import signal
import threading

from venue_images.cli import main

STDIN = 0


def _watch_parent() -> None:
    """Stdin is a pipe that nobody writes to: it ends when the parent does."""
    os.read(STDIN, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    main()
