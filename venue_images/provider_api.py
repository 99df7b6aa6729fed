"""The way to a provider's API: every call keeps its limits, is counted, priced and bounded in time."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp

from venue_images import downloads, provider_ledger
from venue_images.circuits import Failure
from venue_images.conf import provider_setting
from venue_images.errors import ErrorType, Held, ProviderError, error_type_of_status
from venue_images.gates import Gate
from venue_images.provider_ledger import Choices, Payment
from venue_images.providers.base import ApiAnswer, Billing, Provider, ProviderInfo, plain_text
from venue_images.runtime import Runtime

logger = logging.getLogger(__name__)

#: The longest answer that is read; a list of photos is a few kilobytes.
MAX_ANSWER = 5 * 1024 * 1024
#: The longest explanation that is kept.
MAX_REASON = 200
#: Seconds that one call may take.
TIMEOUT = 15
#: Seconds that a further call about one venue waits longer for a limit: broken off, what was asked before is asked twice.
FOLLOW_UP = 10.0
#: Wrong key, or no more credit: nothing that trying again would mend.
CONFIGURATION_TYPES = {401: ErrorType.PROVIDER_KEY, 402: ErrorType.PROVIDER_QUOTA, 403: ErrorType.PROVIDER_KEY}
#: What a body that is no JSON, or that is nested without end, makes of the parser.
NO_JSON = (ValueError, RecursionError)


@dataclass
class CountingApi:
    """One provider's API during one operation; see :class:`venue_images.providers.base.ProviderApi`."""

    provider: Provider
    runtime: Runtime
    choices: Choices
    #: The venue was asked about before, and the provider failed.
    is_retry: bool = False
    calls: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def info(self) -> ProviderInfo:
        return self.provider.info

    @property
    def metered_calls(self) -> int:
        return self.calls if self.choices.metered else 0

    async def get_json(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        billing: Billing = Billing.FREE,
        at: str = "",
    ) -> Any:
        gate = self.runtime.gates.provider(self.info.name, self.info.title)
        await self._admit(gate, self.choices.price(billing))
        try:
            answer = await self._ask(f"{self._base_url(at)}{path}", params=params, headers=headers, json=body)
        except ProviderError as error:
            await gate.failed(Failure(error.error_type, error.message, error.retry_after, self.is_retry))
            raise
        await gate.succeeded()
        return answer

    async def _admit(self, gate: Gate, price: Decimal) -> None:
        """Return when the call has to be sent at once, counted and paid; raises :class:`Held`, and nothing is.

        Paid first, because what the gate grants is valid for the blink of an eye.
        """
        payment = await self._pay(price) if price else None
        patience = None if self.calls == 0 else self.runtime.gates.patience + FOLLOW_UP
        try:
            await gate.enter(self.choices.limits, is_retry=self.is_retry, patience=patience)
        except BaseException:
            if payment:
                await self._refund(payment)
            raise
        self.calls += 1
        self.cost_usd += price

    async def _pay(self, price: Decimal) -> Payment:
        async with self.runtime.gates.database() as connection:
            payment = await provider_ledger.pay(connection, self.choices, price)
        if payment is None:
            raise Held(f"{self.info.title}: {self.choices.no_budget}", math.inf)
        return payment

    async def _refund(self, payment: Payment) -> None:
        try:
            async with self.runtime.gates.database() as connection:
                await provider_ledger.refund(connection, payment)
        except Held:
            logger.warning("provider.not_refunded provider=%s usd=%s", payment.provider, payment.price)

    async def _ask(self, url: str, **options: Any) -> Any:
        method = "GET" if options["json"] is None else "POST"
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self.runtime.api.request(method, url, allow_redirects=False, **options) as response,
            ):
                body = await self._read(response)
        except TimeoutError:
            message = f"{self.info.title} did not answer within {TIMEOUT} seconds."
            raise ProviderError(ErrorType.NETWORK_TIMEOUT, message) from None
        except (aiohttp.ClientError, OSError) as error:
            reason = type(error.__cause__ or error).__name__
            raise ProviderError(
                ErrorType.NETWORK_ERROR, f"{self.info.title} could not be reached ({reason})."
            ) from None
        return self._judge(response.status, response.headers, body)

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

    def _base_url(self, at: str) -> str:
        name, official = (at, self.info.other_apis[at]) if at else (self.info.name, self.info.base_url)
        return (provider_setting(name, "BASE_URL") or official).rstrip("/")

    def _judge(self, status: int, headers: Mapping[str, str], body: bytes) -> Any:
        answer = ApiAnswer(status, headers, body.decode("utf-8", "replace"), _parsed(body))
        if error := self.provider.api_error(answer):
            error.message = self._without_key(error.message)
            raise error
        if status != HTTPStatus.OK:
            reason = self._without_key(_reason(answer.data))[:MAX_REASON].rstrip(".")
            raise ProviderError(
                _error_type(status),
                f"{self.info.title} answered {status}{reason and ': '}{reason}.",
                http_status=status,
                retry_after=downloads.parse_retry_after(headers.get("Retry-After"), datetime.now(UTC)),
            )
        if answer.data is None:
            raise ProviderError(
                ErrorType.UNKNOWN_ERROR, f"{self.info.title} answered something that is no JSON.", http_status=status
            )
        return answer.data

    def _without_key(self, text: str) -> str:
        """What an API says may repeat what it was sent."""
        key = provider_setting(self.info.name, "API_KEY")
        for spelling in (key, quote(key, safe=""), quote_plus(key)) if key else ():
            text = text.replace(spelling, "…")
        return text


def _error_type(status: int) -> ErrorType:
    return CONFIGURATION_TYPES.get(status) or error_type_of_status(status)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except NO_JSON:
        return None


def _reason(answer: Any) -> str:
    """The message of the usual error bodies: ``error.message``, ``message``, ``detail``, or the first of ``errors``."""
    if not isinstance(answer, dict):
        return ""
    found = next((answer[name] for name in ("error", "message", "detail", "errors") if answer.get(name)), None)
    if isinstance(found, list):
        found = found[0]
    if isinstance(found, dict):
        found = found.get("message")
    return plain_text(str(found)) if found else ""
