"""The toggle lab: any rule, any owner, any case, and at once what the engine makes of it.

A face; previous: widgets.py, last file of the package.

The controls only compose a scenario and a rule; SITUATIONS is a table, and a scenario of one's own
can be typed. What is shown is what explain.py says of it, under the chosen rule and under the one
it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from html import escape
from typing import Final, NamedTuple

import ipywidgets
from traitlets import TraitError

from vmakernel import draw, recorded
from vmakernel.explain import Check, Mark, Step, checks, explain, owed, trace
from vmakernel.flags import InputError, NotationError
from vmakernel.kernels import MOMENTS, Kernel, Removal, Rule, UnknownKernel, kernel
from vmakernel.layout import strip
from vmakernel.predicates import Asked, Verdict
from vmakernel.replay import parse_scenario
from vmakernel.vma import VMA, parse_range, parse_vma
from vmakernel.widgets import Panel, guarded


class Situation(NamedTuple):
    """VMAs without ->close, and the call made on them; {start} and {end} are the range's pages."""

    title: str
    layout: str
    call: str
    start: int = 4
    end: int = 8
    page_by_page: bool = False


def _case(number: int, title: str) -> Situation:
    layout, _, call = recorded.situation(number).partition(" | ")
    for old, new in (
        ("new", "mmap"),
        ("modify", "protect"),
        ("4-8", "{start}-{end}"),
        ("@4", "@{start}"),
    ):
        call = call.replace(old, new)
    return Situation(title, layout, call)


_PROTECT: Final = "protect {start}-{end}:rw"

SITUATIONS: Final = {
    "case 1": _case(1, "the range fills the hole between prev and next"),
    "case 2": _case(2, "the range joins prev; next differs"),
    "case 3": _case(3, "the range joins next; prev differs"),
    "case 4": _case(4, "the tail of prev becomes like next"),
    "case 5": _case(5, "the head of the middle becomes like prev"),
    "case 6": _case(6, "the whole middle becomes like both"),
    "case 7": _case(7, "the whole middle becomes like prev"),
    "case 8": _case(8, "the whole middle becomes like next"),
    "inside": Situation("a part that touches neither edge", "C=0-12:r,f1@0", _PROTECT),
    "there and back": Situation(
        "mprotect() to r, and to rw again",
        "C=0-12:rw,f1@0",
        "protect {start}-{end}:r; protect {start}-{end}:rw",
    ),
    "page by page": Situation(
        "case 6 in small steps",
        recorded.situation(6).partition(" | ")[0],
        _PROTECT,
        page_by_page=True,
    ),
    "mremap": Situation("prev grows in place", "P=0-4:rw,f1@0", "mremap P+{pages}"),
    "mremap to next": Situation(
        "prev grows until it touches next", "P=0-4:rw,f1@0 N=8-12:rw,f1@8", "mremap P+{pages}"
    ),
    "other pages": Situation(
        "like case 7, but not contiguous in the file",
        "P=0-4:rw,f1@0 C=4-8:r,f1@6 N=8-12:r,f1@10",
        _PROTECT,
    ),
    "VM_SPECIAL": Situation(
        "like case 7, with a flag of hugetlb",
        "P=0-4:rwE,f1@0 C=4-8:rE,f1@4 N=8-12:rE,f1@8",
        _PROTECT,
    ),
}
PAGES: Final = 12
OWN: Final = "your own"
NOTHING_TYPED: Final = (
    "type a scenario of your own, such as P=0-4:rw,f1@0,c C=4-8:r,f1@4,c | protect 4-8:rw"
)

# What a reader calls the moments, and the names under which kernels.py knows them.
LABELS: Final = {
    "pre-git": "pre_git",
    "regression": "regression",
    "workaround": "workaround",
    "may_remove_vma 6.4": "may_remove_vma",
    "case-7 fix": "case7_fix",
    "6.12": "really_removed",
}
ROLES: Final = {"prev": "P", "middle": "C", "next": "N"}
MIXED: Final = (
    "Mixed: no real driver does this, for VMAs alike in file and flags share their vm_ops. "
    "It shows which VMA the rule really asks."
)
AS_TYPED: Final = (
    "Your scenario says by itself which VMAs have ->close (a c behind a comma) and which pages are "
    "meant, so those controls rest; choose a situation to get them back."
)

