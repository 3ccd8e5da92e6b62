"""Widgets: controls whose every answer comes from the engine.

A face; previous: draw.py; next: toggle_lab.py. Only these two files need ipywidgets.

A change of a control sets the value of an HTML widget, and nothing else: no Output, no interact.
What goes wrong in such a change is said inside the widget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from html import escape
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import ipywidgets

from vmakernel import draw
from vmakernel.explain import Mark, Step, questions, trace
from vmakernel.flags import VM_EXEC, InputError, NotationError
from vmakernel.kernels import MOMENTS, TOGGLES, Kernel, kernel
from vmakernel.layout import parse_layout, strip
from vmakernel.replay import parse_scenario
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA

if TYPE_CHECKING:
    from vmakernel.toggle_lab import ToggleLab

# Works in JupyterLab's light and dark theme, and without any; state is never shown by colour alone.
STYLE: Final = (
    ".vk-panel{max-width:800px}"
    ".vk-panel .widget-html,.vk-panel .widget-html-content{height:auto;min-width:0}"
    # A picture does not get too small to read: on a narrow screen it scrolls.
    ".vk-panel .widget-html{overflow:visible}.vk-panel .widget-html-content{overflow-x:auto}"
    ".vk-panel .widget-hbox{flex-wrap:wrap}.vk-panel .jupyter-widgets{max-width:100%}"
    ".vk-panel .widget-checkbox,.vk-panel .widget-label-basic{height:auto;white-space:normal}"
    "@media(prefers-reduced-motion:reduce){.vk-panel *{transition:none!important}}"
    ".vk-panel p,.vk-panel ul,.vk-panel ol{margin:.25em 0;line-height:1.4}"
    ".vk-panel ul{padding-left:1.2em}.vk-panel ol{padding-left:2em}"
    ".vk-panel .vk-mono,.vk-panel .vk-mono label,.vk-panel .vk-mono input,.vk-panel code,"
    ".vk-panel pre{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    ".vk-panel .vk-wrong{border-left:4px solid #d55e00;padding:.25em .6em}"
    ".vk-panel :focus-visible{outline:2px solid var(--jp-brand-color1,#0072b2);outline-offset:2px}"
)

# In command mode JupyterLab takes every key, also from a control that has the focus: arrows would
# leave a list, and two d's would delete the cell. Keys without Shift, Ctrl or Alt stay in here.
# And ipywidgets gives a slider's handles and a group of radio buttons no name to be read out.
# The panel is not there at once, nor are its controls: look again a few times.
_HELP: Final = """\
const stay=e=>{if(!(e.shiftKey||e.ctrlKey||e.altKey||e.metaKey))e.stopPropagation()};
const words=one=>one?.textContent.trim()||'';
const name=(one,role,label)=>{if(one){one.role=role;one.ariaLabel=label}};
const help=again=>{const panel=this.closest('.vk-panel');if(panel){
panel.addEventListener('keydown',stay);
for(const one of panel.querySelectorAll('.widget-slider')){const label=words(one.firstChild);
const handles=one.querySelectorAll('.noUi-handle');name(one.querySelector('.widget-readout'),
'textbox',label);handles.forEach((handle,at)=>name(handle,'slider',handles.length>1?
label+[' from',' to'][at]:label))}
for(const one of panel.querySelectorAll('.widget-radio'))name(one.lastChild,'radiogroup',
words(one.firstChild)||words(one.parentNode.querySelector(':scope>.widget-label'))||'answer')}
if(again)setTimeout(help,300,again-1)};help(20)"""
KEYS: Final = f'<img alt="" src="data:," onerror="{escape(_HELP)}">'

Self = TypeVar("Self", bound="Panel")
Rest = ParamSpec("Rest")


def guarded(change: Callable[Concatenate[Self, Rest], None]) -> Callable[..., None]:
    """Let whatever goes wrong in a callback be said in the widget, where it would else vanish."""

    @wraps(change)
    def call(panel: Self, *args: Rest.args, **kwargs: Rest.kwargs) -> None:
        try:
            panel.complain("")
            change(panel, *args, **kwargs)
        except InputError as mistake:
            panel.complain(str(mistake))
        except Exception as error:
            panel.complain(
                f"This widget failed ({type(error).__name__}: {error}); what you entered is kept. "
                "Run its cell again."
            )

    return call


class Panel:
    """Controls and what they show; `box` is the ipywidgets box, `message` tells what is wrong.

    Its text twin is the repr; `svg` is what a page without widgets shows in its place.
    """

    def __init__(self) -> None:
        self.complaint = ""
        self.message = ipywidgets.HTML()
        self.style = ipywidgets.HTML(f"<style>{STYLE}</style>{KEYS}", layout={"display": "none"})
        self.box = ipywidgets.VBox()
        self.box.add_class("vk-panel")

    def show(self, *parts: ipywidgets.Widget) -> None:
        """Set what stands in the box, from the top down."""
        self.box.children = (self.style, *parts)

    def complain(self, words: str) -> None:
        """Say what is wrong; it stays until the next change."""
        self.complaint = words
        alert = f'<p class="vk-wrong" role="alert">{escape(words)}</p>'
        self.message.value = alert if words else ""

    @property
    def svg(self) -> str:
        """The picture shown now."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """What is shown now, in one line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.complaint or self.text

    def _repr_mimebundle_(self, **which: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**which)
        return {**bundle, "text/plain": repr(self), "text/html": draw.on_page(self.svg)}


