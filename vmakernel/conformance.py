"""The kernel's own tests of VMA merging, retold as facts, and what the engine says to each.

Since 6.12 the kernel can build mm/vma.c as a program and test it (tools/testing/vma). The facts are
in data/conformance.toml: who is there, what is asked, what is expected, in this course's notation.
"""

from __future__ import annotations

import tomllib
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from vmakernel.explain import Step, trace
from vmakernel.flags import VM_MAYBE_GUARD, NotationError
from vmakernel.kernels import RULES, Kernel, kernel
from vmakernel.replay import parse_scenario

DATA: Final = Path(__file__).with_name("data") / "conformance.toml"
VERSIONS: Final = ("6.12", "6.13", "6.14", "6.16", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3")


class Fact(NamedTuple):
    """One thing that a test of the kernel expects, in this course's notation.

    `sticky` names the VMAs of which each one alone makes the merged VMA keep VM_MAYBE_GUARD.
    """

    test: str
    says: str
    scenario: str
    expect: str
    since: str = "6.12"
    sticky: str = ""
    differs: str = ""

    def holds_in(self) -> list[str]:
        """Return the versions that this fact is held against."""
        return list(VERSIONS[VERSIONS.index(self.since) :])

    def same(self, version: str) -> bool:
        """True where the engine, as this version, does what the test expects."""
        return after(version, self.scenario) == self.expect

    def others(self) -> list[str]:
        """Return the rules of history that, put into the newest kernel, do something else."""
        newest = kernel(VERSIONS[-1])
        kernels = {rule.name: newest.with_rule(rule) for rule in RULES}
        return [name for name, one in kernels.items() if after(one, self.scenario) != self.expect]

    def variants(self) -> list[str]:
        """Return the scenario with VM_MAYBE_GUARD on each one of `sticky`."""
        return [_guarded(self.scenario, name) for name in self.sticky]


class Test(NamedTuple):
    """A test of the kernel: its facts, and why it, or a part of it, is not retold."""

    name: str
    facts: tuple[Fact, ...]
    out: str = ""


def after(rule: str | Kernel, scenario: str) -> str:
    """Return what becomes of a scenario: ``P=0-5,a1 N=5-9 -C``, or no where nothing changed.

    Raises NotationError, SpaceError or UnknownKernel.
    """
    one = rule if isinstance(rule, Kernel) else kernel(rule)
    steps = trace(one, scenario)
    if steps[-1].result.status == "no":
        return "no"
    vmas = [
        f"{vma.name}={vma.vm_start}-{vma.vm_end}"
        + (f",a{vma.anon_vma.name}" if vma.anon_vma else "")
        for vma in steps[-1].after
    ]
    gone = [name for step in steps for name in step.removed]
    return " ".join(vmas + ([f"-{','.join(gone)}"] if gone else []))


def guarded(version: str, scenario: str) -> bool:
    """True where the VMA that the last operation extended has VM_MAYBE_GUARD."""
    step: Step = trace(kernel(version), scenario)[-1]
    return bool(step.result.vma and step.result.vma.vm_flags & VM_MAYBE_GUARD)


def _guarded(scenario: str, name: str) -> str:
    """Return the scenario with the flag G on the VMA `name`, or on the range (``*``)."""
    layout, _, call = scenario.partition(" | ")
    middle = name == "C" and call.startswith("modify")
    words = [
        word.replace("RW", "RWG", 1) if word.startswith(f"{name}=") else word
        for word in layout.split()
    ]
    # The range has the flags of the middle, and one more.
    call = call.replace("RW", "RWG", 1) if name == "*" or middle else call
    return f"{' '.join(words)} | {call}"


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(DATA.read_text(encoding="utf-8"))


@cache
def tests() -> tuple[Test, ...]:
    """Return the kernel's tests in their order there.

    Raises NotationError, naming the test, for a fact that is none.
    """
    return tuple([_test(row) for row in _data()["test"]])


def _test(row: dict[str, Any]) -> Test:
    facts = []
    for told in row.get("fact", ()):
        for flag in row.get("flags", [""]):
            try:
                fact = Fact(row["name"], **{**told, "scenario": told["scenario"].format(flag=flag)})
                parse_scenario(fact.scenario)
                VERSIONS.index(fact.since)
                if fact.differs:
                    reason(fact)
            except (TypeError, KeyError, ValueError) as error:
                raise NotationError(f"{DATA.name}, test {row['name']}: {error}") from None
            facts.append(fact)
    if not facts and "out" not in row:
        raise NotationError(f"{DATA.name}, test {row['name']}: give it facts, or say in `out` why")
    return Test(row["name"], tuple(facts), row.get("out", ""))


def reason(fact: Fact) -> str:
    """Return why an earlier edition of the test expects what the engine does not do."""
    told: str = _data()["differs"][fact.differs]
    return told


class Row(NamedTuple):
    """A line of the table; `scenario` is "" where a test, or a part of it, is out of scope."""

    test: str
    says: str
    scenario: str
    answer: str
    others: str


class Conformance:
    """All facts as a table: one line each, and what the engine says to it."""

    def rows(self) -> list[Row]:
        """Return a row for every fact, facts said alike together, and for what is left out."""
        rows = []
        for test in tests():
            for _, alike in groupby(test.facts, lambda fact: (fact.says, fact.since)):
                rows.append(_row(list(alike)))
            if test.out:
                part = "a part of it" if test.facts else "all of it"
                rows.append(Row(test.name, part, "", f"out of scope: {test.out}", "-"))
        return rows

    def __repr__(self) -> str:
        return "\n".join([" · ".join([part for part in row if part]) for row in self.rows()])

    def _repr_markdown_(self) -> str:
        head = "| the kernel's test | what it expects | the engine | rules that do something else |"
        lines = [head, "|---|---|---|---|"]
        for test, says, scenario, answer, others in self.rows():
            # A bar would end the cell.
            shown = f"<br>`{scenario}`".replace("|", r"\|") if scenario else ""
            lines.append(f"| `{test}` | {says}{shown} | {answer} | {others} |")
        return "\n".join(lines)


def _row(facts: list[Fact]) -> Row:
    first = facts[0]
    right = all(fact.same(version) for fact in facts for version in fact.holds_in())
    answer = f"same, {first.since} to {VERSIONS[-1]}" if right else "DIFFERENT"
    if first.differs:
        answer += "; different before"
    scenario = f"{first.scenario} → {first.expect}"
    if len(facts) > 1:
        scenario += f" (and {len(facts) - 1} more like it)"
    others = dict.fromkeys([name for fact in facts for name in fact.others()])
    return Row(first.test, first.says, scenario, answer, ", ".join(others) or "none")


def conformance() -> Conformance:
    """Hold the engine against the kernel's own tests."""
    return Conformance()


def sources() -> str:
    """Return where the tests were read: path, commit and version, one to a line."""
    return "\n".join(
        [f"{row['commit']}  {row['path']}: {row['version']}" for row in _data()["file"]]
    )
