"""Practice: ten thousand problems, each key derived again from what real kernels decided.

The oracle below knows no rule. It finds out which of the eight situations a call is, looks up in
the recordings what the merge functions of that version did there, and moves the borders.
"""

import os
import re
from dataclasses import dataclass, replace

import pytest

from vmakernel import recorded
from vmakernel.judges import judge
from vmakernel.kernels import kernel
from vmakernel.practice import KERNELS, KINDS, LEVELS, Problem, effort, practice

# All of them with `make test-nightly`; the suite takes every sixtieth.
EVERY = 1 if os.environ.get("VMAKERNEL_NIGHTLY") else 60
COMBINATIONS = [(kind, level) for kind in KINDS for level in LEVELS]
SEEDS = 10_000 // len(COMBINATIONS) + 1
GROUPS = {
    "6.0": "5.10.262..6.0-rc1",
    "6.1.0": "6.1.176..6.3.8",
    "6.3": "6.1.176..6.3.8",
    "6.5": "6.4.6..6.6.17",
    "6.9": "6.8.0..6.11.11",
    "6.12": "6.12.107..7.3.4",
}


@dataclass(frozen=True)
class Area:
    """A VMA, as far as the oracle knows one; `start` tells its offset in the file."""

    name: str
    start: int
    end: int
    flags: frozenset[str]
    file: str
    pgoff: int
    close: bool

    def part(self, start: int, end: int) -> "Area":
        """The same over other pages."""
        return replace(self, start=start, end=end, pgoff=self.pgoff + start - self.start)


@dataclass
class Done:
    """What became of the last call."""

    case: int = 0
    lost: tuple[str, ...] = ()


