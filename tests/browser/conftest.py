"""One JupyterLab and one browser for all tests here; what was measured is told at the end."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.jupyter import PICTURES, Lab, foreign, server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    # Whatever would ask for another computer gets no answer, and is seen by `asked`.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Neither the pages nor their twins may write down answers as the reader's own.
os.environ["VMAKERNEL_PROGRESS"] = ""
TIMES: dict[str, list[float]] = defaultdict(list)
SECONDS: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another that is installed."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="These tests need playwright: run `make test-browser`."
    )
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("There is no Chromium here: install it (on Debian: apt-get install chromium).")
    with driver.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a JupyterLab of our own serves a copy of the course."""
    home = tmp_path_factory.mktemp("course")
    with server(home) as url:
        yield url


@pytest.fixture(scope="session")
def home(address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that JupyterLab serves."""
    return next(tmp_path_factory.getbasetemp().glob("course*"))


@pytest.fixture(scope="session")
def asked() -> list[str]:
    """Every address that a page sent a request to, or opened a web socket."""
    return []


@pytest.fixture(scope="session")
def context(browser: Browser, asked: list[str]) -> Iterator[BrowserContext]:
    """What a reader has open; all its requests are written down."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("page", lambda page: page.on("websocket", lambda socket: asked.append(socket.url)))
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def lab(context: BrowserContext, address: str) -> Lab:
    """JupyterLab in a tab."""
    return Lab(context, address)


@pytest.fixture(scope="session")
def axe(browser: Browser) -> str:
    """The text of axe-core."""
    package = importlib.resources.files("axe_playwright_python")
    return (package / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def at_home(asked: list[str]) -> Iterator[None]:
    """No test may make a page ask another computer for anything."""
    yield
    assert [url for url in asked if foreign(url)] == []


# --- what was measured ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def times() -> dict[str, list[float]]:
    """Milliseconds from a click or key to the frame that shows its picture, by widget."""
    return TIMES


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each notebook took."""
    name, _, notebook = report.nodeid.rpartition("::")[2].partition("[")
    if notebook:
        whole = re.sub(r"(-(light|dark|400|640))?\]$", "", notebook)
        SECONDS[whole][name.removeprefix("test_")] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables, and keep them with the pictures."""
    if not SECONDS:
        return
    lines = ["seconds a notebook, with its setting up"]
    for notebook, parts in SECONDS.items():
        lines.append(f"  {notebook:36} {sum(parts.values()):6.1f}")
    lines += [
        "",
        "milliseconds from click or key to picture",
        f"  {'widget':36} {'n':>5} {'p50':>6} {'p95':>6}",
    ]
    for widget, took in sorted(TIMES.items()):
        ninety_five = statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
        lines.append(
            f"  {widget:36} {len(took):5} {statistics.median(took):6.0f} {ninety_five:6.0f}"
        )
    terminalreporter.section("in the browser")
    terminalreporter.write_line("\n".join(lines))
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "times.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (PICTURES / "times.json").write_text(
        json.dumps({"seconds": SECONDS, "milliseconds": TIMES}, indent=1), encoding="utf-8"
    )
