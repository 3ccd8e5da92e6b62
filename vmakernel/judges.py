"""Judges: each takes what a learner answered and lets the engine say whether it is right.

Previous: own.py; next: exercise.py, which picks the judge for an exercise and tells the learner.

No judge compares with a stored answer. It runs what it is given, or what the exercise asks about,
and returns if all is well; otherwise it raises Wrong with a sentence and a scenario to look at.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from typing import Any, Final, TypeVar

from vmakernel import maps, recorded
from vmakernel.explain import Mark, Step, checks, trace
from vmakernel.flags import InputError
from vmakernel.guard import Guarded, Stopped
from vmakernel.kernels import Growth, Kernel, Predicates, Removal, kernel
from vmakernel.layout import parse_layout, strip
from vmakernel.own import own
from vmakernel.plain import NotPlain, packed
from vmakernel.predicates import (
    ORDER,
    Asked,
    Verdict,
    ask_next,
    ask_prev,
    can_vma_merge_after,
    can_vma_merge_before,
)
from vmakernel.predict import predict
from vmakernel.replay import parse_scenario
from vmakernel.scenario import parse as parse_programs
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, Proposal

LONGEST: Final = 2000  # characters of an answer
MOST: Final = 40  # VMAs or operations in a learner's scenario
SECONDS: Final = 2.0
Params = Mapping[str, Any]
Thing = TypeVar("Thing")


class Wrong(Exception):
    """What is wrong, in a sentence; `scenario` and `kernels` are what to look at."""

    def __init__(self, said: str, scenario: str = "", kernels: Iterable[Kernel | str] = ()) -> None:
        super().__init__(said)
        self.said, self.scenario = said, scenario
        self.kernels = [kernel(one) for one in kernels]


def shown(answer: object, room: int = 120) -> str:
    """Return an answer in a line, whatever it is."""
    try:
        text = answer if type(answer) is str else _written(answer)
        text = " ".join(text.split())
    except BaseException:  # whatever a class of the reader's raises
        text = f"something of type {type(answer).__name__}"
    text = "".join([char if char.isprintable() else "�" for char in text[: room + 1]])
    return text if len(text) <= room else text[: room - 1] + "…"


def _written(answer: object) -> str:
    try:
        packed(answer)
    except NotPlain:  # endless, perhaps, if it were written out
        return reprlib.repr(answer)
    return repr(answer)


def _text(answer: object, wanted: str) -> str:
    if type(answer) is not str:
        raise Wrong(f"a {type(answer).__name__} is no answer here: write {wanted} between quotes")
    if len(answer) > LONGEST:
        raise Wrong(f"that is longer than {LONGEST:,} characters: write {wanted}")
    if re.search(r"\d{11}", answer):
        raise Wrong(f"{shown(answer, 60)}: that is far beyond any page there is; write less")
    if not "".join(answer.split()).isprintable():
        raise Wrong(f"{shown(answer, 60)} holds characters that cannot be shown: write {wanted}")
    return answer


def _last(one: Kernel | str, scenario: str) -> Step:
    return trace(kernel(one), scenario)[-1]


def case_of(step: Step) -> int:
    """Return the case that a step was, 0 where nothing merged."""
    outcome = step.result.outcome
    return outcome.case if outcome and outcome.merged else 0


def lost(steps: Iterable[Step]) -> list[str]:
    """Return the VMAs that vanished owing a ->close."""
    return [name for step in steps for name in step.leaked]


def deciding(one: Kernel, step: Step) -> str:
    """Return the check that decided a step: the one that failed, or the last that held."""
    outcome = step.result.outcome
    if outcome is None or not outcome.asked:
        return ""
    failed = [asked for asked in outcome.asked if asked.verdict is not Verdict.OK]
    asked = failed[-1] if failed and not outcome.merged else outcome.asked[-1]
    told = [check for check in checks(one, asked) if check.mark is not Mark.NOT_REACHED]
    answer = "yes" if asked.verdict is Verdict.OK else "no"
    return f"{asked.where}({asked.role} {asked.vma.name}): {told[-1]} → {answer}"


# --- predict -----------------------------------------------------------------------------------


def _layout_text(answer: object) -> str:
    text = _text(answer, "a layout, such as PPPP|CC..|NN").strip().strip("<>")
    if not text:
        raise Wrong("the answer is empty: write a layout, such as PPPP|CC..|NN")
    if "=" not in text:
        text = text.rstrip(".").rstrip("|") or "."
    return strip(sorted(parse_layout(text), key=lambda vma: vma.vm_start)).rstrip(".")


def layout(answer: object, asks: Params) -> None:
    """The layout after a scenario."""
    said = _layout_text(answer)
    one = kernel(asks["rule"])
    is_ = strip(_last(one, asks["scenario"]).after).rstrip(".")
    if said == is_:
        return
    borders = [[m.start() for m in re.finditer(r"\|", text)] for text in (said, is_)]
    if borders[0] == borders[1] and len(said) == len(is_):
        raise Wrong(
            f"you said {said}; the borders are right, the names are not: look at who is left",
            asks["scenario"], [one],
        )  # fmt: skip
    raise Wrong(f"you said {said}; it becomes {is_}", asks["scenario"], [one])


def _number(answer: object, wanted: str) -> int:
    match = re.fullmatch(r"(?:case\s*)?(\d{1,4})", str(shown(answer)).strip().lower())
    if isinstance(answer, bool) or match is None:
        raise Wrong(f"{shown(answer, 40)} is not {wanted}")
    return int(match[1])


def _several(answer: object, count: int, wanted: str) -> list[Any]:
    if type(answer) is str and count > 1:
        answer = re.split(r"[,;\s]+", answer.strip("[]() "))
    if count == 1 and not isinstance(answer, list | tuple):
        answer = [answer]
    if not isinstance(answer, list | tuple) or len(answer) != count:
        raise Wrong(f"you answered {shown(answer, 60)}: write {count} of them, {wanted}")
    return list(answer)


def cases(answer: object, asks: Params) -> None:
    """The number of the case of each situation, 0 where nothing merges."""
    one = kernel(asks["rule"])
    situations: list[str] = asks["scenarios"]
    said = _several(answer, len(situations), "numbers from 0 to 8, such as [1, 2, 3]")
    for place, (guess, scenario) in enumerate(zip(said, situations, strict=True), 1):
        number = _number(guess, "a case: write a number from 0 to 8")
        is_ = case_of(_last(one, scenario))
        if number != is_:
            which = f"situation {place}: " if len(situations) > 1 else ""
            told = f"it is case {is_}" if is_ else "nothing merges, so 0"
            raise Wrong(f"{which}you said {number}; {told}", scenario, [one])


def _names(answer: object) -> set[str]:
    if answer is None:
        return set()
    if type(answer) is str:
        return set(re.findall(r"[A-Z](?:\.\d)?", answer)) if answer.lower() != "nobody" else set()
    if isinstance(answer, list | tuple | set | frozenset):
        return {name for part in answer for name in _names(part)}
    raise Wrong(f"{shown(answer, 40)} names nobody: write the letters of those who vanish, or ''")


def vanished(answer: object, asks: Params) -> None:
    """Who vanishes in each case."""
    one = kernel(asks["rule"])
    if not isinstance(answer, dict):
        raise Wrong(f"you answered {shown(answer, 40)}: write a dict, such as {{1: 'N', 2: ''}}")
    for case in asks["cases"]:
        if case not in answer:
            raise Wrong(f"case {case} is missing from your answer: write {case}: and who vanishes")
        scenario = recorded.situation(case)
        is_ = set(_last(one, scenario).removed)
        said = _names(answer[case])
        if said != is_:
            told = " and ".join(sorted(is_)) or "nobody"
            mine = " and ".join(sorted(said)) or "nobody"
            raise Wrong(f"case {case}: you said {mine} vanishes; it is {told}", scenario, [one])


def counts(answer: object, asks: Params) -> None:
    """What nattch is after every call of a program."""
    one = kernel(asks["rule"])
    (program,) = parse_programs(asks["program"])
    steps = predict(program, one).steps
    said = _several(answer, len(steps), "numbers, one for every call")
    for place, (guess, step) in enumerate(zip(said, steps, strict=True), 1):
        number = _number(guess, "a count: write a number for every call")
        is_ = dict(step.step.nattch or {})["A"]
        if number != is_:
            raise Wrong(
                f"call {place} ({step.step.call}): you said {number}, the owner counts {is_}; "
                f"there are {len(step.vmas)} VMAs then: {strip(step.vmas)}"
            )


def rules(answer: object, asks: Params) -> None:
    """A kernel that does what was seen, in every situation."""
    text = _text(answer, "a version, such as 6.5, or a moment, such as pre_git")
    chosen = kernel(text)
    if ":" in text:
        raise Wrong(f"{text} never was a kernel: write a version from 2.6.12 to 7.3")
    seen = kernel(asks["rule"])
    for scenario in asks["scenarios"]:
        mine, theirs = _last(chosen, scenario), _last(seen, scenario)
        if strip(mine.after) != strip(theirs.after) or mine.leaked != theirs.leaked:
            raise Wrong(
                f"you said {chosen.version}; it would leave {strip(mine.after)} of this, "
                f"and what was seen is {strip(theirs.after)}",
                scenario, [chosen],
            )  # fmt: skip


def order(answer: object, asks: Params) -> None:
    """The order in which the checks are asked."""
    wanted = [str(check) for check in asks["checks"]]
    said = [str(one).strip().lower() for one in _several(answer, len(wanted), "check names")]
    if sorted(said) != sorted(wanted):
        odd = sorted(set(said) ^ set(wanted)) or said
        raise Wrong(f"each check once: {shown(', '.join(odd), 60)} is missing, twice or unknown")
    for first, second in combinations(said, 2):
        scenario = _fails(first, second)
        verdict = _last(asks["rule"], scenario).result.outcome.asked[0].verdict  # type: ignore[union-attr]
        if verdict == second:
            raise Wrong(
                f"you ask {first} before {second}; here both fail, and the kernel stops at "
                f"{second}: {first} is never reached",
                scenario, [asks["rule"]],
            )  # fmt: skip


def _fails(*failing: str) -> str:
    """Return a scenario in which P fails all checks named, and no other."""
    flags = "r" if "flags" in failing else "rw"
    file = "2" if "file" in failing else "1"
    attrs = {"close": ",c", "uffd": ",u1", "name": ",n1", "policy": ",p1"}
    extra = "".join([attrs[check] for check in failing if check in attrs])
    anon, theirs = (",a1", ",a2") if "anon_vma" in failing else ("", "")
    pgoff = 6 if "pgoff" in failing else 4
    return f"P=0-4:{flags},f{file}@0{extra}{anon} | new 4-8:rw,f1@{pgoff}{theirs}"


# --- write a scenario --------------------------------------------------------------------------


def _parsed(answer: object) -> tuple[str, list[VMA], list[Any]]:
    text = _text(answer, "a scenario, such as P=0-8:rw | protect 4-8:r")
    _, vmas, operations = parse_scenario(text)
    AddressSpace(vmas)
    if len(vmas) > MOST or len(operations) > MOST:
        raise Wrong(f"that is a long story: at most {MOST} VMAs and {MOST} calls, please")
    return text, vmas, operations


def scenario(answer: object, asks: Params) -> None:
    """A scenario of the learner's own that does what is asked."""
    text, vmas, operations = _parsed(answer)
    _fits(text, vmas, operations, asks)
    _does(text, asks)


