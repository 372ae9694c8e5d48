"""The page in a real Chromium: it shows everything, runs nothing a worker says, works on a phone, light and dark.

Screenshots are kept in `$COCOON_SCREENSHOTS`, or in the test's folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from page_facts import channels, flows, workers
from scripted import Served, served, until

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: pip install '.[dev]'")

_DESKTOP = {"width": 1360, "height": 900}
_PHONE = {"width": 390, "height": 844}


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """Playwright's own Chromium, else the system's."""
    async with playwright.async_playwright() as driver:
        path = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
        try:
            made = await driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium can be started here: {str(error).splitlines()[0]}")
        yield made
        await made.close()


@asynccontextmanager
async def busy_gateway() -> AsyncIterator[Served]:
    async with served(page_key="team") as gateway:
        gateway.page.worker_list, gateway.page.channel_list, gateway.page.flow_list = workers(), channels(), flows()
        yield gateway


def screenshots(fallback: Path) -> Path:
    chosen = Path(os.environ.get("COCOON_SCREENSHOTS", fallback))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "view"), [("desktop", _DESKTOP), ("phone", _PHONE)])
async def test_page_in_every_form_shows_the_market_and_never_scrolls_sideways(
    size: str, view: dict[str, int], scheme: str, tmp_path: Path
) -> None:
    folder = screenshots(tmp_path)
    async with busy_gateway() as gateway, browser() as chromium:
        context = await chromium.new_context(viewport=view, color_scheme=scheme, device_scale_factor=1)
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(gateway.root)
        await page.wait_for_selector(".worker >> nth=3")
        await page.wait_for_selector(".channel >> nth=1")
        assert "NOTHING IS CONFIDENTIAL" in await page.inner_text("#banner")
        assert await page.locator(".river path.band").count() == 6
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        await page.screenshot(path=folder / f"page-{size}-{scheme}.png", full_page=True)
        await page.fill("#prompt", "Silk keeps what it wraps and shows who wove it")
        await page.press("#prompt", "Enter")
        await page.wait_for_selector(".proof-button")
        assert "TCB date" in await page.inner_text(".worker >> nth=0")
        assert "2026-09-21" in await page.inner_text(".worker >> nth=0")
        await page.screenshot(path=folder / f"gateway-{size}-{scheme}.png")  # docs/images are made of these
        await page.click(".proof-button")
        await page.wait_for_selector("#proof .checks li")
        await page.wait_for_timeout(100)
        await page.screenshot(path=folder / f"proof-{size}-{scheme}.png")
        text = await page.inner_text("#proof")
        assert "ClaimVoucher" in text
        assert "the session key" in text
        assert said == []


async def test_page_with_a_hostile_worker_shows_its_words_and_runs_none() -> None:
    async with busy_gateway() as gateway, browser() as chromium:
        page = await chromium.new_page()
        await page.goto(gateway.root)
        await page.wait_for_selector(".worker >> nth=3")
        shown = await page.inner_text(".worker >> nth=3")
        assert "<img src=x onerror=" in shown
        assert "\u202e" not in shown
        assert await page.locator("#worker-list img, #worker-list script, #money img").count() == 0
        assert await page.title() == "Cocoon gateway (simulated TEE)"
        # even if a line of the page were wrong: what is injected does not run
        await page.evaluate(
            "document.querySelector('#workers').innerHTML += '<img src=x onerror=\"document.title=1\">'"
        )
        await page.wait_for_timeout(50)
        assert await page.title() == "Cocoon gateway (simulated TEE)"


async def test_page_answer_streams_and_stop_ends_the_work() -> None:
    gate = asyncio.Event()
    async with busy_gateway() as gateway, browser() as chromium:
        gateway.backend.gate = gate.wait
        page = await chromium.new_page()
        await page.goto(gateway.root)
        await page.wait_for_selector(".worker")
        await page.fill("#prompt", "one two three")
        await page.press("#prompt", "Enter")
        await page.wait_for_selector(".turn.streaming")
        assert (await page.inner_text(".turn.theirs .words")).strip() == "one"
        await page.click("#send")
        await page.wait_for_selector("text=Stopped")
        await until(lambda: not gateway.context.board.live)
        assert gateway.backend.closed == 1


async def test_page_without_a_key_asks_for_one_and_then_shows_channels() -> None:
    async with served() as gateway, browser() as chromium:
        gateway.page.worker_list, gateway.page.channel_list = workers(), channels()
        page = await chromium.new_page()
        await page.goto(gateway.root)
        await page.wait_for_selector("#unlock-key", state="visible")
        assert await page.locator(".channel").count() == 0
        await page.fill("#unlock-key", gateway.key)
        await page.press("#unlock-key", "Enter")
        await page.wait_for_selector(".channel >> nth=1")
        assert not await page.is_visible("#unlock")
