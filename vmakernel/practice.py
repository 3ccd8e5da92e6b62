"""Practice without end: problems from a seed, each with its answer and the way to it.

Previous: exercise.py. Four kinds of problem; the same kind, level and seed is the same problem on
every machine and in every version of Python.

    problem = practice("layout", level=2, seed=7)
    problem.answer("PPPP|PPPP")
    problem.explain()

A level is measured, not guessed: calls plus the questions that decided them (see `effort`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from html import escape
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from vmakernel import draw
from vmakernel.callers import Result
from vmakernel.exercise import Feedback, Grade, Note, graded
from vmakernel.explain import Step, owed, trace, verdict
from vmakernel.flags import InputError, NotationError, parse_flags, print_flags
from vmakernel.judges import deciding, lost
from vmakernel.kernels import MOMENTS, Kernel, kernel
from vmakernel.layout import strip
from vmakernel.replay import parse_operation, run
from vmakernel.space import AddressSpace
from vmakernel.vma import CLOSE_OPS, VMA, parse_vma

KINDS: Final = ("layout", "case", "rule", "repair")
# Calls plus questions put in each level, and how many calls to deal for it.
LEVELS: Final = {1: range(2, 4), 2: range(4, 7), 3: range(7, 13)}
CALLS: Final = {1: (1, 1, 2), 2: (2, 2, 3), 3: (3, 4, 4)}
KERNELS: Final = tuple(MOMENTS.values())
Thing = TypeVar("Thing")


class Dice:
    """Numbers that depend on the seed alone: no version of Python deals them otherwise."""

    def __init__(self, *seed: object) -> None:
        self._seed = repr(seed).encode()
        self._thrown = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to below `limit`."""
        self._thrown += 1
        digest = sha256(self._seed + self._thrown.to_bytes(4, "big")).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def pick(self, things: Sequence[Thing]) -> Thing:
        """Return one of `things`."""
        return things[self.below(len(things))]

    def one_in(self, chances: int) -> bool:
        """Return True once in so many times."""
        return self.below(chances) == 0


class Problem(NamedTuple):
    """A problem: what is asked, and a right answer (`key`; there may be others)."""

    kind: str
    level: int
    seed: int
    rule: str
    scenario: str
    question: str
    key: Any
    judge: str
    asks: dict[str, Any]

    @property
    def kernel(self) -> Kernel:
        """The kernel it is about."""
        return kernel(self.rule)

    @property
    def steps(self) -> list[Step]:
        """What happens, call by call."""
        return trace(self.kernel, self.scenario)

    @property
    def name(self) -> str:
        """How to get it again."""
        return f'practice("{self.kind}", level={self.level}, seed={self.seed})'

    def answer(self, answer: Any) -> Feedback:
        """Say how an answer stands, and why."""
        told = graded(self.judge, answer, self.asks, "; ".join(self._told()[-1:]))
        if told.grade is Grade.WRONG:
            told.lines[1:] = [*told.lines[1:2], *self._told()]
        return told

    def explain(self) -> Note:
        """Return a right answer, and how it comes about, call by call."""
        return Note("\n".join([f"right: {self.key}", *self._told()]))

    def _told(self) -> list[str]:
        steps = trace(self.kernel, self.key) if self.kind == "repair" else self.steps
        lines = []
        for step in steps:
            told = f"{step.operation} under {self.rule}: {strip(step.after)}, "
            told += verdict(self.kernel, step)
            if step.leaked:
                told += f"; {owed(step)}"
            if check := deciding(self.kernel, step):
                told += f"; decided by {check}"
            lines.append(told)
        return lines

    def __repr__(self) -> str:
        return f"{self.name}\n{self.question}\n{self.scenario}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        asked = f"<p><b>{escape(self.question)}</b></p>"
        asked += f"<p><code>{escape(self.scenario)}</code></p>"
        picture = draw.before_after(self.scenario).svg
        return {"text/plain": repr(self), "text/html": f"<div>{asked}{picture}</div>"}


_NEXT: Final = count(1)


def practice(kind: str = "layout", level: int = 1, seed: int | None = None) -> Problem:
    """Return a problem of a kind (layout, case, rule, repair) and level (1 to 3).

    Without a seed, the next one. Raises InputError.
    """
    if kind not in KINDS:
        raise InputError(f"there is no kind {kind!r}: choose one of {', '.join(KINDS)}")
    if level not in LEVELS:
        raise InputError(f"there is no level {level!r}: choose 1, 2 or 3")
    if seed is None:
        seed = next(_NEXT)
    if not isinstance(seed, int):
        raise InputError(f"a seed is a whole number, not {seed!r}")
    dice = Dice(kind, level, seed)
    while True:
        found = MAKERS[kind](dice, level)
        if found is not None:
            return Problem(kind, level, seed, *found)