class Oracle:
    """An address space that does what the recordings say."""

    def __init__(self, version: str, layout: str) -> None:
        self.version, self.group = version, GROUPS[version]
        form = r"(\w+)=(\d+)-(\d+):(\S+?),f(\w+)@(\d+)(,c)?(?=\s|$)"
        found = re.findall(form, layout)
        assert len(found) == len(layout.split())
        self.areas = [
            Area(n, int(s), int(e), frozenset(fl), f, int(o), bool(c))
            for n, s, e, fl, f, o, c in found
        ]

    def call(self, text: str) -> Done:
        """Make a call; `text` is one of those that practice deals."""
        if grow := re.fullmatch(r"mremap (\S+)\+(\d+)", text):
            return self.mremap(grow[1], int(grow[2]))
        told = re.fullmatch(r"(\w+) (\d+)-(\d+)(?::(\w+))?(?:,f(\w+)@(\d+))?(?:,c)?", text)
        assert told, text
        start, end = int(told[2]), int(told[3])
        if told[1] == "unmap":
            self.areas = [
                piece
                for area in self.areas
                for piece in (
                    [area.part(area.start, min(area.end, start))] if area.start < start else []
                )
                + ([area.part(max(area.start, end), area.end)] if area.end > end else [])
            ]
            return Done()
        flags = frozenset(told[4])
        if told[1] == "mmap":
            return self.propose(Area("*", start, end, flags, told[5], int(told[6]), False), None)
        assert told[1] == "protect"
        return self.protect(start, end, flags)

    def at(self, page: int) -> Area:
        """The area that holds a page."""
        return next(area for area in self.areas if area.start <= page < area.end)

    def protect(self, start: int, end: int, flags: frozenset[str]) -> Done:
        """Change flags area by area, merging where the recordings say so, else splitting."""
        done = Done()
        while start < end:
            area = self.at(start)
            stop = min(area.end, end)
            if area.flags != flags:
                wanted = replace(area.part(start, stop), flags=flags)
                done = self.propose(wanted, area)
                if not done.case:
                    self.areas.remove(area)
                    self.areas += [wanted]
                    self.areas += [area.part(area.start, start)] if area.start < start else []
                    self.areas += [area.part(stop, area.end)] if stop < area.end else []
            start = max(stop, self.at(start).end)
        return done

    def propose(self, wanted: Area, curr: Area | None) -> Done:
        """Look up what becomes of a range that is about to be `wanted`, now in `curr`."""

        def alike(low: Area, high: Area) -> bool:
            """True where two areas go on in memory, in flags and in the file."""
            if low.end != high.start or high.pgoff != low.pgoff + low.end - low.start:
                return False
            return (low.flags, low.file) == (high.flags, high.file)

        prev = next((one for one in self.areas if one.end == wanted.start), None)
        following = next((one for one in self.areas if one.start == wanted.end), None)
        left = prev is not None and alike(prev, wanted)
        right = following is not None and alike(wanted, following)
        if curr is None:
            case = {(1, 1): 1, (1, 0): 2, (0, 1): 3}.get((left, right), 0)
        elif (curr.start, curr.end) == (wanted.start, wanted.end):
            case = {(1, 1): 6, (1, 0): 7, (0, 1): 8}.get((left, right), 0)
        elif curr.start == wanted.start:
            case = 5 if left else 0
        else:
            case = 4 if right and curr.end == wanted.end else 0
        if not case:
            return Done()
        # In case 4 the recordings call the area that changes P.
        roles = {"P": curr if case == 4 else prev, "C": curr, "N": following}
        return self.carry_out(case, roles, wanted)

    def carry_out(self, case: int, roles: dict[str, Area | None], wanted: Area) -> Done:
        """Do what the recordings say of this case, with close on these areas."""
        there = re.findall(r"(\w)=", recorded.situation(case))
        close = "".join([r for r in there if (area := roles[r]) is not None and area.close])
        cell = recorded.decided(case, close)[self.group]
        if cell == "no":
            return Done()
        first = roles[there[0]]
        last = roles[there[-1]]
        low = min([wanted.start, *([first.start] if first else [])])
        high = max([wanted.end, *([last.end] if last else [])])
        edges = {0: low, 4: wanted.start, 8: wanted.end, 12: high}
        gone = [roles[name] for name in re.findall(r"\w", "".join(re.findall(r" -(\S+)", cell)))]
        kept = {name: (edges[int(a)], edges[int(b)]) for name, a, b in
                re.findall(r"(\w)(\d+)-(\d+)", cell)}  # fmt: skip
        for name in there:
            area = roles[name]
            if area is None or (name in "PN" and not self.touches(area, wanted, case)):
                continue
            self.areas.remove(area)
            if name in kept:
                self.areas.append(area.part(*kept[name]))
        number = 0
        removed = "".join(sorted(re.findall(r"\w", "".join(re.findall(r" -(\S+)", cell)))))
        grown = {name for name, span in kept.items() if (area := roles[name]) and
                 span[1] - span[0] > area.end - area.start}  # fmt: skip
        new = {("P", "N"): 1, ("P", ""): 2, ("N", ""): 3}
        old = {("P", "CN"): 6, ("P", "C"): 7, ("N", "C"): 8, ("P", ""): 5, ("N", ""): 4}
        number = (old if roles["C"] else new)[("".join(grown), removed)]
        return Done(number, tuple([area.name for area in gone if area and area.close]))

    def touches(self, area: Area, wanted: Area, case: int) -> bool:
        """True where a neighbour borders on the range, or holds it."""
        return area in self.areas and (area.end >= wanted.start and area.start <= wanted.end)

    def mremap(self, name: str, pages: int) -> Done:
        """Grow an area; 6.1.0, of which there is no table, asks as it asks about a new range."""
        area = next(area for area in self.areas if area.name == name)
        above = [one.start for one in self.areas if one.start >= area.end]
        end = area.end + pages
        if above and min(above) < end:
            return Done()
        more = area.part(area.end, end)
        if self.version == "6.1.0":
            return self.propose(more, None)
        following = next((one for one in self.areas if one.start == end), None)
        if following is not None:
            alike = (following.flags, following.file) == (area.flags, area.file)
            if not alike or following.pgoff != more.pgoff + pages:
                following = None
        close = ("P" if area.close else "") + ("N" if following and following.close else "")
        cell = recorded.decided("mremap+N" if following else "mremap", close)[self.group]
        self.areas.remove(area)
        if following and "-N" in cell:
            self.areas.remove(following)
            self.areas.append(area.part(area.start, following.end))
            return Done(1, (following.name,) if following.close else ())
        self.areas.append(area.part(area.start, end))
        # Up to 6.3 the workaround, or no question at all: then it is no case.
        asked = self.version != "6.0" and not (self.version == "6.3" and area.close)
        return Done(2 if asked else 0)

    @property
    def layout(self) -> str:
        """Borders and holes: a letter a page, whoever it is."""
        out, at = "", 0
        for area in sorted(self.areas, key=lambda area: area.start):
            out += ("." * (area.start - at) + "|") if out or area.start > at else ""
            out += "x" * (area.end - area.start)
            at = area.end
        return out or "."


