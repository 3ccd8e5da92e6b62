"""What a merge would do: who grows, who shrinks, who is removed, and why.

Previous: predicates.py; next: geometry.py.

The decision modules return an Outcome and change nothing; the address space carries it out. Old and
new kernels share this one type, so that they can be put side by side.
"""

from enum import StrEnum
from typing import NamedTuple

from vmakernel.predicates import Asked
from vmakernel.vma import VMA, Proposal


class Refusal(StrEnum):
    """Why nothing was merged although the decision was asked for."""

    NONE = ""
    SPECIAL = "the range has a VM_SPECIAL flag"
    INSIDE = "the range touches neither edge of its VMA"
    NO_NEIGHBOUR = "no neighbour touches the range"
    NO_MATCH = "no neighbour matches"
    CLOSE = "a VMA with ->close would have to go"


class Outcome(NamedTuple):
    """The result of a decision.

    `case` is the number in the comment above vma_merge(), 0 where nothing merges; from v6.12 the
    kernel no longer counts cases, and the number is the one the same situation used to have.
    `before` lists the VMAs touched; `after` what becomes of each (None: removed).
    `returned` is the extended VMA as it will be. `dups` lists (to, from) of every anon_vma cloned.
    """

    case: int
    returned: VMA | None
    before: tuple[VMA, ...]
    after: tuple[VMA | None, ...]
    dups: tuple[tuple[str, str], ...]
    asked: tuple[Asked, ...]
    refusal: Refusal = Refusal.NONE

    @property
    def merged(self) -> bool:
        """True where a merge happens."""
        return self.returned is not None

    @property
    def removed(self) -> tuple[VMA, ...]:
        """The VMAs that vanish."""
        return tuple([old for old, new in zip(self.before, self.after, strict=True) if new is None])

    @property
    def lost(self) -> tuple[VMA, ...]:
        """The VMAs that vanish owing a ->close that a merge never calls."""
        return tuple([vma for vma in self.removed if vma.has_close])

    @property
    def grown(self) -> tuple[VMA, ...]:
        """The VMAs that get longer, as they were."""
        pairs = zip(self.before, self.after, strict=True)
        return tuple([old for old, new in pairs if new is not None and new.pages > old.pages])

    @property
    def shrunk(self) -> tuple[VMA, ...]:
        """The VMAs that get shorter but stay, as they were."""
        pairs = zip(self.before, self.after, strict=True)
        return tuple([old for old, new in pairs if new is not None and new.pages < old.pages])


def refused(asked: tuple[Asked, ...], refusal: Refusal, case: int = 0) -> Outcome:
    """Return the outcome in which nothing changes; `case` names what was refused, if known."""
    return Outcome(case, None, (), (), (), asked, refusal)


def no_match(proposal: Proposal, asked: tuple[Asked, ...]) -> Outcome:
    """Return the outcome in which no neighbour takes the range, with the reason."""
    if asked:
        return refused(asked, Refusal.NO_MATCH)
    curr = proposal.curr
    inside = curr and curr.vm_start < proposal.vm_start and proposal.vm_end < curr.vm_end
    return refused((), Refusal.INSIDE if inside else Refusal.NO_NEIGHBOUR)
