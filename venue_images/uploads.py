"""The upload of claimed images: download, check, store, settle. The only place that catches :class:`UploadError`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import psycopg

from venue_images import downloads, image_check, image_ledger, retry_policy
from venue_images.circuits import Failure
from venue_images.conf import settings
from venue_images.downloads import Download
from venue_images.errors import ErrorType, Held, UploadError
from venue_images.gates import Gate
from venue_images.image_ledger import ClaimedImage, Settlement
from venue_images.models import UploadStatus
from venue_images.providers import PROVIDERS, host_limit
from venue_images.runtime import Runtime

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

#: After these the object may be in the storage already, so it is looked for before it is downloaded again.
UNKNOWN_OUTCOMES = frozenset({ErrorType.WORKER_LOST, ErrorType.STORAGE_UNAVAILABLE})
UNKNOWN_PROVIDER_CODE = "xx"
#: Seconds over which images that our own limits held back are spread.
HELD_SPREAD = 10.0
#: Nobody waits longer for one of them, whatever it says.
LONGEST_HOLD = 3600.0
#: Seconds between the tries to write outcomes while the database is away.
SETTLE_PAUSES = (0.2, 1, 2, 5, 10)


@dataclass(frozen=True)
class Stored:
    """What lies in the storage for one image."""

    key: str
    url: str
    sha256: str
    size: int
    content_type: str
    width: int
    height: int
    http_status: int | None
    #: Whether this attempt created the object.
    created: bool


@dataclass(frozen=True)
class UploadCounts:
    """The outcome of one venue's uploads, in images; what was held back was not tried."""

    tried: int
    uploaded: int
    failed: int
    permanently_failed: int
    by_error_type: Mapping[str, int]
    #: Uploaded images by provider.
    by_provider: Mapping[str, int]


async def upload_images(
    runtime: Runtime, slug: str, images: Sequence[ClaimedImage], operation_id: int | None
) -> UploadCounts:
    """Upload every image that was claimed and settle them all in one statement.

    Should this end in an error, or be cancelled, the images are given back at once; so are those that have not begun when
    the process is to end.
    """
    images = sorted(images, key=lambda image: not _is_short_lived(image))
    try:
        outcomes = await asyncio.gather(*(_attempt(runtime, slug, image) for image in images))
        done = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        settled = await _settle(runtime, operation_id, [settlement for settlement, _ in done])
    except BaseException:
        await asyncio.shield(_give_back(runtime, images, begun=True))
        raise
    waits = {image: held for image, held in zip(images, outcomes, strict=True) if not isinstance(held, tuple)}
    await _hold_back(runtime, waits)
    for settlement, stored in done:
        if settlement.image_id not in settled:
            await _withdraw(runtime, settlement, stored)
    providers = {image.id: image.provider for image in images}
    return _count([settlement for settlement, _ in done if settlement.image_id in settled], providers)


async def _settle(runtime: Runtime, operation_id: int | None, results: Sequence[Settlement]) -> set[int]:
    """Write the outcomes; a database that restarts meanwhile is waited for."""
    for pause in SETTLE_PAUSES:
        try:
            async with runtime.pool.connection() as connection:
                return await image_ledger.settle(connection, operation_id, results)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            logger.warning("images.settle_delayed images=%s seconds=%s", len(results), pause)
            await asyncio.sleep(pause)
    async with runtime.pool.connection() as connection:
        return await image_ledger.settle(connection, operation_id, results)


async def _give_back(runtime: Runtime, images: Sequence[ClaimedImage], *, begun: bool) -> None:
    """Drop the claims; while the database is away, the worker's sweep tries again."""
    if not images:
        return
    try:
        async with runtime.pool.connection() as connection:
            await image_ledger.give_back(connection, images, begun=begun)
    except psycopg.Error as error:
        logger.warning("images.not_given_back images=%s error=%s", len(images), type(error).__name__)
        runtime.abandoned.extend(images)


