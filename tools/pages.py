"""The course as pages that need no kernel, no script and no network.

``.venv-site/bin/python -m tools.pages FOLDER [--live]``: `--live` links each page to its notebook
in lite/. Every notebook in notebooks/ and exercises/ becomes a page. Its cells are run anew, as on
a machine whose kernel cannot be asked, to give each widget its static twin (twins.py); all else is
shown as it is stored.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from tools.lessons import table
from tools.notebooks import ran
from tools.twins import folded, overview, slug, states, twin
from vmakernel import live, progress
from vmakernel.toggle_lab import LEGEND, SITUATIONS

ROOT: Final = Path(__file__).resolve().parent.parent
STYLE: Final = ROOT / "tools/web/page.css"
HTML: Final = "text/html"


class Broken(Exception):
    """A page that cannot be made; the message says which and why."""


def sources() -> list[Path]:
    """Return the notebooks that become pages."""
    found = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("exercises/**/*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def build(folder: Path, *, with_lite: bool) -> int:
    """Make all pages in `folder`; return how many."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STYLE, folder / "page.css")
    _no_kernel()
    pages = {path: _read(path) for path in sources()}
    for path, notebook in pages.items():
        name = path.relative_to(ROOT)
        _write(folder / name.with_suffix(".html"), _notebook(path, notebook, with_lite))
    _write(folder / "index.html", _contents(pages, with_lite))
    _write(folder / "lab/index.html", _board())
    for situation in SITUATIONS:
        _write(folder / f"lab/{slug(situation)}.html", _situation(situation))
    return len(pages) + len(SITUATIONS) + 2


def _no_kernel() -> None:
    """Let no page depend on the machine that makes it: recordings stand in."""

    def no_kernel() -> None:
        raise live.Unsupported("a page has no kernel to ask")

    live._check_platform = no_kernel
    os.environ[progress.VARIABLE] = ""  # and no learner


def _read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def _write(path: Path, html: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


# --- a notebook ---------------------------------------------------------------------------------


def _notebook(path: Path, notebook: NotebookNode, with_lite: bool) -> str:
    """Return a notebook as a page."""
    name = path.relative_to(ROOT)
    up = "../" * (len(name.parts) - 1)
    for cell, html in zip(notebook.cells, _twins(path, notebook), strict=True):
        if html:
            cell.outputs = [nbformat.v4.new_output("execute_result", {HTML: html})]
    ways = [(f"{up}index.html", "Contents"), (f"{up}lab/index.html", "The board")]
    if with_lite and "solutions" not in name.parts:
        ways.append(
            (f"{up}lite/notebooks/index.html?path={name.as_posix()}", "Run it in your browser")
        )
    head, foot = _frame(_title(notebook), up, ways)
    exporter = HTMLExporter(  # type: ignore[no-untyped-call, unused-ignore]
        template_name="page", extra_template_basedirs=[str(ROOT / "tools/web")]
    )
    html, _ = exporter.from_notebook_node(notebook, {"page": {"head": head, "foot": foot}})
    return _readable(_linked(html, name))


def _twins(path: Path, notebook: NotebookNode) -> Iterator[str]:
    """Run a notebook and yield for each cell what stands for its widget, empty if it has none."""
    from IPython.display import display

    names: dict[str, Any] = {"__name__": "__main__", "display": display}
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        yield twin(ran(cell.source, names))
                except Exception as error:
                    raise Broken(f"{path.name}, cell {cell.id}: {error!r}") from error
            else:
                yield ""
    finally:
        os.chdir(here)


def _title(notebook: NotebookNode) -> str:
    """Return the first heading of a notebook."""
    for cell in notebook.cells:
        if found := re.search(r"^# (.+)$", cell.source, re.MULTILINE):
            return found[1].replace("`", "")
    raise Broken(f"a notebook has no heading: {notebook.cells[:1]}")


def _linked(html: str, name: Path) -> str:
    """Let links to notebooks lead to their pages; what is no part of the site loses its link."""

    def change(link: re.Match[str]) -> str:
        target, words = link[1], link[2]
        if re.match(r"[a-z]+:|#|$", target):
            return link[0]
        file, mark, part = target.partition("#")
        file = file.partition("?")[0]
        aim = Path(os.path.normpath(name.parent / file))
        if file.endswith(".ipynb") and (ROOT / aim).is_file():
            return f'<a href="{file.removesuffix(".ipynb")}.html{mark}{part}">{words}</a>'
        return words if (ROOT / aim).exists() else link[0]

    return re.sub(r'<a href="([^"]*)">(.*?)</a>', change, html, flags=re.DOTALL)


def _readable(html: str) -> str:
    """Let wide tables scroll by themselves, by keyboard as well; give column heads their scope."""
    html = re.sub(
        r"<table", '<div class="wide" tabindex="0" role="group" aria-label="Table"><table', html
    )
    # A picture keeps its letters readable and scrolls; browsers give what scrolls to the keyboard.
    html = re.sub(r"(<svg\b.*?</svg>)", r'<div class="wide">\1</div>', html, flags=re.DOTALL)
    html = re.sub(r'<a class="anchor-link".*?</a>', "", html)  # headings keep their ids
    html = re.sub(r"<th\b[^>]*>\s*</th>", "<td></td>", html)  # the head of nothing is no head
    return html.replace("</table>", "</table></div>")


# --- the other pages ----------------------------------------------------------------------------


def _frame(title: str, up: str, ways: list[tuple[str, str]]) -> tuple[str, str]:
    """Return what stands before and after the text of a page."""
    links = "".join([f'<a href="{escape(where)}">{escape(words)}</a>' for where, words in ways])
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="{up}page.css"></head>\n<body>'
        f'<nav class="top" aria-label="Course">{links}</nav><main>'
    )
    foot = (
        '</main><footer class="bottom">Code: MIT. Text and pictures: CC BY 4.0. '
        "Every picture here was computed.</footer></body></html>\n"
    )
    return head, foot


