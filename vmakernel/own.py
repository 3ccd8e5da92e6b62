"""A rule of your own: Python functions in the place of the kernel's close test and predicates.

Previous: guard.py; next: world.py.

    def mine(ask):
        return ask.role == "removed" and ask.vma.has_close

    own("6.5", mine)      6.5, but whether ->close forbids a merge is for this function to say

Every function runs in a process of its own (guard.py) and may loop, raise or answer nonsense:
whoever asks gets Stopped, one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from vmakernel.flags import InputError
from vmakernel.guard import Guarded, Stopped
from vmakernel.kernels import Kernel, Predicates, Removal, Rule, kernel
from vmakernel.predicates import Verdict
from vmakernel.vma import VMA, Proposal


class Question(NamedTuple):
    """What a close test is asked: must `vma` be refused because of ->close?

    `role` is ``prev`` or ``next`` for a neighbour that matches and would take in the range, and
    ``removed`` for a VMA that would vanish, in the `case` named.
    """

    vma: VMA
    role: str
    case: int
    proposal: Proposal


SCOUTS: Final = 200  # decisions made before questions are gathered
BATCH: Final = 500  # questions that are put together

CloseTest = Callable[[Question], bool]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class OwnRule(Rule):
    """A rule whose close test is a function: True refuses. Raises Stopped when it is asked."""

    test: CloseTest = lambda ask: False

    def refuses_next(self, vma: VMA, proposal: Proposal) -> bool:
        """Ask about next, as can_vma_merge_before() does."""
        return self._ask(Question(vma, "next", 0, proposal))

    def refuses_prev(self, vma: VMA, proposal: Proposal) -> bool:
        """Ask about prev, as can_vma_merge_after() does."""
        return self._ask(Question(vma, "prev", 0, proposal))

    def refuses_removal(self, vma: VMA, proposal: Proposal, case: int) -> bool:
        """Ask about a VMA that would vanish."""
        return self._ask(Question(vma, "removed", case, proposal))

    def _ask(self, question: Question) -> bool:
        answer = self.test(question)
        if not isinstance(answer, bool):
            raise Stopped(
                f"{_name(self.test)} answered {_short(answer)} about {question.vma.name} "
                f"({question.role}): return True to refuse it, or False"
            )
        return answer


_NAMES: Final = Predicates._fields


def own(
    base: Kernel | str,
    close: CloseTest | None = None,
    *,
    name: str = "",
    seconds: float = 2.0,
    **predicates: Callable[[VMA, Proposal], object],
) -> Kernel:
    """Return `base` with functions of your own; each call may take `seconds`.

    `close` is the close test, asked a Question. `predicates` stand in for those of the kernel, by
    name (see Predicates), and are called with (vma, proposal): is_mergeable_anon_vma returns True
    or False, the others a Verdict. Raises InputError for a predicate that does not exist.
    """
    chosen = kernel(base)
    for wrong in predicates.keys() - set(_NAMES):
        raise InputError(f"there is no predicate {wrong}: choose among close, {', '.join(_NAMES)}")
    if close is not None:
        guard = close if isinstance(close, Guarded) else Guarded(close, seconds=seconds)
        chosen = chosen.with_rule(_rule(name or guard.name, chosen.rule, guard))
    if predicates:
        guarded = {
            which: _Predicate(which, _Remembering(Guarded(function, seconds=seconds)))
            for which, function in predicates.items()
        }
        chosen = chosen.with_own(Predicates(**guarded))
    return chosen


def guarded(chosen: Kernel | str) -> Kernel:
    """Return a kernel for a new check, its rule in a process of its own if a learner wrote it."""
    chosen = kernel(chosen)
    rule = chosen.rule
    for test in _functions(chosen):
        if isinstance(test, _Remembering):
            test.guard.afresh()
    if isinstance(rule, OwnRule) or type(rule) is Rule:
        return chosen
    guard = Guarded(partial(_ask_rule, rule), name=type(rule).__name__)
    return chosen.with_rule(_rule(rule.name, rule, guard))


def made(chosen: Kernel, decisions: Sequence[Callable[[], Made]]) -> list[Made]:
    """Make decisions in which a learner's functions take part, and return what came of each.

    Another process that is asked one question after the other spends its time on waking up, so
    many questions are put to it at a time. The first decisions are made as they are, and one that
    meets trouble is made again alone, so that the same is said either way. Raises Stopped.
    """
    tests = [one for one in _functions(chosen) if isinstance(one, _Remembering)]
    found = {at: decision() for at, decision in enumerate(decisions[:SCOUTS])}
    going = bool(tests)
    while going and len(found) < len(decisions):
        for test in tests:
            test.gathered = {}
        for at, decision in enumerate(decisions):
            if at not in found:
                with suppress(Stopped, _Unanswered):
                    found[at] = decision()
        gathered = [list(test.gathered or ()) for test in tests]
        for test in tests:
            test.gathered = None
        answered = [test.answer(asked) for test, asked in zip(tests, gathered, strict=True)]
        going = any(gathered) and all(answered)
    return [found[at] if at in found else decision() for at, decision in enumerate(decisions)]


def _functions(chosen: Kernel) -> Iterator[object]:
    if isinstance(chosen.rule, OwnRule):
        yield chosen.rule.test
    for predicate in chosen.own or ():
        if isinstance(predicate, _Predicate):
            yield predicate.function


def is_own(chosen: Kernel) -> bool:
    """True where a learner's function takes part in deciding."""
    return type(chosen.rule) is not Rule or chosen.own is not None