def _fits(text: str, vmas: list[VMA], operations: list[Any], asks: Params) -> None:
    if "start" in asks and set(vmas) != set(parse_layout(asks["start"])):
        raise Wrong(f"begin with {asks['start']}; yours begins with {shown(text, 60)}")
    if (most := asks.get("vmas")) and len(vmas) > most:
        raise Wrong(f"yours begins with {len(vmas)} VMAs; it can be done with {most}")
    if (most := asks.get("operations")) and len(operations) > most:
        raise Wrong(f"yours takes {len(operations)} calls; it can be done with {most}")
    for operation in operations:
        if operation.kind not in asks.get("kinds", [operation.kind]):
            raise Wrong(f"{operation.text}: use only {', '.join(asks['kinds'])}")
    if asks.get("uniform") and len({vma.has_close for vma in vmas}) > 1:
        raise Wrong("no real driver gives close to some of these VMAs only: to all or to none")
    if asks.get("close") and not all(vma.has_close for vma in vmas):
        raise Wrong("here everybody has close: write ,c behind every VMA")


def _does(text: str, asks: Params) -> None:
    """Hold a scenario against what is asked of it, under each kernel named."""
    for rule, case in asks.get("case", {}).items():
        step = _last(rule, text)
        if case_of(step) != case:
            told = f"case {case_of(step)}" if case_of(step) else "no merge"
            raise Wrong(f"under {rule} the last call is {told}, not case {case}", text, [rule])
    for rule in asks.get("merges", []):
        if not case_of(_last(rule, text)):
            raise Wrong(f"under {rule} the last call merges nothing", text, [rule])
    for rule in asks.get("refuses", []):
        if _last(rule, text).result.status == "merged":
            raise Wrong(f"under {rule} the last call merges", text, [rule])
    for rule, least in asks.get("loses", {}).items():
        gone = lost(trace(kernel(rule), text))
        if len(gone) < least:
            raise Wrong(f"under {rule} {len(gone) or 'no'} calls of close are lost", text, [rule])
    for rule in asks.get("keeps", []):
        if gone := lost(trace(kernel(rule), text)):
            raise Wrong(f"under {rule} the close of {', '.join(gone)} is lost", text, [rule])
    for rule, verdict in asks.get("stops_at", {}).items():
        outcome = _last(rule, text).result.outcome
        found = [str(one.verdict) for one in outcome.asked] if outcome else []
        if verdict not in found:
            told = ", ".join(found) or "nobody was asked"
            raise Wrong(f"under {rule} nobody says no for {verdict}: {told}", text, [rule])
    for pair in asks.get("differ", []):
        if not differs(kernel(pair[0]), kernel(pair[1]), text):
            raise Wrong(f"{pair[0]} and {pair[1]} end alike here", text, pair)