def effort(one: Kernel, scenario: str) -> int:
    """Return how much there is to think about: the calls, and the questions that decided them."""
    steps = trace(one, scenario)
    outcomes = [step.result.outcome for step in steps]
    return len(steps) + sum([len(outcome.asked) for outcome in outcomes if outcome])


# --- situations --------------------------------------------------------------------------------

_FLAGS: Final = ("rw", "rw", "rw", "r", "r", "x")


def _start(dice: Dice, level: int) -> list[VMA]:
    """Return VMAs side by side or nearly: one file, mostly, and mostly in a row."""
    close = dice.one_in(2)
    if dice.one_in(3):
        pages = 6 + dice.below(8)
        return [parse_vma(f"P=0-{pages}:rw,f1@0{',c' if close else ''}")]
    vmas = []
    at = 0
    for name in "PCN"[: 2 + dice.below(2)]:
        pages = 1 + dice.below(5)
        file = 2 if dice.one_in(10) else 1
        pgoff = at + (dice.below(3) if dice.one_in(6) else 0)
        mixed = level == 3 and dice.one_in(6)
        c = ",c" if close != mixed else ""
        vmas.append(parse_vma(f"{name}={at}-{at + pages}:{dice.pick(_FLAGS)},f{file}@{pgoff}{c}"))
        at += pages + (1 + dice.below(4) if dice.one_in(4) else 0)
    return vmas


def _call(dice: Dice, vmas: Sequence[VMA], kinds: Sequence[str]) -> str | None:
    """Return one call that fits what is mapped now."""
    kind = dice.pick(kinds)
    vma = dice.pick(vmas)
    above = [other.vm_start for other in vmas if other.vm_start >= vma.vm_end]
    room = (min(above) if above else vma.vm_end + 4) - vma.vm_end
    if kind == "mremap":
        if [other.name[0] for other in vmas].count(vma.name) != 1:
            return None  # a piece, whose name nobody can know
        return f"mremap {vma.name}+{1 + dice.below(room)}" if room else None
    if kind == "mmap":
        if not room:
            return None
        pages = room if dice.one_in(2) else 1 + dice.below(room)
        pgoff = vma.vm_pgoff + vma.pages
        start = vma.vm_end
        return f"mmap {start}-{start + pages}:{dice.pick(_FLAGS)},f{vma.vm_file}@{pgoff}" + (
            ",c" if vma.has_close else ""
        )
    start, end = vma.vm_start, vma.vm_end
    if dice.one_in(2) and vma.pages > 1:
        cut = 1 + dice.below(vma.pages - 1)
        start, end = (start + cut, end) if dice.one_in(2) else (start, start + cut)
    if kind == "unmap":
        return f"unmap {start}-{end}"
    if dice.one_in(2):
        beside = [other for other in vmas if vma.vm_start in (other.vm_end, other.vm_start)]
        beside += [other for other in vmas if other.vm_start == vma.vm_end]
        return f"protect {start}-{end}:{print_flags(dice.pick(beside).vm_flags)}"
    return f"protect {start}-{end}:{dice.pick(_FLAGS)}"


class Story(NamedTuple):
    """A scenario that was dealt, and how its last call ended."""

    scenario: str
    effort: int
    case: int
    status: str
    lost: bool


def _story(dice: Dice, level: int, one: Kernel, last: Sequence[str]) -> Story | None:
    """Deal a scenario whose last call is of a kind in `last`, or None if it came to nothing."""
    vmas = _start(dice, level)
    space = AddressSpace(vmas)
    calls: list[str] = []
    asked = 0
    result = Result("no")
    for left in reversed(range(dice.pick(CALLS[level]))):
        call = _call(dice, space.vmas, ("protect",) * 4 + ("unmap",) if left else last)
        if call is None:
            return None
        calls.append(call)
        leaked = len(space.log.leaked)
        result = run(space, one, parse_operation(call))
        asked += len(result.outcome.asked) if result.outcome else 0
        if result.status in ("same", "partial") or not len(space.tree):
            return None
    return Story(
        f"{' '.join(map(str, vmas))} | {'; '.join(calls)}",
        len(calls) + asked,
        result.outcome.case if result.outcome and result.outcome.merged else 0,
        result.status,
        len(space.log.leaked) > leaked,
    )