STYLE: Final = (
    "<style>.vk-lab .vk-line{align-items:center;gap:0 1em;flex-wrap:wrap;margin:1px 0}"
    ".vk-lab .vk-line>*{margin:0;max-width:100%}"
    ".vk-lab .widget-label{width:9em!important;flex:none;text-align:left}"
    ".vk-lab .widget-radio-box{gap:0 1em;flex-wrap:wrap;margin:0!important}"
    ".vk-lab .widget-radio-box,.vk-lab .widget-radio{height:auto;width:auto;max-width:none}"
    ".vk-lab .widget-radio-box label{width:auto;margin:0}"
    ".vk-lab label:has(:checked){font-weight:bold}"
    ".vk-lab .noUi-handle{border:2px solid var(--jp-ui-font-color1,#444)}"
    ".vk-two{display:flex;flex-wrap:wrap;align-items:flex-start;gap:0 1em}"
    ".vk-two>div{flex:1 1 320px;min-width:0}"
    ".vk-rule{font-weight:bold;margin-top:.7em!important}"
    ".vk-check{display:inline-block;margin-right:2px;padding:0 3px;white-space:nowrap;"
    "border:2px solid transparent}"
    ".vk-decides{border-color:currentColor;background:#f0e44240;font-weight:bold}"
    ".vk-lab pre{overflow-x:auto;white-space:pre;font-size:12px;line-height:1.35}</style>"
)
LEGEND: Final = (
    f"{Mark.HELD} held; {Mark.FAILED} refused, and that decided (framed); "
    f"{Mark.NOT_ASKED} not asked by this rule; {Mark.NOT_REACHED} not reached."
)


