"""What the demo claims, checked against the sandbox's own counters and the bytes in the storage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from django.db.models import Sum

from venue_images.conf import settings
from venue_images.demo.catalogue import RETRY_AFTER, DemoVenue
from venue_images.errors import ErrorType
from venue_images.models import Operation, UploadStatus, VenueImage
from venue_images.sandbox import Sandbox
from venue_images.storage import open_storage


def failing_by_path() -> dict[str, str]:
    """The error type of every failing image, by the path of its photo."""
    return {
        urlsplit(url).path: str(error_type)
        for url, error_type in VenueImage.objects.failing().values_list("provider_url", "error_type")
    }


def first_failures(venues: Sequence[DemoVenue]) -> Iterator[str]:
    """What differs, after the enrichment, from what was scripted."""
    scripted = {path: str(kind) for venue in venues for path, kind in (venue.passing | venue.lasting).items()}
    yield from _differences(scripted, failing_by_path())


def recovery(sandbox: Sandbox, venues: Sequence[DemoVenue], run_id: int, metered_before: int) -> Iterator[str]:
    """What differs, after the click, from what it promises."""
    lasting = {path: str(kind) for venue in venues for path, kind in venue.lasting.items()}
    yield from _differences(lasting, failing_by_path())
    if metered := metered_calls(sandbox) - metered_before:
        yield f"the sandbox counted {metered} metered calls during the recovery"
    counted = Operation.objects.filter(run=run_id).aggregate(calls=Sum("metered_calls", default=0))["calls"]
    if counted:
        yield f"the operations of the run counted {counted} metered calls"
    yield from _requests(sandbox, venues)
    yield from _patience(sandbox, venues)
    yield from asyncio.run(_bytes(sandbox))


def metered_calls(sandbox: Sandbox) -> int:
    return sum(sandbox.metered_calls.values())


def _differences(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            yield f"{path} should be {expected.get(path, 'stored')}, is {found.get(path, 'stored')}"


def _requests(sandbox: Sandbox, venues: Iterable[DemoVenue]) -> Iterator[str]:
    """A good photo is requested once, one that failed for a while twice, one that fails for good never again."""
    for venue in venues:
        for path in venue.paths:
            wanted, seen = 2 if path in venue.passing else 1, len(sandbox.hits(path))
            if seen != wanted:
                yield f"{path} was requested {seen} times instead of {wanted}"


def _patience(sandbox: Sandbox, venues: Iterable[DemoVenue]) -> Iterator[str]:
    """A host that asked for time got it."""
    limited = [path for venue in venues for path, kind in venue.passing.items() if kind is ErrorType.RATE_LIMITED]
    for path in limited:
        times = [hit.monotonic for hit in sandbox.hits(path)]
        if times and times[-1] - times[0] < RETRY_AFTER:
            yield f"{path} was requested again before its host's Retry-After of {RETRY_AFTER} s was over"


async def _bytes(sandbox: Sandbox) -> list[str]:
    storage, wrong = open_storage(settings().effective_storage_url), []
    stored = VenueImage.objects.filter(upload_status=UploadStatus.UPLOADED).values_list("storage_key", "provider_url")
    async for key, url in stored:
        if await storage.get(key) != sandbox.photo_bytes(url):
            wrong.append(f"{key} is not, byte for byte, what the photo host sends")
    await storage.close()
    return wrong
