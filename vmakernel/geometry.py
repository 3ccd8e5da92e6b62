"""The eight ways in which VMAs can become one: who grows, who shrinks, who is removed.

Previous: outcome.py; next: eight_cases.py.

The range proposed is drawn ``****``; P is prev, C the VMA that holds the range now, N next. The
numbers are those of the comment above vma_merge() up to v6.11.

    nothing mapped there yet:
        PPPP****NNNN            PPPP****..NN            PP..****NNNN
     1  PPPPPPPPPPPP         2  PPPPPPPP..NN         3  PP..NNNNNNNN
    part of a VMA changes, and the border moves:
        PPPP****NNNN            PPPP****CCCC
     4  PPPPNNNNNNNN         5  PPPPPPPPCCCC        (in 4, P itself holds the ****)
    a whole VMA changes (C is the ****) and vanishes:
        PPPP****NNNN            PPPP****NNNN            PPPP****NNNN
     6  PPPPPPPPPPPP         7  PPPPPPPPNNNN         8  PPPPNNNNNNNN

No rule is asked here: whether a case may happen is decided by the files that follow.
"""

from vmakernel.kernels import Kernel
from vmakernel.outcome import Outcome
from vmakernel.predicates import Asked
from vmakernel.vma import VMA, AnonVma, Proposal


def adopt(kernel: Kernel, to: VMA, *sources: VMA) -> tuple[VMA, tuple[tuple[str, str], ...]]:
    """Return `to` with the first anon_vma among `sources` if it has none, and the clone this takes.

    (importer and exporter in __vma_adjust() up to v6.2; dup_anon_vma() since v6.3.)
    """
    if to.anon_vma is None:
        for source in sources:
            if source.anon_vma is not None:
                if kernel.clones_anon_vma:
                    return to._replace(anon_vma=source.anon_vma), ((to.name, source.name),)
                # Before there were chains, the VMA was linked to the object itself.
                return to._replace(anon_vma=AnonVma(source.anon_vma.name)), ((to.name, "?"),)
    return to, ()


def take_both(
    kernel: Kernel, proposal: Proposal, prev: VMA, next: VMA, asked: tuple[Asked, ...]
) -> Outcome:
    """Cases 1 and 6: prev grows over the range and over next."""
    curr = proposal.curr
    grown = prev._replace(vm_end=next.vm_end)
    if curr is None:
        grown, dups = adopt(kernel, grown, next)
        return Outcome(1, grown, (prev, next), (grown, None), dups, asked)
    sources = (next, curr) if kernel.dup_prefers_next else (curr, next)
    grown, dups = adopt(kernel, grown, *sources)
    return Outcome(6, grown, (prev, curr, next), (grown, None, None), dups, asked)


def take_prev(kernel: Kernel, proposal: Proposal, prev: VMA, asked: tuple[Asked, ...]) -> Outcome:
    """Cases 2, 5 and 7: prev grows over the range."""
    curr = proposal.curr
    grown = prev._replace(vm_end=proposal.vm_end)
    if curr is None:
        return Outcome(2, grown, (prev,), (grown,), (), asked)
    grown, dups = adopt(kernel, grown, curr)
    if proposal.vm_end < curr.vm_end:
        rest = curr.moved(proposal.vm_end, curr.vm_end)
        return Outcome(5, grown, (prev, curr), (grown, rest), dups, asked)
    return Outcome(7, grown, (prev, curr), (grown, None), dups, asked)


def take_next(kernel: Kernel, proposal: Proposal, next: VMA, asked: tuple[Asked, ...]) -> Outcome:
    """Cases 3, 4 and 8: next grows downwards over the range."""
    curr = proposal.curr
    grown = next.moved(proposal.vm_start, next.vm_end)
    if curr is None:
        return Outcome(3, grown, (next,), (grown,), (), asked)
    grown, dups = adopt(kernel, grown, curr)
    if curr.vm_start < proposal.vm_start:
        rest = curr._replace(vm_end=proposal.vm_start)
        return Outcome(4, grown, (curr, next), (rest, grown), dups, asked)
    return Outcome(8, grown, (curr, next), (None, grown), dups, asked)


def take_next_upwards(
    kernel: Kernel, proposal: Proposal, next: VMA, asked: tuple[Asked, ...]
) -> Outcome:
    """Case 8 up to v4.8: curr grows over next, with curr's own flags until the caller sets them."""
    curr = proposal.curr
    assert curr is not None
    grown, dups = adopt(kernel, curr._replace(vm_end=next.vm_end), next)
    return Outcome(8, grown, (curr, next), (grown, None), dups, asked)
