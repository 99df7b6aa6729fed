"""Are the shared limits kept to the request, and used? Four worker processes saturate one provider.

    python benchmarks/limits.py [--seconds 600] [--workers 4] [--per-second 20] [--per-minute 900]

A pretended provider counts when requests arrive; its windows slide. Prints the requests too many (0 is the goal) and the
share of the allowed rate that was used (90 % is the goal).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

#: Requests that wait at once in one worker.
TASKS = 25
PROVIDER = "openverse"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as home, _sandbox(home, options) as sandbox:
        limits = {"second": options.per_second, "minute": options.per_minute}
        workers = [_start(options.seconds) for _ in range(options.workers)]
        failed = sum(worker.wait() != 0 for worker in workers)
        arrived = [hit.monotonic for hit in sandbox.hits(f"/{PROVIDER}/*")]
        _report(arrived, sandbox.violations(), limits)
        return 1 if failed or sandbox.violations() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seconds", 600), ("workers", 4), ("per-second", 20), ("per-minute", 900)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        asyncio.run(_saturate(options.work))
        sys.exit(0)
    return options


@contextlib.contextmanager
def _sandbox(home: str, options: argparse.Namespace) -> Iterator[object]:
    """The pretended provider, and a database that knows its limits; the environment leads the workers to both."""
    os.environ |= {"VENUE_IMAGES_HOME": home, "STORAGE_URL": "memory://", "VENUE_IMAGES_CLEANUP_CRON": ""}
    from venue_images.cli import database  # noqa: PLC0415 - the environment has to be set first

    database.load()
    database.migrate()
    from venue_images.models import Provider  # noqa: PLC0415
    from venue_images.sandbox import Sandbox  # noqa: PLC0415

    Provider.objects.filter(name=PROVIDER).update(
        limit_per_second=options.per_second,
        limit_per_minute=options.per_minute,
        limit_per_hour=None,
        limit_per_day=None,
    )
    sandbox = Sandbox()
    sandbox.allow(PROVIDER, options.per_second, 1.0, ban=False)
    sandbox.allow(PROVIDER, options.per_minute, 60.0, ban=False)
    with sandbox.in_thread():
        os.environ |= sandbox.environment()
        yield sandbox


def _start(seconds: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--work", str(seconds)])


async def _saturate(seconds: int) -> None:
    """Ask as often as the gate lets us; what it holds back comes again when it says, as a job would."""
    from venue_images.project import setup  # noqa: PLC0415

    setup()
    from venue_images import provider_ledger  # noqa: PLC0415
    from venue_images.errors import Held, ProviderError  # noqa: PLC0415
    from venue_images.provider_api import CountingApi  # noqa: PLC0415
    from venue_images.providers import PROVIDERS  # noqa: PLC0415
    from venue_images.runtime import open_runtime  # noqa: PLC0415

    end = time.monotonic() + seconds
    async with open_runtime("worker") as runtime:
        async with runtime.pool.connection() as connection:
            choices = (await provider_ledger.choices(connection))[PROVIDER]

        async def ask() -> None:
            while time.monotonic() < end:
                try:
                    api = CountingApi(PROVIDERS[PROVIDER], runtime, choices)
                    await api.get_json("/v1/images/", params={"q": "nothing"})
                except Held as held:
                    await asyncio.sleep(min(held.seconds, max(end - time.monotonic(), 0)))
                except ProviderError:
                    # One request too many: the parent reports it.
                    return

        await asyncio.gather(*(ask() for _ in range(TASKS)))


def _report(arrived: Sequence[float], violations: dict[str, int], limits: dict[str, int]) -> None:
    seconds = arrived[-1] - arrived[0]
    allowed = min(limits["second"], limits["minute"] / 60)
    used = len(arrived) / seconds / allowed
    print(f"{len(arrived)} requests in {seconds:.1f} s; allowed {allowed:g} a second, used {used:.1%}")
    print(
        f"requests too many: {sum(violations.values())}; most in any window: {_most(arrived, 1)} a second, {_most(arrived, 60)} a minute"
    )


def _most(arrived: Sequence[float], seconds: float) -> int:
    """The most requests that arrived in any so many seconds."""
    first = most = 0
    for last, moment in enumerate(arrived):
        while arrived[first] <= moment - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


if __name__ == "__main__":
    sys.exit(main())
