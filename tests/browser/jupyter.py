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
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tools import course

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

PICTURES: Final = course.ROOT / "dist/browser"
TOKEN: Final = "browser-tests"
SECONDS: Final = 90  # for all cells of a notebook
TALLEST: Final = 8_000  # pixels of a picture

# Nobody can do anything about these: JupyterLab's own, with or without our outputs.
THEIRS: Final = (
    "favicon",
    "ResizeObserver loop",
    "Could not send widget sync message",  # a notebook that closes after its kernel was ended
)

# In the page: what axe-core says of our text and outputs.
AXE: Final = """
async () => {
    const ours = '.jp-NotebookPanel:not(.lm-mod-hidden) :is(.jp-OutputArea-output,'
        + ' .jp-MarkdownOutput)';
    const found = await axe.run({include: [ours]}, {
        resultTypes: ['violations'],
        rules: {region: {enabled: false}, 'page-has-heading-one': {enabled: false}},
    });
    return found.violations.flatMap(rule => rule.nodes.map(node => ({
        id: rule.id, target: node.target.join(' '),
        said: `${node.failureSummary} ${node.html.slice(0, 200)}`.replaceAll(/\\s+/g, ' '),
    })));
}
"""
# In the page: what of ours stands outside of all that can be scrolled to, or is too small.
CUT: Final = """
(panel) => {
    const found = new Set();
    const ours = panel.querySelectorAll('.jp-OutputArea-output, .jp-MarkdownOutput');
    const said = (one) => `${one.tagName} ${one.className?.baseVal ?? one.className}: `
        + one.textContent.trim().slice(0, 50);
    for (const area of ours) for (const one of area.querySelectorAll('*')) {
        const text = [...one.childNodes].some(it => it.nodeType === 3 && it.data.trim());
        if (!text || one.closest('style, title, desc, .lm-mod-hidden') || !one.checkVisibility())
            continue;
        const range = document.createRange();
        range.selectNodeContents(one);
        const box = range.getBoundingClientRect();
        if (!box.width) continue;
        let right = Infinity, left = -Infinity;
        for (let up = one; up && up !== panel; up = up.parentElement) {
            if (up instanceof SVGElement && up.tagName !== 'svg') continue;
            const style = getComputedStyle(up), edge = up.getBoundingClientRect();
            if (style.overflowX === 'auto' || style.overflowX === 'scroll') break;
            if (style.overflowX !== 'visible') {
                right = Math.min(right, edge.right); left = Math.max(left, edge.left);
            }
        }
        if (box.right > right + 2 || box.left < left - 2) found.add(`cut: ${said(one)}`);
        const svg = one.closest('svg');
        if (svg) {
            const size = parseFloat(getComputedStyle(one).fontSize)
                * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            if (size < 7.9) found.add(`${size.toFixed(1)} px: ${said(one)}`);
        }
    }
    return [...found];
}
"""


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Serve a copy of the notebooks with `make lab`'s own flags and settings; give the address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "STATE", home / ".jupyter")
        copied = [*(course.ROOT / "notebooks").glob("*.ipynb")]
        copied += (course.ROOT / "exercises").glob("*.ipynb")
        for path in [*copied, *(course.ROOT / "notebooks").glob("*.toml")]:
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
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:  # it may still be ending kernels
                running.kill()
                running.wait()