class ToggleLab(Panel):
    """The toggle lab; every control is an ipywidget whose value can be set from code as well."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet = False
        self.kernels: list[Kernel] = []
        self.traces: list[list[Step]] = []
        self._controls()
        self._watch()
        self._arrange()
        self._choose_moment()

    # --- what can be chosen ------------------------------------------------------------------

    def _controls(self) -> None:
        self.moment = ipywidgets.RadioButtons(
            options=LABELS, value="may_remove_vma", orientation="horizontal"
        )
        self.before = _box("test before (asks next)")
        self.after = _box("test after (asks prev)")
        self.removed = ipywidgets.Dropdown(
            options=[str(asked) for asked in Removal],
            description="ask who would go",
            layout={"width": "16em"},
        )
        self.close = {role: _box(role) for role in ROLES}
        titles = {f"{name}: {situation.title}": name for name, situation in SITUATIONS.items()}
        titles[f"{OWN}: the scenario typed below"] = OWN
        self.situation = ipywidgets.Dropdown(
            options=titles, value="case 7", layout={"width": "38em"}
        )
        self.own = ipywidgets.Text(
            placeholder=NOTHING_TYPED, continuous_update=False, layout={"width": "38em"}
        )
        self.own.add_class("vk-mono")
        self.range = ipywidgets.IntRangeSlider(
            value=(4, 8), min=0, max=PAGES, layout={"width": "38em"}
        )
        self.compared = ipywidgets.Dropdown(
            options={**LABELS, "nothing": ""}, value="workaround", layout={"width": "23em"}
        )
        self.as_text = _box("all of it as text")
        self.note = ipywidgets.HTML()
        self.view = ipywidgets.HTML()
        for box in self.close.values():
            box.value = True

    def _watch(self) -> None:
        self.moment.observe(self._moment_changed, "value")
        self.situation.observe(self._situation_changed, "value")
        self.own.observe(self._typed, "value")
        switches = (self.before, self.after, self.removed, *self.close.values())
        for control in (*switches, self.range, self.compared, self.as_text):
            control.observe(self._changed, "value")

    def _arrange(self) -> None:
        self.box.add_class("vk-lab")
        self.show(
            ipywidgets.HTML(STYLE, layout={"display": "none"}),
            _line("moment", self.moment),
            _line("or build a rule", self.before, self.after, self.removed),
            _line("->close on", *self.close.values()),
            _line("situation", self.situation),
            _line("your scenario", self.own),
            _line("range of pages", self.range),
            _line("compare with", self.compared, self.as_text),
            self.note,
            self.message,
            self.view,
        )

    # --- what a change does ------------------------------------------------------------------

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Set several controls, then show the result once."""
        if self._quiet:
            yield
            return
        self._quiet = True
        try:
            yield
        finally:
            # Away from all moments, or back at the one we came from.
            self.moment.value = _moment_of(self._base.with_rule(self._rule_built()))
            self._quiet = False
            self._update()

    @guarded
    def _changed(self, _: object) -> None:
        with self._together():
            pass

    @guarded
    def _moment_changed(self, _: object) -> None:
        if self.moment.value is not None:
            self._choose_moment()

    def _choose_moment(self) -> None:
        self._take(kernel(self.moment.value))

    def _take(self, base: Kernel) -> None:
        """Put the switches where this kernel has them; what they change is changed in it."""
        self._base = base
        with self._together():
            self.before.value, self.after.value = base.rule.before, base.rule.after
            self.removed.value = str(base.rule.removed)

    @guarded
    def _situation_changed(self, _: object) -> None:
        with self._together():
            self._set_range()

    def _set_range(self) -> None:
        if self.chosen:
            self.range.value = self.chosen.start, self.chosen.end

    @guarded
    def _typed(self, _: object) -> None:
        with self._together():
            self.situation.value = OWN

    def open(
        self, scenario: str, rule: str | Kernel = "", compared: str | Kernel | None = None
    ) -> ToggleLab:
        """Show a scenario of one's own under `rule` beside `compared`; return the lab.

        A rule that is left out stays as it is. Unlike in choose(), any kernel will do: what its
        version did in other ways stays true of it; compared="" compares with nothing.
        """
        self._open(scenario, rule, compared)
        return self

    @guarded
    def _open(self, scenario: str, rule: str | Kernel, compared: str | Kernel | None) -> None:
        with self._together():
            if scenario:
                self.own.value = scenario
                self.situation.value = OWN
            if rule:
                self._take(_kernel(rule))
            if compared is not None:
                self._compare_with(compared)

    def _compare_with(self, other: str | Kernel) -> None:
        """Compare with a kernel that need not be in the list, or with "", nothing."""
        found = _kernel(other) if other else None
        moment = _moment_of(found) if found else ""
        if moment is None:
            self.compared.options = {str(found): found, **LABELS, "nothing": ""}
        self.compared.value = found if moment is None else moment

    def choose(self, **controls: object) -> ToggleLab:
        """Set controls by name, as in ``choose(moment="pre_git", close="PC")``; return the lab.

        `close` holds the letters of the VMAs that have it, or is "all".
        """
        self._choose(controls)
        return self

    @guarded
    def _choose(self, controls: dict[str, object]) -> None:
        names = (
            *("moment", "before", "after", "removed", "situation", "scenario", "range"),
            *("compared", "close"),
        )
        for unknown in controls.keys() - {*names}:
            raise NotationError(f"the lab has no {unknown}: use one of {', '.join(names)}")
        close = controls.get("close", "all")
        if close != "all" and set(str(close)) - {*ROLES.values()}:
            raise NotationError(f"close={close!r}: use letters out of PCN, or 'all'")
        if "moment" in controls and controls["moment"] not in LABELS.values():
            with suppress(UnknownKernel):
                controls["moment"] = kernel(str(controls["moment"])).rule.name
        # In this order: a moment sets the switches, a situation sets the range.
        with self._together():
            for name in names[:-1]:
                if name in controls:
                    control = self.own if name == "scenario" else getattr(self, name)
                    _set(name, control, controls[name])
                if name == "situation" and name in controls:
                    self._set_range()
                if name == "scenario" and name in controls:
                    self.situation.value = OWN
            if "close" in controls:
                for role, box in self.close.items():
                    box.value = controls["close"] == "all" or ROLES[role] in str(controls["close"])

    # --- what is chosen -----------------------------------------------------------------------

    @property
    def chosen(self) -> Situation | None:
        """The situation chosen; None where it is a scenario of one's own."""
        return SITUATIONS.get(self.situation.value)

    def _rule_built(self) -> Rule:
        rule = self._base.rule
        changes = {
            "before": self.before.value,
            "after": self.after.value,
            "removed": Removal(self.removed.value),
        }
        same = all(getattr(rule, field) == value for field, value in changes.items())
        return rule if same else rule.toggled(**changes)

    def _chosen_kernels(self) -> list[Kernel]:
        """Return the kernel as toggled, and the one to compare it with where that is another."""
        mine = self._base.with_rule(self._rule_built())
        other = [_kernel(self.compared.value)] if self.compared.value else []
        return [mine, *[one for one in other if one != mine]]

    @property
    def kernel(self) -> Kernel:
        """The kernel of the moment chosen last, with the rule as toggled."""
        return self.kernels[0]

    @property
    def vmas(self) -> list[VMA]:
        """The layout, with ->close where it is chosen; that of one's own scenario as it is typed.

        Raises NotationError.
        """
        if self.chosen is None:
            return parse_scenario(self._own)[1]
        return [parse_vma(word) for word in self._words(self.chosen)]

    @property
    def _own(self) -> str:
        """The scenario typed. Raises NotationError where there is none."""
        if not self.own.value.strip():
            raise NotationError(NOTHING_TYPED)
        return str(self.own.value)

    def _words(self, chosen: Situation) -> list[str]:
        closed = [name for role, name in ROLES.items() if self.close[role].value]
        words = chosen.layout.split()
        return [f"{word},c" if word[0] in closed else word for word in words]

    @property
    def scenario(self) -> str:
        """The scenario that the controls compose, or the one that was typed.

        Raises NotationError where there is none, or for a range on which the call cannot be made.
        """
        chosen = self.chosen
        if chosen is None:
            return self._own
        start, end = parse_range("{}-{}".format(*self.range.value))
        self._fits(chosen, start, end)
        pages = range(start, end) if chosen.page_by_page else [start]
        calls = [
            chosen.call.format(
                start=page, end=page + 1 if chosen.page_by_page else end, pages=end - start
            )
            for page in pages
        ]
        return f"{' '.join(self._words(chosen))} | {'; '.join(calls)}"

    def _fits(self, chosen: Situation, start: int, end: int) -> None:
        """Raise NotationError where the call cannot be made on these pages."""
        call = chosen.call
        if call.startswith("mremap") and start != chosen.start:
            raise NotationError(
                f"mremap() grows prev from page {chosen.start} on: let the range start there"
            )
        if call.startswith("protect"):
            met = [vma.name for vma in self.vmas if vma.vm_start < end and start < vma.vm_end]
            if len(met) > 1:
                raise NotationError(
                    f"pages {start}-{end} lie in {' and '.join(met)}, and the kernel asks for one "
                    "VMA at a time: choose a range inside one"
                )

    # --- what is shown ------------------------------------------------------------------------

    def _update(self) -> None:
        self.kernels = self._chosen_kernels()
        self.picture, self.traces = draw.picture(""), []
        shown = ""
        try:
            self._say_what_there_is()
            self.picture = draw.picture(self.vmas)
            scenario = self.scenario
            self.traces = [trace(one, scenario) for one in self.kernels]
            self.picture = draw.before_after(scenario, *self.kernels)
            shown = self._as_text(scenario) if self.as_text.value else self._as_pictures()
        except InputError:
            shown = self.picture.svg
            raise
        finally:
            self.view.value = shown

    def _as_text(self, scenario: str) -> str:
        return f"<pre>{escape(explain(self.kernels, scenario))}</pre>"

    def _as_pictures(self) -> str:
        told = "".join(map(_asked, self.kernels, self.traces))
        changed = escape(compare(self.kernels, self.traces)) if len(self.traces) > 1 else ""
        return (
            f'<p role="status"><b>{changed}</b></p><div class="vk-two">{self.picture.svg}'
            f"<div>{told}<p><small>{LEGEND}</small></p></div></div>"
        )

    def _say_what_there_is(self) -> None:
        """Disable what this situation does not have; say so where ->close is mixed."""
        typed = self.chosen is None
        self.range.disabled = typed
        here = set() if typed else {vma.name for vma in self.vmas}
        for role, box in self.close.items():
            box.disabled = ROLES[role] not in here
            why = "as typed" if typed else "none here"
            box.description = f"{role} ({why})" if box.disabled else f"{role} {ROLES[role]}"
        self.note.value = f"<p><small>{AS_TYPED}</small></p>" if typed else ""
        if len({vma.has_close for vma in self.vmas}) > 1:
            self.note.value += f"<p><small>{MIXED}</small></p>"

    @property
    def svg(self) -> str:
        """The layout before, and after under both rules; before alone where nothing comes of it."""
        return self.picture.svg

    @property
    def outcome(self) -> str:
        """What comes of it under the rule chosen: the layout, and what became of whom."""
        if self.complaint:
            return self.complaint
        step = self.traces[0][-1]
        return f"{self.kernel}: {strip(step.after)} {draw.told(self.kernel, step)}"

    @property
    def text(self) -> str:
        """What was chosen, what comes of it, and what the rule compared with does, in one line."""
        return self.picture.text