async def _hold_back(runtime: Runtime, held: Mapping[ClaimedImage, float]) -> None:
    """Drop the claims on what was not tried; as above when the database is away."""
    if not held:
        return
    try:
        async with runtime.pool.connection() as connection:
            await image_ledger.hold_back(connection, held)
    except psycopg.Error as error:
        logger.warning("images.not_held_back images=%s error=%s", len(held), type(error).__name__)
        runtime.abandoned.extend(held)


async def _attempt(runtime: Runtime, slug: str, image: ClaimedImage) -> tuple[Settlement, Stored | None] | float:
    """One attempt and its outcome; seconds to wait when it did not begin, 0 when this process is to end."""
    gate = runtime.gates.host(image.host)
    try:
        async with gate.permit(host_limit(image.host)), runtime.slots:
            if runtime.stopping.is_set():
                return 0.0
            started_at, clock = datetime.now(UTC), time.monotonic()
            stored = await _tried(runtime, slug, image)
    except Held as held:
        return 0.0 if held.by_circuit else min(held.seconds, LONGEST_HOLD) + random.uniform(0, HELD_SPREAD)
    seconds = time.monotonic() - clock
    if isinstance(stored, UploadError):
        return _failure(image, stored, started_at, seconds), None
    return _success(image, stored, started_at, seconds), stored


async def _tried(runtime: Runtime, slug: str, image: ClaimedImage) -> Stored | UploadError:
    """What is stored, or what went wrong."""
    try:
        return await _upload(runtime, slug, image)
    except Held:
        raise
    except UploadError as error:
        return error
    except Exception as error:
        logger.exception("image.unexpected_error image=%s", image.id)
        return UploadError(ErrorType.UNKNOWN_ERROR, f"Unexpected: {type(error).__name__}")


async def _upload(runtime: Runtime, slug: str, image: ClaimedImage) -> Stored:
    name = key_prefix(slug, image.provider, image.url_hash)
    storage, host = runtime.gates.storage(), runtime.gates.host(image.host)
    is_retry = image.retry_count > 0
    if image.error_type in UNKNOWN_OUTCOMES:
        found = await _behind(storage, {}, lambda: _look(runtime, name), is_retry=False)
        if found:
            return found
    # What could not be stored is not worth a request.
    await storage.check()
    limits = host_limit(image.host).per_window
    download = await _behind(
        host, limits, lambda: downloads.fetch(runtime.downloads, image.provider_url), is_retry=is_retry
    )
    return await _behind(storage, {}, lambda: _store(runtime, name, download), is_retry=False)


async def _behind(
    gate: Gate, limits: Mapping[str, int], work: Callable[[], Awaitable[Result]], *, is_retry: bool
) -> Result:
    """Do the work once the gate lets it through; its service gets the credit or the blame."""
    await gate.enter(limits, is_retry=is_retry)
    try:
        result = await work()
    except UploadError as error:
        await gate.failed(Failure(error.error_type, error.message, error.retry_after, was_retry=is_retry))
        raise
    await gate.succeeded()
    return result


async def _store(runtime: Runtime, name: str, download: Download) -> Stored:
    key = f"{name}.{download.extension}"
    created = await runtime.storage.put(key, download.body, download.content_type)
    if not created:
        await _compare(runtime, key, download)
    return Stored(
        key=key,
        url=runtime.storage.public_url(key),
        sha256=download.sha256,
        size=len(download.body),
        content_type=download.content_type,
        width=download.width,
        height=download.height,
        http_status=download.http_status,
        created=created,
    )


def _is_short_lived(image: ClaimedImage) -> bool:
    """Whether its address dies soon: such images go first."""
    provider = PROVIDERS.get(image.provider)
    return provider is not None and provider.info.short_lived


def key_prefix(slug: str, provider: str, url_hash: str) -> str:
    """The object's key without its extension; the same for every attempt at one photo."""
    known = PROVIDERS.get(provider)
    code = known.info.code if known else UNKNOWN_PROVIDER_CODE
    return f"venues/{slug}/{code}-{url_hash}"


