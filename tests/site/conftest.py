"""The site, served under a sub-path as anybody may, in a browser without a network.

These tests run in the site's environment (`make test-site`); in any other there is nothing to see.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = ROOT / "dist/site"

collect_ignore_glob = [] if importlib.util.find_spec("jupyterlite_core") else ["test_*.py"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the site is served; it ends with a slash."""
    assert (SITE / "index.html").exists(), "there is no dist/site: run `make site` first"
    serve = functools.partial(_Quiet, directory=str(SITE.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/site/"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    """A browser."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium here: on Debian, `apt-get install chromium`")
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def offline(chromium):
    """Make a context that reaches nothing but this machine, and show that nothing else was asked.

    Call it with the options of a context.
    """
    contexts, asked = [], []

    def decide(route):
        url = route.request.url
        if url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            route.continue_()
        else:
            asked.append(url)
            route.abort()

    def make(**options):
        context = chromium.new_context(**options)
        context.set_default_timeout(120_000)
        context.route("**/*", decide)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert asked == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core."""
    from tools.lite import fetch
    from tools.site import WORK

    with tarfile.open(fetch("axe-core", WORK)) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