Made = tuple[str, str, str, Any, str, dict[str, Any]]
LAST: Final = ("protect", "protect", "protect", "mmap", "mremap")


def _layout(dice: Dice, level: int) -> Made | None:
    rule = dice.pick(KERNELS)
    one = kernel(rule)
    story = _story(dice, level, one, LAST)
    if story is None or story.effort not in LEVELS[level] or story.status == "no":
        return None  # what is proposed, and then not mapped, is hard to draw
    if story.case in (0, 2) and not dice.one_in(3):
        return None  # what comes up most by chance is to be one answer among many
    question = f"What is the layout after these calls, under {one}?"
    asks = {"rule": rule, "scenario": story.scenario}
    return rule, story.scenario, question, strip(_last(one, story).after), "layout", asks


def _last(one: Kernel, story: Story) -> Step:
    return trace(one, story.scenario)[-1]


def _case(dice: Dice, level: int) -> Made | None:
    rule = dice.pick(KERNELS)
    one = kernel(rule)
    story = _story(dice, level, one, LAST)
    if story is None or story.effort not in LEVELS[level]:
        return None
    if story.case in (0, 2) and not dice.one_in(5):
        return None
    question = f"Which case is the last call, under {one}? (0: nothing merges)"
    asks = {"rule": rule, "scenarios": [story.scenario]}
    return rule, story.scenario, question, story.case, "cases", asks


def _rule(dice: Dice, level: int) -> Made | None:
    rule = dice.pick(KERNELS)
    story = _story(dice, level, kernel(rule), LAST)
    if story is None or story.effort not in LEVELS[level]:
        return None
    try:
        ends = {version: _end(version, story.scenario) for version in KERNELS}
    except NotationError:  # the last call names a piece that not every kernel has
        return None
    after, gone = ends[rule]
    if all(end == (after, gone) for end in ends.values()):
        return None
    told = f"It left {after}, and {'the close of ' + ', '.join(gone) if gone else 'no close'} was "
    told += "lost in the last call. Which kernel can that have been? (One that would do the same.)"
    asks = {"rule": rule, "scenarios": [story.scenario]}
    return rule, story.scenario, told, rule, "rules", asks


def _end(version: str, scenario: str) -> tuple[str, tuple[str, ...]]:
    steps = trace(kernel(version), scenario)
    return strip(steps[-1].after), tuple(lost(steps[-1:]))


def _repair(dice: Dice, level: int) -> Made | None:
    """Spoil one thing about one VMA of a scenario whose last call merges."""
    rule = dice.pick(KERNELS)
    one = kernel(rule)
    story = _story(dice, level, one, LAST[:4])
    if story is None or not story.case or story.lost:
        return None
    key = story.scenario
    given, _, calls = key.rpartition(" | ")
    vmas = [parse_vma(word) for word in given.split()]
    at = dice.below(len(vmas))
    for spoilt in _spoilt(dice, vmas[at]):
        scenario = " ".join(map(str, [*vmas[:at], spoilt, *vmas[at + 1 :]])) + f" | {calls}"
        if trace(one, scenario)[-1].result.status != "merged":
            break
    else:
        return None
    if effort(one, scenario) not in LEVELS[level] or lost(trace(one, key)):
        return None
    question = (
        f"Under {one} the last call merges nothing. Change one thing about one VMA "
        "(flags, file, offset or close) so that it does, and no close is lost."
    )
    asks = {"scenario": scenario, "merges": [rule], "keeps": [rule]}
    return rule, scenario, question, key, "repaired", asks


def _spoilt(dice: Dice, vma: VMA) -> list[VMA]:
    """Return the VMA with other flags, another file, another offset or a close, in some order."""
    flags = [parse_flags(letters) for letters in ("rw", "r", "x")]
    ways = [
        vma._replace(vm_flags=dice.pick([bits for bits in flags if bits != vma.vm_flags])),
        vma._replace(vm_file="3"),
        vma._replace(vm_pgoff=vma.vm_pgoff + 1 + dice.below(3)),
        vma._replace(vm_ops=CLOSE_OPS),
    ]
    turn = dice.below(len(ways))
    return [way for way in ways[turn:] + ways[:turn] if way != vma]


MAKERS: Final[dict[str, Callable[[Dice, int], Made | None]]] = {
    "layout": _layout,
    "case": _case,
    "rule": _rule,
    "repair": _repair,
}