def _page(title: str, body: str, up: str, ways: list[tuple[str, str]], broad: bool = False) -> str:
    head, foot = _frame(title, up, ways)
    if broad:
        head = head.replace("<main>", '<main class="broad">')
    return _readable(f"{head}<h1>{escape(title)}</h1>{body}{foot}")


def _contents(pages: dict[Path, NotebookNode], with_lite: bool) -> str:
    """Return the first page: what there is, and the ways to it."""
    numbered = {lesson.path: lesson for lesson in table()}
    rows, others = [], []
    for path, notebook in pages.items():
        name = path.relative_to(ROOT)
        link = f'<a href="{name.with_suffix(".html").as_posix()}">{escape(_title(notebook))}</a>'
        live = (
            f'<a href="lite/notebooks/index.html?path={name.as_posix()}">run</a>'
            if with_lite
            else ""
        )
        if path in numbered:
            lesson = numbered[path]
            finds = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(lesson.finds))
            live = live.replace(">run<", f' aria-label="run lesson {lesson.number}">run<')
            rows.append(f"<tr><td>{link}</td><td>{finds}</td><td>{live}</td></tr>")
        else:
            others.append(f"<li>{link}</li>")
    start = (
        '<li><a href="lite/lab/index.html?path=notebooks/00-start-here.ipynb">Run the course in '
        "your browser</a>: nothing to install. The first start takes half a minute.</li>"
        if with_lite
        else ""
    )
    body = (
        "<p>A course on one hard corner of the Linux kernel: two neighbouring VMAs are alike, and "
        "merging would make one of them vanish. May they be merged, when its owner asked to be "
        'told?</p><ul><li><a href="notebooks/00-start-here.html">Read it from the start</a>.</li>'
        f'{start}<li><a href="lab/index.html">The board, laid out</a>: every situation under the '
        "rule of every moment in history.</li></ul><h2>Lessons</h2><table><thead><tr><th scope=col>"
        "lesson</th><th scope=col>what you find out</th><th scope=col>live</th></tr></thead><tbody>"
        f"{''.join(rows)}</tbody></table><h2>Exercises and more</h2><ul>{''.join(others)}</ul>"
    )
    return _page("When may two VMAs be merged?", body, "", [("index.html", "Contents")])


_WAYS: Final = [("../index.html", "Contents"), ("index.html", "The board")]


def _board() -> str:
    body = (
        "<p>The toggle lab, laid out: what is left of each situation under the rule of each "
        "moment, where <strong>every VMA has close</strong>. A situation's own page has the "
        "pictures, the checks, and the other choices of owners.</p>" + overview()
    )
    return _page("The board: every situation under every rule", body, "../", _WAYS, broad=True)


def _situation(name: str) -> str:
    parts = [
        folded(f"close on: {who}", html, opened=not number)
        for number, (who, html) in enumerate(states(name))
    ]
    about = f"<p>{escape(SITUATIONS[name].title.capitalize())}. {escape(LEGEND)}</p>"
    return _page(f"The board: {name}", about + "".join(parts), "../", _WAYS)


def main(arguments: list[str]) -> int:
    """Make the pages; 1 if one cannot be made."""
    try:
        made = build(Path(arguments[0]), with_lite="--live" in arguments)
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    print(f"{made} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
