"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")

# The sandbox does not start for root; the rest keeps Chromium from calling home, which a test must not wait for.
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Desk:
    """A browser, and every page opened in it: a call opens another one, for a new person."""

    browser: Browser
    pages: list[Page] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """What the pages wrote to their consoles, and the errors of their scripts."""

    async def __call__(self, language: str = "en-GB", width: int = 1280, height: int = 900) -> Page:
        """Open a page with cookies of its own, for someone who reads `language`."""
        context = await self.browser.new_context(
            locale=language, viewport={"width": width, "height": height}, accept_downloads=True
        )
        context.set_default_timeout(30_000)
        page = await context.new_page()
        self._listen(context)
        self.pages.append(page)
        return page

    def _listen(self, context: BrowserContext) -> None:
        def on_console(message: ConsoleMessage) -> None:
            self.messages.append(f"{message.type}: {message.text}")

        context.on("console", on_console)
        context.on("weberror", lambda error: self.messages.append(f"uncaught: {error.error}"))

    async def keep_evidence(self, folder: Path, test: str) -> None:
        """Save what each page shows, its address and source, and the console messages."""
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", test)[-150:]
        (folder / f"{name}.console.txt").write_text("\n".join(self.messages) + "\n")
        for number, page in enumerate(self.pages, 1):
            stem = folder / f"{name}.{number}"
            try:
                await page.screenshot(path=f"{stem}.png", full_page=True, timeout=10_000)
                Path(f"{stem}.html").write_text(f"<!-- {page.url} -->\n{await page.content()}")
            except Error as error:
                # A page that was closed or crashed: that is evidence too.
                Path(f"{stem}.error.txt").write_text(str(error))


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """Yield a fresh browser; close it and all its pages at the end."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_OPTIONS))
        try:
            yield Desk(browser)
        finally:
            await browser.close()
