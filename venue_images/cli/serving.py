"""``serve``, ``worker`` and ``up``: what runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading

import uvicorn

from venue_images import worker as worker_process
from venue_images.cli import output
from venue_images.cli.children import Children
from venue_images.cli.ports import LOCAL, answers

#: Seconds between two looks at the children.
LOOK_EVERY = 0.2
#: Seconds that requests under way are given when the server stops.
GRACE = 5


def serve(bound: socket.socket, host: str) -> int:
    """Serve the site at this socket until a signal comes."""
    # Imported late: making the application checks all settings and addresses of the site.
    from venue_images.project.asgi import application  # noqa: PLC0415

    config = uvicorn.Config(
        application, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=GRACE
    )
    _greet(host, bound.getsockname()[1])
    # Once it has stopped, uvicorn sends itself the signal that it had caught.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        uvicorn.Server(config).run(sockets=[bound])
    return 0


def worker(*, drain: bool, concurrency: int) -> int:
    asyncio.run(worker_process.run_worker(drain=drain, concurrency=concurrency))
    output.finish({"drained": drain}, lambda: output.say("No job is due." if drain else "The worker has stopped."))
    return 0


def up(port: int) -> int:
    """Web server and worker as children, started again when they die, until a signal comes."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with Children() as children:
        children.start("serve", "--host", LOCAL, "--port", str(port))
        children.start("worker")
        is_told = False
        while not stopping.wait(LOOK_EVERY):
            children.restart_dead()
            if not is_told and answers(port):
                _tell(port)
                is_told = True
    output.remark("Stopped.")
    return 0


def _tell(port: int) -> None:
    address = f"http://{LOCAL}:{port}"
    output.finish({"url": f"{address}/", "pid": os.getpid()}, lambda: output.say(f"Venue Images: {address}/"))
    output.remark(f"Sign in: venue-images login-link --base-url {address} · Ctrl-C stops it.")


def _greet(host: str, port: int) -> None:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    output.finish({"url": address, "pid": os.getpid()}, lambda: output.say(f"Serving {address} · Ctrl-C stops it."))
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        output.remark("Other machines are answered only under the names in VENUE_IMAGES_ALLOWED_HOSTS.")
