"""Commands of this package as child processes, which never outlive their parent.

Each child reads a pipe whose other end the parent holds. The kernel closes it when the parent ends, however it ends,
and then the child stops as if it had been told to: see :mod:`venue_images.cli.child`.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

#: Seconds before a child that died is started again.
RESTART_AFTER = 1
#: Seconds that a child may take to finish what it is at; a download may take half a minute.
PATIENCE = 45


@dataclass
class _Child:
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]
    #: When it was seen dead; None: it lives.
    died_at: float | None = None


class Children:
    """Stops all its children, and waits for them, at the end of a ``with`` block. ``log``: where their stderr goes."""

    def __init__(self, log: Path | None = None) -> None:
        self._log = log
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *arguments: str) -> None:
        """Start the command with these arguments."""
        self._children.append(_Child(arguments, self._popen(arguments)))

    def restart_dead(self) -> None:
        """Start the ones again that have ended without being told to."""
        for child in self._children:
            if child.process.poll() is None:
                continue
            if child.died_at is None:
                child.died_at = time.monotonic()
                name, status = child.arguments[0], child.process.returncode
                logger.warning("child.died name=%s status=%s: it is started again", name, status)
            elif time.monotonic() - child.died_at >= RESTART_AFTER:
                child.process, child.died_at = self._popen(child.arguments), None

    def stop(self) -> None:
        """Tell all to stop and wait; one that does not stop is killed."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in self._children:
            try:
                child.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child.process.stdin:
                child.process.stdin.close()
        self._children.clear()

    def _popen(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        # A process group of its own: Ctrl-C reaches the parent alone, which then stops the children in order.
        command = [sys.executable, "-m", "venue_images.cli.child", *arguments]
        if self._log is None:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0)
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, process_group=0)