def differs(one: Kernel, other: Kernel, text: str) -> bool:
    """True where two kernels end a scenario otherwise: VMAs, who vanished, or what was lost."""
    ends = [
        [(step.after, step.removed, step.leaked) for step in trace(which, text)]
        for which in (one, other)
    ]
    return ends[0] != ends[1]


def scenarios(answer: object, asks: Params) -> None:
    """Several scenarios, each with something of its own to do."""
    tasks: list[Params] = asks["each"]
    if not isinstance(answer, list | tuple) or len(answer) != len(tasks):
        raise Wrong(f"you answered {shown(answer, 60)}: write a list of {len(tasks)} scenarios")
    for place, (one, task) in enumerate(zip(answer, tasks, strict=True), 1):
        try:
            scenario(one, {**asks, **task})
        except Wrong as wrong:
            raise Wrong(f"scenario {place}: {wrong.said}", wrong.scenario, wrong.kernels) from None


def repaired(answer: object, asks: Params) -> None:
    """A scenario in which at most so many VMAs were changed, and the last call now merges."""
    text, vmas, operations = _parsed(answer)
    _, given, calls = parse_scenario(asks["scenario"])
    if [str(one) for one in operations] != [str(one) for one in calls]:
        raise Wrong(f"leave the calls as they are: {'; '.join(map(str, calls))}")
    was = {vma.name: vma for vma in given}
    if {vma.name for vma in vmas} != set(was):
        raise Wrong(f"keep the VMAs {', '.join(sorted(was))}; yours are {shown(text, 60)}")
    changed = [vma for vma in vmas if vma != was[vma.name]]
    if len(changed) > 1 or sum(map(_parts, changed, [was[v.name] for v in changed])) > 1:
        raise Wrong(f"change one thing only; yours differs in {', '.join(map(str, changed))}")
    _does(text, asks)


