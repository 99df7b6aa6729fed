"""``python -m venue_images.sandbox``: serve until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path

from venue_images.errors import UserError
from venue_images.sandbox.server import DEFAULT_HOSTS, Sandbox

DEFAULT_PORT = 8900


def main() -> int:
    arguments = _arguments()
    try:
        sandbox = Sandbox(arguments.seed, photo_uri_lifetime=arguments.photo_uri_lifetime)
        if arguments.venues:
            _add_places(sandbox, arguments.venues)
        asyncio.run(_serve(sandbox, arguments.hosts, arguments.port))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m venue_images.sandbox", description="Pretended providers and photo hosts, with faults on demand."
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the APIs; photo hosts follow (0: free ports)")
    parser.add_argument("--hosts", type=int, default=DEFAULT_HOSTS, help="number of photo hosts")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same photos")
    parser.add_argument("--photo-uri-lifetime", type=float, help="seconds until a photo's address expires")
    parser.add_argument("--venues", type=Path, help="JSONL; the ids that its venues have at the providers will exist")
    return parser.parse_args()


def _add_places(sandbox: Sandbox, file: Path) -> None:
    """Raises :class:`UserError` with the line that can't be used."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Can't read {file}: {error}.") from None
    for number, line in enumerate(lines, start=1):
        try:
            venue = json.loads(line) if line.strip() else {}
            for place_id in venue.get("provider_ids", {}).values():
                sandbox.place(place_id, slug=venue["slug"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{file}, line {number}: not a venue with a slug and provider_ids.") from None


async def _serve(sandbox: Sandbox, hosts: int, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with sandbox.running(hosts=hosts, port=port):
        sys.stdout.write(_greeting(sandbox))
        sys.stdout.flush()
        await stop.wait()


def _greeting(sandbox: Sandbox) -> str:
    return "\n".join(
        [
            *(f"# photo host   http://{host}/<venue-slug>/<number>.jpg" for host in sandbox.hosts),
            f"# control      {sandbox.control_url}state",
            *(f"export {name}={shlex.quote(value)}" for name, value in sandbox.environment().items()),
            "# Ctrl-C stops it.\n",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
