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
from venue_images.providers.base import ProviderInfo, plain_text
from venue_images.runtime import Runtime

#: The longest answer that is read; a list of photos is a few kilobytes.
MAX_ANSWER = 5 * 1024 * 1024
#: The longest explanation that is kept.
MAX_REASON = 200
#: Wrong key, or no more credit: nothing that trying again would mend.
CONFIGURATION_TYPES = {401: ErrorType.PROVIDER_KEY, 402: ErrorType.PROVIDER_QUOTA, 403: ErrorType.PROVIDER_KEY}
#: What a body that is no JSON, or that is nested without end, makes of the parser.
NO_JSON = (ValueError, RecursionError)


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
                return self._parse(response.status, await self._read(response))
        except TimeoutError:
            raise ProviderError(ErrorType.NETWORK_TIMEOUT, f"{self.info.title} did not answer in time.") from None
        except (aiohttp.ClientError, OSError) as error:
            reason = type(error.__cause__ or error).__name__
            raise ProviderError(
                ErrorType.NETWORK_ERROR, f"{self.info.title} could not be reached ({reason})."
            ) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise ProviderError(
                    ErrorType.UNKNOWN_ERROR,
                    f"{self.info.title} answered more than {MAX_ANSWER} bytes.",
                    http_status=response.status,
                )
        return bytes(body)

    def _base_url(self) -> str:
        return (provider_setting(self.info.name, "BASE_URL") or self.info.base_url).rstrip("/")

    async def _count(self, cost: Decimal) -> None:
        self.calls += 1
        self.cost_usd += cost
        async with self.runtime.pool.connection() as connection:
            await rate_limits.record_call(connection, self.info.name)

    def _parse(self, status: int, body: bytes) -> Any:
        if status != 200:  # noqa: PLR2004 - every other answer is a failure
            reason = self._without_key(_reason(body))[:MAX_REASON].rstrip(".")
            raise ProviderError(
                _error_type(status),
                f"{self.info.title} answered {status}{reason and ': '}{reason}.",
                http_status=status,
            )
        try:
            return json.loads(body)
        except NO_JSON:
            raise ProviderError(
                ErrorType.UNKNOWN_ERROR, f"{self.info.title} answered something that is no JSON.", http_status=status
            ) from None

    def _without_key(self, text: str) -> str:
        """What an API says may repeat what it was sent."""
        key = provider_setting(self.info.name, "API_KEY")
        return text.replace(key, "…") if key else text


def _error_type(status: int) -> ErrorType:
    return CONFIGURATION_TYPES.get(status) or error_type_of_status(status)


def _reason(body: bytes) -> str:
    """The message of the usual error bodies: ``{"error": {"message": …}}`` or ``{"message": …}``."""
    try:
        answer = json.loads(body)
        error = answer.get("error", answer)
        message = error.get("message") if isinstance(error, dict) else error
    except (*NO_JSON, AttributeError):
        return ""
    return plain_text(str(message)) if message else ""