def _parts(vma: VMA, was: VMA) -> int:
    """Return how many things about a VMA were changed; its place is one of them."""
    mine, theirs = vma._asdict(), was._asdict()
    moved = {"vm_start", "vm_end", "anon_pgoff"}
    fields = [name for name in mine if mine[name] != theirs[name]]
    place = any(name in moved for name in fields)
    anonymous = vma.vm_file is None and was.vm_file is None
    rest = [
        name
        for name in fields
        if name not in moved and not (name == "vm_pgoff" and place and anonymous)
    ]
    both = {"vm_file", "vm_ops"} <= set(rest)  # a VMA without file has no operations
    return place + len(rest) - both


# --- mutants -----------------------------------------------------------------------------------

_AS_IF: Final[dict[str, Callable[[VMA, Proposal], Proposal]]] = {
    "policy": lambda vma, asked: asked._replace(policy=vma.policy),
    "flags": lambda vma, asked: asked._replace(vm_flags=vma.vm_flags),
    "file": lambda vma, asked: asked._replace(vm_file=vma.vm_file),
    "uffd": lambda vma, asked: asked._replace(userfaultfd=vma.userfaultfd),
    "name": lambda vma, asked: asked._replace(anon_name=vma.anon_name),
    "anon_vma": lambda vma, asked: asked._replace(anon_vma=vma.anon_vma),
}


