"""The engine turned on itself: all that a patch changed; whether a rule is safe, and minimal.

Previous: world.py; next: programs.py.

`diff` lists every difference between two kernels in the small world. `judge` says of one kernel
whether a VMA with ->close ever vanishes (*safe*) and whether it refuses a merge that would be safe
(*minimal*). `plane` puts every rule of history, and every rule a toggle can make, between the two.
Each finding has its smallest witness, a scenario that `explain` replays.
"""

from __future__ import annotations

import itertools
import random
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from vmakernel import recorded
from vmakernel.guard import Stopped
from vmakernel.kernels import MOMENTS, RULES, Kernel, Removal
from vmakernel.kernels import kernel as find
from vmakernel.outcome import Outcome
from vmakernel.own import guarded, is_own, made
from vmakernel.world import SHAPES, Class, Configuration, asked_by, classes, free, key_of, world

WIDTH: Final = 100
SAMPLE: Final = 500  # configurations on which a learner's rule is tried besides


class Deed(NamedTuple):
    """What becomes of a range; `case` is 0 where nothing merges, or mremap() just grows a VMA."""

    case: int = 0
    grows: tuple[str, ...] = ()
    vanishes: tuple[str, ...] = ()
    loses_close: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.grows:
            return "refused"
        told = f"case {self.case}: " if self.case else "unasked: "
        told += f"{_and(self.grows)} grows"
        if self.vanishes:
            told += f", {_and(self.vanishes)} vanish{'es' if len(self.vanishes) == 1 else ''}"
        if self.loses_close:
            told += f", ->close of {_and(self.loses_close)} lost"
        return told

    def as_json(self) -> dict[str, Any]:
        """Return the deed as what JSON can hold."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self._asdict().items()}


def deed(outcome: Outcome) -> Deed:
    """Return who grows, who vanishes and whose ->close is lost."""
    if not outcome.merged:
        return Deed()
    who = outcome.grown, outcome.removed, outcome.lost
    return Deed(outcome.case, *[tuple([vma.name for vma in vmas]) for vmas in who])


def _decide(kernel: Kernel, configuration: Configuration) -> Outcome:
    """Decide; where a learner's function is stopped, say over what. Raises Stopped."""
    try:
        return configuration.decide(kernel)
    except Stopped as stopped:
        raise Stopped(f"{stopped} (it was asked about {configuration.scenario})") from None


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _smallest(configurations: Iterable[Configuration]) -> str:
    """Return the shortest scenario, the first in alphabetical order among equals."""
    scenarios = [configuration.scenario for configuration in configurations]
    return min(scenarios, key=lambda text: (len(text), text), default="")


# --- two kernels ---------------------------------------------------------------------------------


class Group(NamedTuple):
    """Configurations in which two kernels differ in one and the same way."""

    situation: int  # the case that it would be if nobody had ->close
    before: Deed
    after: Deed
    calls: tuple[str, ...]
    size: int
    witness: str

    @property
    def change(self) -> str:
        """What is new about the second kernel: newly_allowed, newly_refused or changed."""
        if not self.before.grows:
            return "newly_allowed"
        return "changed" if self.after.grows else "newly_refused"

    @property
    def told_after(self) -> str:
        """What becomes of it after the change, in words."""
        same = self.before == self.after
        return "the same VMAs, other anon_vma or flags" if same else str(self.after)

    def as_json(self) -> dict[str, Any]:
        """Return the group as what JSON can hold; who grows and vanishes is after the change."""
        return {
            "situation": self.situation,
            "calls": list(self.calls),
            "case_before": self.before.case,
            "case_after": self.after.case,
            "change": self.change,
            "grows": list(self.after.grows),
            "vanishes": list(self.after.vanishes),
            "loses_close": list(self.after.loses_close),
            "before": self.before.as_json(),
            "count": self.size,
            "witness": self.witness,
        }