def run(version: str, scenario: str) -> tuple[Oracle, Done]:
    """Run a scenario as the recordings say."""
    layout, _, calls = scenario.rpartition(" | ")
    oracle = Oracle(version, layout)
    done = Done()
    for call in calls.split("; "):
        done = oracle.call(call)
    return oracle, done


def derive(problem: Problem) -> None:
    """Assert that the key of a problem is what the recordings give."""
    if problem.kind == "repair":
        _, before = run(problem.rule, problem.scenario)
        _, after = run(problem.rule, problem.key)
        assert (bool(before.case), bool(after.case), after.lost) == (False, True, ()), problem
        return
    oracle, done = run(problem.rule, problem.scenario)
    if problem.kind == "layout":
        assert re.sub(r"[A-Z]", "x", problem.key) == oracle.layout, problem
    elif problem.kind == "case":
        assert problem.key == done.case, problem
    else:
        seen, _, gone = problem.question.partition(", and ")
        assert re.sub(r"[A-Z]", "x", seen.removeprefix("It left ")) == oracle.layout, problem
        assert gone.startswith("no close") != bool(done.lost), problem


@pytest.mark.parametrize(("kind", "level"), COMBINATIONS)
def test_every_key_is_what_the_recordings_give(kind: str, level: int) -> None:
    for seed in range(0, SEEDS, EVERY):
        problem = practice(kind, level, seed)
        derive(problem)
        judge(problem.judge, problem.key, problem.asks)  # raises Wrong


@pytest.mark.parametrize(("kind", "level"), COMBINATIONS)
def test_levels_are_measured(kind: str, level: int) -> None:
    for seed in range(20):
        problem = practice(kind, level, seed)
        assert effort(kernel(problem.rule), problem.scenario) in LEVELS[level]


def test_the_same_seed_is_the_same_problem_everywhere() -> None:
    told = [str(practice(kind, level, 2023)) for kind, level in COMBINATIONS]

    assert told == [str(practice(kind, level, 2023)) for kind, level in COMBINATIONS]
    assert practice("case", 1, 9) == practice("case", 1, 9)
    # Written down on one machine, so that any other would notice.
    assert practice("layout", 1, 2023).scenario == SCENARIO
    assert len(set(told)) == len(told)


SCENARIO = "P=0-3:rw,f1@0 C=3-4:rw,f1@3 | mmap 4-8:rw,f1@4"


@pytest.mark.parametrize("kind", KINDS)
def test_problems_vary(kind: str) -> None:
    dealt = [practice(kind, 2, seed) for seed in range(60)]

    assert len({one.scenario for one in dealt}) > 55
    assert {one.rule for one in dealt} == set(KERNELS)


def test_cases_of_all_numbers_come_up() -> None:
    assert {practice("case", 2, seed).key for seed in range(150)} == set(range(9))


@pytest.mark.parametrize(("kind", "level"), COMBINATIONS)
def test_a_problem_asks_answers_and_explains(kind: str, level: int) -> None:
    problem = practice(kind, level, 7)

    assert problem.answer(problem.key).right
    wrong = problem.answer("NNNN")
    assert not wrong.right
    for told in (repr(wrong), repr(problem.explain())):
        assert all(f"{step.operation} under {problem.rule}: " in told for step in problem.steps)
    assert f"right: {problem.key}" in repr(problem.explain())
    assert problem.name in repr(problem)
    assert 'role="img"' in problem._repr_mimebundle_()["text/html"]


def test_without_a_seed_comes_the_next_problem() -> None:
    one, other = practice(), practice()

    assert other.seed == one.seed + 1
    assert practice(one.kind, one.level, one.seed) == one


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("layouts",), "choose one of"),
        (("case", 4), "choose 1, 2 or 3"),
        (("case", 1, "x"), "seed"),
    ],
)
def test_what_there_is_not_is_said(asked: tuple[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        practice(*asked)


def test_a_wrong_key_would_be_noticed() -> None:
    noticed = 0
    for seed in range(20):
        problem = practice("case", 2, seed)
        with pytest.raises(AssertionError):
            derive(problem._replace(key=(problem.key + 1) % 9))
        noticed += 1
    assert noticed == 20