def _kernel(rule: str | Kernel) -> Kernel:
    return rule if isinstance(rule, Kernel) else kernel(rule)


def _moment_of(one: Kernel) -> str | None:
    """Return the name of the moment that a kernel stands for, if it stands for one."""
    name = one.rule.name
    return name if name in MOMENTS and one == kernel(name) else None


def _box(description: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(description=description, indent=False, layout={"width": "auto"})


def _set(name: str, control: ipywidgets.Widget, value: object) -> None:
    """Give a control a value, or say which values it takes."""
    if name == "situation" and isinstance(value, int):
        value = f"case {value}"
    try:
        control.value = value
    except TraitError:
        takes = {
            "before": "True or False",
            "after": "True or False",
            "range": "(4, 8)",
            "scenario": "text, such as 'P=0-4:rw | unmap 0-4'",
        }.get(name)
        if takes is None:
            options = control.options
            named = options.values() if isinstance(options, dict) else options
            takes = f"one of {', '.join([str(one) for one in named if one])}"
        raise NotationError(f"{name} cannot be {value!r}: write {takes}") from None


def _line(label: str, first: ipywidgets.Widget, *others: ipywidgets.Widget) -> ipywidgets.HBox:
    """Return a line of controls; its label is that of the first, unless each has its own."""
    if isinstance(first, ipywidgets.Checkbox | ipywidgets.RadioButtons):
        line = ipywidgets.HBox([ipywidgets.Label(label), first, *others])
    else:
        first.description = label
        line = ipywidgets.HBox([first, *others])
    line.add_class("vk-line")
    return line


def _asked(one: Kernel, steps: Sequence[Step]) -> str:
    """Return the checks of every step as HTML, the one that decided in a frame."""
    lines = [f'<p class="vk-rule">{escape(str(one))} asks</p>']
    for step in steps:
        call = f"<code>{escape(str(step.operation))}</code> " if len(steps) > 1 else ""
        outcome = step.result.outcome
        if outcome is None or not outcome.asked:
            lines.append(f"<p>{call}nobody: {escape(draw.told(one, step))}</p>")
            continue
        for asked in outcome.asked:
            lines.append(f"<p>{call}{_question(one, asked)}</p>")
    return "".join(lines)


def _question(one: Kernel, asked: Asked) -> str:
    chips = "".join(
        f'<span class="vk-check{" vk-decides" if check.mark is Mark.FAILED else ""}">'
        f"{escape(str(check))}</span>"
        for check in checks(one, asked)
    )
    answer = "yes" if asked.verdict is Verdict.OK else "no"
    who = escape(f"{asked.role} {asked.vma.name}, {asked.where}")
    return f"{who}: <b>{answer}</b><br>{chips}"


# --- what a rule changed --------------------------------------------------------------------------

_SAYS: Final = {
    Mark.HELD: "accepts",
    Mark.FAILED: "refuses",
    Mark.NOT_ASKED: "does not ask",
    Mark.NOT_REACHED: "does not get that far",
}


def compare(kernels: Sequence[Kernel], traces: Sequence[Sequence[Step]]) -> str:
    """Say what two rules make different of one scenario, and which checks made it so.

    `kernels` and `traces` hold the rule chosen, then the one it is compared with.
    """
    (one, other), (steps, others) = kernels, traces
    pairs = list(zip(steps, others, strict=True))
    apart = [pair for pair in pairs if _fate(pair[0]) != _fate(pair[1])]
    step, twin = (apart or pairs)[-1]
    reasons = " ".join(_reasons((other, (apart or pairs)[0][1]), (one, (apart or pairs)[0][0])))
    if apart:
        news = f"; {owed(step)}" if step.leaked != twin.leaked else ""
        told = f"{strip(step.after)} instead of {strip(twin.after)}{news}. {reasons}"
    else:
        told = f"the same, for other reasons. {reasons}" if reasons else "the same."
    return f"{one} compared with {other}: {told}".strip()


def _fate(step: Step) -> tuple[object, ...]:
    return step.result.status, step.after, step.removed, step.leaked


def _reasons(*sides: tuple[Kernel, Step]) -> Iterator[str]:
    """Yield a sentence for each check that refused under one of two rules and not the other."""
    marks = [dict(_marks(*side)) for side in sides]
    first, second = marks
    for key in [*first, *[key for key in second if key not in first]]:
        pair = [side.get(key, Mark.NOT_ASKED) for side in marks]
        if pair[0] is not pair[1] and Mark.FAILED in pair:
            says = [f"{k.version} {_SAYS[mark]}" for (k, _), mark in zip(sides, pair, strict=True)]
            yield f"{key}: {', '.join(says)}."


def _marks(one: Kernel, step: Step) -> Iterator[tuple[str, Mark]]:
    outcome = step.result.outcome
    for asked in outcome.asked if outcome else ():
        for check in checks(one, asked):
            yield f"{asked.role} {asked.vma.name}, {_named(check)}", check.mark


def _named(check: Check) -> str:
    would_go = check.detail.partition(" and ")[0] if "removed" in check.detail else ""
    return f"{check.name} ({would_go})" if would_go else str(check.name)
