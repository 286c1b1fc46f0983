"""Fixtures of the tests of the report."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.outputs import Outputs
from tests.report.viewed import Open, is_remote, write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = "TDATTR_SCREENSHOTS"  # a folder for what people look at: every page as its test has left it


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser without a window, driven by Playwright."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="the test extra is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with pictures."""
    return write_report(tmp_path_factory.mktemp("viewer"))


@pytest.fixture
def open_page(chromium: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens an address of the page. What the page complains of, asks a network for, or lets a name do is an error."""
    complaints: list[str] = []
    contexts = []

    def start(address: str = "", **settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 800}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if is_remote(request.url) else None)
        page.goto(f"file://{report}/index.html{address}")
        return page

    yield start
    if folder := os.environ.get(SCREENSHOTS):
        for number, page in enumerate(page for context in contexts for page in context.pages):
            page.screenshot(path=Path(folder) / f"{request.node.name.replace('/', ' ')}-{number}.png")
    for context in contexts:
        broken = [page.evaluate("window.broken") for page in context.pages]
        context.close()
        assert broken == [None] * len(broken)
    assert complaints == []
