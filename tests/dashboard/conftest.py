"""A real browser for the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

T = TypeVar("T")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class Chromium:
    """A browser in a thread of its own: its event loop would keep Django from using the database in this one."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._playwright: Playwright = self.run(lambda: sync_playwright().start())
        path = shutil.which("chromium")
        self._browser: Browser = self.run(
            lambda: self._playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        )

    def run(self, script: Callable[[], T]) -> T:
        return self._thread.submit(script).result(timeout=60)

    def page(self, address: str, session: str, **options: Any) -> Page:
        """A new page, signed in, whose clock the test can turn."""

        def open_page() -> Page:
            context = self._browser.new_context(**{"viewport": {"width": 1280, "height": 700}, **options})
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])
            page = context.new_page()
            if options.get("java_script_enabled", True):
                page.clock.install()
            page.goto(address)
            return page

        return self.run(open_page)

    def close_pages(self) -> None:
        """Otherwise they refresh on, against the database of the next test."""

        def close_all() -> None:
            for context in self._browser.contexts:
                context.close()

        self.run(close_all)

    def close(self) -> None:
        self.run(self._browser.close)
        self.run(self._playwright.stop)
        self._thread.shutdown()


@pytest.fixture(scope="module")
def started_chromium() -> Iterator[Chromium]:
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture
def chromium(started_chromium: Chromium, live_server: Any) -> Iterator[Chromium]:
    yield started_chromium
    started_chromium.close_pages()
