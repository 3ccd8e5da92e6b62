"""A rule of your own: Python functions in the place of the kernel's close test and predicates.

Previous: guard.py; next: world.py.

    def mine(ask):
        return ask.role == "removed" and ask.vma.has_close

    own("6.5", mine)      6.5, but whether ->close forbids a merge is for this function to say

Every function runs in a process of its own (guard.py) and may loop, raise or answer nonsense:
whoever asks gets Stopped, one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

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


CloseTest = Callable[[Question], bool]


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
    or False, the others a Verdict. Raises TypeError for a predicate that does not exist.
    """
    chosen = kernel(base) if isinstance(base, str) else base
    for wrong in predicates.keys() - set(_NAMES):
        raise TypeError(f"there is no predicate {wrong}: choose among close, {', '.join(_NAMES)}")
    if close is not None:
        guard = Guarded(close, seconds=seconds)
        chosen = chosen.with_rule(_rule(name or guard.name, chosen.rule, guard))
    if predicates:
        guarded = {
            which: _Predicate(which, _remembering(Guarded(function, seconds=seconds)))
            for which, function in predicates.items()
        }
        chosen = chosen.with_own(Predicates(**guarded))
    return chosen


def guarded(chosen: Kernel) -> Kernel:
    """Return `chosen` with its rule in a process of its own, if a learner wrote its class."""
    rule = chosen.rule
    if isinstance(rule, OwnRule) or type(rule) is Rule:
        return chosen
    guard = Guarded(partial(_ask_rule, rule), name=type(rule).__name__)
    return chosen.with_rule(_rule(rule.name, rule, guard))


def is_own(chosen: Kernel) -> bool:
    """True where a learner's function takes part in deciding."""
    return type(chosen.rule) is not Rule or chosen.own is not None


def _rule(name: str, like: Rule, guard: Guarded) -> OwnRule:
    test = _remembering(guard)
    return OwnRule(name, True, True, Removal.ALWAYS, like.mremap, test=test)


def _remembering(guard: Guarded) -> Callable[..., Any]:
    """Return `guard`, asking the other process nothing twice."""
    return lru_cache(maxsize=1 << 17)(guard)


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
