"""The twin of a widget: the same object made here, without a page, and set to the same values.

What the twin holds is what the engine says. The page must show just that: every HTML widget with
its picture, trace and text, and every control with its value.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ipywidgets

from tools.notebooks import ran, read
from vmakernel import exercise, progress, widgets
from vmakernel.widgets import Panel

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SECONDS: Final = 20  # until a page shows a change; more than ever comes, even on a busy machine

OUTER: Final = ".vk-panel:not(.vk-panel .vk-panel)"

# In the page: what a panel shows, in the form of shown() below.
LOOK: Final = """
(panel) => {
    const list = (query, at = panel) =>
        [...at.querySelectorAll(query)].filter(one => one.checkVisibility());
    const plain = (text) => text.replaceAll('\\u00a0', ' ').trim();
    const controls = list(
        'input[type=checkbox], .widget-radio, select, .widget-slider, button, .widget-text input,'
        + ' textarea');
    return {
        html: list('.widget-html-content').map(one => one.innerHTML),
        controls: controls.map(one => {
            if (one.matches('[type=checkbox]'))
                return ['check', plain(one.parentNode.textContent), one.checked, one.disabled];
            if (one.matches('.widget-radio')) {
                const inputs = list('input', one);
                return ['radio', list('label:has(input)', one).map(it => plain(it.textContent)),
                    inputs.findIndex(it => it.checked), inputs.some(it => it.disabled)];
            }
            if (one.matches('select'))
                return ['choice', [...one.options].map(it => plain(it.textContent)),
                    one.selectedIndex, one.disabled];
            if (one.matches('.widget-slider'))
                return ['slider', list('[role=slider]', one).map(it => Number(it.ariaValueNow)),
                    one.querySelector('[disabled]') !== null];
            if (one.matches('button'))
                return ['button', plain(one.textContent), one.disabled];
            return ['text', one.value, one.disabled];
        }),
    };
}
"""
# In the page: "" once a panel shows what is expected, else the first thing that is otherwise.
COMPARE: Final = """
(panel, wanted) => {
    const look = LOOK, now = look(panel), parsed = document.createElement('template');
    const differ = (what, a, b) => JSON.stringify(a) === JSON.stringify(b) ? ''
        : `${what} is ${JSON.stringify(a)}, not ${JSON.stringify(b)}`;
    const html = wanted.html.map(text => (parsed.innerHTML = text, parsed.innerHTML));
    if (now.html.length !== html.length || now.controls.length !== wanted.controls.length)
        return differ('shape', [now.html.length, now.controls],
            [html.length, wanted.controls]);
    for (const [at, one] of wanted.controls.entries()) {
        const said = differ(`control ${at}`, now.controls[at], one);
        if (said) return said;
    }
    for (const [at, one] of html.entries())
        if (now.html[at] !== one) {
            let from = 0;
            while (now.html[at][from] === one[from]) from += 1;
            const around = (text) => text.slice(Math.max(0, from - 60), from + 100);
            return differ(`HTML ${at}`, around(now.html[at]), around(one));
        }
    return '';
}
""".replace("LOOK", LOOK.strip())
# In the page: when something was last done to a panel, and when its pictures last changed.
WATCH: Final = """
(panel) => {
    if (panel.watched) return;
    panel.watched = {from: 0, until: 0};
    const begin = (event) => { panel.watched = {from: event.timeStamp, until: 0}; };
    for (const kind of ['click', 'change', 'input', 'keydown', 'pointermove'])
        panel.addEventListener(kind, begin, true);
    new MutationObserver(changes => {
        const pictures = changes.some(({target}) =>
            (target.nodeType === 1 ? target : target.parentElement).closest('.widget-html'));
        if (!pictures) return;
        const about = panel.watched;
        requestAnimationFrame(() => { about.until = performance.now(); });
    }).observe(panel, {childList: true, subtree: true, characterData: true});
}
"""


# In the page: true once a panel stands still. Cells that come into sight first get their height
# then, and a click that the page moves away from under is lost.
STILL: Final = """
(panel) => new Promise(done => {
    let last = NaN, since = 0;
    const look = (now) => {
        const {top} = panel.getBoundingClientRect();
        if (top !== last) [last, since] = [top, now];
        if (now - since > 250) done(true); else requestAnimationFrame(look);
    };
    panel.scrollIntoView({block: 'nearest'});
    requestAnimationFrame(look);
})
"""


class Shown(NamedTuple):
    """A widget of a notebook: the cell that shows it, and its twin."""

    cell: str
    panel: Panel


def twins(path: Path, cells: Sequence[str]) -> list[Shown]:
    """Run a notebook's cells here up to the last of `cells`; return the widgets they show."""
    for kept in (widgets._KEPT, exercise._ATTEMPTED, progress.SAID):
        kept.clear()
    around: dict[str, Any] = {"__name__": "__main__"}
    found = []
    wanted = list(cells)
    for cell in read(path).cells:
        if not wanted:
            break
        if cell.cell_type == "code" and "claim" not in cell.metadata.get("tags", []):
            with contextlib.redirect_stdout(io.StringIO()):
                value = ran(cell.source, around)
            if cell.id in wanted:
                wanted.remove(cell.id)
                assert isinstance(value, Panel), f"{cell.id} shows a widget that is no Panel"
                found.append(Shown(cell.id, value))
    return found