# --- predict, then see ----------------------------------------------------------------------------

OWN: Final = "another: type it below"
MOST_OPTIONS: Final = 6

# What was committed to, kept for the life of the notebook's kernel, so that running a cell again
# loses nothing.
_KEPT: dict[tuple[str, str, str], list[str]] = {}


class Prediction(Panel):
    """A question about a layout: commit to an answer first, then see what the engine says.

    `answers` holds the commitment, then every change of mind.
    """

    def __init__(self, scenario: str, rule: str | Kernel, *, question: str = "") -> None:
        super().__init__()
        self.kernel = rule if isinstance(rule, Kernel) else kernel(rule)
        self.scenario = scenario
        self.steps = trace(self.kernel, scenario)
        self.outcome = strip(self.steps[-1].after)
        self.alone = unmerged(self.steps[-1])
        _, vmas, operations = parse_scenario(scenario)
        self._names = {vma.name[0] for vma in vmas}
        self.calls = "; ".join(map(str, operations))
        self.question = question or f"What is the layout after {self.calls} under {self.kernel}?"
        key = scenario, repr(self.kernel), self.question
        self.answers = _KEPT.setdefault(key, [])
        self._build()

    def _build(self) -> None:
        self.before = draw.before_after(self.scenario)
        options = [*alternatives(self.kernel, self.scenario), OWN]
        self.options = ipywidgets.RadioButtons(options=options, value=None)
        self.options.layout.width = "auto"
        self.options.add_class("vk-mono")
        self.own = ipywidgets.Text(placeholder="PPPP|CC..|NN", description="layout:")
        self.own.add_class("vk-mono")
        self.commit = ipywidgets.Button(tooltip="Your first answer is kept as it is")
        self.result = ipywidgets.HTML()
        self.own.observe(self._typed, "value")
        self.commit.on_click(self._commit)
        top = ipywidgets.HTML(f"<p><b>{escape(self.question)}</b></p>{self.before.svg}")
        self.show(top, self.options, self.own, self.commit, self.message, self.result)
        self._update()

    @guarded
    def _typed(self, _: object) -> None:
        if self.own.value:
            self.options.value = OWN

    @guarded
    def _commit(self, _: object) -> None:
        chosen = self.options.value
        if chosen is None or (chosen == OWN and not self.own.value.strip()):
            self.complain("Choose a layout, or type one, before you commit to it.")
        else:
            self._take(self.own.value if chosen == OWN else chosen)

    def answer(self, layout: str) -> Prediction:
        """Commit to `layout` (such as ``PPPP|CC..|NN``), or change your mind; return the widget."""
        self._answer(layout)
        return self

    @guarded
    def _answer(self, layout: str) -> None:
        self._take(layout)

    def _take(self, layout: str) -> None:
        said = self._read(layout)
        if not self.answers or said != self.answers[-1]:
            self.answers.append(said)
        self._update()

    def _read(self, layout: str) -> str:
        """Return `layout` as strip() writes it.

        Raises NotationError.
        """
        if not layout.strip():
            raise NotationError("write a layout, such as PPPP|CC..|NN, or . for no VMA at all")
        text = layout.strip().rstrip(".").strip("|") or "."
        if text in (self.outcome.rstrip("."), *self.options.options):
            return text  # long stretches, cut with ~, do not parse
        vmas = parse_layout(text)
        if borders(vmas) == self.alone and self.steps[-1].operation.kind != "modify":
            return strip(vmas)  # what is mapped has no name yet: any letter will do
        strangers = sorted({vma.name[0] for vma in vmas} - self._names)
        if strangers:
            known = ", ".join(sorted(self._names))
            raise NotationError(f"there is no VMA {strangers[0]} here: use the letters {known}")
        return strip(vmas)

    @property
    def right(self) -> bool:
        """True where the commitment, not a change of mind, is what happens."""
        return bool(self.answers) and self._holds(self.answers[0])

    def _holds(self, said: str) -> bool:
        return said == self.outcome.rstrip(".") or self._goes_on(said)

    def _goes_on(self, said: str) -> bool:
        """True where the merge alone is asked and refused, and `said` is what the call leaves."""
        last = self.steps[-1]
        if "~" in said or last.result.status != "no" or borders(last.after) == self.alone:
            return False
        return borders(parse_layout(said)) == self.alone

    @property
    def svg(self) -> str:
        """The layout before; after the commitment, also the outcome."""
        return self._shown().svg

    def _shown(self) -> draw.Picture:
        if not self.answers:
            return self.before
        return draw.before_after(self.scenario, self.kernel)

    def _update(self) -> None:
        self.commit.description = "I changed my mind" if self.answers else "commit"
        if not self.answers:
            self.result.value = ""
            return
        paragraphs = [f"<b>{escape(line)}</b>" for line in self._comparison()]
        step = self.steps[-1]
        asked = questions(self.kernel, step.result.outcome)
        told = "".join(f"<p>{line}</p>" for line in paragraphs)
        listed = "".join(f"<li>{escape(line)}</li>" for line in asked)
        self.result.value = f'<div role="status">{told}{self._shown().svg}<ul>{listed}</ul></div>'

    def _comparison(self) -> Iterator[str]:
        """Say what was answered, and how it compares with what the engine says."""
        first, last = self.answers[0], self.answers[-1]
        mark = Mark.HELD if self.right else Mark.FAILED
        if self._goes_on(first):
            split = self.steps[-1].operation.kind == "modify"
            way = "split" if split else "map the range by itself"
            right = f"Right about the program {mark}"
            yield f"You said {first}. {right}: the call would go on and {way}."
            yield f"Here only the merge is asked; {self.kernel} refuses it: {self.outcome}."
        else:
            yield f"You said {first}; under {self.kernel} it is {self.outcome} {mark}."
        if not self.right and (others := _who_does(self.scenario, first)):
            yield f"Your layout is what {', '.join(others)} would give."
        if len(self.answers) > 1:
            mark = Mark.HELD if self._holds(last) else Mark.FAILED
            yield f"Having seen that, you changed your mind to {last} {mark}."

    @property
    def text(self) -> str:
        """The question, or how the answer compares with what the engine says."""
        if not self.answers:
            return f"{self.question} {strip(self.steps[0].before)} → ? (no answer yet)"
        return f"{' '.join(self._comparison())} {draw.told(self.kernel, self.steps[-1])}"