def mutant(rule: str, check: str) -> Kernel:
    """Return a kernel with one check deleted from its predicates: it always holds."""
    base = kernel(rule)

    def before(vma: VMA, asked: Proposal) -> Verdict:
        if check == "pgoff":
            asked = asked._replace(vm_pgoff=vma.vm_pgoff - asked.pages)
        return _ask(can_vma_merge_before, vma, asked._replace(next=_without(vma)))

    def after(vma: VMA, asked: Proposal) -> Verdict:
        if check == "pgoff":
            asked = asked._replace(vm_pgoff=vma.vm_pgoff + vma.pages)
        return _ask(can_vma_merge_after, vma, asked._replace(prev=_without(vma)))

    def _without(vma: VMA) -> VMA:
        return vma._replace(vm_ops=None) if check == "close" else vma

    def _ask(ask: Callable[[Kernel, Proposal], Verdict], vma: VMA, asked: Proposal) -> Verdict:
        return ask(base, _AS_IF[check](vma, asked) if check in _AS_IF else asked)

    return base.with_own(Predicates(can_vma_merge_before=before, can_vma_merge_after=after))


def notices(answer: object, asks: Params) -> None:
    """A scenario for each mutant, in which the missing check shows."""
    checks: list[str] = asks["mutants"]
    if not isinstance(answer, dict):
        answer = {checks[0]: answer} if len(checks) == 1 else answer
    if not isinstance(answer, dict) or sorted(map(str, answer)) != sorted(checks):
        raise Wrong(f"you answered {shown(answer, 60)}: write a dict with {', '.join(checks)}")
    for check in checks:
        text, vmas, operations = _parsed(answer[check])
        _fits(text, vmas, operations, asks)
        real, changed = kernel(asks["rule"]), mutant(asks["rule"], check)
        if not differs(real, changed, text):
            raise Wrong(
                f"without its check of {check} the mutant does the same here as {real.version}: "
                f"{strip(_last(real, text).after)}",
                text, [real],
            )  # fmt: skip
        others = [one for one in asks.get("only", []) if one != check]
        for other in others:
            if differs(real, mutant(asks["rule"], other), text):
                raise Wrong(
                    f"the mutant without {other} notices too; make {check} the only difference",
                    text, [real],
                )  # fmt: skip


# --- whole programs ----------------------------------------------------------------------------


def program(answer: object, asks: Params) -> None:
    """A program of calls that loses attaches under one kernel and none under another."""
    text = _text(answer, "a program, one call to a line")
    found = parse_programs(text)
    if len(found) != 1:
        raise Wrong(f"that is {len(found)} programs: write one")
    (one,) = found
    if not one.calls or len(one.calls) > asks.get("calls", MOST):
        raise Wrong(f"yours has {len(one.calls)} calls: write 1 to {asks.get('calls', MOST)}")
    for call in one.calls:
        if call.op in asks.get("without", []):
            raise Wrong(f"{call}: this time without {call.op}")
    for rule, least in asks["loses"].items():
        if (left := _left(one, rule)) < least:
            raise Wrong(f"under {rule} nattch is {left} after the exit: {_story(one, rule)}")
    for rule in asks["keeps"]:
        if left := _left(one, rule):
            raise Wrong(f"under {rule} nattch is {left} after the exit: {_story(one, rule)}")


def _left(one: Any, rule: str) -> int:
    told = predict(one, kernel(rule))
    if told.refused:
        raise Wrong(f"the engine cannot say: {told.refused}")
    return sum([left for left in told.nattch_after_exit.values() if left > 0])


def _story(one: Any, rule: str) -> str:
    steps = predict(one, kernel(rule)).steps
    return "; ".join([f"{s.step.call} {s.step.errno or 'ok'} → {len(s.vmas)} VMAs" for s in steps])


def decided_by(answer: object, asks: Params) -> None:
    """Who was asked what, and said no."""
    said = {part.lower() for part in map(str, _several(answer, 2, "who and which check"))}
    step = _last(asks["rule"], asks["scenario"])
    outcome = step.result.outcome
    assert outcome is not None
    (failed,) = [
        {one.role, one.vma.name.lower(), str(one.verdict)}
        for one in outcome.asked
        if one.verdict is not Verdict.OK and one.where == asks["where"]
    ]
    if not (said <= failed and str(outcome.asked[-1].verdict) in said):
        raise Wrong(
            f"you said {shown(answer, 60)}; read who is asked last, and about what",
            asks["scenario"], [asks["rule"]],
        )  # fmt: skip