def parts(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """Yield a widget and all that are in it, as they stand in the page; not what is hidden now."""
    if widget.layout.display == "none":
        return
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def shown(panel: Panel) -> dict[str, list[Any]]:
    """Return what a page must show of a panel."""
    every = list(parts(panel.box))
    return {
        "html": [one.value for one in every if type(one) is ipywidgets.HTML],
        "controls": [state(one) for one in every if kind(one)],
    }


def kind(one: ipywidgets.Widget) -> str:
    """Name the kind of a control, "" for what is none."""
    kinds = {
        "check": ipywidgets.Checkbox,
        "radio": ipywidgets.RadioButtons,
        "choice": (ipywidgets.Dropdown, ipywidgets.Select),
        "slider": (ipywidgets.IntSlider, ipywidgets.IntRangeSlider),
        "button": ipywidgets.Button,
        "text": (ipywidgets.Text, ipywidgets.Textarea),
    }
    for name, types in kinds.items():
        if isinstance(one, types):
            return name
    plain = (ipywidgets.Box, ipywidgets.HTML, ipywidgets.Label)
    assert isinstance(one, plain), f"teach the walk what to do with a {type(one).__name__}"
    return ""


def state(one: ipywidgets.Widget) -> list[Any]:
    """Return the state of a control as LOOK gives it."""
    off = bool(one.disabled)
    match kind(one):
        case "check":
            return ["check", one.description, one.value, off]
        case "radio" | "choice":
            at = -1 if one.index is None else one.index
            return [kind(one), [label.strip() for label in one._options_labels], at, off]
        case "slider":
            value = one.value if isinstance(one.value, tuple) else (one.value,)
            return ["slider", list(value), off]
        case "button":
            return ["button", one.description.strip(), off]
    return ["text", one.value, off]


class Pair:
    """A widget in the page and its twin here; `times` are the milliseconds until it had changed."""

    def __init__(self, panel: Panel, there: Locator) -> None:
        self.panel, self.there = panel, there
        self.times: list[float] = []
        self.there.evaluate(WATCH)

    @property
    def controls(self) -> list[ipywidgets.Widget]:
        """All controls, as they stand in the page."""
        return [one for one in parts(self.panel.box) if kind(one)]

    def reach(self) -> None:
        """Scroll to it, as a reader does, and wait until the page stands still."""
        self.there.evaluate(STILL)

    def agree(self, done: str, seconds: float = SECONDS) -> None:
        """Wait until the page shows what the twin holds; fail if it does not."""
        wanted = shown(self.panel)
        page = self.there.page
        handle = self.there.element_handle()
        what = f"([panel, wanted]) => ({COMPARE})(panel, wanted) === ''"
        try:
            page.wait_for_function(what, arg=[handle, wanted], timeout=seconds * 1000)
        except Exception as late:
            said = self.there.evaluate(COMPARE, wanted)
            raise AssertionError(f"after {done}: {said}") from late
        watched = self.there.evaluate(
            "panel => new Promise(done => requestAnimationFrame(() => done(panel.watched)))"
        )
        if watched["from"] and watched["until"]:
            self.times.append(watched["until"] - watched["from"])
            self.there.evaluate("panel => { panel.watched = {from: 0, until: 0}; }")

    def element(self, one: ipywidgets.Widget) -> Locator:
        """Find a control in the page: of a group, the whole group."""
        query = {
            "check": "input[type=checkbox]",
            "radio": ".widget-radio",
            "choice": "select",
            "slider": ".widget-slider",
            "button": "button",
            "text": ".widget-text input, textarea",
        }[kind(one)]
        alike = [other for other in self.controls if kind(other) == kind(one)]
        return (
            self.there.locator(query)
            .filter(visible=True)
            .nth([id(it) for it in alike].index(id(one)))
        )