class Diff(NamedTuple):
    """Every difference between two kernels in the small world; str() is a table."""

    kernels: tuple[Kernel, Kernel]
    uniform: bool
    configurations: int
    groups: tuple[Group, ...]

    @property
    def differing(self) -> int:
        """How many configurations end differently."""
        return sum([group.size for group in self.groups])

    def count(self, change: str) -> int:
        """Return in how many configurations this change happens; see Group.change."""
        return sum([group.size for group in self.groups if group.change == change])

    @property
    def loses_close(self) -> int:
        """In how many configurations the second kernel loses a ->close that the first did not."""
        return sum(
            [g.size for g in self.groups if g.after.loses_close and not g.before.loses_close]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as what JSON can hold.

        rules, uniform, configurations, differing, newly_allowed, newly_refused, changed,
        loses_close (numbers of configurations), and groups: see Group.as_json().
        """
        return {
            "rules": [str(one) for one in self.kernels],
            "uniform": self.uniform,
            "configurations": self.configurations,
            "differing": self.differing,
            "newly_allowed": self.count("newly_allowed"),
            "newly_refused": self.count("newly_refused"),
            "changed": self.count("changed"),
            "loses_close": self.loses_close,
            "groups": [group.as_json() for group in self.groups],
        }

    @property
    def sentences(self) -> str:
        """What changed, in words."""
        a, b = self.kernels
        if not self.groups:
            return (
                f"From {a} to {b} nothing changes in any of {self.configurations:,} configurations."
            )
        told = (
            f"From {a} to {b}, {self.differing:,} of {self.configurations:,} configurations end "
            f"differently: {self.count('newly_allowed'):,} merge that were refused, "
            f"{self.count('newly_refused'):,} are refused that merged, "
            f"{self.count('changed'):,} merge in another way."
        )
        if self.loses_close:
            told += f" In {self.loses_close:,} of them a ->close is newly lost."
        return told

    def __str__(self) -> str:
        if not self.groups:
            return self.sentences
        rows = [("would be", "before", "after", "configurations")]
        for group in self.groups:
            rows.append(
                (
                    f"case {group.situation}" if group.situation else "-",
                    str(group.before),
                    group.told_after,
                    f"{group.size:,}",
                )
            )
        head, line, *table = _table(rows).splitlines()
        told = [textwrap.fill(self.sentences, WIDTH), "", head, line]
        for row, group in zip(table, self.groups, strict=True):
            told += [row, f"    such as {group.witness}"]
        return "\n".join(told)


def diff(before: Kernel | str, after: Kernel | str, *, uniform: bool = True) -> Diff:
    """Return every difference between two kernels; `uniform`: see World. Raises Stopped."""
    before, after = guarded(before), guarded(after)
    found: dict[tuple[int, Deed, Deed], list[Class]] = {}
    total = 0
    unhindered = free(before), free(after)
    known = _classes(before, after, uniform=uniform)
    for asked in filter(is_own, (before, after)):  # from here on they know all the answers
        made(asked, [partial(_decide, asked, one.example) for one in known])
    for one in known:
        total += one.size
        if not _alike(before, after, one.example):
            then, now = _decide(before, one.example), _decide(after, one.example)
            situation = max([_decide(kernel, one.example).case for kernel in unhindered])
            found.setdefault((situation, deed(then), deed(now)), []).append(one)
    groups = [
        Group(
            *what,
            tuple(dict.fromkeys([one.key.shape.call for one in members])),
            sum([one.size for one in members]),
            _smallest([one.example for one in members]),
        )
        for what, members in sorted(found.items())
    ]
    return Diff((before, after), uniform, total, tuple(groups))


def _classes(*kernels: Kernel, uniform: bool) -> tuple[Class, ...]:
    return classes(*kernels, uniform=uniform, themes=any(map(is_own, kernels)))


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in columns, the first row as head, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if cell.replace(",", "").isdecimal() else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join(["─" * width for width in widths]))
    return "\n".join(lines)


class Lots(NamedTuple):
    """Configurations drawn by lot, and what came of deciding each of them by itself."""

    drawn: int
    merging: int  # of them, something merges under one of the two kernels
    odd: tuple[str, ...]  # scenarios of those that end otherwise than their class


def lots(before: Kernel, after: Kernel, count: int = 1000) -> Lots:
    """Hold `count` configurations, drawn by lot, against their classes; each time others."""
    dice, small = random.Random(), world(before, after)
    known = {one.key: one.example for one in classes(before, after)}
    asked = asked_by(before, after)
    merging, odd = 0, []
    for _ in range(count):
        one = small.sample(dice.choice(SHAPES), dice, alike=0.8)
        like = known[key_of(one, asked)]
        alone, claimed = [
            [deed(each.decide(kernel)) for kernel in (before, after)] for each in (one, like)
        ]
        merging += any(what.grows for what in alone)
        odd += [one.scenario] if alone != claimed else []
    return Lots(count, merging, tuple(odd))


# --- one kernel ----------------------------------------------------------------------------------


class Limits(NamedTuple):
    """What could be done in a class of configurations, whatever the close test."""

    merges: bool  # without any close test something would merge
    loses: bool  # and a ->close would be lost
    safe: int | None  # how many VMAs can vanish at most with none lost; None: no merge is safe
    close: bool  # one of those that would grow, shrink or vanish has ->close


def limits(kernel: Kernel, configuration: Configuration) -> Limits:
    """Return the limits of a configuration for the merge code of a kernel without a close test.

    The choices are those that the code has: to merge with both neighbours, or with one of them.
    """
    full = _decide(kernel, configuration)
    ways = [full, *[_decide(kernel, way) for way in configuration.with_one_neighbour]]
    safe = [len(way.removed) for way in ways if way.merged and not way.lost]
    close = any(vma.has_close for vma in full.before)
    return Limits(full.merged, bool(full.lost), max(safe, default=None), close)


@lru_cache(maxsize=32)
def _limits(kernel: Kernel, uniform: bool, themes: bool) -> tuple[Limits, ...]:
    """Return the limits of every class; they are kept from one rule to the next."""
    known, unhindered = classes(kernel, uniform=uniform, themes=themes), free(kernel)
    return tuple([limits(unhindered, one.example) for one in known])


class Judgement(NamedTuple):
    """What a kernel's close test is worth in the small world; str() is a few sentences.

    All numbers are numbers of configurations.
    """

    kernel: Kernel
    uniform: bool
    configurations: int
    possible: int  # something would merge if there were no close test
    allowed: int  # something does merge
    losable: int  # a ->close would be lost if there were no close test
    lost: int  # a ->close is lost
    savable: int  # somebody concerned has ->close, and some merge is safe all the same
    saved: int  # and something does merge
    refused: int  # some merge is safe, yet none happens
    halved: int  # a safe merge happens, yet a safe one would remove more VMAs
    unsafe_witness: str
    strict_witness: str
    odd_one: str = ""  # where a learner's function answers otherwise than for what is alike

    @property
    def safe(self) -> bool:
        """True if no VMA with ->close ever vanishes."""
        return not self.lost

    @property
    def minimal(self) -> bool:
        """True if no merge is refused, or done by half, that would be safe."""
        return not (self.refused or self.halved)

    @property
    def loss(self) -> float:
        """The share of the losable ->close that is lost, 0 to 1."""
        return self.lost / self.losable if self.losable else 0.0

    @property
    def permission(self) -> float:
        """The share of the savable configurations in which something merges, 0 to 1.

        Where nobody has ->close there is nothing for a close test to permit: those do not count.
        """
        return self.saved / self.savable if self.savable else 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as what JSON can hold.

        rule, uniform, safe, unsafe_witness, minimal, strict_witness ("" where there is none), and
        numbers of configurations: configurations, possible, allowed, losable, lost, savable,
        saved, refused, halved.
        """
        return {
            "rule": str(self.kernel),
            "safe": self.safe,
            "minimal": self.minimal,
            **{k: v for k, v in self._asdict().items() if k != "kernel"},
        }

    def __str__(self) -> str:
        lines = [
            f"{self.kernel}: {'safe' if self.safe else 'not safe'}, "
            f"{'minimal' if self.minimal else 'not minimal'} "
            f"({self.configurations:,} configurations, {_WORLDS[self.uniform]})",
            f"  merges in {self.allowed:,} of {self.possible:,} that would merge without a close "
            "test;",
            f"  where somebody has ->close: in {self.saved:,} of {self.savable:,} with a safe one",
        ]
        if self.safe:
            lines.append("  no VMA with ->close ever vanishes")
        else:
            lines += [
                f"  loses a ->close in {self.lost:,}, for example",
                f"    {self.unsafe_witness}",
            ]
        if self.minimal:
            lines.append("  refuses nothing that would be safe")
        else:
            lines += [
                f"  refuses {self.refused:,} merges that would be safe, "
                f"does {self.halved:,} by half, for example",
                f"    {self.strict_witness}",
            ]
        if self.odd_one:
            lines += [
                "  your function looks at what no kernel looks at: all this holds for the examples",
                "  that were tried, and it answers otherwise in",
                f"    {self.odd_one}",
            ]
        return "\n".join(lines)


_WORLDS = {True: "->close as real drivers have it", False: "->close on any VMA"}


_NUMBERS: Final = Judgement._fields[2:-3]


def facts(outcome: Outcome, limits: Limits) -> dict[str, bool]:
    """Return which numbers of a Judgement a configuration counts for."""
    possible = limits.safe is not None
    worse = limits.safe is not None and len(outcome.removed) < limits.safe
    savable = possible and limits.close
    return {
        "configurations": True,
        "possible": limits.merges,
        "allowed": outcome.merged,
        "losable": limits.loses,
        "lost": bool(outcome.lost),
        "savable": savable,
        "saved": savable and outcome.merged,
        "refused": possible and not outcome.merged,
        "halved": outcome.merged and not outcome.lost and worse,
    }


def judge(kernel: Kernel | str, *, uniform: bool = True) -> Judgement:
    """Say whether a kernel's close test is safe and minimal; `uniform`: see World.

    Raises Stopped where a learner's function does not answer.
    Safe: no merge removes a VMA that has ->close. Minimal: wherever the merge code could merge
    without that, with both neighbours or with one of them, it merges, and removes no fewer VMAs.
    """
    kernel = guarded(kernel)
    return (_judge if is_own(kernel) else _judged)(kernel, uniform)


def _judge(kernel: Kernel, uniform: bool) -> Judgement:
    numbers = dict.fromkeys(_NUMBERS, 0)
    unsafe, strict = [], []
    known = _classes(kernel, uniform=uniform)
    outcomes = made(kernel, [partial(_decide, kernel, one.example) for one in known])
    base = kernel.with_rule(free(kernel).rule)
    bounds = _limits(base, uniform, is_own(kernel))
    for one, outcome, limit in zip(known, outcomes, bounds, strict=True):
        held = facts(outcome, limit)
        for name, holds in held.items():
            numbers[name] += one.size * holds
        if held["lost"]:
            unsafe.append(one.example)
        if held["refused"] or held["halved"]:
            strict.append(one.example)
    return Judgement(
        kernel,
        uniform,
        **numbers,
        unsafe_witness=_smallest(unsafe),
        strict_witness=_smallest(strict),
        odd_one=_odd_one(kernel, known, uniform=uniform) if is_own(kernel) else "",
    )


# What no learner wrote answers the same each time.
_judged = lru_cache(maxsize=128)(_judge)


def _odd_one(kernel: Kernel, known: tuple[Class, ...], *, uniform: bool) -> str:
    """Return a configuration, if a sample has one, that its class does not answer for."""
    answers = {one.key: one.example for one in known}
    small, asked = world(kernel, uniform=uniform), asked_by(kernel)
    dice = random.Random(0)
    for _ in range(SAMPLE):
        other = small.sample(dice.choice(SHAPES), dice, alike=0.8)
        example = answers[key_of(other, asked, themes=True)]
        if deed(_decide(kernel, other)) != deed(_decide(kernel, example)):
            return other.scenario
    return ""


# --- every rule ----------------------------------------------------------------------------------


def toggled(base: Kernel) -> list[Kernel]:
    """Return `base` under every close test that the toggles can make."""
    return [
        base.with_rule(
            base.rule.toggled(
                name=_toggles(before, after, removed),
                before=before,
                after=after,
                removed=removed,
            )
        )
        for before, after, removed in itertools.product((False, True), (False, True), Removal)
    ]


def _toggles(before: bool, after: bool, removed: Removal) -> str:
    said = ["before"] * before + ["after"] * after
    said += {Removal.NEVER: [], Removal.CASE_7: ["case 7"], Removal.ALWAYS: ["removed"]}[removed]
    return " + ".join(said) or "none"


def plane(base: str = "6.5", *, uniform: bool = True) -> list[Judgement]:
    """Return every rule of history, each in its own kernel, and every toggled rule in `base`.

    Their `loss` and `permission` are the two axes.
    """
    history = [find(version) for version in MOMENTS.values()]
    return [judge(one, uniform=uniform) for one in (*history, *toggled(find(base)))]


def plane_table(points: Iterable[Judgement]) -> str:
    """Return points of the plane as a table."""
    rows = [("kernel", "rule", "safe", "->close lost", "minimal", "permissive")]
    for point in points:
        rows.append(
            (
                point.kernel.version,
                point.kernel.rule.name,
                "yes" if point.safe else "no",
                f"{point.loss:.1%}",
                "yes" if point.minimal else "no",
                f"{point.permission:.1%}",
            )
        )
    return _table(rows)


def twins(kernel: Kernel, *, uniform: bool = True) -> list[str]:
    """Return the recorded kernels that end every configuration as this one does. Raises Stopped."""
    versions = [find(version) for group in recorded.groups().values() for version in group]
    # Many differ in nothing but their number.
    alike = {other: replace(other, version="") for other in versions}
    found = {one: same(kernel, one, uniform=uniform) for one in dict.fromkeys(alike.values())}
    return [other.version for other in versions if found[alike[other]]]


def same_rule(kernel: Kernel, *, uniform: bool = True) -> list[str]:
    """Return the rules of history that would change nothing in this kernel. Raises Stopped."""
    return [rule.name for rule in RULES if same(kernel, kernel.with_rule(rule), uniform=uniform)]


def same(a: Kernel | str, b: Kernel | str, *, uniform: bool = True) -> bool:
    """True where no configuration ends differently under two kernels. Raises Stopped."""
    a, b = guarded(a), guarded(b)
    # Most differ somewhere in the classes of one of them, which are fewer.
    own = _classes(a, uniform=uniform)
    if not all(_alike(a, b, one.example) for one in own):
        return False
    shared = _classes(a, b, uniform=uniform)
    return shared is own or all(_alike(a, b, one.example) for one in shared)


def _alike(a: Kernel, b: Kernel, configuration: Configuration) -> bool:
    then, now = _decide(a, configuration), _decide(b, configuration)
    return (then.before, then.after) == (now.before, now.after)
