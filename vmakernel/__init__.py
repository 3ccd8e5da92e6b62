"""A small model of how the Linux kernel merges VMAs, from 2.6.12 to 7.3.

Read the files in this order; each imports only what comes before it.

Values:     flags, vma, layout, history, kernels
Decisions:  predicates, outcome, geometry, eight_cases, ranges
Actions:    tree, space, callers, replay, explain
Calls:      scenario, process, mremap, calls, predict, run
Live:       live, live_child, judge_live
Recorded:   recorded, maps, patch, conformance, counterparts
Explore:    plain, guard, own, world, explore, programs, shortest, draft
Faces:      draw, course_map, call_pictures, posters, lesson, charts, growth
Controls:   widgets, toggle_lab, call_widgets, diff_widget, plane_widget, __main__
Exercises:  progress, judges, exercise, practice, sealed, classroom
Quizzes:    quiz, quiz_widgets, card
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