def address(told: Path, running: subprocess.Popen[bytes]) -> str:
    """Wait until Jupyter has written where it listens."""
    end = time.monotonic() + 240
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
        self.workspace = workspace
        self.load()

    def load(self) -> None:
        """Load the page, with nothing open in it."""
        self.page.goto(f"{self.url}lab/workspaces/{self.workspace}?token={TOKEN}&reset")
        self.page.wait_for_function("window.jupyterapp?.shell?.currentWidget !== undefined")
        self.run("(app) => app.restored")
        self.run("(app) => app.shell.collapseLeft()")

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in THEIRS):
            self.wrong.append(text)

    def run(self, function: str, value: Any = None) -> Any:
        """Call a function of JupyterLab's application and one value in the page."""
        return self.page.evaluate(f"(value) => ({function})(window.jupyterapp, value)", value)

    def prepare(self, path: str) -> None:
        """Have the kernel for a notebook started meanwhile: opening it will then find it."""
        wanted = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        request = Request(
            f"{self.url}api/sessions",
            data=json.dumps(wanted).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )

        def ask() -> None:
            urlopen(request, timeout=60).close()

        Thread(target=ask, daemon=True).start()

    def open(self, path: str) -> Notebook:
        """Open a notebook and wait until its kernel is connected."""
        self.run(
            "async (app, path) => { await app.commands.execute('docmanager:open', {path}) }", path
        )
        notebook = Notebook(self, path)
        self.run(
            """async (app, path) => {
                const panel = app.shell.currentWidget;
                await panel.context.ready;
                await panel.revealed;
                await panel.sessionContext.ready;
                const kernel = panel.sessionContext.session.kernel;
                window.restarted = 0;
                kernel.statusChanged.connect((_, status) => {
                    window.restarted += /restarting|dead/.test(status);
                });
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
        self.drawn()

    def drawn(self) -> None:
        """Wait until every widget that a cell shows is in the page."""
        self.page.wait_for_function(
            """() => window.jupyterapp.shell.currentWidget.content.widgets.every(cell => {
                if (cell.model.type !== 'code') return true;
                const meant = cell.model.outputs.toJSON().filter(
                    one => one.data?.['application/vnd.jupyter.widget-view+json']);
                const there = '.jp-OutputArea-output .jupyter-widgets';
                return cell.node.querySelectorAll(
                    `${there}:not(.jupyter-widgets .jupyter-widgets)`).length >= meant.length;
            })"""
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

    def holders(self, there: Locator) -> list[str]:
        """Give the id of the cell that each of `there` is in."""
        found: list[str] = there.evaluate_all(
            """(all) => {
                const cells = window.jupyterapp.shell.currentWidget.content.widgets;
                return all.map(one => cells.find(it => it.node.contains(one)).model.id);
            }"""
        )
        return found

    def source(self, name: str) -> str:
        """Give what stands in a cell."""
        return str(
            self.lab.run(
                """(app, name) => app.shell.currentWidget.content.widgets
                    .find(cell => cell.model.id === name).model.sharedModel.getSource()""",
                name,
            )
        )

    def save(self) -> None:
        """Save it, as Ctrl-S does."""
        self.lab.run("async (app) => { await app.commands.execute('docmanager:save') }")

    def restart(self) -> None:
        """Restart its kernel."""
        self.lab.run(
            """async (app) => {
                const {kernel} = app.shell.currentWidget.sessionContext.session;
                await kernel.restart();
                await kernel.info;
            }"""
        )

    def restarts(self) -> int:
        """Tell how often its kernel had to be started again since it was opened."""
        return int(self.lab.run("(app) => window.restarted ?? 0"))

    def count(self) -> int:
        """Give the number of cells."""
        return int(self.lab.run("(app) => app.shell.currentWidget.content.widgets.length"))

    def stand_before(self, there: Locator) -> None:
        """Select the cell that `there` is in, as the arrow keys do: in command mode."""
        there.evaluate(
            """(one) => {
                const book = window.jupyterapp.shell.currentWidget.content;
                book.activeCellIndex = book.widgets.findIndex(cell => cell.node.contains(one));
                book.mode = 'command';
                book.activeCell.node.focus();
            }"""
        )

    # --- how it looks ----------------------------------------------------------------------------

    @contextmanager
    def theme(self, name: str) -> Iterator[None]:
        """Show it in JupyterLab's theme of that name, and go back to light."""
        self._theme(name)
        yield
        self._theme("light")

    def _theme(self, name: str) -> None:
        title = f"JupyterLab {name.capitalize()}"
        self.lab.run(
            "(app, theme) => app.commands.execute('apputils:change-theme', {theme})", title
        )
        self.page.wait_for_function(f"document.body.dataset.jpThemeName === {title!r}")
        self.page.emulate_media(color_scheme="dark" if name == "dark" else "light")

    @contextmanager
    def wide(self, pixels: int) -> Iterator[None]:
        """Show it in a window so wide; twice as large is the same as half as wide."""
        usual = self.page.viewport_size
        assert usual is not None
        self.page.set_viewport_size({"width": pixels, "height": usual["height"]})
        yield
        self.page.set_viewport_size(usual)

    @contextmanager
    def unfolded(self) -> Iterator[None]:
        """Have everything drawn: what is out of sight JupyterLab leaves for later."""
        style = self.page.add_style_tag(content=".jp-Cell{content-visibility:visible!important}")
        yield
        style.evaluate("style => style.remove()")

    def photograph(self, name: str) -> None:
        """Keep pictures of all of it, for a person to look at; a long one needs several."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        for old in PICTURES.glob(f"{name}*.jpg"):
            old.unlink()
        usual = self.page.viewport_size
        assert usual is not None
        book = self.panel.locator(".jp-WindowedPanel-outer")
        self.page.set_viewport_size({"width": usual["width"], "height": TALLEST})
        # The page learns of it later, and would be photographed as often as its old height asks.
        tall = "([book, usual]) => book.clientHeight > usual"
        self.page.wait_for_function(tall, arg=[book.element_handle(), usual["height"]])
        whole, step = book.evaluate(
            """book => {
                const last = [...book.querySelectorAll('.jp-Cell')].at(-1);
                const {top} = book.getBoundingClientRect();
                const {bottom} = last.getBoundingClientRect();
                return [Math.ceil(bottom - top + book.scrollTop), book.clientHeight];
            }"""
        )
        for top in range(0, whole, step):
            book.evaluate("(book, top) => { book.scrollTop = top; }", top)
            path = PICTURES / f"{name}{f'-{top // step + 1}' if whole > step else ''}.jpg"
            self.panel.screenshot(path=path, type="jpeg", quality=70)
        self.page.set_viewport_size(usual)

    def violations(self, axe: str) -> list[str]:
        """Give what axe-core finds in our text and outputs: the rule, the place and what to do."""
        self.page.evaluate(axe)
        found = self.page.evaluate(AXE)
        return [f"{one['id']}: {one['target']}: {one['said']}" for one in found]

    def moving(self) -> list[str]:
        """Give what of our outputs moves although the reader asked for less of that."""
        self.page.emulate_media(reduced_motion="reduce")
        found: list[str] = self.panel.locator(".jp-OutputArea-output *").evaluate_all(
            """(all) => all.filter(one => {
                const style = getComputedStyle(one);
                return parseFloat(style.animationDuration) > 0
                    || parseFloat(style.transitionDuration) > 0;
            }).map(one => one.outerHTML.slice(0, 80))"""
        )
        self.page.emulate_media(reduced_motion="no-preference")
        return found

    def cut(self) -> list[str]:
        """Give what of our text and outputs is cut off, or too small to read."""
        found: list[str] = self.panel.evaluate(CUT)
        return found

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