# --- functions ---------------------------------------------------------------------------------


def _function(answer: object, form: str) -> Callable[..., Any]:
    if not callable(answer) or isinstance(answer, type):
        raise Wrong(f"a {type(answer).__name__} is no function: write {form}")
    return answer


def _guard(function: Callable[..., Any], name: str) -> Guarded:
    return (
        function if isinstance(function, Guarded) else Guarded(function, seconds=SECONDS, name=name)
    )


@cache
def situations() -> tuple[str, ...]:
    """Return every measured situation: the eight cases, with ->close on every choice of VMAs."""
    told = [recorded.situation(c, close) for c in recorded.CASES for close in recorded.closes(c)]
    # Real drivers first, so that the first difference is one that could happen.
    return tuple(sorted(told, key=lambda one: one.count(",c") % max(one.count("@"), 1) != 0))


def close_test(answer: object, asks: Params) -> None:
    """A close test: it decides as the kernel named, or it loses nothing and refuses no more."""
    test = _function(answer, f"def {asks['name']}(ask): and return True to refuse, or False")
    base = kernel(asks["base"])
    mine = own(base, test, name="your test", seconds=SECONDS)
    like = kernel(asks["like"])
    for text in _tried(situations(), asks):
        step, wanted = _last(mine, text), _last(like, text)
        if step.leaked and not wanted.leaked:
            raise Wrong(f"your test lets {_and(step.leaked)} go, with its close owed", text, [mine])
        if step.after != wanted.after:
            more = _worth(step) - _worth(wanted)
            told = "refuses more" if more < 0 else "merges more" if more else "merges otherwise"
            raise Wrong(
                f"your test {told} than {like.version} does; below are both", text, [mine, like]
            )


def _worth(step: Step) -> int:
    """Return how many VMAs fewer there are than without the merge."""
    return len(step.removed) + (case_of(step) > 0)


def _tried(every: Sequence[Thing], asks: Params) -> Sequence[Thing]:
    """Return the situations to try: all, or as many from the middle as are to be seen."""
    only = asks.get("only", len(every))
    first = len(every) // 2 if only < len(every) else 0
    return every[first : first + only]


def _uniform(text: str) -> bool:
    return len({vma.has_close for vma in parse_scenario(text)[1]}) == 1


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


@cache
def _asked(rule: str) -> tuple[tuple[str, Asked, Proposal], ...]:
    """Return what prev and next are asked in many situations, each with the kernel's answer."""
    out = []
    for text in (*situations(), *_odd_ones()):
        step = _last(rule, text)
        outcome = step.result.outcome
        if outcome is None or not outcome.asked:
            continue
        proposal = _proposal(text)
        for one in ask_prev(kernel(rule), proposal) + ask_next(kernel(rule), proposal):
            out.append((text, one, proposal))
    return tuple(out)


def _odd_ones() -> Iterator[str]:
    """Yield situations in which one thing keeps a neighbour away, on either side."""
    for what in ("f2@0", "f1@1", "f1@0,u1", "f1@0,n1", "f1@0,a1", "f1@0,a1x2", "f1@0,c,u1"):
        yield f"P=0-4:rw,{what} C=4-8:r,f1@4 | modify 4-8:rw"
        yield f"P=0-4:rw,{what} C=4-12:r,f1@4 | modify 4-8:rw"
        below = what.replace("@1", "@9").replace("@0", "@8")
        yield f"C=4-8:r,f1@4 N=8-12:rw,{below} | modify 4-8:rw"
        yield f"C=0-8:r,f1@0 N=8-12:rw,{below} | modify 4-8:rw"
    for mine, theirs in product(("", ",a1", ",a2", ",a1x2"), repeat=2):
        yield f"P=0-4:rw{mine} C=4-8:r{theirs} | modify 4-8:rw"
        yield f"C=4-8:r{theirs} N=8-12:rw{mine} | modify 4-8:rw"
    # Lengths that differ, so that nobody takes the one for the other.
    yield "C=2-8:r,f1@2 N=8-12:rw,f1@8 | modify 7-8:rw"
    yield "C=2-8:r,f1@2 N=8-12:rw,f1@12 | modify 4-8:rw"
    yield "C=4-8:r,f1@4 N=8-12:rw,f1@4 | modify 4-8:rw"
    yield "C=4-8:r,f1@4 N=8-12:rw,f1@0 | modify 4-8:rw"
    yield "P=0-1:rw,f1@3 C=1-9:r,f1@4 | modify 1-3:rw"
    yield "P=0-4:rw,f1@4 C=4-8:r,f1@4 | modify 4-8:rw"


