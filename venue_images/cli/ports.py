"""The port of the site: taken, or a message that says why not."""

from __future__ import annotations

import contextlib
import errno
import socket

from venue_images.errors import UserError

LOCAL = "127.0.0.1"
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises :class:`UserError` when it is taken, or is none of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except PermissionError:
        raise UserError(f"Port {port} is for the administrator alone: choose --port from 1024 on.") from None
    except socket.gaierror:
        raise UserError(
            f"The host {host!r} is not known: choose --host 127.0.0.1, or 0.0.0.0 for all networks."
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"Port {port} is busy: stop the other program or choose --port.") from None
        raise UserError(f"{host}:{port} can't be used ({error.strerror}): choose --host and --port.") from None


def answers(port: int) -> bool:
    """Whether somebody accepts connections at this port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection((LOCAL, port), timeout=1):
        return True
    return False