async def _look(runtime: Runtime, name: str) -> Stored | None:
    """The object that an attempt of unknown outcome may have left, if it is whole."""
    async for found in runtime.storage.list(f"{name}."):
        body = await runtime.storage.get(found.key)
        if body is None:
            continue
        try:
            facts = image_check.inspect(body, max_pixels=settings().max_pixels)
        except UploadError:
            continue
        return Stored(
            key=found.key,
            url=runtime.storage.public_url(found.key),
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
            content_type=facts.content_type,
            width=facts.width,
            height=facts.height,
            http_status=None,
            created=False,
        )
    return None


async def _compare(runtime: Runtime, key: str, download: Download) -> None:
    """Adopt what is stored already under this name, or put the photo's new bytes in its place."""
    body = await runtime.storage.get(key)
    if body is None or hashlib.sha256(body).hexdigest() != download.sha256:
        await runtime.storage.delete(key)
        await runtime.storage.put(key, download.body, download.content_type)


async def _withdraw(runtime: Runtime, settlement: Settlement, stored: Stored | None) -> None:
    """The row has moved on: drop the result, and remove the object if only this attempt wanted it."""
    logger.info("image.result_dropped image=%s", settlement.image_id)
    if stored is None or not stored.created:
        return
    async with runtime.pool.connection() as connection:
        wanted = await image_ledger.is_wanted(connection, settlement.image_id, stored.key)
    if wanted:
        return
    try:
        await runtime.storage.delete(stored.key)
    except UploadError as error:
        logger.warning("image.orphan_left key=%s error_type=%s", stored.key, error.error_type)


def _success(image: ClaimedImage, stored: Stored, started_at: datetime, seconds: float) -> Settlement:
    return Settlement(
        image_id=image.id,
        claim_token=image.claim_token,
        status=UploadStatus.UPLOADED,
        started_at=started_at,
        seconds=seconds,
        host=image.host,
        byte_size=stored.size,
        retry_count=image.retry_count,
        http_status=stored.http_status,
        url=stored.url,
        storage_key=stored.key,
        sha256=stored.sha256,
        content_type=stored.content_type,
        width=stored.width,
        height=stored.height,
    )


def _failure(image: ClaimedImage, error: UploadError, started_at: datetime, seconds: float) -> Settlement:
    provider = PROVIDERS.get(image.provider)
    error_type = provider.classify(error) if provider else error.error_type
    retry_count = image.retry_count + retry_policy.counts_as_attempt(error_type)
    status = retry_policy.status_after(error_type, retry_count, settings().max_attempts)
    back_off = retry_policy.back_off(retry_count).total_seconds()
    logger.info(
        "image.upload_failed image=%s host=%s error_type=%s retry_count=%s",
        image.id,
        image.host,
        error_type,
        retry_count,
    )
    return Settlement(
        image_id=image.id,
        claim_token=image.claim_token,
        status=status,
        started_at=started_at,
        seconds=seconds,
        host=image.host,
        byte_size=0,
        retry_count=retry_count,
        error_type=str(error_type),
        error_message=error.message,
        http_status=error.http_status,
        back_off=back_off if status is UploadStatus.FAILED else None,
        retry_after=error.retry_after,
    )


def _count(settlements: Sequence[Settlement], providers: Mapping[int, str]) -> UploadCounts:
    by_error_type = Counter(settlement.error_type for settlement in settlements if settlement.error_type)
    given_up = sum(settlement.status is UploadStatus.PERMANENTLY_FAILED for settlement in settlements)
    uploaded = [settlement for settlement in settlements if not settlement.error_type]
    return UploadCounts(
        tried=len(settlements),
        uploaded=len(uploaded),
        failed=by_error_type.total(),
        permanently_failed=given_up,
        by_error_type=by_error_type,
        by_provider=Counter(providers[settlement.image_id] for settlement in uploaded),
    )