def _proposal(text: str) -> Proposal:
    from vmakernel.patch import proposal

    return proposal(text)


def predicate(answer: object, asks: Params) -> None:
    """A predicate of the kernel: asked what the kernel is asked, it answers the same."""
    name = asks["name"]
    function = _function(answer, f"def {name}({asks['takes']}): and return True or False")
    guard = _guard(function, name)
    where = asks.get("where", name)
    try:
        for text, one, proposal in _tried(_asked(asks["rule"]), asks):
            if where not in (one.where, "is_mergeable_anon_vma"):
                continue
            if asks.get("plain") and (one.vma.anon_vma or proposal.anon_vma):
                continue  # the exercise leaves memory that was written to out
            if where == "is_mergeable_anon_vma":
                if one.verdict not in (Verdict.OK, Verdict.ANON_VMA, Verdict.PGOFF):
                    continue
                wanted = one.verdict is not Verdict.ANON_VMA
            else:
                wanted = one.verdict is Verdict.OK
            said = guard(one.vma, proposal)
            if not isinstance(said, bool):
                raise Wrong(f"{name} returned {shown(said, 40)}: return True or False")
            if said != wanted:
                why = "every check holds" if wanted else f"it stops at {one.verdict}"
                raise Wrong(
                    f"about {one.role} {one.vma.name} you said {said}; {asks['rule']} says "
                    f"{wanted}, since {why}",
                    text, [asks["rule"]],
                )  # fmt: skip
    finally:
        guard.close()


def goes_round(answer: object, asks: Params) -> None:
    """Which VMAs grow without asking the merge code: the workaround."""
    function = _function(answer, f"def {asks['name']}(vma): and return True or False")
    guard = _guard(function, asks["name"])
    real = kernel(asks["rule"])
    try:
        for text in _tried(tuple(_growths()), asks):
            (vma, *_) = parse_scenario(text)[1]
            said = guard(vma)
            if not isinstance(said, bool):
                raise Wrong(f"{asks['name']} returned {shown(said, 40)}: return True or False")
            growth = Growth.DIRECT if said else Growth.MERGE
            mine = real.with_rule(real.rule.toggled(name="your workaround", mremap=growth))
            step, wanted = _last(mine, text), _last(real, text)
            if step.after != wanted.after:
                told = "round the merge code" if said else "to the merge code"
                raise Wrong(
                    f"you send {vma} {told} (below: yours, then Linux {real.version})",
                    text,
                    [mine, real],
                )
    finally:
        guard.close()


def _growths() -> Iterator[str]:
    behind = ("", "N=8-12:rw,f1@8{c}", "N=8-12:r,f1@8{c}", "N=10-12:rw,f1@10{c}")
    for c, other, N in product(("", ",c"), ("", ",u1", ",a1"), behind):
        yield f"P=0-4:rw,f1@0{c}{other} {N.format(c=c + other)} | mremap P+4"
    yield "P=0-4:rw | mremap P+4"
    yield "P=0-4:rw N=8-12:rw | mremap P+4"


# --- reading and reviewing ---------------------------------------------------------------------


def described(answer: object, asks: Params) -> None:
    """VMAs in the notation, held against those described."""
    text = _text(answer, "VMAs, such as P=0-4:rw,f1@0,c")
    mine = sorted(parse_layout(text), key=lambda vma: vma.vm_start)
    AddressSpace(mine)
    wanted = parse_layout(asks["layout"])
    if len(mine) != len(wanted):
        raise Wrong(f"you wrote {len(mine)} VMAs, {shown(text, 60)}; there are {len(wanted)}")
    for vma, is_ in zip(mine, wanted, strict=True):
        for field, words in _FIELDS.items():
            said, should = getattr(vma, field), getattr(is_, field)
            if said != should:
                raise Wrong(f"{vma}: look again at {words}", f"{text} | unmap 0-1")


_FIELDS: Final = {
    "vm_start": "where it begins",
    "vm_end": "where it ends: the end is the first page that is not part of it",
    "vm_flags": "its flags",
    "vm_file": "what it maps",
    "vm_pgoff": "the page of the file it begins with",
    "has_close": "whether it has close",
}


