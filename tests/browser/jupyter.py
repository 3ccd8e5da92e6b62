"""JupyterLab as the course starts it, and a page of it that a test drives as a reader would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from tools import course

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

PICTURES: Final = course.ROOT / "dist/browser"
TOKEN: Final = "browser-tests"
SECONDS: Final = 90  # for all cells of a notebook

# Nobody can do anything about these: JupyterLab's own, with or without our outputs.
THEIRS: Final = (
    "favicon",
    "ResizeObserver loop",
)


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Serve a copy of the notebooks with `make lab`'s own flags and settings; give the address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "STATE", home / ".jupyter")
        copied = [*(course.ROOT / "notebooks").glob("*.ipynb")]
        copied += (course.ROOT / "exercises").glob("*.ipynb")
        for path in copied:
            there = home / path.relative_to(course.ROOT)
            there.parent.mkdir(exist_ok=True)
            shutil.copy(path, there)
        course.choose_settings()
        course.trust([home / path.relative_to(course.ROOT) for path in copied])
        flags = [flag.replace(str(course.ROOT), str(home)) for flag in course.LAB]
        command = [str(course.PYTHON), "-m", "jupyterlab", *flags, "--no-browser", "--port=0"]
        command += [f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
        command += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        around = course.surroundings() | {"HOME": str(home)}
    with (home / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=home, env=around, stdout=log, stderr=log)
        try:
            yield address(home / f".jupyter/runtime/jpserver-{running.pid}.json", running)
        finally:
            running.terminate()
            running.wait(20)


def address(told: Path, running: subprocess.Popen[bytes]) -> str:
    """Wait until Jupyter has written where it listens."""
    end = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < end:
        try:
            return str(json.loads(told.read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError("JupyterLab did not start")


class Lab:
    """A page of JupyterLab; `wrong` is what it complained of, `asked` where it sent requests."""

    def __init__(self, context: BrowserContext, url: str, *, workspace: str = "default") -> None:
        self.url = url
        self.wrong: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self._heard("error", str(error)))
        self.page.goto(f"{url}lab/workspaces/{workspace}?token={TOKEN}&reset")
        self.page.wait_for_function("window.jupyterapp?.shell?.currentWidget !== undefined")
        self.run("(app) => app.restored")
        self.run("(app) => app.shell.collapseLeft()")

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in THEIRS):
            self.wrong.append(text)

    def run(self, function: str, value: Any = None) -> Any:
        """Call a function of JupyterLab's application and one value in the page."""
        return self.page.evaluate(f"(value) => ({function})(window.jupyterapp, value)", value)

    def open(self, path: str) -> Notebook:
        """Open a notebook and wait until its kernel is connected."""
        self.run("async (app, path) => { await app.commands.execute('docmanager:open', {path}) }", path)
        notebook = Notebook(self, path)
        self.run(
            """async (app, path) => {
                const panel = app.shell.currentWidget;
                await panel.context.ready;
                await panel.revealed;
                await panel.sessionContext.ready;
                const kernel = panel.sessionContext.session.kernel;
                await kernel.info;
                while (kernel.connectionStatus !== 'connected')
                    await new Promise(done => setTimeout(done, 50));
            }""",
            path,
        )
        return notebook


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, lab: Lab, path: str) -> None:
        self.lab, self.path, self.page = lab, path, lab.page
        self.panel: Locator = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def run_all(self) -> None:
        """Run all cells as the menu does, and wait for the last."""
        self.lab.run(
            """async (app, seconds) => {
                const late = new Promise((_, no) => setTimeout(
                    () => no(new Error('still running')), seconds * 1000));
                await Promise.race([app.commands.execute('notebook:run-all-cells'), late]);
            }""",
            SECONDS,
        )

    def run_cell(self, name: str, source: str | None = None) -> None:
        """Run one cell, with another source if it is given."""
        self.lab.run(
            """async (app, [name, source]) => {
                const book = app.shell.currentWidget.content;
                const at = book.widgets.findIndex(cell => cell.model.id === name);
                if (source !== null) book.widgets[at].model.sharedModel.setSource(source);
                book.deselectAll();
                book.activeCellIndex = at;
                await app.commands.execute('notebook:run-cell');
            }""",
            [name, source],
        )

    def outputs(self) -> dict[str, list[dict[str, Any]]]:
        """Give what each code cell shows, by the cell's id."""
        found: dict[str, list[dict[str, Any]]] = self.lab.run(
            """(app) => Object.fromEntries(app.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .map(cell => [cell.model.id, cell.model.outputs.toJSON()]))"""
        )
        return found

    def cell(self, name: str) -> Locator:
        """Find a cell by its id."""
        index = self.lab.run(
            """(app, name) => app.shell.currentWidget.content.widgets
                .findIndex(cell => cell.model.id === name)""",
            name,
        )
        return self.panel.locator(".jp-Cell").nth(index)

    def close(self) -> None:
        """End its kernel and close it without saving."""
        self.lab.run(
            """async (app) => {
                const panel = app.shell.currentWidget;
                await panel.sessionContext.shutdown();
                panel.context.model.dirty = false;
                panel.close();
            }"""
        )


def foreign(url: str) -> bool:
    """True where a request goes to another address than this computer's own."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss", "ftp") and parts.hostname != "127.0.0.1"