def _rule(name: str, like: Rule, guard: Guarded) -> OwnRule:
    return OwnRule(name, True, True, Removal.ALWAYS, like.mremap, test=_Remembering(guard))


class _Unanswered(Exception):
    """The answer comes later, with many others."""


class _Remembering:
    """A guarded function that is asked nothing twice; while it gathers, it is not asked at all."""

    def __init__(self, guard: Guarded) -> None:
        self.guard, self.name = guard, guard.name
        self.known: dict[tuple[Any, ...], Any] = {}
        self.gathered: dict[tuple[Any, ...], None] | None = None

    def __call__(self, *question: Any) -> Any:
        """Return what the function answers. Raises Stopped."""
        if question not in self.known:
            if self.gathered is not None:
                self.gathered[question] = None
                raise _Unanswered
            self.known[question] = self.guard(*question)
        return self.known[question]

    def answer(self, questions: Sequence[tuple[Any, ...]]) -> bool:
        """Answer all questions; False where the function did not."""
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            answers = self.guard.each(batch)
            if answers is None:
                return False
            self.known.update(zip(batch, answers, strict=True))
        return True


def _ask_rule(rule: Rule, ask: Question) -> bool:
    """Put a question to a rule's own methods."""
    if ask.role == "removed":
        return rule.refuses_removal(ask.vma, ask.proposal, ask.case)
    refuses = rule.refuses_next if ask.role == "next" else rule.refuses_prev
    return refuses(ask.vma, ask.proposal)


@dataclass(frozen=True, slots=True)
class _Predicate:
    """A learner's predicate, its answers checked."""

    which: str
    function: Callable[..., Any]

    def __call__(self, vma: VMA, proposal: Proposal) -> bool | Verdict:
        answer = self.function(vma, proposal)
        if self.which == "is_mergeable_anon_vma":
            if isinstance(answer, bool):
                return answer
            wanted = "True or False"
        else:
            if isinstance(answer, Verdict):
                return answer
            wanted = "Verdict.OK, or the Verdict of the check that failed"
        raise Stopped(
            f"{_name(self.function)} answered {_short(answer)} about {vma.name}: return {wanted}"
        )


def _name(test: object) -> str:
    return str(getattr(test, "name", "your function"))


def _short(answer: object) -> str:
    text = " ".join(repr(answer).split())
    return text if len(text) <= 40 else text[:37] + "..."