def touching(answer: object, asks: Params) -> None:
    """What keeps the neighbours of a real process apart."""
    pairs = maps.recorded().touching(kernel(asks["rule"]))
    if not isinstance(answer, dict):
        raise Wrong(f"you answered {shown(answer, 60)}: write a dict, line number → check")
    lines = maps.recorded().lines
    for number in asks["lines"]:
        if number not in answer:
            raise Wrong(f"line {number} is missing: write {number}: and the first check that fails")
        (pair,) = [pair for pair in pairs if pair.right == lines[number]]
        is_ = pair.smaps if asks.get("smaps") else pair.maps
        said = str(answer[number]).strip().lower()
        if said != str(is_):
            words = (*ORDER, maps.NOT_TOLD)
            known = "" if said in words else f"; write one of {', '.join(words)}"
            raise Wrong(f"line {number} ({pair}): you said {shown(said, 20)}{known}")


def patches() -> dict[str, Kernel]:
    """Return the three patches of the last exercise, each applied to 6.5."""
    base = kernel("6.5")
    ways = {
        "A": {"before": True, "after": False, "removed": Removal.ALWAYS},
        "B": {"before": False, "after": False, "removed": Removal.CASE_7},
        "C": {"before": False, "after": False, "removed": Removal.ALWAYS},
    }
    return {
        name: base.with_rule(base.rule.toggled(name=f"patch {name}", **way))
        for name, way in ways.items()
    }


VERDICTS: Final = ("safe", "too strict", "leaks")


def review(answer: object, asks: Params) -> None:
    """A verdict on every patch, and a scenario that proves it."""
    lawless = kernel("6.5:none")
    if not isinstance(answer, dict) or sorted(map(str, answer)) != sorted(patches()):
        raise Wrong(f"you answered {shown(answer, 60)}: write a dict with A, B and C")
    for name, one in patches().items():
        said = answer[name]
        word, text = said if isinstance(said, list | tuple) and len(said) == 2 else (said, "")
        if word not in VERDICTS:
            raise Wrong(f"patch {name}: {shown(said, 40)}; say one of {', '.join(VERDICTS)}")
        if word == "safe":
            if (witness := _against(one, lawless)) is not None:
                told = "loses a close" if lost(trace(one, witness)) else "refuses for nothing"
                raise Wrong(f"patch {name} {told} here", witness, [one])
            continue
        text, vmas, operations = _parsed(text)
        _fits(text, vmas, operations, asks)
        if word == "leaks" and not lost(trace(one, text)):
            raise Wrong(f"patch {name}: nothing is lost in your scenario", text, [one])
        free = not lost(trace(lawless, text))
        strict = free and _last(one, text).after != _last(lawless, text).after
        if word == "too strict" and not strict:
            told = "it refuses nothing" if free else "without the test a close would be lost, too"
            raise Wrong(f"patch {name}: {told} in your scenario", text, [one, lawless])
        if word == "too strict" and (leaky := _leaks(one)):
            raise Wrong(f"patch {name} does worse than that: look at this", leaky, [one])


def _leaks(one: Kernel) -> str | None:
    told = [text for text in situations() if _uniform(text) and lost(trace(one, text))]
    return told[0] if told else None


def _against(one: Kernel, lawless: Kernel) -> str | None:
    """Return a situation in which a rule loses a call, or refuses for nothing."""
    for text in filter(_uniform, situations()):
        free = not lost(trace(lawless, text))
        strict = free and _last(one, text).after != _last(lawless, text).after
        if strict or lost(trace(one, text)):
            return text
    return None


JUDGES: Final[dict[str, Callable[[object, Params], None]]] = {
    one.__name__: one
    for one in (
        layout, cases, vanished, counts, rules, order, scenario, scenarios, repaired, notices,
        program, decided_by, close_test, predicate, goes_round, described, touching, review,
    )
}  # fmt: skip


# Those that take a function.
FUNCTIONS: Final = ("close_test", "predicate", "goes_round")


def judge(name: str, answer: object, asks: Params) -> None:
    """Let a judge decide. Raises Wrong, and nothing else."""
    try:
        JUDGES[name](answer, asks)
    except Wrong:
        raise
    except (InputError, Stopped) as mistake:
        raise Wrong(str(mistake)) from None
    except RecursionError:
        raise Wrong("your answer is nested too deeply to be read: write it flat") from None
    except Exception as error:  # an object that misbehaves when it is looked at
        raise Wrong(
            f"your answer cannot be looked at ({type(error).__name__}): write plain values"
        ) from None
