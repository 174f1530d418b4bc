"""A real browser for tests of pages: Debian's chromium, driven by playwright. Without one they are skipped, loudly."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

PATIENCE = 120_000
"""Milliseconds: a machine that is busy is no fault of a page. The one time that is told is measured in the page."""

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A headless browser."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reporter = request.config.pluginmanager.getplugin("terminalreporter")
        line = "NO BROWSER: the report is NOT tested in one; `apt-get install chromium` lets it be"
        if reporter is not None:
            reporter.write_line(f"\n{line}", red=True, bold=True)
        pytest.skip(line)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*sandbox, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Open]:
    """Opens a file from the disk; at the end it must have asked for nothing else, and said nothing."""
    contexts: list[Any] = []
    asked: list[str] = []
    said: list[str] = []

    def visit(path: Path, **options: Any) -> Any:
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("file:")} == set()
    assert len(asked) == len(contexts)


def serious(page: Any) -> list[tuple[str, str, str]]:
    """What axe finds wrong with a page, but for trifles."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        (rule["impact"], rule["id"], rule["nodes"][0]["html"][:200])
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in ("serious", "critical", "moderate")
    ]


def cells(page: Any, kind: str) -> list[str]:
    return page.locator(f"#explorer tbody {kind}").all_inner_texts()


def until(page: Any, rows: int) -> None:
    """Wait until the table has so many rows: what is typed is looked for a moment later."""
    from playwright.sync_api import expect

    expect(page.locator("#explorer tbody tr")).to_have_count(rows, timeout=PATIENCE)


def count(page: Any) -> str:
    return page.locator("#explorer .count").inner_text()
