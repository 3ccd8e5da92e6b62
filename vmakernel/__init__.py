"""A small model of how the Linux kernel merges VMAs, from 2.6.12 to 7.3.

Read the files in this order, each builds on the ones before: flags, vma, layout, kernels,
predicates, outcome, geometry, eight_cases, ranges, tree, space, callers, replay, explain.
"""

from vmakernel.flags import NotationError
from vmakernel.kernels import (
    CASE7_FIX,
    MAY_REMOVE_VMA,
    PRE_GIT,
    REALLY_REMOVED,
    REGRESSION,
    RULES,
    WORKAROUND,
    Kernel,
    Rule,
    UnknownKernel,
    kernel,
)
from vmakernel.outcome import Outcome
from vmakernel.space import AddressSpace, SpaceError
from vmakernel.vma import VMA, Proposal

__all__ = [
    "CASE7_FIX",
    "MAY_REMOVE_VMA",
    "PRE_GIT",
    "REALLY_REMOVED",
    "REGRESSION",
    "RULES",
    "VMA",
    "WORKAROUND",
    "AddressSpace",
    "Kernel",
    "NotationError",
    "Outcome",
    "Proposal",
    "Rule",
    "SpaceError",
    "UnknownKernel",
    "kernel",
]