def predict(scenario: str, rule: str | Kernel, *, question: str = "") -> Prediction:
    """Ask for the layout after `scenario` under `rule`, then show it beside the answer.

    Raises NotationError, SpaceError or UnknownKernel.
    """
    return Prediction(scenario, rule, question=question)


def unmerged(step: Step) -> list[tuple[int, int]]:
    """Return the borders (in pages) that a bare question leads to if its call goes on unmerged.

    new, mmap and modify put a question and do no more; for whole calls there is nothing to add.
    """
    kind, start, end, *_ = step.operation
    if kind not in ("new", "mmap", "modify"):
        return []
    found = [] if kind == "modify" else [(start, end)]
    for vma in step.before:
        cuts = [at for at in (start, end) if vma.vm_start < at < vma.vm_end]
        found += pairwise([vma.vm_start, *cuts, vma.vm_end])
    return sorted(found)


def borders(vmas: Sequence[VMA]) -> list[tuple[int, int]]:
    """Return where each VMA begins and ends, in pages."""
    return [(vma.vm_start, vma.vm_end) for vma in vmas]


def alternatives(one: Kernel, scenario: str) -> list[str]:
    """Return layouts to choose from: the right one, and what other rules or cases would give."""
    right = strip(trace(one, scenario)[-1].after).rstrip(".") or "."
    vmas = AddressSpace(parse_scenario(scenario)[1]).vmas
    found = {right, strip(vmas)}
    if vmas:
        found.add(strip([vmas[0]._replace(vm_end=vmas[-1].vm_end)]))  # all of them become one
    for other, changed in _variants(one, scenario):
        if len(found) < MOST_OPTIONS:
            found.add(strip(trace(other, changed)[-1].after).rstrip(".") or ".")
    return sorted(found)


def _variants(one: Kernel, scenario: str) -> Iterator[tuple[Kernel, str]]:
    """Yield other rules for the scenario, then the same rule for scenarios that differ in flags."""
    for moment in MOMENTS:
        yield kernel(moment), scenario
    for toggles in TOGGLES.values():
        yield one.with_rule(one.rule.toggled(**toggles)), scenario
    _, vmas, operations = parse_scenario(scenario)
    calls = "; ".join(map(str, operations))
    wanted = operations[-1].vm_flags
    if wanted is None:
        return
    for alike in product((True, False), repeat=len(vmas)):
        plain = [
            vma._replace(vm_ops=None, vm_flags=wanted if same else wanted ^ VM_EXEC)
            for vma, same in zip(vmas, alike, strict=True)
        ]
        yield one, f"{' '.join(map(str, plain))} | {calls}"


def _who_does(scenario: str, layout: str) -> Sequence[str]:
    """Return the moments of history that would give `layout`."""
    return [
        str(other)
        for other in map(kernel, MOMENTS)
        if strip(trace(other, scenario)[-1].after).rstrip(".") == layout
    ]


# --- the toggle lab -------------------------------------------------------------------------------


def toggle_lab(
    scenario: str = "", *, rule: str | Kernel = "", compared: str | Kernel | None = None
) -> ToggleLab:
    """Return the toggle lab: every rule and every case, or a scenario of your own, to play with.

    `scenario`, `rule` and `compared` as in ToggleLab.open(); the lab says what is wrong with them.
    """
    from vmakernel.toggle_lab import ToggleLab

    return ToggleLab().open(scenario, rule, compared)
