"""The way to a provider's API: every call is counted, priced and bounded in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp

from venue_images import rate_limits
from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, ProviderError, error_type_of_status
from venue_images.providers.base import ProviderInfo
from venue_images.runtime import Runtime

#: The longest answer that is read; a list of photos is a few kilobytes.
MAX_ANSWER = 5 * 1024 * 1024
CONFIGURATION_STATUS = frozenset({401, 402, 403})


@dataclass
class CountingApi:
    """One provider's API during one operation; see :class:`venue_images.providers.base.ProviderApi`."""

    info: ProviderInfo
    runtime: Runtime
    calls: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def metered_calls(self) -> int:
        return self.calls if self.info.metered else 0

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cost: Decimal = Decimal(0),
    ) -> Any:
        await self._count(cost)
        url = f"{self._base_url()}{path}"
        try:
            async with self.runtime.api.get(url, params=params, headers=headers, allow_redirects=False) as response:
                body = await response.content.read(MAX_ANSWER)
                return self._parse(response.status, body)
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(
                ErrorType.NETWORK_ERROR, f"{self.info.title} could not be reached ({type(error).__name__})."
            ) from None
        except TimeoutError:
            raise ProviderError(ErrorType.NETWORK_TIMEOUT, f"{self.info.title} did not answer in time.") from None

    def _base_url(self) -> str:
        return (provider_setting(self.info.name, "BASE_URL") or self.info.base_url).rstrip("/")

    async def _count(self, cost: Decimal) -> None:
        self.calls += 1
        self.cost_usd += cost
        async with self.runtime.pool.connection() as connection:
            await rate_limits.record_call(connection, self.info.name)

    def _parse(self, status: int, body: bytes) -> Any:
        if status != 200:  # noqa: PLR2004 - every other answer is a failure
            raise ProviderError(
                _error_type(status), f"{self.info.title} answered {status}{_reason(body)}.", http_status=status
            )
        try:
            return json.loads(body)
        except ValueError:
            raise ProviderError(
                ErrorType.UNKNOWN_ERROR, f"{self.info.title} answered something that is no JSON.", http_status=status
            ) from None


def _error_type(status: int) -> ErrorType:
    return ErrorType.PROVIDER_KEY if status in CONFIGURATION_STATUS else error_type_of_status(status)


def _reason(body: bytes) -> str:
    """The message of the usual error bodies: ``{"error": {"message": …}}`` or ``{"message": …}``."""
    try:
        answer = json.loads(body)
        error = answer.get("error", answer)
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        return ""
    return f": {str(message)[:200]}" if message else ""
